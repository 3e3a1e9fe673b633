"""A step of fine-tuning beside transformers' Trainer: same rows, same weights, same AdamW, in one run.

    python -m benchmarks.training [--rows 4] [--length 512] [--completions 4] [--lora 16] [--steps 3] [--layers 24]
                                  [--sides WORD,…] [--dtype float32] [--out FILE]

Three quarters of every row are prompt. The Trainer gets labels that leave the prompt out, and pads; Ramify computes logits for
completion positions only. Three sorts of rows: every row a prompt of its own; `--completions` of each prompt, which Ramify packs
behind that prompt, read once; and rows of unequal lengths, padded and packed. Each side runs in a process of its own. What is
told: the seconds of a step (medians after an uncounted one; CPU seconds beside them, for a machine that others use too) and
the memory at its highest above what stands when model, gradients and optimizer are there.
"""

import argparse
import ctypes
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


def rows_of(count: int, length: int, kind: str, completions: int) -> list[tuple[list[int], int]]:
    """(ids, how many of them are prompt); uneven ones are from a quarter of the length to all of it."""
    import random

    rng = random.Random(0)
    found: list[tuple[list[int], int]] = []
    for n in range(count):
        size = length if kind != "uneven" else length * (1 + 3 * (n * 5 % count) // max(1, count - 1)) // 4
        ids, prompt = [rng.randrange(1000, 150000) for _ in range(size)], size * 3 // 4
        if kind == "shared" and n % completions:
            ids[:prompt] = found[-1][0][:prompt]
        found.append((ids, prompt))
    return found


def model_of(given: argparse.Namespace) -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from ramify.training.models import LoraConfig, add_adapter

    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**{**SHAPE, "num_hidden_layers": given.layers})).to(getattr(torch, given.dtype))
    return add_adapter(model, LoraConfig(rank=given.lora)) if given.lora else model


def optimizer_of(model: Any) -> Any:
    import torch

    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=True)


class Peak:
    """The process's memory at its highest, looked at a thousand times a second."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._on = True
        self.highest = self._process.memory_info().rss
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


def standing(model: Any) -> int:
    """Bytes of the process with its model, and of what every step needs besides: gradients and AdamW's two moments."""
    import psutil

    ctypes.CDLL(None).malloc_trim(0)
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return int(psutil.Process().memory_info().rss) + 3 * trained


def measured(model: Any, step: Callable[[], float], steps: int) -> dict[str, Any]:
    losses, walls, cpus, above = [], [], [], []
    stands = standing(model)
    for number in range(steps + 1):
        ctypes.CDLL(None).malloc_trim(0)  # what the step before no longer needs
        with Peak() as peak:
            wall, cpu = time.monotonic(), time.process_time()
            losses.append(step())
            walls.append(time.monotonic() - wall)
            cpus.append(time.process_time() - cpu)
        if number:
            above.append(peak.highest - stands)
    return {
        "losses": losses, "wall_s": statistics.median(walls[1:]), "cpu_s": statistics.median(cpus[1:]),
        "above_mb": max(above) / 2**20,
    }  # fmt: skip


def ours(given: argparse.Namespace, kind: str, *, packing: bool) -> dict[str, Any]:
    import torch

    from ramify.training.examples import IGNORED, Example
    from ramify.training.objectives import Completions
    from ramify.training.reader import Reader

    model = model_of(given).train()
    reader = Reader(model, packing=packing)
    rows = rows_of(given.rows, given.length, kind, given.completions)
    examples = [Example(tuple(ids), (*[IGNORED] * prompt, *ids[prompt:])) for ids, prompt in rows]
    objective = Completions(examples, packing=packing)
    everything = range(len(examples))
    optimizer = optimizer_of(model)

    def step() -> float:
        loss, told = objective.measure(reader, list(everything))
        (loss / told["weight"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        # Gradients are kept, so that the memory above is that of a step's own work.
        optimizer.zero_grad(set_to_none=False)
        return float(told["loss"] / told["weight"])

    return measured(model, step, given.steps)


def theirs(given: argparse.Namespace, kind: str) -> dict[str, Any]:
    """The Trainer's own training_step and optimizer, one step at a time."""
    import tempfile

    import torch
    from transformers import Trainer, TrainingArguments

    model = model_of(given)
    rows = rows_of(given.rows, given.length, kind, given.completions)
    width = max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([[-100] * p + ids[p:] + [-100] * (width - len(ids)) for ids, p in rows]),
    }
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(folder, use_cpu=True, report_to=[], learning_rate=RATE, gradient_checkpointing=False)
        trainer = Trainer(model, args)
    optimizer = optimizer_of(model)
    count = int((batch["labels"] != -100).sum())
    model.train()

    def step() -> float:
        loss = trainer.training_step(model, dict(batch), num_items_in_batch=count)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return float(loss)

    return measured(model, step, given.steps)


SIDES: dict[str, tuple[Callable[..., dict[str, Any]], str, dict[str, bool]]] = {
    "Trainer": (theirs, "own", {}),
    "Ramify": (ours, "own", {"packing": False}),
    "Trainer, shared": (theirs, "shared", {}),
    "Ramify, shared": (ours, "shared", {"packing": True}),
    "Trainer, uneven": (theirs, "uneven", {}),
    "Ramify, uneven, padded": (ours, "uneven", {"packing": False}),
    "Ramify, uneven, packed": (ours, "uneven", {"packing": True}),
}


def _side(name: str, given: argparse.Namespace, found: Any) -> None:
    run, kind, how = SIDES[name]
    found.put(run(given, kind, **how))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--completions", type=int, default=4, help="of each prompt, where rows share one")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="an adapter of this rank; 0: all weights are trained")
    parser.add_argument("--sides", default="", help="only sides whose name holds one of these words, with commas")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--layers", type=int, default=24, help="fewer than the shape's 24: for a quick look")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    context = multiprocessing.get_context("spawn")
    words = [word.strip().lower() for word in given.sides.split(",")]
    for name in SIDES:
        if not any(word in name.lower() for word in words):
            continue
        queue = context.Queue()
        process = context.Process(target=_side, args=(name, given, queue))
        process.start()
        results[name] = queue.get()
        process.join()
        shown = {key: round(value, 2) if isinstance(value, float) else value for key, value in results[name].items()}
        print(name, shown, flush=True)
    ratios = {}
    for label, slow, fast in (
        ("Trainer / Ramify, every row a prompt of its own", "Trainer", "Ramify"),
        (f"Trainer / Ramify, {given.completions} completions of a prompt", "Trainer, shared", "Ramify, shared"),
        ("Trainer / Ramify packed, uneven rows", "Trainer, uneven", "Ramify, uneven, packed"),
        ("padded / packed, uneven rows", "Ramify, uneven, padded", "Ramify, uneven, packed"),
    ):
        if slow in results and fast in results:
            ratios[label] = {key: round(results[slow][key] / results[fast][key], 2) for key in ("wall_s", "cpu_s", "above_mb")}
            print(label, ratios[label])
    if given.out:
        given.out.write_text(json.dumps({"settings": vars(given) | {"out": None}, "sides": results, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
