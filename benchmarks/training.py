"""A step of fine-tuning beside transformers' Trainer: same rows, same weights, same AdamW, in one run.

    python -m benchmarks.training [--rows 4] [--length 512] [--completions 4] [--lora 16] [--steps 3] [--layers 24]
                                  [--sides WORD,…] [--dtype float32] [--device cpu] [--bf16] [--compile] [--out FILE]

Three quarters of every row are prompt. The Trainer gets labels that leave the prompt out, and pads; Ramify computes logits for
completion positions only. Three sorts of rows: every row a prompt of its own; `--completions` of each prompt, which Ramify packs
behind that prompt, read once; and rows of unequal lengths, padded and packed. Each side runs in a process of its own. What is
told: the seconds of a step (medians after an uncounted one; CPU seconds beside them, for a machine that others use too) and
the memory at its highest above the model: of the process, or what an accelerator's allocator counts. It needs torch,
transformers, peft and accelerate.
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
    model = Qwen2ForCausalLM(Qwen2Config(**{**SHAPE, "num_hidden_layers": given.layers})).to(
        given.device, getattr(torch, given.dtype)
    )
    return add_adapter(model, LoraConfig(rank=given.lora)) if given.lora else model


def optimizer_of(model: Any) -> Any:
    import torch

    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0, fused=True)


class Peak:
    """The process's memory at its highest, looked at a thousand times a second; on an accelerator what its allocator counts."""

    def __init__(self, device: str) -> None:
        import psutil
        import torch

        self._accelerator = torch.cuda if device != "cpu" else None
        self._process = psutil.Process()
        self._on = True
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.stands = self._now(settled=True)
        """Bytes before the first step: the model, and libraries that are loaded."""
        self.highest = 0

    def _now(self, *, settled: bool = False) -> int:
        if self._accelerator is not None:
            return int(self._accelerator.memory_allocated())
        if settled:
            ctypes.CDLL(None).malloc_trim(0)  # what nobody needs any more
        return int(self._process.memory_info().rss)

    def begin(self) -> None:
        self.highest = self._now()
        if self._accelerator is not None:
            self._accelerator.synchronize()
            self._accelerator.reset_peak_memory_stats()
        elif not self._thread.is_alive():
            self._thread.start()

    def end(self) -> None:
        if self._accelerator is not None:
            self._accelerator.synchronize()
            self.highest = max(self.highest, int(self._accelerator.max_memory_allocated()))

    def _look(self) -> None:
        while self._on:
            self.highest = max(self.highest, self._now())
            time.sleep(0.001)

    def close(self) -> None:
        self._on = False


class Steps:
    """Of each step its seconds, of clock and processor, and the memory above the model at its highest, but for the first."""

    def __init__(self, device: str) -> None:
        self._peak = Peak(device)
        self._walls, self._cpus, self._above = list[float](), list[float](), list[int]()
        self.losses: list[float] = []

    def begin(self) -> None:
        self._peak.begin()
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def end(self) -> None:
        self._peak.end()
        self._walls.append(time.monotonic() - self._wall)
        self._cpus.append(time.process_time() - self._cpu)
        self._above.append(self._peak.highest - self._peak.stands)

    def told(self, model: Any) -> dict[str, Any]:
        """above_mb: over the model; working_mb: over gradients and AdamW's two moments too, which both sides need."""
        self._peak.close()
        trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
        above = max(self._above[1:])
        return {
            "losses": [round(loss, 6) for loss in self.losses],
            "wall_s": statistics.median(self._walls[1:]), "cpu_s": statistics.median(self._cpus[1:]),
            "above_mb": above / 2**20, "working_mb": (above - 3 * trained) / 2**20,
        }  # fmt: skip


def ours(given: argparse.Namespace, kind: str, *, packing: bool) -> dict[str, Any]:
    import torch

    from ramify.training.examples import IGNORED, Example
    from ramify.training.heap import kept_memory
    from ramify.training.objectives import Completions
    from ramify.training.reader import Reader

    model = model_of(given).train()
    reader = Reader(model, packing=packing, bf16=given.bf16, compile=given.compile)
    rows = rows_of(given.rows, given.length, kind, given.completions)
    examples = [Example(tuple(ids), (*[IGNORED] * prompt, *ids[prompt:])) for ids, prompt in rows]
    objective = Completions(examples, packing=packing, multiple=16 if given.compile else 1)
    optimizer = optimizer_of(model)
    steps = Steps(given.device)
    with kept_memory():  # as a run has it
        for _ in range(given.steps + 1):
            steps.begin()
            loss, told = objective.measure(reader, list(range(len(examples))))
            (loss / told["weight"]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps.end()
            steps.losses.append(told["loss"] / told["weight"])
    return steps.told(model)


def theirs(given: argparse.Namespace, kind: str) -> dict[str, Any]:
    """The Trainer as it is, with labels that leave prompts out; the rows of a step are one batch."""
    import tempfile

    import torch
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
    from transformers.optimization import get_constant_schedule

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            steps.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.end()

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                steps.losses.append(logs["loss"])

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        width = max(len(row["ids"]) for row in rows)
        return {
            "input_ids": torch.tensor([row["ids"] + [0] * (width - len(row["ids"])) for row in rows]),
            "attention_mask": torch.tensor([[1] * len(row["ids"]) + [0] * (width - len(row["ids"])) for row in rows]),
            "labels": torch.tensor([
                [-100] * row["prompt"] + row["ids"][row["prompt"] :] + [-100] * (width - len(row["ids"])) for row in rows
            ]),
        }  # fmt: skip

    model = model_of(given)
    rows = [{"ids": ids, "prompt": prompt} for ids, prompt in rows_of(given.rows, given.length, kind, given.completions)]
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder, use_cpu=given.device == "cpu", bf16=given.bf16, per_device_train_batch_size=len(rows), learning_rate=RATE,
            max_steps=given.steps + 1, logging_steps=1, logging_nan_inf_filter=False, save_strategy="no", report_to=[],
            disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip
        optimizer = optimizer_of(model)
        trainer = Trainer(
            model, args, train_dataset=rows, data_collator=collate, callbacks=[Watch()],
            optimizers=(optimizer, get_constant_schedule(optimizer)),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        steps = Steps(given.device)
        trainer.train()
    return steps.told(model)


SIDES: dict[str, tuple[Callable[..., dict[str, Any]], str, dict[str, bool]]] = {
    "Trainer, apart": (theirs, "own", {}),
    "Ramify, apart": (ours, "own", {"packing": False}),
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
    parser.add_argument("--device", default="cpu", help="cpu, or an accelerator's: cuda")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16, as the Trainer's bf16=True does")
    parser.add_argument("--compile", action="store_true", help="our side compiled, as `train --compile` does")
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
        ("Trainer / Ramify, every row a prompt of its own", "Trainer, apart", "Ramify, apart"),
        (f"Trainer / Ramify, {given.completions} completions of a prompt", "Trainer, shared", "Ramify, shared"),
        ("Trainer / Ramify packed, uneven rows", "Trainer, uneven", "Ramify, uneven, packed"),
        ("padded / packed, uneven rows", "Ramify, uneven, padded", "Ramify, uneven, packed"),
    ):
        if slow in results and fast in results:
            told = ("wall_s", "cpu_s", "above_mb", "working_mb")
            ratios[label] = {key: round(results[slow][key] / results[fast][key], 2) for key in told}
            print(label, ratios[label])
    if given.out:
        given.out.write_text(json.dumps({"settings": vars(given) | {"out": None}, "sides": results, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
