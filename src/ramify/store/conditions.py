"""Filters as SQL. Each condition is said in two ways, and `search.py` chooses.

- `Rule.holds(row)`: is it true of this row? Asked row by row while walking along an order.
- `Rule.source`: the ids of all rows for which it can be true, found through an index, with how many there are about. Asked
  first, when few rows match. None where no index helps.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    and_,
    cast,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    text,
    true,
    union,
    union_all,
)

from ramify.store import tables
from ramify.store.facets import facet_id_of
from ramify.store.filters import FIELDS, All, Anything, Filter, Not, Where
from ramify.store.samples import in_group
from ramify.store.words import matching, matching_row, parse_words

__all__ = ["CAP", "Compiler", "Owners", "Rule", "Source", "all_of", "listed", "unindexed"]

CAP = 150_000
"""Counts stop here: a source with more rows than this is not worth starting from."""

FEW_VALUES = 4
"""So many values of a rating are looked up one by one."""

Row = FromClause

OPERATORS: dict[str, Callable[[Any, Any], "ColumnElement[bool]"]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "is": lambda a, b: a == b,
    "in": lambda a, b: a.in_(b),
}


@dataclass(frozen=True)
class Source:
    """Ids that contain all matches, and how many there are at most (CAP: that many or more)."""

    ids: "Select[Any]"
    size: int
    through: "Owners | None" = None
    """Where they are the samples of completions."""


@dataclass(frozen=True)
class Owners:
    """Samples by their completions."""

    completions: "Select[Any]"
    """Ids that contain all that match."""
    of: "Callable[[Any, bool], Select[Any]]"
    """(which completions, along) -> their samples, of those that do match. along: by going along the index of completions by
    sample, quicker for a part of many in that order; else each completion is looked up to learn its sample."""


@dataclass(frozen=True)
class Rule:
    holds: Callable[[Row], "ColumnElement[bool]"]
    source: Source | None = None
    cost: int = 0
    """Of asking one row: 0 a column, 1 a look into another table, 2 a look into the words."""
    rest: Callable[[Row], "ColumnElement[bool]"] | None = None
    """What is still to be asked of a row that came from the source; None means all of it."""

    false: Source | None = None
    """Exactly the rows of which it is not true, where they are few; looked for where every match is wanted."""
    few: Callable[[Row], "ColumnElement[bool]"] | None = None
    """The same as `holds`, for who asks few rows of a condition that many fulfil."""

    @property
    def true_(self) -> Source | None:
        """Exactly the rows of which it is true."""
        return self.source if self.rest is _nothing else None

    def holds_still(self, row: Row) -> "ColumnElement[bool]":
        return self.holds(row) if self.rest is None else self.rest(row)


@dataclass(frozen=True)
class Compiler:
    """Filters for one connection; names are looked up once, when compiling."""

    connection: Connection
    counting: bool = True
    """Whether sources are wanted: they cost a bounded count each."""
    whole: bool = False
    """Whether every match is wanted, and not the first few."""
    count_to: int = CAP
    """Where counts stop: a source with as many rows or more has the size CAP."""

    # ------------------------------------------------------------ completions

    def completions(self, filter_: Filter) -> Rule:
        """Of rows of `completions`."""
        if isinstance(filter_, Where):
            if FIELDS[filter_.field][0] == "sample":
                return self._of_their_sample(self.samples(filter_))
            return self._leaf(filter_)
        return self._joined(filter_, self.completions)

    def _of_their_sample(self, rule: Rule) -> Rule:
        s, c, dialect = tables.samples, tables.completions, self.connection.dialect.name

        def holds(row: Row) -> "ColumnElement[bool]":
            mine = s.alias("s")
            return select(mine.c.id).where(mine.c.id == row.c.sample_id, rule.holds(unindexed(mine, dialect))).exists()

        source = None if rule.source is None else self._source(select(c.c.id).where(c.c.sample_id.in_(rule.source.ids)))
        return Rule(holds, source, max(1, rule.cost))

    # ------------------------------------------------------------ samples

    def samples(self, filter_: Filter) -> Rule:
        """Of rows of `samples`."""
        if isinstance(filter_, Where) and FIELDS[filter_.field][0] == "sample":
            return self._leaf(filter_)
        if _of_completions(filter_) and not isinstance(filter_, Not):
            return self._some_completion(filter_)
        if isinstance(filter_, All):
            mine = [part for part in filter_.parts if _of_completions(part)]
            if any(not isinstance(part, Not) for part in mine):
                rest = tuple(part for part in filter_.parts if not _of_completions(part))
                return all_of([self._some_completion(All(tuple(mine))), *(self.samples(part) for part in rest)])
        return self._joined(filter_, self.samples)

    def _some_completion(self, filter_: Filter) -> Rule:
        if isinstance(filter_, All) and all(isinstance(part, Not) for part in filter_.parts):
            return self._joined(filter_, self.samples)
        rule, c, dialect = self.completions(filter_), tables.completions, self.connection.dialect.name

        def holds(row: Row) -> "ColumnElement[bool]":
            theirs = c.alias("c")
            # Left to itself SQLite would go through all of a condition's ids for each sample.
            return select(theirs.c.id).where(theirs.c.sample_id == row.c.id, rule.holds(unindexed(theirs, dialect))).exists()

        source = None
        if rule.source is not None and rule.source.size < CAP:
            mine = c.alias("m")
            plain = unindexed(mine, dialect)
            exact = rule.holds_still(plain)

            def owners(which: Any, along: bool) -> "Select[Any]":
                return select(mine.c.sample_id).distinct().where((plain if along else mine).c.id.in_(which), exact)

            source = Source(owners(rule.source.ids, False), rule.source.size, Owners(rule.source.ids, owners))
        # The source is exact, but of samples, and `_none_of` speaks of completions: so it is not said to be `true_`.
        return Rule(holds, source, 2, None if source is None else lambda row: true())

    # ------------------------------------------------------------ both

    def _joined(self, filter_: Filter, each: Callable[[Filter], Rule]) -> Rule:
        if isinstance(filter_, Not):
            inner = each(filter_.part)
            return Rule(
                lambda row: not_(func.coalesce(inner.holds(row), false())), None, inner.cost, false=self._few(inner.true_)
            )
        assert isinstance(filter_, All | Anything), filter_
        rules = [each(part) for part in filter_.parts]
        return all_of(rules) if isinstance(filter_, All) else _any(rules)

    def _source(self, ids: "Select[Any]") -> Source | None:
        if not self.counting:
            return None
        few = ids.limit(self.count_to).subquery()
        size = self.connection.execute(select(func.count()).select_from(few)).scalar_one()
        return Source(ids, size if size < self.count_to else CAP)

    def _few(self, source: Source | None) -> Source | None:
        return source if self.whole and source is not None and source.size < CAP else None

    def _outside(self, column: "ColumnElement[Any]", op: str, value: Any) -> Source | None:
        """Rows whose column fails the comparison or is null, by ranges of the column's index; None where they are many."""
        if not self.whole:
            return None
        opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "!=": "="}
        if op in opposite:
            ranges = [OPERATORS[opposite[op]](column, value)]
        else:
            values = sorted(value) if op == "in" else [value]
            inner = [and_(column > low, column < high) for low, high in pairwise(values)]
            ranges = [column < values[0], *inner, column > values[-1]]
        row_id = column.table.c.id
        each_range = union_all(*(select(row_id).where(each) for each in (*ranges, column.is_(None)))).subquery()
        return self._few(self._source(select(*each_range.c)))  # SQLite takes no unions inside a union

    def _leaf(self, where: Where) -> Rule:
        return getattr(self, f"_{where.field}", self._column)(where)

    def _column(self, where: Where) -> Rule:
        """A condition on a column of the row itself."""
        name = {"tokens": "token_count", "characters": "text_length", "created": "created_at", "sample_created": "created_at"}
        name |= {"sample_archived": "archived", "sample_hidden": "hidden"}
        column, of_samples = name.get(where.field, where.field), FIELDS[where.field][0] == "sample"
        table = tables.samples if of_samples else tables.completions
        value = tuple(where.value) if where.op == "in" else where.value

        def holds(row: Row) -> "ColumnElement[bool]":
            if isinstance(value, bool):
                return row.c[column].is_(value)
            return OPERATORS[where.op](row.c[column], value)

        # An index of a flag is worth starting from where the flag is up; it is down nearly everywhere.
        indexed = column in {next(iter(index.columns)).name for index in table.indexes} and value is not False
        if isinstance(value, bool):
            flag = self._source(select(table.c.id).where(table.c[column].is_(not value))) if self.whole and not value else None
            return Rule(holds, self._source(select(table.c.id).where(holds(table))) if indexed else None, false=self._few(flag))
        outside = self._outside(table.c[column], where.op, value) if indexed else None
        return Rule(holds, self._source(select(table.c.id).where(holds(table))) if indexed else None, false=outside)

    # ------------------------------------------------------------ fields of completions

    def _model(self, where: Where) -> Rule:
        models, c = tables.models, tables.completions
        names = where.value if where.op == "in" else (where.value,)
        column = models.c.fingerprint if where.field == "fingerprint" else models.c.name
        ids = tuple(self.connection.execute(select(models.c.id).where(column.in_(names))).scalars())
        source, others = self._source(select(c.c.id).where(c.c.model_id.in_(ids))), None
        if self.whole:
            known = tuple(self.connection.execute(select(models.c.id).where(models.c.id.not_in(ids))).scalars())
            others = self._few(self._source(select(c.c.id).where(c.c.model_id.in_(known))))
        return Rule(lambda row: row.c.model_id.in_(ids), source, rest=_nothing, false=others)

    _fingerprint = _model

    def _text(self, where: Where) -> Rule:
        return self._words(where, "search_completions", "completion_bodies", "id")

    def _words(self, where: Where, index: str, source: str, key: str) -> Rule:
        dialect, query = self.connection.dialect.name, where.value
        ids = matching(dialect, index, source, parse_words(query))
        found = self._source(ids)
        if found is not None and (found.size < CAP or self.whole):
            return Rule(
                lambda row: row.c[key].in_(ids),
                found,
                1,
                _nothing,
                few=lambda row: matching_row(dialect, source, query, row.c[key]),
            )
        return Rule(lambda row: matching_row(dialect, source, query, row.c[key]), found, 2)

    def _logprob(self, where: Where) -> Rule:
        if where.model is None and where.field != "p10_logprob":
            return self._column(where)
        scores, models = tables.logprobs, tables.models
        if where.model is None:

            def own(row: Row) -> "ColumnElement[bool]":
                mine = (scores.c.completion_id == row.c.id) & (scores.c.model_id == row.c.model_id)
                return select(scores.c.id).where(mine, OPERATORS[where.op](scores.c[where.field], where.value)).exists()

            return Rule(own, None, 1)
        ids = tuple(self.connection.execute(select(models.c.id).where(models.c.name == where.model)).scalars())
        true_ = scores.c.model_id.in_(ids) & OPERATORS[where.op](scores.c[where.field], where.value)
        return self._through(scores.c.completion_id, true_)

    _mean_logprob = _min_logprob = _p10_logprob = _logprob

    def _scored(self, where: Where) -> Rule:
        scores, models = tables.logprobs, tables.models
        true_ = scores.c.id > 0
        if where.model is not None:
            true_ = scores.c.model_id.in_(
                tuple(self.connection.execute(select(models.c.id).where(models.c.name == where.model)).scalars())
            )
        return _as_said(self._through(scores.c.completion_id, true_), where.value)

    def _rating(self, where: Where) -> Rule:
        r, facet_id = tables.ratings, facet_id_of(self.connection, where.facet or "")
        rule = self._through(r.c.completion_id, (r.c.facet_id == facet_id) & OPERATORS[where.op](r.c.rating, where.value))
        values = [each for each in range(11) if OPERATORS[where.op](each, where.value)]
        if self.connection.dialect.name != "sqlite" or len(values) > FEW_VALUES:
            return rule

        def holds(row: Row) -> "ColumnElement[bool]":
            # In the index by facet the ratings of one value lie together; the other would lead to a page of its own for each row.
            mine: Select[Any] = select(literal_column("1")).select_from(text("ratings INDEXED BY ix_ratings_facet_id"))
            same = (literal_column("ratings.completion_id") == row.c.id) & (literal_column("ratings.facet_id") == facet_id)
            return mine.where(same, literal_column("ratings.rating").in_(values)).exists()

        return replace(rule, holds=holds)

    def _rated(self, where: Where) -> Rule:
        r, facet_id = tables.ratings, facet_id_of(self.connection, where.facet or "")
        return _as_said(self._through(r.c.completion_id, r.c.facet_id == facet_id), where.value)

    def _approved(self, where: Where) -> Rule:
        a, facet_id = tables.approvals, facet_id_of(self.connection, where.facet or "")
        return _as_said(self._through(a.c.completion_id, a.c.facet_id == facet_id), where.value)

    def _completion_tag(self, where: Where) -> Rule:
        link = tables.completion_tags
        return self._through(link.c.completion_id, link.c.tag_id.in_(self._tag_ids(where)))

    # ------------------------------------------------------------ fields of samples

    def _sample(self, where: Where) -> Rule:
        ids = tuple(where.value) if where.op == "in" else (where.value,)
        return Rule(lambda row: row.c.id.in_(ids), self._source(select(tables.samples.c.id).where(tables.samples.c.id.in_(ids))))

    def _prompt(self, where: Where) -> Rule:
        prompts, dialect, terms = tables.prompts, self.connection.dialect.name, parse_words(where.value)
        about = self._words(where, "search_samples", "samples", "id")
        found = matching(dialect, "search_prompts", "prompts", terms)

        def holds(row: Row) -> "ColumnElement[bool]":
            mine = (prompts.c.sample_id == row.c.id) & (prompts.c.number == row.c.revision)
            return select(prompts.c.id).where(mine, matching_row(dialect, "prompts", where.value, prompts.c.id)).exists()

        inside = Rule(holds, self._source(select(prompts.c.sample_id).where(prompts.c.id.in_(found))), 2)
        return _any([about, inside])

    def _title(self, where: Where) -> Rule:
        if where.op == "is":
            return self._column(where)
        words = str(where.value).lower()
        return Rule(lambda row: func.lower(row.c.title).contains(words, autoescape=True))

    def _group(self, where: Where) -> Rule:
        if where.op == "is":
            return Rule(
                lambda row: row.c.group_path == where.value,
                self._source(select(tables.samples.c.id).where(tables.samples.c.group_path == where.value)),
            )
        return Rule(
            lambda row: in_group(where.value, row), self._source(select(tables.samples.c.id).where(in_group(where.value)))
        )

    def _tag(self, where: Where) -> Rule:
        link = tables.sample_tags
        return self._through(link.c.sample_id, link.c.tag_id.in_(self._tag_ids(where)))

    # ------------------------------------------------------------ parts of them

    def _tag_ids(self, where: Where) -> tuple[int, ...]:
        names = where.value if where.op == "in" else (where.value,)
        return tuple(self.connection.execute(select(tables.tags.c.id).where(tables.tags.c.name.in_(names))).scalars())

    def _through(self, key: "ColumnElement[int]", condition: "ColumnElement[bool]") -> Rule:
        """True of rows that another table's `key` names where the condition holds there."""
        source = self._source(select(key).where(condition))
        return Rule(lambda row: select(key).where(key == row.c.id, condition).exists(), source, 1, _nothing)


def _nothing(row: Row) -> "ColumnElement[bool]":
    """The source was exact."""
    return true()


def _of_completions(filter_: Filter) -> bool:
    """Whether every condition is about completions."""
    if isinstance(filter_, Where):
        return FIELDS[filter_.field][0] == "completion"
    parts = (filter_.part,) if isinstance(filter_, Not) else filter_.parts
    return bool(parts) and all(_of_completions(part) for part in parts)


def _as_said(rule: Rule, value: bool) -> Rule:
    few = rule.true_ if rule.true_ is not None and rule.true_.size < CAP else None
    return rule if value else Rule(lambda row: not_(rule.holds(row)), None, rule.cost, false=few)


def all_of(rules: Sequence[Rule]) -> Rule:
    """Cheap questions first. Matches are in every source, so in what small ones share: indexes are read in order."""
    ordered = sorted(rules, key=lambda rule: rule.cost)
    sources = sorted((rule.source for rule in rules if rule.source is not None), key=lambda source: source.size)
    shared, rest = sources[0] if sources else None, None
    if shared is not None and shared.size < CAP:
        near = [source for source in sources if source.size < min(CAP, 100 * shared.size + 1)]
        if len(near) > 1:
            (first,) = shared.ids.subquery().c
            # Of all ways to intersect this is SQLite's quickest: go along the smallest and look into lists of the others.
            shared = Source(select(first).where(*((first + 0).in_(source.ids) for source in near[1:])), shared.size)

        def rest(row: Row) -> "ColumnElement[bool]":
            return and_(true(), *(rule.holds_still(row) if rule.source in near else rule.holds(row) for rule in ordered))

    return Rule(
        lambda row: and_(true(), *(rule.holds(row) for rule in ordered)),
        shared,
        max((rule.cost for rule in rules), default=0),
        rest,
    )


def _any(rules: Sequence[Rule]) -> Rule:
    ordered = sorted(rules, key=lambda rule: rule.cost)
    sources = [rule.source for rule in rules if rule.source is not None]
    together = None
    if rules and len(sources) == len(rules):
        whole = union(*(source.ids for source in sources)).subquery()
        together = Source(select(*whole.c), min(CAP, sum(source.size for source in sources)))
    return Rule(
        lambda row: or_(false(), *(func.coalesce(rule.holds(row), false()) for rule in ordered)),
        together,
        max((rule.cost for rule in rules), default=0),
        false=_none_of(rules),
    )


def _none_of(rules: Sequence[Rule]) -> Source | None:
    """Rows of which no rule is true: those of the smallest set of exceptions that the others do not hold of either."""
    known = sorted((rule for rule in rules if rule.false is not None), key=lambda rule: rule.false.size)  # type: ignore[union-attr]
    if not known:
        return None
    smallest, c = known[0].false, tables.completions.alias("n")
    assert smallest is not None
    others = (not_(func.coalesce(rule.holds(c), false())) for rule in rules if rule is not known[0])
    return Source(select(c.c.id).where(c.c.id.in_(smallest.ids), *others), smallest.size)


def listed(dialect: str, ids: Sequence[int]) -> "Select[Any]":
    """Ids at hand as a query: one parameter however many they are."""
    said = json.dumps(list(ids))
    if dialect == "sqlite":
        return select(func.json_each(said).table_valued("value").c.value)
    value = func.json_array_elements_text(cast(literal(said, Text), JSON)).table_valued("value").c.value
    return select(cast(value, BigInteger))


def unindexed(row: Row, dialect: str) -> Row:
    """The same row, but SQLite is told not to choose an index for what is asked of it: `search.py` has chosen."""
    return row if dialect != "sqlite" else _Plain(row)  # type: ignore[return-value]


class _Plain:
    """A row whose columns carry a unary plus."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.c = self

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __getitem__(self, name: str) -> Any:
        column = self.row.c[name]
        return column if isinstance(column.type, Boolean) else literal_column(f"+{self.row.name}.{name}", column.type)  # type: ignore[attr-defined]
