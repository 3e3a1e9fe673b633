"""Logprobs of a completion under any model: its own, or one that was asked later.

A scoring model may cut the text into other tokens than the completion's own; its ids are then kept beside its measures.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.changes import Action, chunks, learn, model_id_of, numbered
from ramify.store.packing import (
    pack_alternatives,
    pack_ids,
    pack_measures,
    unpack_alternatives,
    unpack_ids,
    unpack_measures,
)
from ramify.store.records import CompletionRecord, LogprobsRecord, TokenLogprob, id_of, ids_of, moment, percentile

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Logprobs", "Scored", "put_logprobs", "with_numbers"]

logprobs, completions = tables.logprobs, tables.completions

Scored = tuple[int, int, int, Sequence[TokenLogprob], Sequence[int] | None]
"""completion id, model's number, first token, measures, and the scoring model's token ids where they are not the completion's."""


class Logprobs:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def put(
        self,
        completion: CompletionRecord | int,
        model: str,
        fingerprint: str,
        tokens: Sequence[TokenLogprob],
        *,
        start: int = 0,
    ) -> LogprobsRecord:
        """Keep (or replace) a completion's measures under a model, from its token `start` on.

        Tokens with the id -1 are a remote's, which told only how they are spelt: the workspace numbers them.
        Raises NotFoundError, and InputError where a start above 0 is given with ids that are not the completion's own.
        """
        completion_id = id_of(completion, CompletionRecord)
        with self.database.action("score completion", model) as action:
            model_id = model_id_of(action.connection, model, fingerprint)
            own = _own_ids(action.connection, completion_id)
            if any(token.token_id < 0 for token in tokens):
                own, tokens = None, with_numbers(action.connection, model_id, tokens)
            theirs = [token.token_id for token in tokens]
            same = own is not None and list(own[start : start + len(theirs)]) == theirs
            if not same and start:
                raise InputError(
                    f"the tokens from {start} on are not the completion's own; score it from its start under this model"
                )
            put_logprobs(action, [(completion_id, model_id, start, tokens, None if same else theirs)])
            mine = action.connection.execute(select(completions.c.model_id).where(completions.c.id == completion_id)).scalar()
            if mine == model_id:
                summary = _summary(tokens)
                action.update(completions, [completion_id], {name: summary[name] for name in ("mean_logprob", "min_logprob")})
            return self.get(completion_id, model, fingerprint)

    def get(self, completion: CompletionRecord | int, model: str, fingerprint: str | None = None) -> LogprobsRecord:
        """Under a model of this name; the newest where several fingerprints have it. Raises NotFoundError."""
        found = [record for record in self.of(completion) if record.model == model and fingerprint in (None, record.fingerprint)]
        if not found:
            raise NotFoundError(f"completion {id_of(completion, CompletionRecord)} has no logprobs under {model}; score it first")
        return found[-1]

    def of(self, completion: CompletionRecord | int) -> list[LogprobsRecord]:
        """Under every model that scored it, oldest first."""
        models, bodies = tables.models, tables.completion_bodies
        query = (
            select(logprobs, models.c.name, models.c.fingerprint, bodies.c.token_ids.label("own_ids"))
            .join(models, models.c.id == logprobs.c.model_id)
            .join(bodies, bodies.c.id == logprobs.c.completion_id)
            .where(logprobs.c.completion_id == id_of(completion, CompletionRecord))
            .order_by(logprobs.c.id)
        )
        with self.database.reading() as connection:
            return [_record(connection, row) for row in connection.execute(query).all()]

    def drop_alternatives(self, which: Sequence[CompletionRecord | int]) -> None:
        """Forget what else the models could have said in these completions; the chosen tokens' measures stay."""
        ids = ids_of(which, CompletionRecord)
        with self.database.action("drop alternatives", f"{len(ids)}") as action:
            for part in chunks(list(ids)):
                query = select(logprobs.c.id).where(logprobs.c.completion_id.in_(part), logprobs.c.alternatives.is_not(None))
                action.update(logprobs, action.connection.execute(query).scalars().all(), {"alternatives": None})


def put_logprobs(action: Action, rows: Sequence[Scored], *, fresh: bool = False, recorded: bool = True) -> None:
    """Keep measures, in place of earlier ones of the same completion and model. `fresh`: there are none, so nobody looks.

    Unrecorded replacements are for drafts that grow.
    """
    new = []
    pieces: dict[int, dict[int, bytes]] = defaultdict(dict)
    for completion_id, model_id, start, tokens, ids in rows:
        row: dict[str, Any] = {
            "completion_id": completion_id,
            "model_id": model_id,
            "start": start,
            "token_count": len(tokens),
            "created_at": action.time,
            "token_ids": None if ids is None else pack_ids(ids),
            "measures": pack_measures([(token.logprob, token.rank, token.entropy) for token in tokens]),
            "alternatives": pack_alternatives([[(i, value) for i, _, value in token.alternatives] for token in tokens]),
            **_summary(tokens),
        }
        for token in tokens:
            pieces[model_id][token.token_id] = token.token_bytes
            pieces[model_id].update({i: piece for i, piece, _ in token.alternatives})
        old = (logprobs.c.completion_id == completion_id) & (logprobs.c.model_id == model_id)
        found = [] if fresh else action.connection.execute(select(logprobs.c.id).where(old)).scalars().all()
        if not found:
            new.append(row)
        elif recorded:
            action.update(logprobs, found, row)
        else:
            action.set_rows(logprobs, found, row)
    for model_id, known in pieces.items():
        learn(action.connection, model_id, known)
    if recorded or action.id is not None:
        action.insert(logprobs, new)
    elif new:
        numbers = action.reserve(logprobs, len(new))
        action.connection.execute(logprobs.insert(), [{"id": i, **row} for i, row in zip(numbers, new, strict=True)])


def with_numbers(connection: Connection, model_id: int, tokens: Sequence[TokenLogprob]) -> Sequence[TokenLogprob]:
    """A remote's tokens with numbers in place of the ids that it did not tell."""
    spelt = [(token.token_bytes, *(piece for _, piece, _ in token.alternatives)) for token in tokens]
    ids = numbered(connection, model_id, (piece for each in spelt for piece in each))
    return [
        replace(
            token,
            token_id=ids[token.token_bytes],
            alternatives=tuple((ids[piece], piece, value) for _, piece, value in token.alternatives),
        )
        for token in tokens
    ]


def _own_ids(connection: Connection, completion_id: int) -> tuple[int, ...] | None:
    bodies = tables.completion_bodies
    row = connection.execute(select(bodies.c.token_ids).where(bodies.c.id == completion_id)).first()
    if row is None:
        raise NotFoundError(f"there is no completion {completion_id}")
    return None if row.token_ids is None else unpack_ids(bytes(row.token_ids))


def _summary(tokens: Sequence[TokenLogprob]) -> dict[str, float | None]:
    values = sorted(token.logprob for token in tokens)
    if not values:
        names = ("min_logprob", "mean_logprob", "p10_logprob", "p50_logprob", "mean_entropy")
        return {"sum_logprob": 0.0, **dict.fromkeys(names)}
    total = sum(token.logprob for token in tokens)
    entropies = [token.entropy for token in tokens]
    return {
        "sum_logprob": total,
        "mean_logprob": total / len(values),
        "min_logprob": values[0],
        "p10_logprob": percentile(values, 0.1),
        "p50_logprob": percentile(values, 0.5),
        "mean_entropy": None if any(map(math.isnan, entropies)) else sum(entropies) / len(values),
    }


def _record(connection: Connection, row: Any) -> LogprobsRecord:
    if row.token_ids is not None:
        ids = unpack_ids(bytes(row.token_ids))
    else:
        ids = unpack_ids(bytes(row.own_ids))[row.start : row.start + row.token_count]
    others = unpack_alternatives(None if row.alternatives is None else bytes(row.alternatives), row.token_count)
    pieces = _bytes_of(connection, row.model_id, {*ids, *(i for each in others for i, _ in each)})
    tokens = tuple(
        TokenLogprob(
            token_id=token_id,
            token_bytes=pieces.get(token_id, b""),
            logprob=logprob,
            rank=rank,
            entropy=entropy,
            alternatives=tuple((i, pieces.get(i, b""), value) for i, value in alternatives),
        )
        for token_id, (logprob, rank, entropy), alternatives in zip(
            ids, unpack_measures(bytes(row.measures)), others, strict=True
        )
    )
    return LogprobsRecord(
        completion_id=row.completion_id,
        model=row.name,
        fingerprint=row.fingerprint,
        start=row.start,
        tokens=tokens,
        sum_logprob=row.sum_logprob,
        mean_logprob=row.mean_logprob,
        min_logprob=row.min_logprob,
        p10_logprob=row.p10_logprob,
        p50_logprob=row.p50_logprob,
        mean_entropy=row.mean_entropy,
        created_at=moment(row.created_at),
    )


def _bytes_of(connection: Connection, model_id: int, ids: Iterable[int]) -> dict[int, bytes]:
    table, found = tables.vocabulary, {}
    for part in chunks(sorted(ids)):
        query = select(table.c.token_id, table.c.bytes).where(table.c.model_id == model_id, table.c.token_id.in_(part))
        found.update({row.token_id: bytes(row.bytes) for row in connection.execute(query)})
    return found
