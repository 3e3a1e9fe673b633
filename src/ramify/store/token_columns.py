"""A completion's tokens and their measures as columns: what a screen of 32,000 tokens needs, without an object for each."""

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.changes import chunks
from ramify.store.packing import alternative_columns, unpack_ids, unpack_measures

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["TokenColumns", "token_columns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenColumns:
    """Tokens [start, start + len(ids)) of a completion under one model. Measures are None where there are none."""

    completion_id: int
    model: str
    fingerprint: str
    start: int
    total: int
    """Tokens of the whole completion under this model."""
    own: bool
    """Whether the ids are the completion's own; a scoring model may have cut the text into others."""
    ids: tuple[int, ...]
    logprobs: list[float | None] | None
    ranks: list[int | None] | None
    entropies: list[float | None] | None
    offsets: list[int] | None
    """len(ids) + 1: token i's alternatives are [offsets[i], offsets[i + 1]) of the next two."""
    alternative_ids: list[int]
    alternative_logprobs: list[float]
    pieces: dict[int, bytes]
    """The bytes of every id here, as far as they are known; special tokens may be empty."""


def token_columns(
    database: "Database",
    completion_id: int,
    model: str | None = None,
    *,
    start: int = 0,
    end: int | None = None,
    alternatives: int = 20,
) -> TokenColumns:
    """Tokens [start, end) with at most so many alternatives each, under a model of this name, or the completion's own.

    The newest fingerprint, where several have the name. Raises NotFoundError where the model did not score it, InputError
    where nobody knows its tokens, or for bounds that are none.
    """
    c, b, m, table = tables.completions, tables.completion_bodies, tables.models, tables.logprobs
    if start < 0 or (end is not None and end < start) or alternatives < 0:
        raise InputError(f"start is {start}, end is {end}, alternatives is {alternatives}; 0 <= start <= end, and none below 0")
    with database.reading() as connection:
        head = connection.execute(
            select(c.c.model_id, b.c.token_ids, m.c.name, m.c.fingerprint)
            .join(b, b.c.id == c.c.id)
            .join(m, m.c.id == c.c.model_id)
            .where(c.c.id == completion_id)
        ).first()
        if head is None:
            raise NotFoundError(f"there is no completion {completion_id}")
        query = select(table, m.c.name, m.c.fingerprint).join(m, m.c.id == table.c.model_id)
        query = query.where(table.c.completion_id == completion_id).order_by(table.c.id.desc())
        query = query.where(table.c.model_id == head.model_id) if model is None else query.where(m.c.name == model)
        row = connection.execute(query.limit(1)).first()
        is_own_model = model is None or model == head.name
        if row is None and (head.token_ids is None or not is_own_model):
            asked = head.name if model is None else model
            if head.token_ids is None and is_own_model:
                raise InputError(f"nobody knows the tokens of completion {completion_id}; score it under a model first")
            raise NotFoundError(f"completion {completion_id} has no logprobs under {asked}; score it first")
        return _columns(connection, completion_id, head, row, start, end, alternatives)


def _columns(
    connection: Connection, completion_id: int, head: Any, row: Any, start: int, end: int | None, most: int
) -> TokenColumns:
    own = row is None or row.token_ids is None
    packed = bytes(head.token_ids if own else row.token_ids)
    total = len(packed) // 3
    first = 0 if row is None else row.start
    stop = total if end is None else min(end, total)
    start = min(start, stop)
    shown = unpack_ids(packed[3 * start : 3 * stop])
    logprobs: list[float | None] | None = None
    ranks: list[int | None] | None = None
    entropies: list[float | None] | None = None
    offsets: list[int] | None = None
    ids: list[int] = []
    values: list[float] = []
    if row is not None:
        # Only what is asked for is unpacked. Places before the first measured token, and behind the last, have no measures.
        low, high = (min(max(place - first, 0), row.token_count) for place in (start, stop))
        before = [None] * max(0, min(first, stop) - start)
        measures = unpack_measures(bytes(row.measures)[10 * low : 10 * high])
        behind = [None] * (stop - start - len(before) - len(measures))
        logprobs, ranks, entropies = ([*before, *(each[k] for each in measures), *behind] for k in range(3))  # type: ignore[assignment]
        if row.alternatives is not None and most:
            counts, ids, values = alternative_columns(bytes(row.alternatives), low, high, most) if high > low else ([], [], [])
            offsets = list(accumulate((*(0 for _ in before), *counts, *(0 for _ in behind)), initial=0))
    model_id = head.model_id if row is None else row.model_id
    wanted = {*shown, *ids}
    return TokenColumns(
        completion_id=completion_id,
        model=head.name if row is None else row.name,
        fingerprint=head.fingerprint if row is None else row.fingerprint,
        start=start,
        total=total,
        own=own,
        ids=shown,
        logprobs=logprobs,
        ranks=ranks,
        entropies=entropies,
        offsets=offsets,
        alternative_ids=ids,
        alternative_logprobs=values,
        pieces=_pieces(connection, model_id, sorted(wanted)),
    )


def _pieces(connection: Connection, model_id: int, ids: list[int]) -> dict[int, bytes]:
    table, found = tables.vocabulary, {}
    for part in chunks(ids):
        query = select(table.c.token_id, table.c.bytes).where(table.c.model_id == model_id, table.c.token_id.in_(part))
        found.update({row.token_id: bytes(row.bytes) for row in connection.execute(query)})
    return found
