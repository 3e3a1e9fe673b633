"""Cross-entropy and log-probabilities of the learned tokens only.

The vocabulary projection is the largest matrix product of a small model, and its logits the largest tensor of any. Hidden
states of tokens that are only read are left out before it, so prompt tokens cost no logits; and the projection runs in chunks
whose logits are thrown away, so memory does not grow with the batch. A loss's gradient is made while a chunk's logits are at
hand; log-probabilities, whose gradient depends on what becomes of them, are computed a second time on the way back.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from ramify.training.examples import IGNORED

__all__ = ["CHUNK_BYTES", "places_learned", "rows_at_once", "select_learned", "summed_loss", "token_logprobs"]

CHUNK_BYTES = 64 << 20
"""Logits that exist at one time, in float32."""
ACCELERATOR_BYTES = 4 * CHUNK_BYTES
"""The same on an accelerator, which small products leave idle."""


def select_learned(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden states that predict a learned token, and those tokens.

    hidden: (B, T, D); labels: (B, T), -100 where only read. Returns (N, D) and (N,): hidden state t with label t + 1.
    """
    keep, targets = places_learned(labels)
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, keep), targets


def places_learned(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the places that predict a learned token, in rows laid behind one another, and (N,) those tokens."""
    row, place = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    return row * labels.shape[1] + place, labels[row, place + 1]


def summed_loss(
    selected: Tensor, weight: Tensor, targets: Tensor, *, bias: Tensor | None = None, chunk: int | None = None
) -> Tensor:
    """The sum of -log p over learned tokens, in nats, measured in float32: over their number it is the token-weighted mean.

    selected: (N, D) and targets: (N,), as `select_learned` gives them; weight: (V, D) and bias: (V,) of the output projection.
    chunk: rows of logits that exist at a time.
    """
    how = (chunk or rows_at_once(weight), torch.is_grad_enabled())
    return _Loss.apply(selected, weight, bias, targets, *how)  # type: ignore[no-untyped-call,no-any-return]


def token_logprobs(
    selected: Tensor, weight: Tensor, targets: Tensor, *, bias: Tensor | None = None, chunk: int | None = None
) -> Tensor:
    """(N,) log p of each target in nats, float32. selected: (N, D), as `select_learned` gives them."""
    return _Logprobs.apply(selected, weight, bias, targets, chunk or rows_at_once(weight))  # type: ignore[no-untyped-call,no-any-return]


def rows_at_once(weight: Tensor) -> int:
    """How many places have logits at one time, for an output projection (V, D)."""
    size = CHUNK_BYTES if weight.device.type == "cpu" else ACCELERATOR_BYTES
    return max(16, size // (4 * weight.shape[0]))


def _precision(hidden: Tensor) -> torch.dtype:
    """Autocast does not reach into our own functions; what it asks for is done here."""
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


class _Loss(torch.autograd.Function):
    """Sum of -log p(target). Gradients are made chunk by chunk in the forward pass, and only scaled in the backward one."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int, learning: bool
    ) -> Tensor:
        precision = _precision(hidden)
        projection = weight.to(precision)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wants = [learning and ctx.needs_input_grad[i] for i in range(3)]
        of_hidden = torch.empty_like(hidden) if wants[0] else None
        of_weight = torch.zeros_like(weight) if wants[1] else None
        of_bias = torch.zeros_like(bias) if wants[2] and bias is not None else None
        for at in range(0, len(targets), chunk):
            part, wanted = hidden[at : at + chunk].to(precision), targets[at : at + chunk].unsqueeze(1)
            logits = linear(part, projection, None if bias is None else bias.to(precision)).float()
            # One exponential, in place: a chunk's logits are the largest thing there is, and nothing is made beside them.
            logits.sub_(logits.amax(1, keepdim=True))
            said = logits.gather(1, wanted)
            mass = logits.exp_().sum(1, keepdim=True)
            total += (mass.log() - said).sum()
            if not any(wants):
                continue
            gradient = logits.div_(mass)  # probabilities; less one at the target
            gradient.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=gradient.dtype))
            _spread(gradient, part, projection, at, of_hidden, of_weight, of_bias)
        ctx.gradients = (of_hidden, of_weight, of_bias)
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("a step's way back can be gone once only")
        made = [None if gradient is None else gradient.mul_(scale.to(gradient.dtype)) for gradient in ctx.gradients]
        ctx.gradients = None  # nobody else holds them, so what is added to them is added in place
        return (*made, None, None, None)


class _Logprobs(torch.autograd.Function):
    """log p(target) of each row; logits are computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int) -> Tensor:
        precision = _precision(hidden)
        projection = weight.to(precision)
        found = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        normalisers = torch.empty_like(found)
        for at in range(0, len(targets), chunk):
            part, wanted = hidden[at : at + chunk].to(precision), targets[at : at + chunk].unsqueeze(1)
            logits = linear(part, projection, None if bias is None else bias.to(precision)).float()
            normalisers[at : at + chunk] = logits.logsumexp(1)
            found[at : at + chunk] = logits.gather(1, wanted).squeeze(1) - normalisers[at : at + chunk]
        ctx.save_for_backward(hidden, weight, bias, targets, normalisers)
        ctx.chunk, ctx.precision = chunk, precision
        return found

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, normalisers = ctx.saved_tensors
        projection = weight.to(ctx.precision)
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for at in range(0, len(targets), ctx.chunk):
            part, wanted = hidden[at : at + ctx.chunk].to(ctx.precision), targets[at : at + ctx.chunk].unsqueeze(1)
            logits = linear(part, projection, None if bias is None else bias.to(ctx.precision)).float()
            weights = scale[at : at + ctx.chunk].unsqueeze(1)
            gradient = logits.sub_(normalisers[at : at + ctx.chunk].unsqueeze(1)).exp_().mul_(-weights)
            gradient.scatter_add_(1, wanted, weights)
            _spread(gradient, part, projection, at, of_hidden, of_weight, of_bias)
        return of_hidden, of_weight, of_bias, None, None


def _spread(
    gradient: Tensor,
    part: Tensor,
    projection: Tensor,
    at: int,
    of_hidden: Tensor | None,
    of_weight: Tensor | None,
    of_bias: Tensor | None,
) -> None:
    """From a chunk's gradient of the logits to those of what they are made of."""
    if of_bias is not None:
        of_bias += gradient.sum(0)
    gradient = gradient.to(part.dtype)
    if of_hidden is not None:
        of_hidden[at : at + len(part)] = gradient @ projection
    if of_weight is not None:
        if of_weight.dtype == gradient.dtype:
            of_weight.addmm_(gradient.T, part)
        else:
            of_weight += gradient.T @ part
