"""Ramify: `python -m benchmarks.peers.ours MODEL PRECISION THREADS`; a GGUF file has the precision "stored"."""

import sys
from typing import Any

from benchmarks.peers.pipe import Run, answer
from benchmarks.workloads import Workload


def run(model: Any, work: Workload) -> int:
    """Everything submitted at once, as a server's clients would; nothing is remembered from before."""
    model.on_engine(model.engine.tree.clear).result()
    settings: dict[str, Any] = {"ignore_eos": True, "logprobs": None}
    if work.beams > 1:
        settings["num_beams"] = work.beams
    if work.returns > 1:
        settings |= {"do_sample": True, "seed": 0, "n": work.returns}
    handles = [
        model.submit(model.request(list(prompt), max_new_tokens=length, **settings))
        for prompt, length in zip(work.prompts, work.lengths, strict=True)
    ]
    return sum(len(result.token_ids) for handle in handles for result in handle.future.result())


def start() -> tuple[str, Run]:
    import ramify  # before torch, for it says how torch's threads wait

    import torch  # isort: skip

    name, precision, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = ramify.load(name, **({} if precision == "stored" else {"precision": precision}))
    return f"Ramify, torch {torch.__version__}", lambda work: run(model, work)


if __name__ == "__main__":
    answer(start)
