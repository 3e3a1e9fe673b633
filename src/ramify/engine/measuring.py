"""From the tensors of `decoding.logprobs` to the values a result carries."""

from collections.abc import Sequence

from torch import Tensor

from ramify.decoding.logprobs import Measure, measure
from ramify.engine.requests import Alternative, Measured, TokenLogprob
from ramify.models.base import TextCodec

__all__ = ["measured", "token_logprobs"]


def measured(logits: Tensor, chosen: Tensor, alternatives: int) -> Measure:
    """logits: (B, V); chosen: (B,). The measures of each chosen token, with so many of the likeliest others."""
    return measure(logits, chosen, min(alternatives, logits.shape[-1]))


def token_logprobs(
    codec: TextCodec, token_ids: Sequence[int], raw: Measure, processed: Measure | None, depths: Sequence[int]
) -> list[TokenLogprob]:
    """One entry a row; row i carries `depths[i]` alternatives. Alternatives of probability 0 are left out."""
    before = _values(codec, raw, depths)
    after: Sequence[Measured | None] = _values(codec, processed, depths) if processed is not None else [None] * len(before)
    return [
        TokenLogprob(token_id, codec.token_bytes[token_id], b, a) for token_id, b, a in zip(token_ids, before, after, strict=True)
    ]


def _values(codec: TextCodec, measure: Measure, depths: Sequence[int]) -> list[Measured]:
    logprobs, ranks, entropies = measure.logprobs.tolist(), measure.ranks.tolist(), measure.entropies.tolist()
    top_ids, top_logprobs = measure.top_ids.tolist(), measure.top_logprobs.tolist()
    found = []
    for i, depth in enumerate(depths):
        alternatives = tuple(
            Alternative(token_id, codec.token_bytes[token_id], logprob)
            for token_id, logprob in zip(top_ids[i][:depth], top_logprobs[i][:depth], strict=True)
            if logprob > -float("inf")
        )
        found.append(Measured(logprobs[i], ranks[i], entropies[i], alternatives))
    return found
