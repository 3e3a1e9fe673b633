"""Checkpoints: weights, optimizer state and progress in one folder, replaced as a whole.

    checkpoint/model.safetensors, config.json     the weights in float32; of an adapter its own weights alone
    checkpoint/optimizer.safetensors              every tensor of the optimizers' state; nothing is pickled
    checkpoint/progress.json                      steps, tokens and seconds so far, the best validation, what is trained

A killed run leaves the previous checkpoint or the new one, never half of each.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ramify.errors import InputError, UnsafeModelError

__all__ = ["Progress", "load_checkpoint", "load_weights", "save_checkpoint", "save_weights"]

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass
class Progress:
    """What a run has done: optimizer steps, tokens read, tokens learned, seconds of training."""

    step: int = 0
    tokens: int = 0
    learned: int = 0
    seconds: float = 0.0
    best: float | None = None
    """The least validation loss so far, where one is watched."""
    since_best: int = 0
    """Validations without a better one."""
    of: str = ""
    """What is trained, with what, and how: a checkpoint goes on with the same only."""


def save_weights(folder: Path, model: Any) -> None:
    """Into an existing folder: a whole model as transformers loads it; of an adapter its trained weights by their names."""
    if hasattr(model, "peft_config"):
        save_file({name: p.detach().contiguous() for name, p in _trained(model).items()}, folder / "model.safetensors")
    else:
        model.save_pretrained(folder)


def save_checkpoint(folder: Path, model: Any, optimizers: Sequence[torch.optim.Optimizer], progress: Progress) -> None:
    """Write beside `folder`, then put the new folder in its place."""
    fresh = folder.with_name(folder.name + ".new")
    stale = folder.with_name(folder.name + ".old")
    for leftover in (fresh, stale):
        if leftover.exists() and (leftover is fresh or folder.exists()):
            shutil.rmtree(leftover)
    fresh.mkdir(parents=True)
    save_weights(fresh, model)
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


def load_weights(folder: Path, model: Any) -> None:
    """Put saved weights into `model`. Raises InputError where they have other names or shapes, UnsafeModelError for pickles."""
    file = folder / "model.safetensors"
    if not file.is_file():
        pickled = sorted(each.name for each in folder.iterdir() if each.suffix in PICKLED)
        if pickled:
            raise UnsafeModelError(
                f"the checkpoint in {folder} is pickled ({', '.join(pickled)}), and loading a pickle can run any code; "
                "nothing was loaded. Train into a new folder, or remove it"
            )
        raise InputError(f"the checkpoint in {folder} has no model.safetensors; train into a new folder or remove it")
    weights = _loaded(file)
    own = _trained(model)
    if set(weights) != set(own) or any(weights[name].shape != own[name].shape for name in own):
        raise InputError(f"the checkpoint in {folder} is of another model; train into a new folder or remove it")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def load_checkpoint(folder: Path, model: Any, optimizers: Sequence[torch.optim.Optimizer], *, of: str = "") -> Progress | None:
    """Restore a run into `model` and `optimizers`; None where `folder` holds no checkpoint.

    of: what is trained now. Raises InputError where the checkpoint is of something else, UnsafeModelError for a pickled one.
    """
    stale = folder.with_name(folder.name + ".old")
    if not folder.exists() and stale.exists():
        stale.rename(folder)  # killed between the two renames
    if not folder.exists():
        return None
    if not (folder / "progress.json").is_file():
        load_weights(folder, model)  # says what is wrong with it
        return None
    progress = Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))
    if progress.of != of:
        raise InputError(
            f"the checkpoint in {folder} is of a run with another model, other rows or other settings; give the same ones to go "
            "on, train into a new folder, or remove it"
        )
    load_weights(folder, model)
    tensors = _loaded(folder / "optimizer.safetensors")
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            owner, index, key = name.split(".", 2)
            if int(owner) == number:
                state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return progress


def _trained(model: Any) -> dict[str, torch.nn.Parameter]:
    adapter = hasattr(model, "peft_config")
    return {name: p for name, p in model.named_parameters() if p.requires_grad or not adapter}


def _loaded(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} cannot be read ({error}); train into a new folder or remove it") from None
