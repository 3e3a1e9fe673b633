"""What a model could say next, before and after the processors of a configuration, from any position of any completion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.decoding.config import GenerationConfig
from ramify.decoding.logprobs import entropy, top
from ramify.decoding.pipeline import Row
from ramify.engine.branch import Branch
from ramify.engine.model import Model
from ramify.engine.requests import GenerationRequest
from ramify.errors import InputError
from ramify.models import threads

__all__ = ["Next", "next_after", "next_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """Candidates, likeliest first, as columns."""

    token_ids: list[int]
    texts: list[str]
    """Spelt out, special tokens too."""
    logprobs: list[float]
    """Raw, at temperature 1; minus infinity for an EOS that cannot be said."""
    probabilities: list[float]
    processed: list[float] | None
    """Logprobs after the processors, minus infinity for what they removed; None where none acts."""
    ranks: list[int]
    ends: list[bool]
    """Whether it is an EOS."""
    others: float
    """The probability of all that is not here."""
    entropy: float
    """Of the raw distribution, in nats."""


@threads.team_for_now()
def next_of(
    model: Model,
    logits: Tensor,
    processed: Tensor | None = None,
    *,
    k: int = 20,
    search: str | None = None,
    also: Sequence[int] = (),
) -> Next:
    """The k likeliest tokens, every EOS, and those of `also`; with `search`, the k likeliest whose text contains it.

    logits, processed: (V,). Raises InputError for k below 1.
    """
    if not 1 <= k <= 10_000:
        raise InputError(f"k is {k}; it must be from 1 to 10,000")
    raw = torch.log_softmax(logits.double(), dim=-1)
    spelt, ends = model.codec.literal_bytes, set(model.info.eos_token_ids)
    if search is None:
        best_ids, best = (each[0].tolist() for each in top(raw.unsqueeze(0), min(k, len(raw))))
        likeliest = {token_id for token_id, value in zip(best_ids, best, strict=True) if value > -math.inf}
        chosen = sorted({*likeliest, *ends, *also})
    else:
        chosen = _spelt_with(search, raw, spelt, k)
    values: list[float] = raw[chosen].tolist()
    ranks: list[int] = (1 + len(raw) - torch.searchsorted(raw.sort().values, raw[chosen], right=True)).tolist()
    # Best first, the lowest id first among equals.
    shown = sorted(zip(chosen, values, ranks, strict=True), key=lambda each: (-each[1], each[0]))
    ids = [token_id for token_id, _, _ in shown]
    probabilities = torch.softmax(logits.double(), dim=-1).float()[ids].tolist()
    after = None if processed is None else torch.log_softmax(processed.double(), dim=-1)[ids].tolist()
    return Next(
        token_ids=ids,
        texts=[spelt[token_id].decode("utf-8", errors="replace") for token_id in ids],
        logprobs=[value for _, value, _ in shown],
        probabilities=probabilities,
        processed=after,
        ranks=[place for _, _, place in shown],
        ends=[token_id in ends for token_id in ids],
        others=max(0.0, 1.0 - math.fsum(probabilities)),
        entropy=float(entropy(raw.float().unsqueeze(0))[0]),
    )


def _spelt_with(text: str, raw: Tensor, spelt: Sequence[bytes], k: int) -> list[int]:
    """The k likeliest tokens that can be said and contain `text`."""
    found: list[int] = []
    order = torch.argsort(raw, descending=True, stable=True)
    for token_id, value in zip(order.tolist(), raw[order].tolist(), strict=True):
        if value == -math.inf or len(found) == k:
            break
        if text in spelt[token_id].decode("utf-8", errors="replace"):
            found.append(token_id)
    return found


def next_after(
    model: Model,
    prompt_ids: Sequence[int],
    generated_ids: Sequence[int],
    config: GenerationConfig,
    *,
    k: int = 20,
    search: str | None = None,
    also: Sequence[int] = (),
    branch: Branch | None = None,
) -> Next:
    """What could come after a prompt (prefill included) and what was generated since; one forward pass of what is not in memory.

    The processed numbers are those from which this config chose, or would have. branch: one that stands there already.
    Raises what a request would.
    """
    request = model.request_of_ids(tuple(prompt_ids), (), config)
    if branch is not None:
        logits = branch.logits()
    else:
        with Branch(model, (*prompt_ids, *generated_ids), len(prompt_ids)) as short:
            logits = short.logits()
    return next_of(model, logits, _processed(model, request, logits, generated_ids), k=k, search=search, also=also)


def _processed(model: Model, request: GenerationRequest, logits: Tensor, generated_ids: Sequence[int]) -> Tensor | None:
    pipeline, constraint = model.engine.pipeline(request), model.engine.constraint(request)
    if not pipeline.names and constraint is None:
        return None
    keep = None
    if constraint is not None:
        for token_id in generated_ids:
            constraint.advance(token_id)
        keep = constraint.keep(max(1, request.room - len(generated_ids)))
    row = Row(prompt_ids=request.prompt_ids, generated_ids=tuple(generated_ids), keep=keep, limit=request.room)
    return pipeline(logits.unsqueeze(0), [row])[0]
