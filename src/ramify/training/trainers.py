"""Training on examples, for pretraining and for fine-tuning on prompt → completion rows; `runs.py` does whole runs by a plan.

Sources: Jordan et al. 2024, "Muon"; Liu et al. 2025, "Muon is Scalable for LLM Training"; Loshchilov and Hutter 2019, "Decoupled
Weight Decay".
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ramify.errors import InputError
from ramify.training.checkpoints import Progress
from ramify.training.config import TrainConfig
from ramify.training.examples import Example, check_examples
from ramify.training.loop import evaluate_objective, run
from ramify.training.objectives import Completions
from ramify.training.reader import Reader
from ramify.training.stopping import Stop

__all__ = ["evaluate", "train"]


def train(
    model: Any,
    examples: Sequence[Example],
    config: TrainConfig,
    folder: Path,
    *,
    validation: Mapping[str, Sequence[Example]] | None = None,
    report: Callable[[dict[str, Any]], None] = lambda line: None,
    stop: Stop | None = None,
    begin: Callable[[int | None], None] = lambda last: None,
) -> Progress:
    """Train `model` in place; returns what was done. Goes on from `folder/checkpoint` where there is one.

    Every `log_every` steps one line (step, loss in nats, lr, tokens/s, seconds) goes to `report` and to `folder/log.jsonl`.
    stop, begin: as `loop.run` has them.
    Raises InputError before the first step where a row cannot be trained on.
    """
    if not examples:
        raise InputError("there are no rows to train on")
    check_examples(examples, vocab_size=model.get_output_embeddings().weight.shape[0], max_length=config.max_length)
    reader = Reader(model, packing=config.packing, bf16=config.bf16, compile=config.compile)
    # Compiled code is made for a shape, so widths come in steps.
    how: dict[str, Any] = {"packing": config.packing, "multiple": 16 if config.compile else 1}
    held = {name: Completions(rows, **how) for name, rows in (validation or {}).items()}
    return run(reader, Completions(examples, **how), config, folder, validation=held, report=report, stop=stop, begin=begin)


def evaluate(model: Any, examples: Sequence[Example], *, tokens_per_batch: int = 8192, bf16: bool = False) -> float:
    """Mean loss in nats over all learned tokens of `examples`, each token weighing the same."""
    if not examples:
        raise InputError("there are no validation rows to measure")
    config = TrainConfig(max_steps=1, tokens_per_step=tokens_per_batch)
    return evaluate_objective(Reader(model, bf16=bf16), Completions(examples), config)["loss"]
