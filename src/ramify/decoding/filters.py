"""Filters of the sampling distribution: each drops unlikely tokens, and never all of them.

Every function takes logits (B, V), float32, entries at -inf already out of the race, and returns a new (B, V) with the
dropped entries at -inf. `min_keep` is the number of likeliest tokens that always stay (1; beam sampling needs more,
as in transformers). Rows do not influence each other.

Ties. `top_k`, `min_p`, `epsilon_cutoff`, `eta_cutoff` and `typical_p` cut at a value, so tokens that tie there share
one fate. `top_p` cuts at a mass, which can fall among tied tokens: as in transformers, those stay that torch's
ascending sort of the row puts last.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ramify.decoding.logprobs import entropy

__all__ = ["epsilon_cutoff", "eta_cutoff", "min_p", "temperature", "top_k", "top_p", "typical_p"]

# A cumulative mass this close to the bound counts as having reached it, so that (.5, .3, .2) at p = .8 is decided by
# the numbers that were meant and not by their float32 rounding.
MASS_TOLERANCE = 1e-6

# Sizes tried, in turn, for the part of the vocabulary that is sorted: a nucleus is nearly always small.
_PREFIXES = (256, 4096, 32768)


def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide by `value` (> 0): below 1 sharpens the distribution, above 1 flattens it.

    Below 1e-30, where float32 would overflow, the likeliest tokens are at 0 and what is left of the others is dropped.
    """
    if value < 1e-30:
        return (logits - logits.amax(dim=-1, keepdim=True)) / 1e-30
    return logits / min(value, 1e30)


def top_k(logits: Tensor, k: int, min_keep: int = 1) -> Tensor:
    """Keep the `k` likeliest tokens and every token that ties with the k-th.

    Source: Fan et al. 2018, "Hierarchical Neural Story Generation".
    """
    k = min(max(k, min_keep), logits.shape[-1])
    return logits.masked_fill(logits < _kth(logits, k), -math.inf)


def top_p(logits: Tensor, p: float, rule: Literal["inclusive", "exclusive"] = "inclusive", min_keep: int = 1) -> Tensor:
    """Keep the nucleus: the likeliest tokens, in order, up to the mass `p`.

    inclusive: the smallest set whose mass reaches p, so the token that crosses p stays. exclusive: only tokens whose
    cumulative mass stays within p, and always the likeliest. For (.5, .3, .2) and p = .6 they keep 2 tokens and 1.
    A mass within 1e-6 of p counts as p. Among tokens tied at the cut, those that torch's ascending sort puts last stay.
    Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration".
    """
    probabilities = logits.softmax(dim=-1)

    def count(mass: Tensor) -> Tensor:
        if rule == "inclusive":
            return (mass < p - MASS_TOLERANCE).sum(dim=-1) + 1
        return (mass <= p + MASS_TOLERANCE).sum(dim=-1)

    # Both counts are final once the sorted part holds a mass above p.
    bound, place = _prefix(logits, probabilities, p + MASS_TOLERANCE, count, min_keep)
    return logits.masked_fill(~_first(logits, bound, place), -math.inf)


def min_p(logits: Tensor, threshold: float, min_keep: int = 1) -> Tensor:
    """Drop tokens less likely than `threshold` times the likeliest one; ties at the bound are kept.

    Source: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling".
    """
    # log p - log p_max == logit - logit_max: the normaliser cancels, so no softmax is needed.
    bound = logits.amax(dim=-1, keepdim=True) + (math.log(threshold) if threshold > 0 else -math.inf)
    drop = logits < bound
    if min_keep > 1:
        # Among probabilities, as in transformers: it decides which of several tied tokens topk names.
        drop.scatter_(1, logits.softmax(dim=-1).topk(min(min_keep, logits.shape[-1]), dim=-1).indices, False)
    return logits.masked_fill(drop, -math.inf)


def typical_p(logits: Tensor, mass: float, min_keep: int = 1) -> Tensor:
    """Keep the tokens whose surprisal is nearest the distribution's entropy, up to the mass `mass`.

    The token that crosses the mass stays, and every token equally near. The likeliest token may be dropped; the
    `min_keep` nearest never are, where ties go by torch's ascending sort, as in transformers.
    Source: Meister et al. 2022, "Locally Typical Sampling".
    """
    logprobs = logits.log_softmax(dim=-1)
    probabilities = logprobs.exp()
    nearness = -(-logprobs - entropy(logprobs)[:, None]).abs()

    def count(cumulative: Tensor) -> Tensor:
        return (cumulative < mass).sum(dim=-1) + 1

    bound, _ = _prefix(nearness, probabilities, mass, count, 1)
    keep = nearness >= bound
    for row in (keep.sum(dim=-1) < min_keep).nonzero().flatten().tolist():
        keep[row, (-nearness[row]).sort().indices[:min_keep]] = True
    return logits.masked_fill(~keep, -math.inf)


def epsilon_cutoff(logits: Tensor, epsilon: float, min_keep: int = 1) -> Tensor:
    """Drop tokens whose probability is under `epsilon`; if all are, keep the `min_keep` likeliest (with ties).

    Source: Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing".
    """
    logprobs = logits.log_softmax(dim=-1)
    return _under(logits, logprobs, torch.full_like(logprobs[:, :1], math.log(epsilon)), min_keep)


def eta_cutoff(logits: Tensor, epsilon: float, min_keep: int = 1) -> Tensor:
    """Drop tokens whose probability is under min(epsilon, sqrt(epsilon) · exp(-entropy)), entropy in nats;
    if all are, keep the `min_keep` likeliest (with ties).

    Source: Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing".
    """
    logprobs = logits.log_softmax(dim=-1)
    bound = (math.log(epsilon) / 2 - entropy(logprobs)[:, None]).clamp(max=math.log(epsilon))
    return _under(logits, logprobs, bound, min_keep)


def _under(logits: Tensor, logprobs: Tensor, bound: Tensor, min_keep: int) -> Tensor:
    kept = _kth(logits, min(min_keep, logits.shape[-1]))
    return logits.masked_fill((logprobs < bound) & (logits < kept), -math.inf)


def _kth(logits: Tensor, k: int) -> Tensor:
    """The k-th largest value of each row, (B, 1)."""
    return logits.amax(dim=-1, keepdim=True) if k == 1 else logits.topk(k, dim=-1).values[:, -1:]


def _prefix(key: Tensor, weight: Tensor, mass: float, count: Callable[[Tensor], Tensor], least: int) -> tuple[Tensor, Tensor]:
    """How far each row is kept when tokens are taken by descending `key` until their `weight` exceeds `mass`.

    count: cumulative weights (n, k) -> how many tokens stay (n,); right once the last of them is above `mass`.
    Returns the key of the last kept token (B, 1), and how many are kept in all (B, 1).
    """
    rows, width = key.shape
    bound, place = torch.empty_like(key[:, :1]), torch.empty((rows, 1), dtype=torch.long, device=key.device)
    open_rows = torch.arange(rows, device=key.device)
    for size in (*(size for size in _PREFIXES if size < width // 2), width):
        part, weights = (key, weight) if len(open_rows) == rows else (key[open_rows], weight[open_rows])
        values, ids = part.topk(size, dim=-1) if size < width else part.sort(dim=-1, descending=True)
        cumulative = weights.gather(1, ids).cumsum(dim=-1, dtype=torch.float64)
        done = (cumulative[:, -1] > mass) | (size == width)
        kept = count(cumulative).clamp(min=min(least, size), max=size)[:, None]
        settled = open_rows[done]
        bound[settled] = values.gather(1, kept - 1)[done]
        place[settled] = kept[done]
        open_rows = open_rows[~done]
        if not len(open_rows):
            break
    return bound, place


def _first(key: Tensor, bound: Tensor, place: Tensor) -> Tensor:
    """Which `place` (B, 1) tokens come first by descending key when `bound` (B, 1) is the last one's key; among
    tokens tied at the bound the last ones of the row's ascending sort. Returns (B, V) bool."""
    keep = key >= bound
    crowded = (keep.sum(dim=-1, keepdim=True) > place).flatten()
    for row in crowded.nonzero().flatten().tolist():
        keep[row] = False
        keep[row, key[row].sort().indices[-int(place[row]) :]] = True
    return keep
