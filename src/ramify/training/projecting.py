"""A linear layer, with or without a LoRA adapter, forward and backward by hand: products into what is there already, and none
that nobody asks for (a frozen weight's gradient).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["WEIGHTS", "Weights", "project", "usable", "weights_of", "with_gradients"]

Weights = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, float]
"""(out, in); bias (out,); LoRA's two (rank, in) and (out, rank), and what their product is multiplied by."""
WEIGHTS = 4
"""Tensors of it."""


def usable(module: Any) -> bool:
    """Whether a module is torch's own linear layer, or PEFT's plain LoRA around one, without dropout."""
    if type(module) is torch.nn.Linear:
        return True
    if (type(module).__module__, type(module).__name__) != ("peft.tuners.lora.layer", "Linear") or module.lora_variant:
        return False
    plain = all(type(dropout) is torch.nn.Identity for dropout in module.lora_dropout.values())
    plain = plain and all(part.bias is None for part in module.lora_B.values())
    return plain and type(module.base_layer) is torch.nn.Linear and not module.fan_in_fan_out and len(module.lora_A) == 1


def weights_of(module: Any) -> Weights:
    """As they are now: an adapter may be switched off."""
    if type(module) is torch.nn.Linear:
        return module.weight, module.bias, None, None, 1.0
    base = module.base_layer
    active = [name for name in module.active_adapters if name in module.lora_A]
    if module.disable_adapters or module.merged or not active:
        if module.disable_adapters and module.merged:
            module.unmerge()
        return base.weight, base.bias, None, None, 1.0
    (name,) = active
    return base.weight, base.bias, module.lora_A[name].weight, module.lora_B[name].weight, float(module.scaling[name])


def project(x: Tensor, weights: Sequence[Tensor | None], scale: float) -> tuple[Tensor, Tensor | None]:
    """(N, out) in x's type, and what LoRA made of x in between, (N, rank), which the way back needs."""
    weight, bias, first, second = (None if each is None else each.to(x.dtype) for each in weights)
    assert weight is not None
    made = torch.mm(x, weight.t()) if bias is None else torch.addmm(bias, x, weight.t())
    if first is None or second is None:
        return made, None
    between = torch.mm(x, first.t())
    return made.addmm_(between, second.t(), alpha=scale), between


def with_gradients(
    gradient: Tensor,
    x: Tensor | None,
    between: Tensor | None,
    weights: Sequence[Tensor | None],
    scale: float,
    wanted: Sequence[bool],
    onto: Tensor | None = None,
    *,
    below: bool,
) -> tuple[Tensor | None, list[Tensor | None]]:
    """From the gradient (N, out) of what `project` made to that of x, added onto `onto`, and those of the wanted weights.

    x: needed for the weight's or LoRA's first. below: whether x's is wanted; where not, None is returned for it.
    """
    weight, _, first, second = (None if each is None else each.to(gradient.dtype) for each in weights)
    assert weight is not None
    found: list[Tensor | None] = [None] * WEIGHTS
    if below:
        onto = torch.mm(gradient, weight) if onto is None else onto.addmm_(gradient, weight)
    if wanted[0]:
        assert x is not None
        found[0] = torch.mm(gradient.t(), x)
    if wanted[1]:
        found[1] = gradient.sum(0)
    if first is not None and second is not None:
        assert between is not None
        if wanted[3]:
            found[3] = torch.mm(gradient.t(), between).mul_(scale)
        if below or wanted[2]:
            through = torch.mm(gradient, second).mul_(scale)
            if wanted[2]:
                assert x is not None
                found[2] = torch.mm(through.t(), x)
            if onto is not None and below:
                onto.addmm_(through, first)
    kept = [None if each is None or given is None else each.to(given.dtype) for each, given in zip(found, weights, strict=True)]
    return (onto if below else None), kept
