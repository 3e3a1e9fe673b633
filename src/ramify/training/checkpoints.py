"""Checkpoints: weights, optimizer state and progress in one folder, replaced as a whole.

    checkpoint/model.safetensors, config.json     the weights in float32
    checkpoint/optimizer.safetensors              every tensor of the optimizers' state; nothing is pickled
    checkpoint/progress.json                      steps, tokens and seconds so far

A killed run leaves the previous checkpoint or the new one, never half of each.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ramify.errors import InputError

__all__ = ["Progress", "load_checkpoint", "save_checkpoint"]


@dataclass
class Progress:
    """What a run has done: optimizer steps, tokens read, tokens learned, seconds of training."""

    step: int = 0
    tokens: int = 0
    learned: int = 0
    seconds: float = 0.0


def save_checkpoint(folder: Path, model: Any, optimizers: Sequence[torch.optim.Optimizer], progress: Progress) -> None:
    """Write beside `folder`, then put the new folder in its place."""
    fresh = folder.with_name(folder.name + ".new")
    stale = folder.with_name(folder.name + ".old")
    for leftover in (fresh, stale):
        if leftover.exists() and (leftover is fresh or folder.exists()):
            shutil.rmtree(leftover)
    fresh.mkdir(parents=True)
    model.save_pretrained(fresh)
    tensors: dict[str, Tensor] = {}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{number}.{index}.{key}": value.contiguous() for key, value in state.items()}
    save_file(tensors, fresh / "optimizer.safetensors")
    (fresh / "progress.json").write_text(json.dumps(asdict(progress)) + "\n", encoding="utf-8")
    if folder.exists():
        folder.rename(stale)
    fresh.rename(folder)
    if stale.exists():
        shutil.rmtree(stale)


def load_checkpoint(folder: Path, model: Any, optimizers: Sequence[torch.optim.Optimizer]) -> Progress | None:
    """Restore a run into `model` and `optimizers`; None where `folder` holds no checkpoint.

    Raises InputError where the checkpoint's weights have other names or shapes than the model's.
    """
    stale = folder.with_name(folder.name + ".old")
    if not folder.exists() and stale.exists():
        stale.rename(folder)  # killed between the two renames
    if not (folder / "progress.json").is_file():
        return None
    weights = load_file(folder / "model.safetensors")
    own = dict(model.named_parameters())
    if set(weights) != set(own) or any(weights[name].shape != own[name].shape for name in own):
        raise InputError(f"the checkpoint in {folder} is of another model; train into a new folder or remove it")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
    tensors = load_file(folder / "optimizer.safetensors")
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            owner, index, key = name.split(".", 2)
            if int(owner) == number:
                state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))
