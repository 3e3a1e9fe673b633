"""What a model could say next, before and after the processors of a configuration, from any position of any completion."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ramify.decoding.config import GenerationConfig
from ramify.decoding.pipeline import Row
from ramify.engine.branch import Branch
from ramify.engine.model import Model
from ramify.engine.requests import GenerationRequest
from ramify.errors import InputError
from ramify.models import threads
from ramify.store.records import TokenLogprob

__all__ = ["Next", "Reading", "next_after"]

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


class Reading:
    """What a model's logits say of the next token: read once for those who look, and for the token that is taken."""

    def __init__(self, logits: Tensor) -> None:
        """logits: (V,)."""
        self.logits = logits
        values: _Values = logits.cpu().numpy().astype(np.float64)
        likeliest = values.max()
        self.raw: _Values = values - (likeliest + np.log(np.exp(values - likeliest).sum()))
        """Log-probabilities at temperature 1, (V,)."""
        self._ordered = np.sort(self.raw)

    @cached_property
    def entropy(self) -> float:
        """In nats; what cannot be said adds nothing."""
        said = self.raw[np.isfinite(self.raw)]
        return max(0.0, -float(np.exp(said) @ said))

    def likeliest(self, k: int) -> list[int]:
        """The k likeliest tokens that can be said, by id; of equals at the bound those of the lowest ids."""
        bound = max(self._ordered[-min(k, len(self.raw))], np.finfo(self.raw.dtype).min)
        above = np.flatnonzero(self.raw > bound)
        return sorted([*above.tolist(), *np.flatnonzero(self.raw == bound)[: k - len(above)].tolist()])

    def best_first(self, token_ids: Iterable[int]) -> list[int]:
        """Each once, of equals the lowest id first."""
        ids = np.unique(np.array(list(token_ids), dtype=np.int64))
        found: list[int] = ids[np.argsort(-self.raw[ids], kind="stable")].tolist()
        return found

    def ranks(self, token_ids: Sequence[int]) -> list[int]:
        """1 + the number of tokens strictly likelier."""
        found: list[int] = (1 + len(self.raw) - np.searchsorted(self._ordered, self.raw[token_ids], side="right")).tolist()
        return found

    def spelt_with(self, text: str, spelt: Sequence[bytes], k: int) -> list[int]:
        """The k likeliest tokens that can be said and contain `text`."""
        found: list[int] = []
        order = np.argsort(-self.raw, kind="stable")
        for token_id, value in zip(order.tolist(), self.raw[order].tolist(), strict=True):
            if value == -math.inf or len(found) == k:
                break
            if text in spelt[token_id].decode("utf-8", errors="replace"):
                found.append(token_id)
        return found

    def kept(self, model: Model, token_id: int, alternatives: int) -> TokenLogprob:
        """What the workspace keeps of a token that is taken, in float32 as the engine measures. InputError for no token."""
        (checked,) = model.checked_ids((token_id,), "the branch")
        others, values = self.best_first(self.likeliest(alternatives)), self.raw.astype(np.float32)
        pieces = model.codec.token_bytes
        return TokenLogprob(
            token_id=checked,
            token_bytes=pieces[checked],
            logprob=float(values[checked]),
            rank=self.ranks([checked])[0],
            entropy=float(np.float32(self.entropy)),
            alternatives=tuple((each, pieces[each], float(values[each])) for each in others),
        )


def _next_of(
    model: Model, reading: Reading, processed: Tensor | None, *, k: int, search: str | None, also: Sequence[int]
) -> Next:
    """The k likeliest tokens, every EOS, and those of `also`; with `search`, the k likeliest whose text contains it.

    processed: (V,). Raises InputError for k below 1.
    """
    if not 1 <= k <= 10_000:
        raise InputError(f"k is {k}; it must be from 1 to 10,000")
    spelt, ends = model.codec.literal_bytes, set(model.info.eos_token_ids)
    chosen = [*reading.likeliest(k), *ends, *also] if search is None else reading.spelt_with(search, spelt, k)
    token_ids = reading.best_first(chosen)
    values = reading.raw[token_ids]
    probabilities: list[float] = np.exp(values).astype(np.float32).tolist()
    after = None if processed is None else torch.log_softmax(processed.double(), dim=-1)[token_ids].tolist()
    return Next(
        token_ids=token_ids,
        texts=[spelt[token_id].decode("utf-8", errors="replace") for token_id in token_ids],
        logprobs=values.tolist(),
        probabilities=probabilities,
        processed=after,
        ranks=reading.ranks(token_ids),
        ends=[token_id in ends for token_id in token_ids],
        others=max(0.0, 1.0 - math.fsum(probabilities)),
        entropy=reading.entropy,
    )


@threads.team_for_now()
def next_after(
    model: Model,
    prompt_ids: Sequence[int],
    generated_ids: Sequence[int],
    config: GenerationConfig | None,
    *,
    k: int = 20,
    search: str | None = None,
    also: Sequence[int] = (),
    reading: Reading | None = None,
) -> Next:
    """What could come after a prompt (prefill included) and what was generated since; one forward pass of what is not in memory.

    The processed numbers are those from which this config chose, or would have; without one there are none. reading: of what
    the model says there, where it is at hand. Raises what a request would.
    """
    model.check_room(len(prompt_ids))
    request = None if config is None else model.request_of_ids(tuple(prompt_ids), (), config)
    if reading is None:
        with Branch(model, (*prompt_ids, *generated_ids), len(prompt_ids)) as short:
            reading = Reading(short.logits())
    processed = None if request is None else _processed(model, request, reading.logits, generated_ids)
    return _next_of(model, reading, processed, k=k, search=search, also=also)


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
