"""A step of fine-tuning beside transformers' Trainer: same rows, same weights, same AdamW, in one run.

    python -m benchmarks.training [--rows 4] [--length 512] [--steps 3] [--dtype float32] [--layers 24] [--out FILE]

Three quarters of every row are prompt. The Trainer gets labels that leave the prompt out, and pads; Ramify computes logits for
completion positions only. Then rows of unequal lengths, padded and packed. Each side runs in a process of its own. What is told:
the seconds of a step (medians after one that is not counted; CPU seconds beside them, for a machine that others use too), and the
memory at its highest above what stands when model, gradients and optimizer are there.
"""

import argparse
import json
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.qwen_shape import SHAPE

RATE = 1e-5


def rows_of(count: int, length: int, *, uneven: bool) -> list[tuple[list[int], int]]:
    """(ids, how many of them are prompt); uneven ones are from a quarter of the length to all of it."""
    import random

    rng = random.Random(0)
    found = []
    for n in range(count):
        size = length if not uneven else length * (1 + 3 * (n * 5 % count) // max(1, count - 1)) // 4
        found.append(([rng.randrange(1000, 150000) for _ in range(size)], size * 3 // 4))
    return found


def model_of(dtype: str, layers: int) -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**{**SHAPE, "num_hidden_layers": layers})).to(getattr(torch, dtype))


class Peak:
    """The process's memory at its highest, looked at a thousand times a second."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._on = True
        self.start = self.highest = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while self._on:
            self.highest = max(self.highest, self._process.memory_info().rss)
            time.sleep(0.001)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False
        self._thread.join()


def measured(step: Callable[[], float], steps: int) -> dict[str, Any]:
    losses, walls, cpus, above = [], [], [], []
    for number in range(steps + 1):
        with Peak() as peak:
            wall, cpu = time.monotonic(), time.process_time()
            losses.append(step())
            walls.append(time.monotonic() - wall)
            cpus.append(time.process_time() - cpu)
        if number:
            above.append(peak.highest - peak.start)
    return {
        "losses": losses, "wall_s": statistics.median(walls[1:]), "cpu_s": statistics.median(cpus[1:]),
        "above_mb": max(above) / 2**20,
    }  # fmt: skip


def ours(given: argparse.Namespace, *, packing: bool, uneven: bool) -> dict[str, Any]:
    import torch

    from ramify.training.examples import IGNORED, Example
    from ramify.training.objectives import Completions
    from ramify.training.reader import Reader

    model = model_of(given.dtype, given.layers)
    reader = Reader(model, packing=packing)
    rows = rows_of(given.rows, given.length, uneven=uneven)
    examples = [Example(tuple(ids), (*[IGNORED] * prompt, *ids[prompt:])) for ids, prompt in rows]
    objective = Completions(examples, packing=packing)
    everything = range(len(examples))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def step() -> float:
        loss, told = objective.measure(reader, list(everything))
        (loss / told["weight"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        # Gradients are kept, so that the memory above is that of a step's own work.
        optimizer.zero_grad(set_to_none=False)
        return float(told["loss"] / told["weight"])

    return measured(step, given.steps)


def theirs(given: argparse.Namespace, *, packing: bool, uneven: bool) -> dict[str, Any]:
    """The Trainer's own training_step and optimizer, one step at a time."""
    import tempfile

    import torch
    from transformers import Trainer, TrainingArguments

    model = model_of(given.dtype, given.layers)
    rows = rows_of(given.rows, given.length, uneven=uneven)
    width = max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([[-100] * p + ids[p:] + [-100] * (width - len(ids)) for ids, p in rows]),
    }
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(folder, use_cpu=True, report_to=[], learning_rate=RATE, gradient_checkpointing=False)
        trainer = Trainer(model, args)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    count = int((batch["labels"] != -100).sum())
    model.train()

    def step() -> float:
        loss = trainer.training_step(model, dict(batch), num_items_in_batch=count)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return float(loss)

    return measured(step, given.steps)


SIDES: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, bool]]] = {
    "Trainer": (theirs, {"packing": False, "uneven": False}),
    "Ramify": (ours, {"packing": False, "uneven": False}),
    "Trainer, uneven rows": (theirs, {"packing": False, "uneven": True}),
    "Ramify, uneven rows, padded": (ours, {"packing": False, "uneven": True}),
    "Ramify, uneven rows, packed": (ours, {"packing": True, "uneven": True}),
}


def _side(name: str, given: argparse.Namespace, found: Any) -> None:
    run, how = SIDES[name]
    found.put(run(given, **how))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--layers", type=int, default=24, help="fewer than the shape's 24: for a quick look")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    context = multiprocessing.get_context("spawn")
    for name in SIDES:
        queue = context.Queue()
        process = context.Process(target=_side, args=(name, given, queue))
        process.start()
        results[name] = queue.get()
        process.join()
        shown = {key: round(value, 2) if isinstance(value, float) else value for key, value in results[name].items()}
        print(name, shown, flush=True)
    ratios = {}
    for label, slow, fast in (
        ("Trainer / Ramify", "Trainer", "Ramify"),
        ("Trainer / Ramify packed, uneven rows", "Trainer, uneven rows", "Ramify, uneven rows, packed"),
        ("padded / packed", "Ramify, uneven rows, padded", "Ramify, uneven rows, packed"),
    ):
        ratios[label] = {key: round(results[slow][key] / results[fast][key], 2) for key in ("wall_s", "cpu_s", "above_mb")}
        print(label, ratios[label])
    if given.out:
        given.out.write_text(json.dumps({"settings": vars(given) | {"out": None}, "sides": results, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
