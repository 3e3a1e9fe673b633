"""The RMS norm of the Llama family, and the same again on the way back, so that what it made need not be kept."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

__all__ = ["NormAgain", "normed"]


def normed(x: Tensor, weight: Tensor, epsilon: float, precision: torch.dtype) -> Tensor:
    """x: (N, D); weight: (D,). Measured in float32, returned in `precision`."""
    if x.dtype == weight.dtype:
        return rms_norm(x, weight.shape, weight, epsilon).to(precision)
    return ((x * _share(x, epsilon)).to(x.dtype) * weight).to(precision)


class NormAgain:
    """What `normed` gave, and the way from its gradient to those of x and of the weight."""

    def __init__(self, x: Tensor, weight: Tensor, epsilon: float, precision: torch.dtype, *, fused: bool | None = None) -> None:
        """fused: by torch's own way back, which is one operation on an accelerator and many on a processor; None: where it is."""
        self._x, self._weight = x, weight
        self._fused = x.device.type != "cpu" and x.dtype == weight.dtype if fused is None else fused
        if self._fused:
            with torch.enable_grad():
                self._given = (x.detach().requires_grad_(), weight.detach().requires_grad_())
                self._made = rms_norm(self._given[0], weight.shape, self._given[1], epsilon)
            self.normed = self._made.detach().to(precision)
        else:
            self._scale = _share(x, epsilon)
            self._plain = (x * self._scale).to(x.dtype)
            self.normed = (self._plain * weight).to(precision)

    def back(self, gradient: Tensor | None, of_x: bool, of_weight: bool) -> tuple[Tensor | None, Tensor | None]:
        """Those that are wanted; x's as a new tensor in float32 or x's type. Once only."""
        if gradient is None or not (of_x or of_weight):
            return None, None
        if self._fused:
            wanted = [given for given, wants in zip(self._given, (of_x, of_weight), strict=True) if wants]
            found: list[Any] = list(torch.autograd.grad(self._made, wanted, gradient.to(self._made.dtype)))
            return (found.pop(0) if of_x else None), (found.pop(0) if of_weight else None)
        wide, gradient = self._plain.float(), gradient.float()
        weight = (gradient * wide).sum(0).to(self._weight.dtype) if of_weight else None
        if not of_x:
            return None, weight
        gradient = gradient * self._weight
        along = torch.linalg.vecdot(gradient, wide, dim=1).div_(wide.shape[1]).unsqueeze(1)
        return gradient.addcmul_(wide, along, value=-1).mul_(self._scale), weight


def _share(x: Tensor, epsilon: float) -> Tensor:
    """(N, 1) float32, what each row is multiplied by."""
    sizes: Tensor = torch.linalg.vector_norm(x.float(), dim=1, keepdim=True)
    return sizes.square_().div_(x.shape[1]).add_(epsilon).rsqrt_()
