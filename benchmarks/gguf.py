"""A GGUF file in Ramify beside llama.cpp itself: `python -m benchmarks --with gguf,llama.cpp`, five rounds unless said otherwise.

python -m benchmarks.gguf [--rounds 5] [--type q8_0] [--threads 2] [--only TEXT] [--out FILE]
"""

import sys

from benchmarks.__main__ import main

if __name__ == "__main__":
    sys.argv[1:1] = ["--with", "gguf,llama.cpp", "--rounds", "5"]
    main()
