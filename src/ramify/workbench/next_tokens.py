"""What a model could say next, before and after the processors of a configuration, from any position of any completion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ramify.decoding.config import GenerationConfig
from ramify.decoding.pipeline import Row
from ramify.engine.branch import Branch
from ramify.engine.model import Model
from ramify.engine.requests import GenerationRequest
from ramify.errors import InputError

__all__ = ["Next", "next_after", "next_of"]

_Values = np.ndarray[tuple[int], np.dtype[np.float64]]


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
    raw: _Values = torch.log_softmax(logits.double(), dim=-1).cpu().numpy()
    spelt, ends = model.codec.literal_bytes, set(model.info.eos_token_ids)
    ordered = np.sort(raw)
    chosen = [*_likeliest(raw, ordered, k), *ends, *also] if search is None else _spelt_with(search, raw, spelt, k)
    ids = np.unique(np.array(chosen, dtype=np.int64))
    ids = ids[np.argsort(-raw[ids], kind="stable")]  # best first, the lowest id first among equals
    values, token_ids = raw[ids], ids.tolist()
    probabilities: list[float] = np.exp(values).astype(np.float32).tolist()
    after = None if processed is None else torch.log_softmax(processed.double(), dim=-1)[token_ids].tolist()
    return Next(
        token_ids=token_ids,
        texts=[spelt[token_id].decode("utf-8", errors="replace") for token_id in token_ids],
        logprobs=values.tolist(),
        probabilities=probabilities,
        processed=after,
        ranks=(1 + len(raw) - np.searchsorted(ordered, values, side="right")).tolist(),
        ends=[token_id in ends for token_id in token_ids],
        others=max(0.0, 1.0 - math.fsum(probabilities)),
        entropy=_entropy(raw),
    )


def _likeliest(raw: _Values, ordered: _Values, k: int) -> list[int]:
    """The k likeliest tokens that can be said; of equals at the bound those of the lowest ids. ordered: raw, ascending."""
    bound = max(ordered[-min(k, len(raw))], np.finfo(raw.dtype).min)
    above = np.flatnonzero(raw > bound)
    return [*above.tolist(), *np.flatnonzero(raw == bound)[: k - len(above)].tolist()]


def _entropy(raw: _Values) -> float:
    """In nats; what cannot be said adds nothing."""
    said = raw[np.isfinite(raw)]
    return max(0.0, -float(np.exp(said) @ said))


def _spelt_with(text: str, raw: _Values, spelt: Sequence[bytes], k: int) -> list[int]:
    """The k likeliest tokens that can be said and contain `text`."""
    found: list[int] = []
    order = np.argsort(-raw, kind="stable")
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
    config: GenerationConfig | None,
    *,
    k: int = 20,
    search: str | None = None,
    also: Sequence[int] = (),
    branch: Branch | None = None,
) -> Next:
    """What could come after a prompt (prefill included) and what was generated since; one forward pass of what is not in memory.

    The processed numbers are those from which this config chose, or would have; without one there are none. branch: one that
    stands there already. Raises what a request would.
    """
    model._check_room(len(prompt_ids))
    request = None if config is None else model.request_of_ids(tuple(prompt_ids), (), config)
    if branch is not None:
        logits = branch.logits()
    else:
        with Branch(model, (*prompt_ids, *generated_ids), len(prompt_ids)) as short:
            logits = short.logits()
    processed = None if request is None else _processed(model, request, logits, generated_ids)
    return next_of(model, logits, processed, k=k, search=search, also=also)


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
