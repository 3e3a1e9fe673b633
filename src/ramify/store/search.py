"""Lists, filters, counts and full-text search, fast on a million completions.

A page is found in one of two ways. *Walking*: go along the list's order through an index and ask each row whether it matches;
quick when many match. *Starting from a source*: take the condition with the fewest rows in its index, ask those ids what indexes
know, and only then read rows; quick when few match. Which one is known after a short walk: if it filled the page, that is the
answer; if not, matches are rare. Where no index narrows the search, the walk goes on in larger steps.

Pages continue from the last row seen (keyset), so the thousandth costs what the first does, and rows added meanwhile
shift nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, FromClause, Select, Table, func, literal_column, select, tuple_

from ramify.errors import InputError
from ramify.store import tables
from ramify.store.completions import completions_by_id
from ramify.store.conditions import Compiler
from ramify.store.counting import count
from ramify.store.filters import All, Filter, Where, conditions, parse
from ramify.store.records import CompletionRecord, SampleRecord
from ramify.store.rows import ends, listed, named, unindexed
from ramify.store.rules import Rule
from ramify.store.samples import samples_by_id
from ramify.store.sources import CAP, FEW, Owners, Source
from ramify.store.words import matching, parse_words, snippet, tsquery

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["ORDERS", "Hit", "Page", "Search"]

ORDERS = {
    # order: (column, descending)
    "newest": ("id", True),
    "oldest": ("id", False),
    "mean_logprob": ("mean_logprob", True),
    "min_logprob": ("min_logprob", True),
    "tokens": ("token_count", True),
}
"""What a list can be ordered by. By a measure, only completions that have it are listed, highest first. Samples: by age only."""

FIRST_WALK = {0: 2_000, 1: 2_000, 2: 300}
"""Rows of the first walk, by what it costs to ask one. Samples: a quarter, each has several completions to look at."""
ENOUGH = 0.2
"""Where the first walk filled this share of the page, walking on is quicker than any index."""
LATER_WALK = 50_000
FURTHER = 5
"""Rows from a source are looked for first in the next part of the order, where by their number so many pages of them are."""
LISTED = 20_000
"""As many completions are found once and kept as a list; more are found again by each query."""
RANKED = 3_000
"""As many matches of a full-text search are ranked; of more, the newest come first."""


@dataclass(frozen=True, slots=True)
class Page:
    """Ids in order, and where the next page begins; None at the end."""

    ids: tuple[int, ...]
    next: tuple[Any, int] | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A completion or prompt that matched, a piece of it, and where in the piece the words are."""

    kind: str
    """ "completion" or "sample"."""
    id: int
    snippet: str
    spans: tuple[tuple[int, int], ...]


class Search:
    def __init__(self, database: "Database") -> None:
        self.database = database

    # ------------------------------------------------------------ completions

    def completion_ids(
        self,
        filter_: Any = None,
        *,
        order: str = "newest",
        limit: int = 50,
        after: tuple[Any, int] | None = None,
        archived: bool | None = False,
        hidden: bool | None = False,
    ) -> Page:
        """A page of completions that match. `archived` and `hidden` narrow further, where the filter does not speak of them.

        Raises InputError for a filter, order or limit that cannot be; NotFoundError for a facet that is not there.
        """
        if order not in ORDERS:
            raise InputError(f"order is {order!r}; it must be one of {', '.join(ORDERS)}")
        wanted = _with_flags(filter_, archived, hidden, "archived", "hidden")
        with self.database.reading() as connection:
            return _page(connection, tables.completions, wanted, ORDERS[order], _limit(limit), after)

    def completions(self, filter_: Any = None, **options: Any) -> list[CompletionRecord]:
        """The records of a page of `completion_ids`."""
        ids = self.completion_ids(filter_, **options).ids
        with self.database.reading() as connection:
            return completions_by_id(connection, ids)

    def count_completions(self, filter_: Any = None, *, archived: bool | None = False, hidden: bool | None = False) -> int:
        """How many match, exactly."""
        with self.database.reading() as connection:
            return count(connection, tables.completions, _with_flags(filter_, archived, hidden, "archived", "hidden"))

    def all_completion_ids(self, filter_: Any = None, *, archived: bool | None = False, hidden: bool | None = False) -> list[int]:
        """Every match, oldest first: what a bulk action acts on."""
        with self.database.reading() as connection:
            return _every(connection, tables.completions, _with_flags(filter_, archived, hidden, "archived", "hidden"))

    # ------------------------------------------------------------ samples

    def sample_ids(
        self,
        filter_: Any = None,
        *,
        order: str = "newest",
        limit: int = 50,
        after: tuple[Any, int] | None = None,
        archived: bool | None = False,
        hidden: bool | None = False,
    ) -> Page:
        """A page of samples that match, or of which a completion matches."""
        if order not in ("newest", "oldest"):
            raise InputError(f"order is {order!r}; samples are listed newest or oldest first")
        wanted = _with_flags(filter_, archived, hidden, "sample_archived", "sample_hidden")
        with self.database.reading() as connection:
            return _page(connection, tables.samples, wanted, ORDERS[order], _limit(limit), after)

    def samples(self, filter_: Any = None, **options: Any) -> list[SampleRecord]:
        ids = self.sample_ids(filter_, **options).ids
        with self.database.reading() as connection:
            return samples_by_id(connection, ids)

    def count_samples(self, filter_: Any = None, *, archived: bool | None = False, hidden: bool | None = False) -> int:
        with self.database.reading() as connection:
            return count(connection, tables.samples, _with_flags(filter_, archived, hidden, "sample_archived", "sample_hidden"))

    def all_sample_ids(self, filter_: Any = None, *, archived: bool | None = False, hidden: bool | None = False) -> list[int]:
        with self.database.reading() as connection:
            return _every(connection, tables.samples, _with_flags(filter_, archived, hidden, "sample_archived", "sample_hidden"))

    # ------------------------------------------------------------ words

    def text(self, query: str, *, limit: int = 50) -> list[Hit]:
        """Completions and then samples in which the words occur, archived ones too.

        Up to 3,000 matches are ordered by how well they match, more by age, newest first.
        """
        terms = parse_words(query)
        bodies, prompts = tables.completion_bodies, tables.prompts
        with self.database.reading() as connection:
            found = _matches(connection, "search_completions", "completion_bodies", terms, _limit(limit))
            texts = _by_id(connection, select(bodies.c.id, bodies.c.text).where(bodies.c.id.in_(found)))
            hits = [Hit("completion", i, *snippet(texts[i], terms)) for i in found]
            rest = limit - len(hits)
            if rest > 0:
                matched = _matches(connection, "search_prompts", "prompts", terms, rest)
                owners = connection.execute(
                    select(prompts.c.id, prompts.c.sample_id, prompts.c.text).where(prompts.c.id.in_(matched))
                )
                by_prompt = {row.id: row for row in owners}
                hits += [Hit("sample", by_prompt[i].sample_id, *snippet(by_prompt[i].text, terms)) for i in matched]
            rest = limit - len(hits)
            if rest > 0:
                s = tables.samples
                matched = _matches(connection, "search_samples", "samples", terms, rest)
                texts = _by_id(connection, select(s.c.id, s.c.title + "\n" + s.c.notes).where(s.c.id.in_(matched)))
                seen = {hit.id for hit in hits if hit.kind == "sample"}
                hits += [Hit("sample", i, *snippet(texts[i], terms)) for i in matched if i not in seen]
            return hits


def _limit(limit: int) -> int:
    if not 1 <= limit <= 10_000:
        raise InputError(f"limit is {limit}; it must be from 1 to 10,000")
    return limit


def _with_flags(filter_: Any, archived: bool | None, hidden: bool | None, archived_field: str, hidden_field: str) -> All:
    given = All(()) if filter_ is None else parse(filter_)
    asked = {where.field for where in conditions(given)}
    flags = [
        Where(field, "is", wanted)
        for field, wanted in ((archived_field, archived), (hidden_field, hidden))
        if wanted is not None and field not in asked
    ]
    # One flat list, so that conditions on completions keep speaking of the same one.
    parts = given.parts if isinstance(given, All) else (given,)
    return All((*parts, *flags))


def _rule(connection: Connection, table: Table, filter_: Filter, *, whole: bool = False) -> Rule:
    compiler = Compiler(connection, whole)
    return compiler.completions(filter_) if table is tables.completions else compiler.samples(filter_)


# ---------------------------------------------------------------- pages


def _page(
    connection: Connection, table: Table, filter_: Filter, order: tuple[str, bool], limit: int, after: tuple[Any, int] | None
) -> Page:
    rule = _rule(connection, table, filter_)
    steps = FIRST_WALK[rule.cost] if table is tables.completions else max(1, FIRST_WALK[rule.cost] // 4)
    found, at = _walk(connection, table, rule, order, limit, after, steps)
    if at is not None and len(found) < ENOUGH * limit:
        source = rule.source
        if source is not None and source.size < CAP:
            found = _from_source(connection, table, rule, source, order, limit, after)
            return Page(tuple(i for _, i in found), found[-1] if len(found) == limit else None)
    while at is not None and len(found) < limit:
        longer, at = _walk(connection, table, rule, order, limit - len(found), at, LATER_WALK)
        found = [*found, *longer]
    return Page(tuple(i for _, i in found), at)


Key = tuple[Any, int]
"""The order's value and the id of a row: where a page or a walk stops."""


def _ordered(row: Any, order: tuple[str, bool], after: Key | None, stop: Key | None = None) -> tuple[list[Any], list[Any]]:
    """The conditions of being past `after` and not past `stop`, and the order by key and id."""
    key, down = order
    keys = [row.c.id] if key == "id" else [row.c[key], row.c.id]
    conditions_: list[Any] = [] if key == "id" else [row.c[key].is_not(None)]
    place: Any = keys[0] if len(keys) == 1 else tuple_(*keys)
    for mark, is_start in ((after, True), (stop, False)):
        if mark is not None:
            bound: Any = mark[1] if key == "id" else tuple_(*mark)
            before = place < bound if is_start else place <= bound
            behind = place > bound if is_start else place >= bound
            conditions_.append((before if is_start else behind) if down else (behind if is_start else before))
    return conditions_, [each.desc() if down else each.asc() for each in keys]


def _walk(
    connection: Connection, table: Table, rule: Rule, order: tuple[str, bool], limit: int, after: Key | None, steps: int
) -> tuple[list[Key], Key | None]:
    """Matches among the next `steps` rows, and where to walk on; None at the end."""
    stop = _steps_on(connection, table, order, after, steps)
    query = walk_query(connection.dialect.name, table, rule, order, limit, after, stop)
    found: list[Key] = [(row[0], row[1]) for row in connection.execute(query)]
    return found, found[-1] if len(found) == limit else stop


def _steps_on(connection: Connection, table: Table, order: tuple[str, bool], after: Key | None, steps: int) -> Key | None:
    """The place so many rows further on; None where fewer are left."""
    past, by = _ordered(table, order, after)
    key, down = order
    if key == "id":  # ids have few gaps, so they are counted and not looked for
        low, high = ends(connection, table)
        if low is None:
            return None
        stop = (high + 1 if after is None else after[1]) - steps if down else (low - 1 if after is None else after[1]) + steps
        return None if (stop <= low if down else stop >= high) else (stop, stop)
    row = connection.execute(select(table.c[key], table.c.id).where(*past).order_by(*by).offset(steps - 1).limit(1)).first()
    return None if row is None else (row[0], row[1])


def walk_query(
    dialect: str, table: Table, rule: Rule, order: tuple[str, bool], limit: int, after: Key | None, stop: Key | None
) -> "Select[Any]":
    """Rows between two places of an order that match. It ends as soon as it has enough."""
    row = named(table, "r")
    between, by = _ordered(row, order, after, stop)
    return select(row.c[order[0]], row.c.id).where(*between, rule.holds(unindexed(row, dialect))).order_by(*by).limit(limit)


def _from_source(
    connection: Connection, table: Table, rule: Rule, source: Source, order: tuple[str, bool], limit: int, after: Key | None
) -> list[Key]:
    """Matches among the source's rows. By id they are looked for first in the part of the order that probably holds the page."""
    row = named(table, "r")
    past, by = _ordered(row, order, after)
    query = (
        select(row.c[order[0]], row.c.id).where(*past, rule.holds_still(unindexed(row, connection.dialect.name))).order_by(*by)
    )
    if order[0] != "id":
        return [(each[0], each[1]) for each in connection.execute(query.where(row.c.id.in_(source.ids)).limit(limit))]
    found: list[Key] = []
    size, stop = source.size, None
    if size >= FEW:
        low, high = ends(connection, table)
        stop = _steps_on(connection, table, order, after, FURTHER * limit * (high - low + 1) // size)
    for start, until in ((after, stop), (stop, None)) if stop is not None else ((after, None),):
        if source.through is not None:
            ids = _samples(connection, source.through, order, start, until)
        else:
            ids = _along(connection, source.ids.distinct(), order, start, until, _between(start, until, order[1]))
        found += _asked(connection, query, row, ids, limit - len(found))
        if len(found) == limit:
            break
    return found


def _samples(
    connection: Connection, through: Owners, order: tuple[str, bool], after: Key | None, stop: Key | None
) -> Iterator[int]:
    """Samples between two places of an order of whose completions one matches."""
    which: Any = through.completions
    bounds: dict[str, int] = {}
    if stop is not None:
        low, high = _between(after, stop, order[1]).values()
        c = tables.completions.c
        theirs = select(func.min(c.id), func.max(c.id)).where(c.sample_id.between(low, high))
        first, last = connection.execute(theirs).one()
        if first is None:
            return iter(())
        (each,), bounds = which.selected_columns, {"first": first, "last": last}
        which = which.where(each.between(first, last))
    known = connection.execute(which.limit(LISTED + 1), bounds).scalars().all()
    which = which if len(known) > LISTED else listed(connection.dialect.name, known)
    return _along(connection, through.of(which, stop is not None), order, after, stop, bounds)


def _between(after: Key | None, stop: Key | None, down: bool) -> dict[str, int]:
    """The first and the last id past one place and not past another."""
    first, last = 1, 2**62
    if after is not None:
        first, last = (first, after[1] - 1) if down else (after[1] + 1, last)
    if stop is not None:
        first, last = (stop[1], last) if down else (first, stop[1])
    return {"first": first, "last": last}


def _along(
    connection: Connection,
    ids: "Select[Any]",
    order: tuple[str, bool],
    after: Key | None,
    stop: Key | None,
    bounds: dict[str, int],
) -> Iterator[int]:
    """Ids between two places of an order, fetched as they are wanted. bounds: which completions are listed by their words."""
    (column,), down = ids.selected_columns, order[1]
    first, last = _between(after, stop, down).values()
    ids = ids.where(column.between(first, last)).order_by(column.desc() if down else column)
    yield from connection.execute(ids, bounds).scalars()


def _asked(connection: Connection, query: "Select[Any]", row: FromClause, ids: Iterator[int], limit: int) -> list[Key]:
    """The first `limit` of the ids, in their order, of which the query's conditions are true."""
    found: list[Key] = []
    size, seen = limit, 0
    while len(found) < limit and (portion := list(islice(ids, size))):
        missing = limit - len(found)
        found += [(each[0], each[1]) for each in connection.execute(query.where(row.c.id.in_(portion)).limit(missing))]
        seen += len(portion)
        size = min(4_000, 10 + (limit - len(found)) * seen // max(1, len(found)))
    return found


# ---------------------------------------------------------------- wholes


def _every(connection: Connection, table: Table, filter_: Filter) -> list[int]:
    rule = _rule(connection, table, filter_, whole=True)
    row = named(table, "r")
    plain, query = unindexed(row, connection.dialect.name), select(row.c.id)
    if rule.source is not None and rule.source.size < CAP:
        query = query.where(rule.holds_still(plain), row.c.id.in_(rule.source.ids))
    else:
        query = query.where(rule.holds(plain))
    return sorted(connection.execute(query).scalars())


# ---------------------------------------------------------------- words


def _matches(connection: Connection, index: str, source: str, terms: Any, limit: int) -> list[int]:
    ids: Any = matching(connection.dialect.name, index, source, terms)
    (row_id,) = ids.selected_columns
    few = connection.execute(select(func.count()).select_from(ids.limit(RANKED + 1).subquery())).scalar_one() <= RANKED
    if not few:
        return list(connection.execute(ids.order_by(row_id.desc()).limit(limit)).scalars())
    if connection.dialect.name == "sqlite":
        # bm25 is lower where the match is better; rounded, so that equal texts keep the order newest first.
        ranked = ids.order_by(func.round(literal_column(f"bm25({index})"), 6), row_id.desc())
    else:
        ranked = ids.order_by(func.ts_rank(literal_column(f"{source}.words"), tsquery(terms)).desc(), row_id.desc())
    return list(connection.execute(ranked.limit(limit)).scalars())


def _by_id(connection: Connection, query: "Select[Any]") -> dict[int, str]:
    return {row[0]: row[1] for row in connection.execute(query)}
