"""How far a model has moved from another on a text: at each place, from what the other one expected there.

Of the other's distribution the likeliest tokens are kept, and all that is left as one; so no second model, and no logits of a
vocabulary's width, are in memory. Grouping tokens makes a distance smaller and never larger, and it is 0 for equal models.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from ramify.training.loss import rows_at_once

__all__ = ["LIKELIEST", "Expected", "distance", "expectations"]

LIKELIEST = 64
"""Tokens of each place."""
LEAST = 1e-9
"""Probability below which the rest counts as this much, so that its logarithm exists."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a model expects at N places."""

    token_ids: Tensor
    """(N, K), the likeliest first."""
    probabilities: Tensor
    """(N, K) float32; what they lack to 1 is the rest's."""

    def to(self, device: torch.device) -> "Expected":
        return Expected(self.token_ids.to(device), self.probabilities.to(device))


def expectations(hidden: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Expected:
    """hidden: (N, D), or with weight None the logits themselves, (N, V). weight: (V, D), bias: (V,) of the output projection."""
    found = []
    size = _rows(hidden, weight)
    for at in range(0, len(hidden), size):
        logits = _logits(hidden[at : at + size], weight, bias)
        likeliest = logits.log_softmax(-1).topk(min(LIKELIEST, logits.shape[-1] - 1), dim=-1)
        found.append((likeliest.indices, likeliest.values.exp()))
    return Expected(torch.cat([ids for ids, _ in found]), torch.cat([p for _, p in found]))


def distance(hidden: Tensor, weight: Tensor | None, expected: Expected, bias: Tensor | None = None) -> Tensor:
    """The sum over N places of KL(expected ‖ model) in nats, tokens beyond the likeliest taken as one.

    Shapes as in `expectations`.
    """
    size = _rows(hidden, weight)
    total = torch.zeros((), device=hidden.device)
    for at in range(0, len(hidden), size):
        part = slice(at, at + size)
        # A chunk's logits are made again on the way back, so that only one chunk's exist at a time.
        total = total + checkpoint(
            _of_part, hidden[part], weight, bias, expected.token_ids[part], expected.probabilities[part], use_reentrant=False
        )
    return total


def _rows(hidden: Tensor, weight: Tensor | None) -> int:
    return max(1, len(hidden)) if weight is None else rows_at_once(weight)


def _logits(part: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    return (part if weight is None else linear(part, weight, bias)).float()


def _of_part(part: Tensor, weight: Tensor | None, bias: Tensor | None, token_ids: Tensor, probabilities: Tensor) -> Tensor:
    logprobs = _logits(part, weight, bias).log_softmax(-1)
    mine = logprobs.gather(1, token_ids)
    rest = (1 - probabilities.sum(1)).clamp(min=LEAST)
    my_rest = (1 - mine.exp().sum(1)).clamp(min=LEAST)
    return (probabilities * (probabilities.clamp(min=LEAST).log() - mine)).sum() + (rest * (rest.log() - my_rest.log())).sum()
