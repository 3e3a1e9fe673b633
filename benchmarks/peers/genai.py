"""OpenVINO GenAI, continuous batching, int8 weights: `python -m benchmarks.peers.genai FOLDER THREADS`.

Its environment is its own, because its exporter asks for another transformers than ours:

    python -m venv .cache/peers
    .cache/peers/bin/pip install torch==2.13.0 openvino-genai==2026.4.1.0 optimum-intel==2.2.0 nncf==3.4.0
    .cache/peers/bin/pip uninstall -y torchvision datasets    # only where they do not fit the torch and hub just installed

FOLDER is exported once, beside itself, by `optimum-cli export openvino --weight-format int8`.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.pipe import Run, answer
from benchmarks.workloads import Workload

CACHE_GB = 2


def run(pipeline: Any, work: Workload) -> int:
    """Everything submitted at once. Sampling is from the whole vocabulary, as everybody's here."""
    import numpy
    import openvino
    import openvino_genai

    prompts, configs = [], []
    for prompt, length in zip(work.prompts, work.lengths, strict=True):
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = length
        config.ignore_eos = True
        config.num_return_sequences = work.returns
        if work.beams > 1:
            config.num_beams = work.beams
        elif work.returns > 1:
            config.do_sample = True
        prompts.append(openvino.Tensor(numpy.array([prompt], dtype=numpy.int64)))
        configs.append(config)
    return sum(len(ids) for result in pipeline.generate(prompts, configs) for ids in result.m_generation_ids)


def exported(folder: Path) -> Path:
    out = folder.with_name(f"{folder.name}-openvino-int8")
    if not (out / "openvino_model.bin").exists():
        program = str(Path(sys.executable).parent / "optimum-cli")
        options = ["--task", "text-generation-with-past", "--weight-format", "int8"]
        subprocess.run([program, "export", "openvino", "-m", str(folder), *options, str(out)], check=True, stdout=sys.stderr)
    return out


def start() -> tuple[str, Run]:
    import openvino_genai

    folder, threads = sys.argv[1:]
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = CACHE_GB
    scheduler.max_num_seqs = 64
    scheduler.enable_prefix_caching = False  # nobody remembers the round before; completions of one prompt share it all the same
    settings = {"INFERENCE_NUM_THREADS": int(threads)}
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(exported(Path(folder))), scheduler, "CPU", settings)
    return f"OpenVINO GenAI {openvino_genai.__version__}", lambda work: run(pipeline, work)


if __name__ == "__main__":
    answer(start)
