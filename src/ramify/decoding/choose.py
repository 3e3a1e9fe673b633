"""The choice of the next token: the likeliest one, or one drawn with a random number that depends on nothing else.

The random numbers are counter-based (Philox): draw t of seed s is a function of (s, t) alone, so a row's tokens do
not depend on its batch, and a forked or resumed row draws what the whole one would have drawn.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["RowRandom", "argmax", "categorical", "gumbel_top_k", "largest", "uniforms"]

_BLOCK = 128


def argmax(logits: Tensor) -> Tensor:
    """The likeliest token of each row, the lowest id among ties. (B, V) -> (B,)."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return torch.from_numpy(logits.detach().numpy().argmax(axis=-1))  # looks at eight at once, where torch looks at one
    return logits.argmax(dim=-1)


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of (N,) and their places, the largest first.

    They stand in the k blocks whose own largest are largest, so that only those are sorted: topk copies everything into pairs.
    """
    blocks, k = len(values) // _BLOCK, min(k, len(values))
    if blocks < 4 * k:
        return values.topk(k)
    whole = blocks * _BLOCK
    best = values[:whole].view(blocks, _BLOCK).amax(dim=-1).topk(k).indices.sort().values
    inside = torch.arange(_BLOCK, device=values.device)
    places = torch.cat([(best[:, None] * _BLOCK + inside).flatten(), torch.arange(whole, len(values), device=values.device)])
    found, at = values[places].topk(k)
    return found, places[at]


def categorical(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token a row by the inverse of the cumulative distribution, summed in float64 in order of id.

    logits: (B, V), unnormalised, -inf for what cannot be drawn, at least one finite entry a row. uniforms: (B,) in
    [0, 1). Returns (B,): the first id whose cumulative probability exceeds the row's uniform; never one of
    probability 0.
    """
    rows, width = logits.shape
    weights = (logits - logits.amax(dim=-1, keepdim=True)).exp_()
    blocks = -(-width // _BLOCK)
    if width % _BLOCK:
        weights = torch.nn.functional.pad(weights, (0, blocks * _BLOCK - width))
    weights = weights.view(rows, blocks, _BLOCK)
    # Two levels: which block of ids, then which id in it. Only one block a row is summed entry by entry.
    sums = weights.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    target = uniforms.to(device=logits.device, dtype=torch.float64)[:, None] * sums[:, -1:]
    block = _first_above(sums, target)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = weights[torch.arange(rows, device=logits.device), block.flatten()].to(torch.float64).cumsum(dim=-1)
    return (block * _BLOCK + _first_above(inside, target - before)).flatten()


def _first_above(cumulative: Tensor, target: Tensor) -> Tensor:
    """The first index whose cumulative sum exceeds the target, or the last that adds anything. (B, N) -> (B, 1)."""
    found = (cumulative <= target).sum(dim=-1, keepdim=True)
    # Rounding may leave the target at the whole sum; the last place that reaches the whole is the last with weight.
    last = (cumulative < cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    return torch.minimum(found, last)


def gumbel_top_k(logits: Tensor, uniforms: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Draw `k` different tokens a row, without replacement, as successive draws of the softmax would.

    logits, uniforms: (B, N). Returns the perturbed values and the ids, each (B, k), in the order drawn; where a row
    has fewer than k finite entries the rest have value -inf.
    Source: Kool et al. 2019, "Stochastic Beams and Where to Find Them" (the Gumbel-top-k trick).
    """
    tiny = torch.finfo(torch.float64).tiny
    noise = uniforms.to(device=logits.device, dtype=torch.float64).clamp(min=tiny)
    perturbed = logits.to(torch.float64) - (-noise.log()).log()
    values, ids = perturbed.topk(k, dim=-1)
    return values, ids


class RowRandom:
    """The random numbers of one row: `step` counts the draws made, and can be set to resume or to fork."""

    def __init__(self, seed: int, step: int = 0) -> None:
        self.seed = seed
        self.step = step

    def uniform(self) -> float:
        """The next number in [0, 1); one draw a token."""
        return float(self.uniforms(1)[0])

    def uniforms(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The next draw as `count` numbers in [0, 1), (count,); one step whatever the count, the first number is
        `uniform`'s."""
        # The step is the counter's second word: a draw may use 2**64 numbers without touching the next draw's.
        philox = np.random.Philox(key=self.seed, counter=[0, self.step, 0, 0])
        self.step += 1
        return np.random.Generator(philox).random(count)

    def copy(self) -> "RowRandom":
        """The same row at the same step."""
        return RowRandom(self.seed, self.step)


def uniforms(seeds: Sequence[int], steps: Sequence[int]) -> Tensor:
    """Draw `steps[i]` of seed `seeds[i]` for each i, (B,) float64."""
    return torch.tensor([RowRandom(seed, step).uniform() for seed, step in zip(seeds, steps, strict=True)], dtype=torch.float64)
