"""Faster linear layers for a processor: weights stored once in the order its kernels read them.

The operators behind this are private to torch, so they are tried before they are trusted; where they are missing or differ, the
stock layers stay.
"""

import torch
from torch import Tensor, nn

__all__ = ["pack"]

SMALLEST_WEIGHT = 64 * 64
"""Below this many elements a layer costs more in dispatch than in reading its weights."""


class PackedLinear(nn.Module):
    """A bfloat16 linear layer whose weight lies in oneDNN's own order. Rows do not influence each other."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous(), 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features) bfloat16 -> (..., out_features)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return out


def pack(model: nn.Module) -> int:
    """Swap a model's bfloat16 linear layers on the processor for packed ones. Returns how many; 0 where it cannot be done."""
    if not _works():
        return 0
    swapped = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and _fits(child):
                setattr(parent, name, PackedLinear(child))
                swapped += 1
    return swapped


def _fits(linear: nn.Linear) -> bool:
    weight = linear.weight
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and weight.numel() >= SMALLEST_WEIGHT


def _works() -> bool:
    """Try a small layer against the stock one."""
    if not torch._C._has_mkldnn or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    linear = nn.Linear(64, 64).to(torch.bfloat16).requires_grad_(False)
    x = torch.linspace(-1, 1, 3 * 64).view(1, 3, 64).to(torch.bfloat16)
    try:
        packed = PackedLinear(linear)(x)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool(torch.allclose(packed.float(), linear(x).float(), atol=0.05))
