"""Where a completion in the making starts: after a prompt, at the end of another completion, or in the middle of one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ramify.engine.branch import Branch
from ramify.engine.model import Model
from ramify.errors import InputError
from ramify.models.detokenizer import StreamDecoder
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, SampleRecord, SpanRecord, TokenLogprob
from ramify.workbench.asking import ALTERNATIVES
from ramify.workbench.conversion import kept_logprobs
from ramify.workbench.scoring import own_ids, prompt_of
from ramify.workbench.spans import in_characters, in_tokens

if TYPE_CHECKING:
    from ramify.models.base import TextCodec

__all__ = ["Beginning", "after_prompt", "inside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What stands before the first new token."""

    sample_id: int
    prompt_id: int
    prompt_ids: tuple[int, ...]
    """As the model is given the prompt, without `ids`."""
    ids: tuple[int, ...] = ()
    """The first tokens of the completion: a prefill, another's, picked or typed ones."""
    spans: tuple[SpanRecord, ...] = ()
    """Of `ids`."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the last ones of `ids`, as far back as they are known without a gap."""
    generated_start: int = 0
    """Characters of prefill."""
    parent_id: int | None = None
    position: int | None = None
    """The parent's token at which this one leaves it."""


def after_prompt(model: Model, sample: SampleRecord, prefill: str | None = None) -> Beginning:
    """The sample's current prompt and a prefill. Raises InputError, PromptTooLongError."""
    whole, filled = model.ids_of(sample.prompt, prefill)
    return Beginning(
        sample_id=sample.id,
        prompt_id=sample.prompt_id,
        prompt_ids=whole[: len(whole) - len(filled)],
        ids=filled,
        spans=(SpanRecord(0, len(filled), "prefill"),) if filled else (),
        generated_start=len(prefill or ""),
    )


def inside(
    database: Database,
    model: Model,
    parent: CompletionRecord,
    position: int | None = None,
    *,
    picked: Sequence[int] = (),
    typed: str = "",
    codec: "Callable[[], TextCodec]",
    measures: bool = True,
) -> Beginning:
    """The first `position` tokens of a completion (all by default), then these; every one keeps its origin.

    position counts the completion's tokens under this model; `codec` is that of the completion's own, asked for where its parts
    need it. Kept tokens keep their logprobs; new ones are measured. Raises
    InputError for a position outside, and for going on behind an EOS.
    """
    ids = own_ids(database, model, parent)
    same = parent.token_ids is not None and ids == parent.token_ids
    at = len(ids) if position is None else position
    if not 0 <= at <= len(ids):
        raise InputError(
            f"position is {at}; completion {parent.id} has {len(ids)} tokens under {model.info.name}, so 0 to {len(ids)}"
        )
    kept = ids[:at]
    new = model.checked_ids(picked, "the picked tokens") if picked else tuple(model.codec.encode(typed)) if typed else ()
    ends = model.info.eos_token_ids
    if any(token_id in ends for token_id in (*kept, *new[:-1])) or (
        not new and position is None and parent.finish_reason == "eos"
    ):
        raise InputError(
            f"completion {parent.id} was ended by EOS, so there is nothing to continue; branch from a token before it, or edit it"
        )
    prompt_ids = model.ids_of(prompt_of(database, parent))[0]
    spans = [SpanRecord(s.start, min(s.end, at), s.origin) for s in parent.spans if s.start < at] if same else []
    if not same and at:
        spans = in_tokens(model.codec, kept, parent.text, in_characters(parent, codec))
    if new:
        spans.append(SpanRecord(at, at + len(new), "picked" if picked else "typed"))
    measured = _measured(database, model, parent, at) if same and measures else ()
    return Beginning(
        sample_id=parent.sample_id,
        prompt_id=parent.prompt_id,
        prompt_ids=prompt_ids,
        ids=(*kept, *new),
        spans=tuple(_joined(spans)),
        logprobs=(*measured, *_measure(model, prompt_ids, kept, new)),
        generated_start=min(parent.generated_start, len(_text(model, kept))),
        parent_id=parent.id,
        position=at,
    )


def _measured(database: Database, model: Model, parent: CompletionRecord, at: int) -> tuple[TokenLogprob, ...]:
    """The parent's own measures up to the position, where they reach it."""
    for record in database.logprobs.of(parent.id):
        if record.fingerprint == model.info.fingerprint and record.start <= at <= record.start + len(record.tokens):
            return record.tokens[: at - record.start]
    return ()


def _measure(model: Model, prompt_ids: Sequence[int], kept: Sequence[int], new: Sequence[int]) -> tuple[TokenLogprob, ...]:
    """What each new token is worth where it stands; what was computed before is not computed again."""
    if not new:
        return ()
    found = []
    with Branch(model, (*prompt_ids, *kept), len(prompt_ids)) as branch:
        for token_id in new:
            found.append(branch.measure(token_id, ALTERNATIVES))
            if len(found) < len(new):
                branch.extend(token_id)
    return kept_logprobs(found)


def _text(model: Model, ids: Sequence[int]) -> str:
    decoder = StreamDecoder(model.codec.token_bytes)
    return "".join(map(decoder.feed, ids))


def _joined(spans: Sequence[SpanRecord]) -> list[SpanRecord]:
    """Neighbours of one origin as one span; empty ones left out."""
    found: list[SpanRecord] = []
    for span in spans:
        if span.end <= span.start:
            continue
        if found and found[-1].origin == span.origin and found[-1].end == span.start:
            found[-1] = SpanRecord(found[-1].start, span.end, span.origin)
        else:
            found.append(span)
    return found
