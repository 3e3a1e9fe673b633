"""What a step costs against the size of the vocabulary: numbers and a picture for docs/speed.md.

    python -m benchmarks.vocabulary measure [--out docs/speed.json]
    python -m benchmarks.vocabulary draw [--out docs/speed.json]

Models with random weights and `tiny`'s layers that differ in nothing but their vocabulary; 16 rows, float32, one thread, drawn at
a temperature that makes random logits as peaked as a trained model's. A step is what one more token of every row costs in
processor time: the difference between long and short completions, the least of several.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import ramify
from benchmarks.curves import ids, plotter, rounded
from benchmarks.qwen_shape import tokenizer
from ramify.training.models import new_model, save_model
from ramify.training.scratch_plans import PRESETS

SIZES = (4096, 16384, 32768, 65536, 151936)
ROWS = 16
SHORT, LONG = 4, 20
TIMES = 5
PEAKED = 0.05
ASKED: Mapping[str, Mapping[str, Any]] = {
    "the likeliest token": {"temperature": 0},
    "drawn": {"temperature": PEAKED},
    "drawn, top-p 0.9": {"temperature": PEAKED, "top_p": 0.9},
    "drawn, with 5 logprobs": {"temperature": PEAKED, "logprobs": 5},
}


def cost_ms(model: Any, asked: Mapping[str, Any]) -> float:
    """Of one more token of every row. The prompts are read once, and remembered."""

    def run(new: int) -> float:
        prompts = [ids(8, i) for i in range(ROWS)]
        begun = time.process_time()
        model.batch(prompts, max_new_tokens=new, ignore_eos=True, seed=0, **{"logprobs": None, **asked})
        return time.process_time() - begun

    run(SHORT)
    return 1000 * min(run(LONG) - run(SHORT) for _ in range(TIMES)) / (LONG - SHORT)


def measure() -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ASKED}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            save_model(new_model(vocab_size=size, **PRESETS["tiny"]), Path(folder))
            tokenizer(size, eos_token=f"<{size - 1}>").save_pretrained(folder)
            with ramify.load(folder, precision="float32", device="cpu") as model:
                for name, asked in ASKED.items():
                    found[name].append(cost_ms(model, asked))
    return found


def draw(found: Mapping[str, list[float]], to: Path) -> None:
    pyplot = plotter()
    figure, axes = pyplot.subplots(figsize=(5.4, 3.4), layout="constrained")
    for name, costs in found.items():
        axes.plot(SIZES, costs, "o-", label=name)
    axes.set(title=f"A step of {ROWS} rows: processor time of one thread", xlabel="tokens of the vocabulary", ylabel="ms", ylim=0)
    axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES], rotation=30)
    axes.legend()
    figure.savefig(to, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("do", choices=["measure", "draw"])
    arguments.add_argument("--out", type=Path, default=Path("docs/speed.json"))
    given = arguments.parse_args()
    known: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    if given.do == "measure":
        torch.set_num_threads(1)
        known["vocabulary"] = rounded(measure())
        print(json.dumps(known["vocabulary"]), flush=True)
        given.out.write_text(json.dumps(known, indent=1) + "\n")
    draw(known["vocabulary"], given.out.with_name(f"{given.out.stem}-vocabulary.svg"))


if __name__ == "__main__":
    main()
