"""The training loop, whatever is trained: steps, validation, checkpoints, the log.

A run that was killed goes on from its last checkpoint with the same steps and ends as the uninterrupted one would have: which
rows a step reads, and what chance does in it (dropout), depend on the seed and the step's number alone.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ramify.errors import CancelledError, UnsupportedError
from ramify.training.batches import Steps
from ramify.training.checkpoints import Progress, load_checkpoint, load_weights, save_checkpoint, save_weights
from ramify.training.config import TrainConfig
from ramify.training.curves import Log
from ramify.training.devices import Devices
from ramify.training.heap import kept_memory
from ramify.training.objectives import Objective
from ramify.training.optimizers import learning_rate_share, optimizers_for
from ramify.training.reader import Reader
from ramify.training.stopping import Stop

__all__ = ["evaluate_objective", "run"]

Report = Callable[[dict[str, Any]], None]
TOLD = ("accuracy", "margin", "chosen", "rejected", "drift", "moved")
"""Sums of an objective that are told as means, beside the loss."""


@kept_memory()
def run(
    reader: Reader,
    objective: Objective,
    config: TrainConfig,
    folder: Path,
    *,
    of: str = "",
    validation: Mapping[str, Objective] | None = None,
    report: Report = lambda line: None,
    devices: Devices | None = None,
    stop: Stop | None = None,
    begin: Callable[[int | None], None] = lambda last: None,
) -> Progress:
    """Train the reader's model in place; returns what was done. Goes on from `folder/checkpoint` where there is one.

    of: names what is trained, so that a checkpoint of something else is refused. Every `log_every` steps one line (step, loss in
    nats, lr, tokens/s, seconds, what the objective tells) goes to `report`, `folder/log.jsonl` and `folder/tensorboard`. begin:
    called before the first step with the number of the last one, None where seconds decide. stop: ends it after a step, with a
    checkpoint; then CancelledError is raised.
    """
    devices, stop = devices or Devices(), stop or Stop()
    validation = validation or {}
    model = reader.model
    prompts = objective.prompts if config.together else ()
    steps = Steps(objective.lengths, config, devices=devices.count, prompts=prompts)
    last = steps.last()
    if config.checkpointing:
        try:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        except ValueError as error:
            raise UnsupportedError(f"{type(model).__name__} cannot be trained with checkpointing: {error}") from None
    optimizers = optimizers_for(model, config)
    torch.manual_seed(config.seed)
    objective.prepare(reader)
    for each in validation.values():
        each.prepare(reader)
    progress = load_checkpoint(folder / "checkpoint", model, optimizers, of=of) or Progress(of=of)
    if devices.first:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.json").write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    log = Log(folder, progress.step, report) if devices.first else None
    recent = _Recent(progress)
    saved = validated = progress.seconds
    model.train()
    begin(last)
    stop.between_steps = True

    def ended() -> bool:
        if config.patience is not None and progress.since_best >= config.patience:
            return True
        if last is not None and progress.step >= last:
            return True
        return config.max_seconds is not None and progress.seconds >= config.max_seconds

    while not ended():
        started = time.monotonic()
        share = learning_rate_share(config, progress, last)
        told = _step(reader, objective, steps[progress.step], optimizers, config, share, progress.step, devices, stop)
        progress.step += 1
        progress.tokens += int(told["tokens"])
        progress.learned += int(told["weight"])
        progress.seconds += time.monotonic() - started
        recent.add(told)
        over = ended()
        if progress.step % config.log_every == 0 or over:
            line = recent.line(progress, config.learning_rate * share)
            if log is not None:
                log.write(line)
        over = over or ended()
        if validation and (over or _due(config.validate_every, config.validate_every_s, progress, validated)):
            validated = progress.seconds
            _validate(reader, validation, config, progress, folder, log, devices)
            over = over or ended()
        if over or told["stop"] or _due(config.save_every, config.save_every_s, progress, saved):
            saved = progress.seconds
            if devices.first:
                save_checkpoint(folder / "checkpoint", model, optimizers, progress)
            devices.wait()
        if told["stop"] and not over:
            raise CancelledError(
                f"cancelled after step {progress.step}; the checkpoint is kept, and the same run goes on from it"
            )
    if config.patience is not None and (folder / "best").is_dir():
        load_weights(folder / "best", model)
    return progress


def _due(every: int | None, every_s: float, progress: Progress, before_s: float) -> bool:
    return progress.step % every == 0 if every is not None else progress.seconds - before_s >= every_s


def _step(
    reader: Reader,
    objective: Objective,
    passes: list[list[int]],
    optimizers: list[torch.optim.Optimizer],
    config: TrainConfig,
    share: float,
    number: int,
    devices: Devices,
    stop: Stop,
) -> dict[str, float]:
    """Returns the sums over the step's rows, and as "stop" whether any device was asked to end, which so all know at once."""
    torch.manual_seed(hash((config.seed, number, devices.rank)) & 0x7FFFFFFF)
    whole = sum(objective.weight(rows) for rows in passes)
    sums: dict[str, float] = dict.fromkeys(("loss", "weight", "tokens", *TOLD), 0.0)
    for rows in passes[devices.rank :: devices.count]:
        loss, told = objective.measure(reader, rows)
        (loss / whole).backward()  # type: ignore[no-untyped-call]
        for name, value in told.items():
            sums[name] += value
        sums["tokens"] += sum(objective.lengths[row] for row in rows)
    parameters = [p for p in reader.model.parameters() if p.requires_grad]
    devices.add_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * share
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return devices.add({**sums, "stop": float(stop.asked)})


class _Recent:
    """The sums since the last line."""

    def __init__(self, progress: Progress) -> None:
        self._sums: dict[str, float] = {}
        self._since = progress.seconds

    def add(self, told: Mapping[str, float]) -> None:
        for name, value in told.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def line(self, progress: Progress, rate: float) -> dict[str, Any]:
        seconds = max(1e-9, progress.seconds - self._since)
        means = _means(self._sums)
        line = {
            "step": progress.step, "loss": round(means.pop("loss"), 6), "lr": float(f"{rate:.4g}"),
            **{name: round(value, 4) for name, value in means.items()},
            "tokens_per_s": round(self._sums["tokens"] / seconds), "tokens": progress.tokens,
            "seconds": round(progress.seconds, 1),
        }  # fmt: skip
        self._sums, self._since = {}, progress.seconds
        return line


def _means(sums: Mapping[str, float]) -> dict[str, float]:
    """Each sum over the weight; what an objective does not tell (all zero) is left out."""
    weight = max(1e-9, sums["weight"])
    told = {name: sums[name] / weight for name in TOLD if sums.get(name)}
    return {"loss": sums["loss"] / weight, **told}


def evaluate_objective(reader: Reader, objective: Objective, config: TrainConfig) -> dict[str, float]:
    """The mean loss, and what else the objective tells, over all of its rows."""
    order = sorted(range(len(objective.lengths)), key=lambda row: objective.lengths[row])
    sums: dict[str, float] = dict.fromkeys(("loss", "weight"), 0.0)
    was_training = reader.model.training
    reader.model.eval()
    with torch.no_grad():
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and objective.lengths[order[end]] * (end + 1 - start) <= config.tokens_per_step:
                end += 1
            _, told = objective.measure(reader, order[start:end])
            for name, value in told.items():
                sums[name] = sums.get(name, 0.0) + value
            start = end
    reader.model.train(was_training)
    return _means(sums)


def _validate(
    reader: Reader,
    validation: Mapping[str, Objective],
    config: TrainConfig,
    progress: Progress,
    folder: Path,
    log: Log | None,
    devices: Devices,
) -> None:
    """Measure, tell, and where patience is asked for keep the best weights; the first validation set is the one watched."""
    measured: dict[str, Any] = {}
    for name, rows in validation.items():
        means = {key: round(value, 4) for key, value in evaluate_objective(reader, rows, config).items()}
        measured[name] = means["loss"] if set(means) == {"loss"} else means
    if log is not None:
        log.write({"step": progress.step, "validation": measured, "seconds": round(progress.seconds, 1)})
    if config.patience is None:
        return
    first = next(iter(measured.values()))
    loss = float(first["loss"] if isinstance(first, Mapping) else first)
    if progress.best is None or (loss < progress.best and not math.isnan(loss)):
        progress.best, progress.since_best = loss, 0
        if devices.first:
            (folder / "best").mkdir(parents=True, exist_ok=True)
            save_weights(folder / "best", reader.model)
    else:
        progress.since_best += 1
