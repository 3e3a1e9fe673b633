"""By hand: texts typed or pasted, and edits that leave untouched tokens as they were."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ramify.errors import InputError
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, NewCompletion, SampleRecord, SpanRecord

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.models.base import TextCodec

__all__ = ["Edit", "edit", "edit_of", "write"]


def write(
    database: Database,
    sample: SampleRecord,
    text: str,
    *,
    model: str = "manual",
    truncated: bool = False,
    finish_reason: str = "written",
) -> CompletionRecord:
    """Keep a text that was typed, or pasted under the name of what wrote it. It is whole unless said otherwise."""
    spans = [SpanRecord(0, len(text), "typed")] if text else []
    new = NewCompletion(text=text, model=model, finish_reason=finish_reason, spans=spans, truncated=truncated)
    return database.completions.add(sample.id, new)


@dataclass(frozen=True, slots=True)
class Edit:
    """What an edit leaves: tokens [0, kept_start) and the last `kept_end` ones are the old ones; between them stand typed ids."""

    kept_start: int
    typed: tuple[int, ...]
    kept_end: int


def edit_of(codec: "TextCodec", token_ids: Sequence[int], old: str, new: str) -> Edit:
    """The tokens that an edit from `old` to `new` does not touch. A token whose bytes the edit touches is typed anew.

    token_ids: those of `old`, with an EOS or cut-off text after it perhaps; what stands beyond the old text counts as its end.
    """
    before, after = old.encode(), new.encode()
    ends = [0]
    for token_id in token_ids:
        ends.append(ends[-1] + len(codec.token_bytes[token_id]))
    shared = _common(before, after)
    start = max(i for i in range(len(ends)) if ends[i] <= shared)
    if shared == len(after) == len(before):
        return Edit(len(token_ids), (), 0)
    # The end: old bytes from `ends[i]` on must be the new text's end too, and not reach into what the beginning keeps.
    shared_end = _common(before[ends[start] :][::-1], after[ends[start] :][::-1])
    first_kept = len(before) - shared_end
    end = next((i for i in range(start, len(token_ids)) if ends[i] >= first_kept and ends[i] <= len(before)), len(token_ids))
    middle = after[ends[start] : len(after) - max(0, len(before) - ends[end])]
    try:
        typed = middle.decode()
    except UnicodeDecodeError:  # a character is split between tokens: keep only what is whole
        return Edit(0, tuple(codec.encode(new)), 0)
    return Edit(start, tuple(codec.encode(typed)) if typed else (), len(token_ids) - end)


def edit(
    database: Database,
    parent: CompletionRecord,
    text: str,
    *,
    model: "Model | None" = None,
    name: str | None = None,
) -> CompletionRecord:
    """A child with the new text: its model's name kept (or `name`), the typed span marked, untouched tokens with their logprobs.

    model: the one whose ids the parent has; without it the child has no ids. Raises InputError when nothing was changed.
    """
    if text == parent.text:
        raise InputError(f"the text is the same as completion {parent.id}'s; change it, or leave it as it is")
    ids, spans, position = None, _typed_characters(parent, text), None
    kept: Edit | None = None
    if parent.token_ids is not None and model is not None and parent.fingerprint == model.info.fingerprint:
        kept = edit_of(model.codec, parent.token_ids, parent.text, text)
        end = len(parent.token_ids) - kept.kept_end
        ids = (*parent.token_ids[: kept.kept_start], *kept.typed, *parent.token_ids[end:])
        spans = _typed_tokens(parent, kept)
        position = kept.kept_start
    new = NewCompletion(
        text=text,
        model=name or parent.model,
        fingerprint=parent.fingerprint if ids is not None else "",
        finish_reason="written",
        generated_start=min(parent.generated_start, _common(parent.text, text)),
        token_ids=ids,
        spans=spans,
        # Where the end stands as it was, it is cut as it was; an end that was typed is meant.
        truncated=parent.truncated and _common(parent.text[::-1], text[::-1]) > 0,
        parent_id=parent.id,
        branch_position=position,
    )
    with database.action("edit", str(parent.id)):
        child = database.completions.add(parent.sample_id, new, prompt_id=parent.prompt_id)
        if kept is not None:
            for record in database.logprobs.of(parent.id):
                tokens = record.tokens[: max(0, kept.kept_start - record.start)]
                if tokens:
                    database.logprobs.put(child.id, record.model, record.fingerprint, tokens, start=record.start)
    return child


def _typed_tokens(parent: CompletionRecord, kept: Edit) -> list[SpanRecord]:
    assert parent.token_ids is not None, "a parent without ids has no token spans"
    total = len(parent.token_ids)
    shift = kept.kept_start + len(kept.typed) - (total - kept.kept_end)
    spans = _cut(parent.spans, 0, kept.kept_start, 0)
    if kept.typed:
        spans.append(SpanRecord(kept.kept_start, kept.kept_start + len(kept.typed), "typed"))
    return spans + _cut(parent.spans, total - kept.kept_end, total, shift)


def _typed_characters(parent: CompletionRecord, text: str) -> list[SpanRecord]:
    start = _common(parent.text, text)
    end = _common(parent.text[start:][::-1], text[start:][::-1])
    by_characters = parent.spans if parent.token_ids is None else ()
    spans = _cut(by_characters, 0, start, 0)
    if len(text) - end > start:
        spans.append(SpanRecord(start, len(text) - end, "typed"))
    return spans + _cut(by_characters, len(parent.text) - end, len(parent.text), len(text) - len(parent.text))


def _cut(spans: Sequence[SpanRecord], start: int, end: int, shift: int) -> list[SpanRecord]:
    """What of the spans lies in [start, end), moved by `shift`."""
    cut = [(max(s.start, start), min(s.end, end), s.origin) for s in spans]
    return [SpanRecord(a + shift, b + shift, origin) for a, b, origin in cut if b > a]


def _common(a: Sequence[object], b: Sequence[object]) -> int:
    """How many first elements are equal."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
