"""Every sample with its completions and what is thought of them, in order and in bounded memory: what exports and reports read.

A walk sees one moment of the workspace however long it takes. It reads the narrow facts; texts are asked for afterwards, by id.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, case, func, select

from ramify.store import tables
from ramify.store.changes import chunks
from ramify.store.prompts import prompt_from
from ramify.store.records import Message

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = [
    "Candidate",
    "Judged",
    "PromptFacts",
    "Said",
    "Written",
    "count_samples",
    "mean_at",
    "prompt_texts",
    "prompts_of",
    "texts_of",
    "walk",
]

PAGE = 500
"""Samples read at once."""

samples, prompts, completions, bodies = tables.samples, tables.prompts, tables.completions, tables.completion_bodies
models, logprobs, ratings, preferences = tables.models, tables.logprobs, tables.ratings, tables.preferences
approvals = tables.approvals


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A completion without its text. Drafts are never among them."""

    id: int
    prompt_id: int
    model: str
    fingerprint: str
    text_hash: bytes
    truncated: bool
    archived: bool
    token_count: int | None
    by_hand: bool
    """Some of it was typed, picked or imported."""
    rating: int | None
    """The nearest facet's."""
    approved: bool
    """Under the facet itself."""
    scored: bool
    """Whether the scoring model measured it."""
    mean_logprob: float | None
    min_logprob: float | None
    p10_logprob: float | None
    p50_logprob: float | None
    sum_logprob: float | None


@dataclass(frozen=True, slots=True)
class Said:
    """A preference that counts under the facet."""

    better: int
    worse: int
    tie: bool


@dataclass(frozen=True, slots=True)
class PromptFacts:
    id: int
    raw: bool
    """Text, not messages."""
    tools: bool
    """Its messages offer tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A sample with everything that could be exported of it."""

    id: int
    title: str
    group: str
    archived: bool
    prompts: Mapping[int, PromptFacts]
    candidates: tuple[Candidate, ...]
    """Oldest first."""
    preferences: tuple[Said, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A completion's text and what came with it."""

    id: int
    model: str
    text: str
    details: Mapping[str, Any]


def walk(
    connection: Connection,
    database: "Database",
    *,
    facet: str | None = None,
    scored_by: str | None = None,
    fingerprint: str | None = None,
    newest_first: bool = False,
) -> Iterator[Judged]:
    """Every sample by id. facet: whose judgements count, with its ancestors'. scored_by: whose logprobs are told."""
    chain = [] if facet is None else [each.id for each in database.facets.chain(facet)]
    column = samples.c.id
    last: int | None = None
    while True:
        query = select(samples).order_by(column.desc() if newest_first else column).limit(PAGE)
        if last is not None:
            query = query.where(column < last if newest_first else column > last)
        page = connection.execute(query).all()
        if not page:
            return
        last = page[-1].id
        yield from _page(connection, page, chain, scored_by, fingerprint)


def _page(
    connection: Connection, page: Sequence[Any], chain: Sequence[int], scored_by: str | None, fingerprint: str | None
) -> Iterator[Judged]:
    ids = [row.id for row in page]
    rows = connection.execute(
        select(
            *(completions.c[name] for name in ("id", "sample_id", "prompt_id", "truncated", "archived", "token_count")),
            *(models.c.name, models.c.fingerprint, bodies.c.text_hash),
            case((bodies.c.spans.like('%"typed"%') | bodies.c.spans.like('%"imported"%'), 1), else_=0).label("by_hand"),
            completions.c.finish_reason,
        )
        .join(bodies, bodies.c.id == completions.c.id)
        .join(models, models.c.id == completions.c.model_id)
        .where(completions.c.sample_id.in_(ids), completions.c.draft.is_(False))
        .order_by(completions.c.id)
    ).all()
    theirs = [row.id for row in rows]
    rated, said = _judgements(connection, ids, theirs, chain)
    approved = _approved(connection, ids, chain[:1])
    scores = _scores(connection, theirs, scored_by, fingerprint)
    facts = _prompt_facts(connection, ids)
    found: dict[int, list[Candidate]] = defaultdict(list)
    for row in rows:
        score = scores.get(row.id)
        found[row.sample_id].append(
            Candidate(
                id=row.id,
                prompt_id=row.prompt_id,
                model=row.name,
                fingerprint=row.fingerprint,
                text_hash=bytes(row.text_hash),
                truncated=bool(row.truncated),
                archived=bool(row.archived),
                token_count=row.token_count,
                by_hand=bool(row.by_hand) or row.finish_reason in ("written", "imported", "user"),
                rating=rated.get(row.id),
                approved=row.id in approved,
                scored=score is not None,
                mean_logprob=None if score is None else score.mean_logprob,
                min_logprob=None if score is None else score.min_logprob,
                p10_logprob=None if score is None else score.p10_logprob,
                p50_logprob=None if score is None else score.p50_logprob,
                sum_logprob=None if score is None else score.sum_logprob,
            )
        )
    for row in page:
        yield Judged(
            id=row.id,
            title=row.title,
            group=row.group_path,
            archived=bool(row.archived),
            prompts=facts[row.id],
            candidates=tuple(found[row.id]),
            preferences=tuple(said[row.id]),
        )


def _judgements(
    connection: Connection, ids: Sequence[int], theirs: Sequence[int], chain: Sequence[int]
) -> tuple[dict[int, int], dict[int, list[Said]]]:
    """Ratings by completion and preferences by sample; the facet's own first, then its ancestors' where it says nothing."""
    rated: dict[int, int] = {}
    said: dict[int, list[Said]] = defaultdict(list)
    if not chain:
        return rated, said
    place = {facet_id: number for number, facet_id in enumerate(chain)}
    nearest: dict[int, int] = {}
    for part in chunks(theirs):
        query = select(ratings.c.completion_id, ratings.c.facet_id, ratings.c.rating).where(
            ratings.c.facet_id.in_(chain), ratings.c.completion_id.in_(part)
        )
        for row in connection.execute(query):
            if place[row[1]] < nearest.get(row[0], len(chain)):
                nearest[row[0]], rated[row[0]] = place[row[1]], row[2]
    query = select(preferences).where(preferences.c.facet_id.in_(chain), preferences.c.sample_id.in_(ids))
    pairs = connection.execute(query.order_by(preferences.c.id)).all()
    level: dict[frozenset[int], int] = {}
    for row in pairs:
        pair = frozenset((row.better_id, row.worse_id))
        level[pair] = min(place[row.facet_id], level.get(pair, len(chain)))
    for row in pairs:
        if place[row.facet_id] == level[frozenset((row.better_id, row.worse_id))]:
            each = Said(row.better_id, row.worse_id, bool(row.tie))
            if each not in said[row.sample_id]:
                said[row.sample_id].append(each)
    return rated, said


def _approved(connection: Connection, ids: Sequence[int], own: Sequence[int]) -> set[int]:
    query = select(approvals.c.completion_id).where(approvals.c.facet_id.in_(own), approvals.c.sample_id.in_(ids))
    return set(connection.execute(query).scalars()) if own else set()


def _scores(connection: Connection, theirs: Sequence[int], model: str | None, fingerprint: str | None) -> dict[int, Any]:
    """The newest measures of each completion by the scoring model."""
    found: dict[int, Any] = {}
    if model is None:
        return found
    names = ("completion_id", "mean_logprob", "min_logprob", "p10_logprob", "p50_logprob", "sum_logprob")
    query = select(*(logprobs.c[name] for name in names)).join(models, models.c.id == logprobs.c.model_id)
    query = query.where(models.c.name == model).order_by(logprobs.c.id)
    if fingerprint is not None:
        query = query.where(models.c.fingerprint == fingerprint)
    for part in chunks(theirs):
        for row in connection.execute(query.where(logprobs.c.completion_id.in_(part))):
            found[row.completion_id] = row
    return found


def _prompt_facts(connection: Connection, ids: Sequence[int]) -> dict[int, dict[int, PromptFacts]]:
    tools = case((prompts.c.messages.like('%"tools":%'), 1), else_=0).label("tools")
    query = select(prompts.c.id, prompts.c.sample_id, prompts.c.messages.is_(None).label("raw"), tools)
    found: dict[int, dict[int, PromptFacts]] = defaultdict(dict)
    for row in connection.execute(query.where(prompts.c.sample_id.in_(ids)).order_by(prompts.c.id)):
        found[row.sample_id][row.id] = PromptFacts(row.id, bool(row.raw), bool(row.tools))
    return found


def count_samples(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(samples)).scalar_one())


def prompt_texts(connection: Connection) -> Iterator[tuple[int, int, str]]:
    """(prompt, sample, its words) of every current prompt that is not archived, by sample."""
    current = (prompts.c.sample_id == samples.c.id) & (prompts.c.number == samples.c.revision)
    query = select(prompts.c.id, samples.c.id, prompts.c.text).join(samples, current).where(samples.c.archived.is_(False))
    last = 0
    while page := connection.execute(query.where(samples.c.id > last).order_by(samples.c.id).limit(PAGE)).all():
        yield from ((row[0], row[1], row[2]) for row in page)
        last = page[-1][1]


def mean_at(connection: Connection, model: str, percent: float, fingerprint: str | None = None) -> float | None:
    """The mean logprob below which so many per cent of what a model measured lie; None where it measured nothing."""
    query = (
        select(logprobs.c.mean_logprob)
        .join(models, models.c.id == logprobs.c.model_id)
        .where(models.c.name == model, logprobs.c.mean_logprob.is_not(None))
    )
    if fingerprint is not None:
        query = query.where(models.c.fingerprint == fingerprint)
    total = int(connection.execute(select(func.count()).select_from(query.subquery())).scalar_one())
    if not total:
        return None
    place = min(total - 1, int(total * percent / 100))
    found = connection.execute(query.order_by(logprobs.c.mean_logprob).offset(place).limit(1)).scalar_one()
    return float(found)


def prompts_of(connection: Connection, ids: Sequence[int]) -> dict[int, str | tuple[Message, ...]]:
    """Prompts by their own id."""
    found = {}
    for part in chunks(list(dict.fromkeys(ids))):
        query = select(prompts.c.id, prompts.c.messages, prompts.c.text).where(prompts.c.id.in_(part))
        found.update({row[0]: prompt_from(row[1], row[2]) for row in connection.execute(query)})
    return found


def texts_of(connection: Connection, ids: Sequence[int]) -> dict[int, Written]:
    """Completions' texts and details by id."""
    found = {}
    query = (
        select(bodies.c.id, models.c.name, bodies.c.text, bodies.c.details)
        .join(completions, completions.c.id == bodies.c.id)
        .join(models, models.c.id == completions.c.model_id)
    )
    for part in chunks(list(dict.fromkeys(ids))):
        for row in connection.execute(query.where(bodies.c.id.in_(part))):
            found[row[0]] = Written(id=row[0], model=row[1], text=row[2], details=json.loads(row[3]))
    return found
