"""A decoder layer of the Llama family in two halves, around its attention, forward and backward by hand.

The library's own keeps every step's output for the way back: for Qwen2-0.5B 183 KB a token and layer with LoRA. Kept here are the
layer's input, queries, keys, values, what attention made of them, the sum behind it, and gate and up of the MLP: 54 KB. Norms,
rotations' inputs and the gated product are made again, which costs passes over memory and no matrix product.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from ramify.training.norming import NormAgain, normed
from ramify.training.projecting import WEIGHTS, project, with_gradients

__all__ = ["FromHeads", "How", "ToHeads"]


@dataclass(frozen=True, slots=True)
class How:
    """What a half needs besides tensors."""

    epsilon: float
    """Of its norm."""
    scales: tuple[float, ...]
    """LoRA's, of each of its linear layers."""
    width: int
    """Of a head."""
    precision: torch.dtype
    """Of its products."""


class ToHeads(torch.autograd.Function):
    """Norm, the projections to queries, keys and values, and rotation.

    x: (N, D); keep: (M,) the tokens whose queries are wanted, None for all; cosines, sines: (N, width); norm: (D,); weights: of
    the three projections. Returns (M, H, width) and twice (N, G, width).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, keep: Tensor | None, cosines: Tensor, sines: Tensor, how: How, norm: Tensor, *weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        every = normed(x, norm, how.epsilon, how.precision)
        asking = every if keep is None else every.index_select(0, keep)
        inputs, made, between = (asking, every, every), list[Tensor](), list[Tensor | None]()
        for i, given in enumerate(inputs):
            out, thin = project(given, _part(weights, i), how.scales[i])
            made.append(out.view(len(given), out.shape[1] // how.width, how.width))
            between.append(thin)
        turns = _turns(cosines, sines, keep)
        ctx.how = how
        ctx.save_for_backward(x, keep, cosines, sines, norm, *between, *weights)
        return _turned(made[0], *turns[0]), _turned(made[1], *turns[1]), made[2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        how: How = ctx.how
        x, keep, cosines, sines, norm, *rest = ctx.saved_tensors
        between, weights = rest[:3], rest[3:]
        wants = ctx.needs_input_grad[6:]
        below = ctx.needs_input_grad[0] or ctx.needs_input_grad[5]
        again = NormAgain(x, norm, how.epsilon, how.precision)
        every = again.normed
        asking = every if keep is None else every.index_select(0, keep)
        turns = _turns(cosines, sines, keep)
        of_normed: Tensor | None = None
        of_weights: list[Tensor | None] = []
        of_asking: Tensor | None = None
        for i in (1, 2, 0):
            gradient = gradients[i]
            if gradient is None:
                part: list[Tensor | None] = [None] * WEIGHTS
            else:
                if i != 2:
                    cosine, sine = turns[i]
                    gradient = _turned(gradient, cosine, -sine)
                gradient = gradient.flatten(1).to(how.precision)
                apart = i == 0 and keep is not None
                found, part = with_gradients(
                    gradient, asking if i == 0 else every, between[i], _part(weights, i), how.scales[i], _part(wants, i),
                    None if apart else of_normed, below=below,
                )  # fmt: skip
                if apart:
                    of_asking = found
                else:
                    of_normed = found
            of_weights = [*part, *of_weights] if i == 0 else [*of_weights, *part]
        if of_asking is not None and keep is not None:
            of_normed = torch.zeros_like(every) if of_normed is None else of_normed
            of_normed.index_add_(0, keep, of_asking)
        of_x, of_norm = again.back(of_normed, ctx.needs_input_grad[0], ctx.needs_input_grad[5])
        return (None if of_x is None else of_x.to(x.dtype), None, None, None, None, of_norm, *of_weights)


class FromHeads(torch.autograd.Function):
    """The projection of what attention found, added to x; norm, gated MLP, added again.

    x: (N, D); mixed: (N, H x width); norm: (D,); weights: of the output's projection, gate, up and down. Returns (N, D).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mixed: Tensor, how: How, norm: Tensor, *weights: Tensor | None) -> Tensor:
        mixed = mixed.to(how.precision)
        out, out_thin = project(mixed, _part(weights, 0), how.scales[0])
        middle = x + out
        every = normed(middle, norm, how.epsilon, how.precision)
        gate, gate_thin = project(every, _part(weights, 1), how.scales[1])
        up, up_thin = project(every, _part(weights, 2), how.scales[2])
        del every, out
        down, down_thin = project(silu(gate).mul_(up), _part(weights, 3), how.scales[3])
        ctx.how, ctx.done = how, False
        ctx.save_for_backward(mixed, middle, gate, up, norm, out_thin, gate_thin, up_thin, down_thin, *weights)
        return middle + down if down.dtype != middle.dtype else down.add_(middle)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        how: How = ctx.how
        if ctx.done:
            raise RuntimeError("a step's way back can be gone once only")
        ctx.done = True
        mixed, middle, gate, up, norm, *rest = ctx.saved_tensors
        between, weights = rest[:4], rest[4:]
        wants = ctx.needs_input_grad[4:]
        out = gradient.to(how.precision)
        active = silu(gate)
        wanted = _part(wants, 3)
        product = active * up if wanted[0] or wanted[2] else None
        of_product, of_down = with_gradients(out, product, between[3], _part(weights, 3), how.scales[3], wanted, below=True)
        del product
        assert of_product is not None
        # What is kept of the way there is written over on the way back: nothing of this size is made anew.
        of_up = active.mul_(of_product)
        of_gate = of_product.mul_(up)
        torch.ops.aten.silu_backward.grad_input(of_gate, gate, grad_input=gate)
        of_gate = gate
        del of_product, active
        again = NormAgain(middle, norm, how.epsilon, how.precision)
        of_normed, of_ups = with_gradients(
            of_up, again.normed, between[2], _part(weights, 2), how.scales[2], _part(wants, 2), below=True
        )
        of_normed, of_gates = with_gradients(
            of_gate, again.normed, between[1], _part(weights, 1), how.scales[1], _part(wants, 1), of_normed, below=True
        )
        del of_up, of_gate
        of_middle, of_norm = again.back(of_normed, True, ctx.needs_input_grad[3])
        assert of_middle is not None
        of_middle = of_middle.add_(gradient).to(middle.dtype)
        of_mixed, of_outs = with_gradients(
            of_middle.to(how.precision), mixed, between[0], _part(weights, 0), how.scales[0], _part(wants, 0),
            below=ctx.needs_input_grad[1],
        )  # fmt: skip
        return (of_middle, of_mixed, None, of_norm, *of_outs, *of_gates, *of_ups, *of_down)


def _part(whole: Sequence[Any], i: int) -> Sequence[Any]:
    return whole[i * WEIGHTS : (i + 1) * WEIGHTS]


def _turns(cosines: Tensor, sines: Tensor, keep: Tensor | None) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(N, 1, width) for the queries and for the keys."""
    keys = (cosines.unsqueeze(1), sines.unsqueeze(1))
    return (keys if keep is None else (keys[0].index_select(0, keep), keys[1].index_select(0, keep))), keys


def _turned(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotated by position: (N, H, width), the first half of a head with the second."""
    half = heads.shape[-1] // 2
    made = heads * cosine
    made[..., :half].addcmul_(heads[..., half:], sine[..., :half], value=-1)
    made[..., half:].addcmul_(heads[..., :half], sine[..., half:])
    return made.to(heads.dtype)
