"""What a distribution says of the token that was chosen from it: probability, rank, surprise, alternatives."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Measure", "entropy", "measure", "top"]

_BLOCK = 128


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measures of B distributions. All in nats; -inf for a token that a processor removed."""

    logprobs: Tensor
    """(B,) of the chosen token."""
    ranks: Tensor
    """(B,) of the chosen token: 1 + the number of tokens strictly likelier, so tied tokens share a rank."""
    entropies: Tensor
    """(B,) of the whole distribution."""
    top_ids: Tensor
    """(B, K) the likeliest tokens, by descending probability, the lowest id first among ties."""
    top_logprobs: Tensor
    """(B, K)."""


def measure(logits: Tensor, chosen: Tensor, k: int = 0) -> Measure:
    """Measure the softmax of `logits` (B, V) at the tokens `chosen` (B,), with the `k` likeliest beside it.

    k is cut to V. Entries at -inf have probability 0 and add nothing to the entropy; at least one must be finite.
    """
    k = min(k, logits.shape[-1])
    logprobs = logits.float().log_softmax(dim=-1)
    there = logprobs.gather(1, chosen[:, None])
    ranks = (logprobs > there).sum(dim=-1) + 1
    top_ids, top_logprobs = top(logprobs, k)
    return Measure(logprobs=there.flatten(), ranks=ranks, entropies=entropy(logprobs), top_ids=top_ids, top_logprobs=top_logprobs)


def entropy(logprobs: Tensor) -> Tensor:
    """The entropy of each row, in nats; (B, V) normalised log-probabilities -> (B,). Entries at -inf add nothing."""
    terms = logprobs.exp() * logprobs.clamp(min=torch.finfo(logprobs.dtype).min)
    # Summed at once, a single row is split among threads and the rows of a batch are not, and the last bits differ;
    # in two levels a row's sum is the same alone and in company.
    terms = torch.nn.functional.pad(terms, (0, -terms.shape[-1] % _BLOCK))
    found = -terms.view(len(terms), -1, _BLOCK).sum(dim=-1).sum(dim=-1)
    return found.clamp(min=0.0) + 0.0  # a certain token's is 0, not -0 nor what rounding leaves below


def top(logprobs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their ids, ties by the lowest id, which topk alone does not promise."""
    if k == 0:
        empty = logprobs[:, :0]
        return empty.long(), empty
    values, ids = logprobs.topk(k, dim=-1)
    bound = values[:, -1:]
    crowded = (logprobs >= bound).sum(dim=-1) > k
    for row in crowded.nonzero().flatten().tolist():
        above = int((values[row] > bound[row]).sum())
        ids[row, above:] = (logprobs[row] == bound[row]).nonzero().flatten()[: k - above]
    # Equal values stand in any order; sort by id, then stably by value.
    by_id = ids.argsort(dim=-1)
    ids = ids.gather(1, by_id)
    values = logprobs.gather(1, ids)
    by_value = values.argsort(dim=-1, descending=True, stable=True)
    return ids.gather(1, by_value), values.gather(1, by_value)
