"""Which optimizer moves which weights, and by how much at each step."""

import math
from typing import Any

import torch

from ramify.training.checkpoints import Progress
from ramify.training.config import TrainConfig
from ramify.training.muon import Muon

__all__ = ["learning_rate_share", "optimizers_for"]


def optimizers_for(model: Any, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for every trainable weight; or Muon for the matrices between the embeddings, and AdamW for the rest.

    Weights of one dimension (norms, biases) do not decay.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    embeddings = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    beside_muon = config.optimizer == "muon"
    matrices = [p for p in parameters if beside_muon and p.ndim == 2 and id(p) not in embeddings]
    taken = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in taken]
    decay = config.weight_decay
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = config.betas or ((0.9, 0.95) if beside_muon else (0.9, 0.999))
    eps = config.eps or (1e-10 if beside_muon else 1e-8)
    built: list[torch.optim.Optimizer] = []
    if any(group["params"] for group in groups):
        fused = rest[0].device.type in ("cpu", "cuda")  # one walk over the weights and their moments
        how: dict[str, Any] = {"lr": config.learning_rate, "betas": betas, "eps": eps, "fused": fused}
        built.append(torch.optim.AdamW([g for g in groups if g["params"]], **how))
    if matrices:
        built.append(Muon(matrices, config.matrix_learning_rate, weight_decay=decay))
    for optimizer in built:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return built


def learning_rate_share(config: TrainConfig, progress: Progress, last_step: int | None = None) -> float:
    """The factor on all learning rates at the next step: a linear warm-up, then constant, or down to 0 at the end.

    last_step: the number of steps, where it is known; else the schedule is laid over `max_seconds`.
    """
    warm = min(1.0, (progress.step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return warm
    last_step = config.max_steps if last_step is None else last_step
    if last_step is not None:
        done = progress.step / last_step
    else:
        assert config.max_seconds is not None
        done = progress.seconds / config.max_seconds
    done = min(1.0, done)
    return warm * (0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1.0 - done)
