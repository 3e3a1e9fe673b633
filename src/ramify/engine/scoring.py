"""Given text under a model: what each of its tokens was worth."""

from collections.abc import Sequence

import torch

from ramify.engine.kv_tree import Branches
from ramify.engine.measuring import measured, token_logprobs
from ramify.engine.requests import Scored, TokenLogprob
from ramify.engine.tasks import Steps, prefill
from ramify.models.base import Extension, TextCodec

__all__ = ["score_steps"]

PIECE_TOKENS = 128
"""Scored at a time, so that the logits of a long text (tokens × V) never stand in memory at once."""


def score_steps(branches: Branches, codec: TextCodec, prompt_ids: Sequence[int], token_ids: Sequence[int], top: int) -> Steps:
    """Measure `token_ids` after `prompt_ids` in the model's own distribution. Returns Scored; the branch is remembered."""
    if not token_ids:
        return Scored((), ())
    branch, answers, _ = yield from prefill(branches, prompt_ids)
    logits = answers[-1].logits[-1:]
    found: list[TokenLogprob] = []
    for start in range(0, len(token_ids), PIECE_TOKENS):
        piece = token_ids[start : start + PIECE_TOKENS]
        # The distribution after token i - 1 measures token i: one row comes from the piece before.
        fed = piece if start + len(piece) < len(token_ids) else piece[:-1]
        if fed:
            (answer,) = yield [Extension(branch, fed, len(fed))]
            rows = torch.cat([logits, answer.logits])
        else:
            rows = logits
        measure = measured(rows[: len(piece)], torch.tensor(piece, device=rows.device), top)
        found += token_logprobs(codec, piece, measure, None, [top] * len(piece))
        logits = rows[-1:]
    branches.keep(branch, (*prompt_ids, *token_ids)[: branch.length])
    return Scored(tuple(token_ids), tuple(found))
