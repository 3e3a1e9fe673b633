"""Muon: momentum whose update is made orthogonal, for the matrices of hidden layers.

The orthogonalisation is a few matrix products, so it pays to do them in the fastest precision that is good enough: bfloat16
where the processor has instructions for it, float32 elsewhere (on a CPU with AVX2 only, bfloat16 products are some 50 times
slower). The iteration pushes singular values to about 1 and needs no more than bfloat16's 8 bits.

Sources: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; Liu et al. 2025, "Muon is Scalable
for LLM Training" (the update scaled to the size of AdamW's).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "fast_precision", "orthogonal"]

# The quintic whose slope at zero is steepest while values stay near 1 (Jordan et al. 2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315
_EPS = 1e-7


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where `device` multiplies it in hardware, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu" and torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


def orthogonal(matrix: Tensor, *, steps: int = 5, precision: torch.dtype = torch.float32) -> Tensor:
    """Roughly U Vᵀ of `matrix` = U S Vᵀ: singular values between 0.5 and 1.5, found by a Newton-Schulz iteration.

    matrix: (M, N), or (L, M, N) for a stack of which each is taken by itself. Returns the same shape in `precision`. A matrix
    of zeros stays zeros.
    """
    if matrix.ndim == 2:
        return orthogonal(matrix.unsqueeze(0), steps=steps, precision=precision).squeeze(0)
    tall = matrix.shape[1] > matrix.shape[2]
    current = (matrix.mT if tall else matrix).to(precision)
    current = current / current.norm(dim=(1, 2), keepdim=True).clamp(min=_EPS)
    for _ in range(steps):
        gram = current @ current.mT
        current = torch.baddbmm(current, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), current, beta=_A)
    return current.mT if tall else current


class Muon(torch.optim.Optimizer):
    """For matrices, and stacks of matrices of one shape; learning rates and weight decay mean what they mean for AdamW.

    `precision=None` takes each device's `fast_precision`. The state is one momentum a matrix.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.precision = precision
        shapes = [tuple(p.shape) for group in self.param_groups for p in group["params"]]
        assert all(len(shape) in (2, 3) for shape in shapes), shapes

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update from the gradients at hand; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter.grad)
        momentum, rate = group["momentum"], group["lr"]
        average = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        ahead = parameter.grad.lerp(average, momentum)
        update = orthogonal(ahead, precision=self.precision or fast_precision(parameter.device))
        parameter.mul_(1 - rate * group["weight_decay"])
        # An orthogonal matrix's entries have a root mean square of 1 / sqrt(longer side); AdamW's updates of about 0.2.
        parameter.add_(update.to(parameter.dtype), alpha=-rate * 0.2 * max(parameter.shape[-2:]) ** 0.5)
