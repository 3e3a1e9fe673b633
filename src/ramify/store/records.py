"""What the workspace holds, as values. Times are UTC; logprobs are nats; positions count tokens and spans are half-open."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from ramify.errors import InputError
from ramify.store.tables import FINISH_REASONS

__all__ = [
    "ActionRecord",
    "BeamNodeRecord",
    "BeamTreeRecord",
    "ChangeRecord",
    "CompletionRecord",
    "FacetRecord",
    "ImageRecord",
    "LogprobsRecord",
    "NewCompletion",
    "NewNode",
    "PreferenceRecord",
    "Prompt",
    "PromptRecord",
    "RatingRecord",
    "SampleRecord",
    "SpanRecord",
    "TagRecord",
    "TokenLogprob",
    "UnansweredRecord",
    "id_of",
    "ids_of",
    "moment",
]

Message = Mapping[str, Any]
Prompt = str | Sequence[Message]
"""Raw text, or chat messages with at least "role" and "content"."""

Origin = Literal["prefill", "sampled", "picked", "typed", "imported"]
ORIGINS = ("prefill", "sampled", "picked", "typed", "imported")


def id_of(given: Any, kind: type[Any]) -> int:
    """An id as it is, or that of a record of this kind. Raises InputError for anything else."""
    if isinstance(given, kind):
        return int(given.id)
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise InputError(f"{_told(given)} was given; it must be a {kind.__name__} or its id")


def ids_of(given: Any, kind: type[Any]) -> list[int]:
    """The same for several. Raises InputError for one that is given in place of a list."""
    if isinstance(given, str | int | kind) or not isinstance(given, Iterable):
        raise InputError(f"{_told(given)} was given; it must be a list of {kind.__name__}s or their ids")
    return [id_of(each, kind) for each in given]


def _told(given: Any) -> str:
    name = type(given).__name__
    return f"{name} {given.id}" if name.endswith("Record") and hasattr(given, "id") else repr(given)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A reference; the image itself stays where it is."""

    path: str
    media_type: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRecord:
    """One revision of a sample's prompt."""

    id: int
    sample_id: int
    number: int
    """1 for the first."""
    parent_id: int | None
    """The revision it was made from."""
    prompt: str | tuple[Message, ...]
    text: str
    """What full-text search sees: the raw text, or the messages' contents."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRecord:
    """A fixed prompt and what is known about it."""

    id: int
    title: str
    group: str
    """A path such as "letters/legal"; "" is the top."""
    notes: str
    """For people; no model sees them."""
    prompt: str | tuple[Message, ...]
    prompt_id: int
    """The current revision; completions belong to a revision."""
    revision: int
    tags: tuple[str, ...]
    images: tuple[ImageRecord, ...]
    archived: bool
    hidden: bool
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """[start, end) of a completion and where it came from: tokens where the completion has ids, else characters."""

    start: int
    end: int
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """One token under one model: raw, at temperature 1, EOS included."""

    token_id: int
    token_bytes: bytes
    logprob: float
    rank: int
    """1 is the likeliest; 0: a remote did not tell."""
    entropy: float
    """nan: a remote did not tell."""
    alternatives: tuple[tuple[int, bytes, float], ...] = ()
    """(token id, bytes, logprob), likeliest first."""

    @property
    def text(self) -> str:
        return self.token_bytes.decode("utf-8", errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobsRecord:
    """A completion under one scoring model: tokens [start, start + len(tokens)) of it."""

    completion_id: int
    model: str
    fingerprint: str
    start: int
    tokens: tuple[TokenLogprob, ...]
    sum_logprob: float
    mean_logprob: float | None
    """None for no tokens."""
    min_logprob: float | None
    p10_logprob: float | None
    """A tenth of the tokens are less likely than this."""
    p50_logprob: float | None
    mean_entropy: float | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCompletion:
    """A completion that is not in the workspace yet. What is left out has the meaning of "unknown" or "none"."""

    text: str
    """With the prefill."""
    model: str = "manual"
    fingerprint: str = ""
    finish_reason: str | None = None
    """None only for a draft that still grows."""
    generated_start: int = 0
    """Characters of prefill: `text[generated_start:]` is what was generated."""
    token_ids: Sequence[int] | None = None
    """Prefill and generated, EOS included; None when nobody knows them."""
    spans: Sequence[SpanRecord] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    processors: Sequence[str] = ()
    seed: int | None = None
    stop_string: str | None = None
    beam_score: float | None = None
    truncated: bool | None = None
    """None: so unless EOS ended it, or it was written or imported."""
    parent_id: int | None = None
    branch_position: int | None = None
    """The token of the parent at which this one leaves it."""
    draft: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else is worth keeping: a block's instructions, an import's metrics."""
    logprobs: Sequence[TokenLogprob] | None = None
    """Under its own model; they end where the ids end."""
    spelt: Sequence[TokenLogprob] | None = None
    """The same from a remote, which told how its tokens are spelt and no ids (they are -1 here): of the generated part."""
    bulk: str | None = None
    """The run of a bulk generation that made it: equal for all that were asked for alike."""
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.finish_reason is None and not self.draft:
            raise InputError(f"a completion needs a finish_reason, one of {', '.join(FINISH_REASONS)}; only a draft may lack it")
        if self.finish_reason is not None and self.finish_reason not in FINISH_REASONS:
            raise InputError(f"finish_reason is {self.finish_reason!r}; it must be one of {', '.join(FINISH_REASONS)}")
        if not 0 <= self.generated_start <= len(self.text):
            raise InputError(
                f"generated_start is {self.generated_start}; it must be within the text's {len(self.text)} characters"
            )
        size = len(self.text) if self.token_ids is None else len(self.token_ids)
        for span in self.spans:
            if span.origin not in ORIGINS:
                raise InputError(f"a span's origin is {span.origin!r}; it must be one of {', '.join(ORIGINS)}")
            if not 0 <= span.start <= span.end <= size:
                raise InputError(f"a span reaches from {span.start} to {span.end}; the completion has {size} places")
        if self.logprobs is not None and self.token_ids is None:
            raise InputError("logprobs were given without token_ids; give both")
        if self.logprobs is not None and self.spelt is not None:
            raise InputError("logprobs were given with ids and without; give one of them")

    @property
    def is_truncated(self) -> bool:
        if self.truncated is not None:
            return self.truncated
        return self.finish_reason not in ("eos", "written", "imported", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRecord:
    """A completion in the workspace."""

    id: int
    sample_id: int
    prompt_id: int
    model: str
    fingerprint: str
    text: str
    generated_start: int
    token_ids: tuple[int, ...] | None
    spans: tuple[SpanRecord, ...]
    config: Mapping[str, Any]
    processors: tuple[str, ...]
    seed: int | None
    finish_reason: str | None
    stop_string: str | None
    beam_score: float | None
    truncated: bool
    archived: bool
    hidden: bool
    """Removed from view; still ranked and exported."""
    draft: bool
    """Not saved yet: neither ranked nor exported."""
    parent_id: int | None
    branch_position: int | None
    mean_logprob: float | None
    """Under its own model."""
    min_logprob: float | None
    labels: Mapping[str, str]
    tags: tuple[str, ...]
    details: Mapping[str, Any]
    bulk: str | None
    created_at: datetime

    @property
    def generated_text(self) -> str:
        return self.text[self.generated_start :]

    @property
    def token_count(self) -> int | None:
        return None if self.token_ids is None else len(self.token_ids)

    def anew(self, **changes: Any) -> NewCompletion:
        """All that it says of itself as a completion to keep, with these changes. Its parent and branch position, its bulk run,
        and that it is a draft, are not part of that."""
        return NewCompletion(**{name: getattr(self, name) for name in _OWN} | changes)


_OWN = {each.name for each in fields(NewCompletion)} & {each.name for each in fields(CompletionRecord)} - {
    "parent_id",
    "branch_position",
    "draft",
    "bulk",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRecord:
    id: int
    name: str
    description: str
    scope: str
    """What it may be put on: "samples", "completions" or "both"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetRecord:
    """A purpose. What is None is inherited; `facets.effective` resolves it."""

    id: int
    name: str
    description: str
    parent: str | None
    good_rating: int | None
    """Ratings from here on are good."""
    bad_rating: int | None
    """Ratings up to here are bad."""
    min_logprob: float | None
    mean_logprob: float | None
    target_model: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingRecord:
    completion_id: int
    facet: str
    rating: int
    """0 to 10."""
    origin: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceRecord:
    """One judgement of a pair under a facet."""

    id: int
    facet: str
    sample_id: int
    better_id: int
    worse_id: int
    tie: bool
    """Neither is better; the two ids are then in no order."""
    origin: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredRecord:
    """A request that a facet's store could not answer."""

    id: int
    facet: str
    prompt: str | tuple[Message, ...]
    asked: int
    """How often."""
    state: str
    """ "waiting", "answered" or "dismissed"."""
    sample_id: int | None
    created_at: datetime
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamTreeRecord:
    id: int
    sample_id: int
    prompt_id: int
    model: str
    fingerprint: str
    title: str
    prefill: tuple[int, ...]
    """Token ids between the prompt and the root."""
    root_id: int
    config: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNode:
    """A token to hang under a node, and what the model could say after it, where that is known."""

    token_id: int
    logprob: float | None = None
    entropy: float | None = None
    """Of the distribution that this token was chosen from."""
    rank: int | None = None
    origin: str = "sampled"
    ended: bool = False
    """Whether it is an EOS."""
    candidates: Sequence[tuple[int, float]] | None = None
    """(token id, logprob) of next tokens, likeliest first."""
    next_entropy: float | None = None
    """Of the whole distribution after this token, in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamNodeRecord:
    id: int
    tree_id: int
    parent_id: int | None
    """None for the root, which has no token."""
    token_id: int
    depth: int
    logprob: float | None
    entropy: float | None
    rank: int | None
    sum_logprob: float | None
    """From the root to here; None where a token on the way was never measured."""
    min_logprob: float | None
    origin: str
    ended: bool
    pinned: bool
    kept: bool
    pruned: bool
    bookmarked: bool
    dead_reason: str | None
    completion_id: int | None
    candidates: tuple[tuple[int, float], ...] | None
    """None where the model was not asked yet."""
    next_entropy: float | None
    """Of the whole distribution after this token, in nats; None where it is not known."""

    @property
    def mean_logprob(self) -> float | None:
        if self.sum_logprob is None:
            return None
        return self.sum_logprob / self.depth if self.depth else 0.0

    @property
    def live(self) -> bool:
        return not (self.ended or self.pruned or self.dead_reason is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRecord:
    """A step of the history."""

    id: int
    name: str
    detail: str
    author: str
    state: str
    """ "done", "undone", or "abandoned": undone, and then something else was done."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRecord:
    """What an action did to rows of one table."""

    table: str
    kind: str
    """ "insert", "update" or "delete"."""
    row_ids: tuple[int, ...]
    before: Any
    """The columns before an update, or the rows before a delete."""
    after: Any
    """The columns after an update; for an undone insert, its rows."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value at a share of an ordered sequence, between neighbours linearly, as numpy's default has it."""
    at = share * (len(ordered) - 1)
    low, high = math.floor(at), math.ceil(at)
    if low == high or ordered[low] == -math.inf:
        return ordered[low]
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
