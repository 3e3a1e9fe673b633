"""Where the parts of a completion came from, counted in tokens and counted in characters."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from ramify.store.records import CompletionRecord, Origin, SpanRecord

if TYPE_CHECKING:
    from ramify.models.base import TextCodec

__all__ = ["in_characters", "in_tokens"]


def in_characters(completion: CompletionRecord, codec: "Callable[[], TextCodec]") -> list[SpanRecord]:
    """A completion's spans over its text. `codec`: its model's, asked for only where the prefill's end does not say enough."""
    text, start = completion.text, completion.generated_start
    if completion.token_ids is None:
        return list(completion.spans)
    behind: set[Origin] = {span.origin for span in completion.spans if span.origin != "prefill"}
    if len(behind) <= 1:
        parts = [SpanRecord(0, start, "prefill"), SpanRecord(start, len(text), next(iter(behind), "typed"))]
        return [part for part in parts if part.end > part.start]
    pieces = [codec().token_bytes[token_id] for token_id in completion.token_ids]
    ends = [0, *accumulate(map(len, pieces))]
    starts = _character_starts(text)
    cut = [(_character(starts, ends[s.start]), _character(starts, ends[s.end]), s) for s in completion.spans]
    return [SpanRecord(a, b, span.origin) for a, b, span in cut if b > a]


def in_tokens(codec: "TextCodec", token_ids: Sequence[int], text: str, spans: Sequence[SpanRecord]) -> list[SpanRecord]:
    """Spans over a text as spans over its tokens: a token is of where its first character is of. Neighbours alike are one."""
    starts, at, found = _character_starts(text), 0, list[SpanRecord]()
    for i, token_id in enumerate(token_ids):
        place = _character(starts, at)
        origin = next((span.origin for span in spans if span.start <= place < span.end), spans[-1].origin if spans else "typed")
        if found and found[-1].origin == origin:
            found[-1] = SpanRecord(found[-1].start, i + 1, origin)
        else:
            found.append(SpanRecord(i, i + 1, origin))
        at += len(codec.token_bytes[token_id])
    return found


def _character_starts(text: str) -> list[int]:
    """The byte at which each character begins, and the one behind the last."""
    return [0, *accumulate(len(character.encode()) for character in text)]


def _character(starts: Sequence[int], byte: int) -> int:
    """The character that a byte is of; the text's length behind its end."""
    return bisect_right(starts, byte) - 1
