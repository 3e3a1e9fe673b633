"""Faster linear layers for a processor: weights stored once in the order its kernels read them.

The operators behind this are private to torch, so they are tried before they are trusted; where they are missing or differ,
`pack` leaves the stock layers and `pack_int8` refuses.
"""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ramify.models import threads

__all__ = ["Array", "Dense", "Seen", "bare", "joined", "pack", "pack_int8", "without_overrides"]

Array = np.ndarray[Any, np.dtype[np.float32]]

SMALLEST_WEIGHT = 64 * 64
"""Below this many elements a layer costs more in dispatch than in reading its weights."""


SMALLEST_SIZE = np.finfo(np.float32).tiny
"""A row of zeros is divided by this."""
MANY = 32 * 1024
"""Elements from which torch shares an operation among its threads."""


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


class Int8Linear(nn.Module):
    """A linear layer that rounds its weights, one scale an output, and its input to `levels` steps either side of zero.

    Each row of the input is divided by its own largest magnitude first, and the range of levels is fixed, so rows do not
    influence each other: the library's own dynamic layer takes one range over the batch, where a loud row costs its
    neighbours a tenth of their precision.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, levels: int) -> None:
        """weight: (out_features, in_features) of any floating type; bias: (out_features,)."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.levels = levels
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)
        weight = weight.detach().float()
        scales = (weight.abs().amax(1) / levels).clamp_min(torch.finfo(torch.float32).tiny)
        zeros = torch.zeros(self.out_features, dtype=torch.int64)
        rounded = torch.round(weight / scales.unsqueeze(1)).to(torch.int8)
        with warnings.catch_warnings():  # torch announces the end of quantized tensors; `_int8_levels` will notice it
            warnings.simplefilter("ignore", UserWarning)
            stored = torch._make_per_channel_quantized_tensor(rounded, scales.double(), zeros, 0)
            self.packed = torch.ops.quantized.linear_prepack(stored, None)

    @classmethod
    def joined(cls, layers: "Sequence[Int8Linear]") -> "Int8Linear":
        """The layers' rounded weights as they are, one below the other."""
        one = cls.__new__(cls)
        nn.Module.__init__(one)
        one.levels, one.in_features = layers[0].levels, layers[0].in_features
        one.out_features = sum(layer.out_features for layer in layers)
        biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        one.bias = nn.Parameter(torch.cat(biases), requires_grad=False) if biases else None
        weights = [torch.ops.quantized.linear_unpack(layer.packed)[0] for layer in layers]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            stored = torch._make_per_channel_quantized_tensor(
                torch.cat([weight.int_repr() for weight in weights]),
                torch.cat([weight.q_per_channel_scales() for weight in weights]),
                torch.zeros(one.out_features, dtype=torch.int64),
                0,
            )
            one.packed = torch.ops.quantized.linear_prepack(stored, None)
        return one

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features) float32 -> (..., out_features) float32."""
        # Not the norm of order inf: it takes 3 ns an element where these two take a third of one.
        sizes = x.abs().amax(dim=-1, keepdim=True).clamp_min_(torch.finfo(torch.float32).tiny)
        out: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            x / sizes, 1 / self.levels, self.levels + 1, self.packed
        )
        return out.mul_(sizes) if self.bias is None else torch.addcmul(self.bias, out, sizes)


class Seen(NamedTuple):
    """A matrix on the processor as torch sees it, and the same memory as numpy does."""

    tensor: Tensor
    array: Array

    @classmethod
    def empty(cls, rows: int, width: int) -> "Seen":
        return cls.of(torch.empty((rows, width), dtype=torch.float32))

    @classmethod
    def of(cls, tensor: Tensor) -> "Seen":
        return cls(tensor, tensor.numpy())


class Dense:
    """Linear layers with one input as one float32 matrix product, the weight stored as (in_features, out_features).

    So a product of few rows reads it 1.4 times as fast as the stock layer does, whose order is the other one. With one thread
    it is numpy's OpenBLAS that multiplies: on AMD's processors torch's MKL has no AVX2 for a single row, and copies the whole
    weight for eight. It takes 1.2 times as long, and more in a step, where the caches are full of other things.
    """

    __slots__ = ("array", "bias", "weight")

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self.array: Array | None = weight.numpy() if _one_thread() else None

    def __call__(self, x: Seen) -> Tensor:
        """x: (T, in_features) -> (T, out_features)."""
        out = Seen.empty(len(x.array), self.weight.shape[1])
        self.into(out, x)
        return out.tensor

    def into(self, out: Seen, x: Seen) -> None:
        """The same, written into `out`."""
        if self.array is not None:
            np.matmul(x.array, self.array, out=out.array)
        else:
            torch.mm(x.tensor, self.weight, out=out.tensor)
        if self.bias is not None:
            out.tensor.add_(self.bias)

    def onto(self, rest: Seen, x: Seen) -> None:
        """The same, added to what stands in `rest` (T, out_features)."""
        if self.array is not None:
            np.add(rest.array, np.matmul(x.array, self.array), out=rest.array)
        else:
            rest.tensor.addmm_(x.tensor, self.weight)
        if self.bias is not None:
            rest.tensor.add_(self.bias)


class Rounded:
    """An int8 layer from one buffer into another.

    What stands before and behind the product is numpy's for few elements and torch's for many: every operation of it is rounded
    exactly, so that both give the same bits.
    """

    __slots__ = ("bias", "layer", "multiply", "packed", "scale", "zero")

    def __init__(self, layer: Int8Linear) -> None:
        self.layer, self.packed = layer, layer.packed
        self.scale, self.zero = 1 / layer.levels, layer.levels + 1
        self.multiply = bare(torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32)
        self.bias: Array | None = None if layer.bias is None else layer.bias.numpy()

    def __call__(self, x: Seen) -> Tensor:
        """x: (T, in_features) -> (T, out_features)."""
        found, sizes = self._product(x)
        self._sized(found, sizes, found)
        return found.tensor

    def into(self, out: Seen, x: Seen) -> None:
        """The same, written into `out`."""
        found, sizes = self._product(x)
        self._sized(found, sizes, out)

    def onto(self, rest: Seen, x: Seen) -> None:
        """The same, added to what stands in `rest` (T, out_features)."""
        found, sizes = self._product(x)
        self._sized(found, sizes, found)
        if found.array.size < MANY:
            np.add(rest.array, found.array, out=rest.array)
        else:
            rest.tensor.add_(found.tensor)

    def _product(self, x: Seen) -> tuple[Seen, Array]:
        """The product of the rows, each divided by its largest magnitude, and those magnitudes (T, 1)."""
        if x.array.size < MANY:
            sizes = np.maximum.reduce(np.abs(x.array), axis=-1, keepdims=True, initial=SMALLEST_SIZE)
            even = torch.from_numpy(x.array / sizes)
        else:
            largest = x.tensor.abs().amax(dim=-1, keepdim=True).clamp_min_(float(SMALLEST_SIZE))
            sizes, even = largest.numpy(), x.tensor / largest
        return Seen.of(self.multiply(even, self.scale, self.zero, self.packed)), sizes

    def _sized(self, found: Seen, sizes: Array, out: Seen) -> None:
        if found.array.size < MANY:
            np.multiply(found.array, sizes, out=out.array)
            if self.bias is not None:
                np.add(out.array, self.bias, out=out.array)
        else:
            torch.mul(found.tensor, torch.from_numpy(sizes), out=out.tensor)
            if self.layer.bias is not None:
                out.tensor.add_(self.layer.bias)


class _SideBySide:
    """Layers of another kind with one input, their outputs one after the other."""

    __slots__ = ("layers",)

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = tuple(layers)

    def __call__(self, x: Seen) -> Tensor:
        outs = [layer(x.tensor) for layer in self.layers]
        return outs[0] if len(outs) == 1 else torch.cat(outs, dim=-1)

    def into(self, out: Seen, x: Seen) -> None:
        out.tensor.copy_(self(x))

    def onto(self, rest: Seen, x: Seen) -> None:
        rest.tensor.add_(self(x))


def bare(operator: Any) -> Any:
    """The function behind one of torch's operators, without what Python does around it at every call."""
    return getattr(operator, "_op", operator)


def without_overrides() -> AbstractContextManager[None]:
    """Inside, no argument of torch's operators is asked whether it brings its own version of them.

    A packed weight answers by an exception of C++'s, which takes 30 µs a call.
    """
    found: AbstractContextManager[None] = getattr(torch._C, "DisableTorchFunctionSubclass", nullcontext)()
    return found


def joined(*layers: Any) -> Dense | Rounded | _SideBySide:
    """Layers that have one input as one, which gives their outputs one after the other.

    Stock layers become views of its weight, so nothing is stored twice.
    """
    biased = {layer.bias is not None for layer in layers}
    if len(biased) == 1 and all(type(layer) is Int8Linear for layer in layers):
        return Rounded(Int8Linear.joined(layers) if len(layers) > 1 else layers[0])
    if len(biased) > 1 or any(type(layer) is not nn.Linear or layer.weight.dtype != torch.float32 for layer in layers):
        return _SideBySide(layers)
    weight = torch.cat([layer.weight.detach().t() for layer in layers], dim=1)
    bias = torch.cat([layer.bias.detach() for layer in layers]) if True in biased else None
    for layer, part in zip(layers, weight.split_with_sizes([layer.out_features for layer in layers], 1), strict=True):
        layer.weight = nn.Parameter(part.t(), requires_grad=False)
    return Dense(weight, bias)


def pack(model: nn.Module) -> int:
    """Swap a model's bfloat16 linear layers on the processor for packed ones. Returns how many; 0 where it cannot be done."""
    if not _bfloat16_works():
        return 0
    swapped = 0
    for parent, name, child in _linear_layers(model):
        weight = child.weight
        if (
            type(child) is nn.Linear
            and weight.dtype == torch.bfloat16
            and weight.numel() >= SMALLEST_WEIGHT
            and not weight.is_cuda
        ):
            setattr(parent, name, PackedLinear(child))
            swapped += 1
    return swapped


def pack_int8(model: nn.Module) -> int:
    """Swap a model's linear layers for int8 ones and turn the rest into float32. Returns how many; 0 where it cannot be done.

    Weights are taken from whatever type they have, layer by layer, so a model in bfloat16 never lies in memory in float32.
    """
    levels = _int8_levels()
    if not levels:
        return 0
    swapped = 0
    for parent, name, child in _linear_layers(model):
        # All of them, small ones too: a stock layer's sums depend on the batch in the sixth digit, which rounding would enlarge.
        # transformers' Conv1D is a linear layer whose weight is stored the other way round.
        weight = child.weight if isinstance(child, nn.Linear) else child.weight.t()
        setattr(parent, name, Int8Linear(weight, child.bias, levels))
        swapped += 1
    model.float()
    return swapped


def _linear_layers(model: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    """(parent, name, layer) of every linear layer, transformers' Conv1D included."""
    from transformers.pytorch_utils import Conv1D

    return [
        (parent, name, child)
        for parent in list(model.modules())
        for name, child in parent.named_children()
        if type(child) in (nn.Linear, Conv1D)
    ]


def _one_thread() -> bool:
    """Whether torch uses one thread here, and numpy's own library can be told to."""
    return torch.get_num_threads() == 1 and threads.numpy_obeys()


def _bfloat16_works() -> bool:
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


@cache
def _int8_levels() -> int:
    """The most levels either side of zero that this processor multiplies without overflow; 0 where there is no int8 layer.

    Without VNNI instructions the products of two neighbours are added in 16 bits. 2 × 181 × 90 fits there. Cutting weights and
    input alike to 90 levels loses half of what cutting the input alone to 63 does (of a perplexity 0.1 % and 0.25 %).
    """
    x, weight = torch.ones(3, 256), torch.ones(64, 256)
    for levels in (127, 90):
        try:
            out = Int8Linear(weight, None, levels)(x)
        except (RuntimeError, AttributeError, NotImplementedError):
            return 0
        if torch.allclose(out, x @ weight.t(), rtol=1e-3):
            return levels
    return 0
