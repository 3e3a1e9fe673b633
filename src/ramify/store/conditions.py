"""Filters as SQL: a rule (`rules.py`) for each condition, and for their and, or and not."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, Table, and_, bindparam, func, select, true, union_all

from ramify.store import tables
from ramify.store.facets import facet_id_of
from ramify.store.filters import FIELDS, All, Anything, Filter, Not, Where
from ramify.store.rows import Row, named, unindexed
from ramify.store.rules import Holds, OfId, Rule, Start, all_of, any_of, not_so, nothing
from ramify.store.samples import in_group
from ramify.store.sources import CAP, Owners, Source, source_of
from ramify.store.words import matching, matching_row, parse_words

__all__ = ["Compiler"]

FEW_VALUES = 4
"""So many values of a rating are looked up one by one."""

FIRST, LAST = bindparam("first", 1, BigInteger), bindparam("last", 2**62, BigInteger)
"""Which completions are listed by their words: all, unless the statement is given others."""

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
class Compiler:
    """Filters for one connection; names are looked up once, when compiling."""

    connection: Connection
    whole: bool = False
    """Whether every match is wanted, and not the first few."""

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
            mine = named(s, "s")
            return select(mine.c.id).where(mine.c.id == row.c.sample_id, rule.holds(unindexed(mine, dialect))).exists()

        @cache
        def start() -> Start:
            theirs = rule.source
            return (None if theirs is None else self._source(select(c.c.id).where(c.c.sample_id.in_(theirs.ids)))), None

        return Rule(holds, start, max(1, rule.cost))

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
            theirs = named(c, "c")
            # Left to itself SQLite would go through all of a condition's ids for each sample.
            return select(theirs.c.id).where(theirs.c.sample_id == row.c.id, rule.holds(unindexed(theirs, dialect))).exists()

        def owners(which: Any, along: bool) -> "Select[Any]":
            mine = named(c, "m")
            plain = unindexed(mine, dialect)
            whose = (plain if along else mine).c.id.in_(which)
            return select(mine.c.sample_id).distinct().where(whose, rule.holds_still(plain))

        @cache
        def start() -> Start:
            source = rule.source
            if source is None:
                return None, None
            # The source is exact, but of samples, and `any_of` speaks of completions: so it is not said to be `true_`.
            through = Owners(source.ids, owners)
            return Source(owners(source.ids, False), source.up_to, through=through), lambda row: true()

        return Rule(holds, start, 2)

    # ------------------------------------------------------------ both

    def _joined(self, filter_: Filter, each: Callable[[Filter], Rule]) -> Rule:
        if isinstance(filter_, Not):
            inner = each(filter_.part)
            return not_so(inner, self._few(inner.true_) if self.whole else None)
        assert isinstance(filter_, All | Anything), filter_
        rules = [each(part) for part in filter_.parts]
        return all_of(rules) if isinstance(filter_, All) else any_of(rules)

    def _source(self, ids: "Select[Any]", of: Table | None = None) -> Source:
        return source_of(self.connection, ids, of, exact=self.whole)

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
        name |= {"sample_archived": "archived", "sample_hidden": "hidden", "group": "group_path"}
        column, of_samples = name.get(where.field, where.field), FIELDS[where.field][0] == "sample"
        table = tables.samples if of_samples else tables.completions
        value = tuple(where.value) if where.op == "in" else where.value

        def holds(row: Row) -> "ColumnElement[bool]":
            if isinstance(value, bool):
                return row.c[column].is_(value)
            return OPERATORS[where.op](row.c[column], value)

        # An index of a flag is worth starting from where the flag is up; it is down nearly everywhere.
        index = {each.columns[0].name: each.name for each in table.indexes}.get(column) if value is not False else None
        if index is None:
            up = self._source(select(table.c.id).where(table.c[column].is_(True))) if value is False and not of_samples else None
            return Rule(holds, false=self._few(up))
        one, found = where.op in ("is", "in", "="), select(table.c.id).where(holds(table))
        source = self._source(found, table if one else None)
        outside = None if isinstance(value, bool) or of_samples else self._outside(table.c[column], where.op, value)
        by_id = partial(_probe, table, holds, index) if one else lambda: None
        return Rule(holds, lambda: (source, None), false=outside, by_id=by_id)

    # ------------------------------------------------------------ fields of completions

    def _model(self, where: Where) -> Rule:
        models, c = tables.models, tables.completions
        names = where.value if where.op == "in" else (where.value,)
        column = models.c.fingerprint if where.field == "fingerprint" else models.c.name
        ids = tuple(self.connection.execute(select(models.c.id).where(column.in_(names))).scalars())
        source, others = self._source(select(c.c.id).where(c.c.model_id.in_(ids)), c), None
        if self.whole:
            known = tuple(self.connection.execute(select(models.c.id).where(models.c.id.not_in(ids))).scalars())
            others = self._few(self._source(select(c.c.id).where(c.c.model_id.in_(known))))

        def holds(row: Row) -> "ColumnElement[bool]":
            return row.c.model_id.in_(ids)

        by_id = partial(_probe, c, holds, "ix_completions_model_id")
        return Rule(holds, lambda: (source, nothing), false=others, by_id=by_id)

    _fingerprint = _model

    def _text(self, where: Where) -> Rule:
        return self._words(where, "search_completions", "completion_bodies", "id")

    def _words(self, where: Where, index: str, source: str, key: str) -> Rule:
        dialect, query = self.connection.dialect.name, where.value
        ids = matching(dialect, index, source, parse_words(query))
        found = self._source(ids, tables.samples if source == "samples" else tables.completions)
        (word_id,) = ids.selected_columns
        within = ids.where(word_id.between(FIRST, LAST)) if source == "completion_bodies" else ids

        def holds(row: Row) -> "ColumnElement[bool]":
            return matching_row(dialect, source, query, row.c[key])

        def of_id(i: "ColumnElement[int]") -> "ColumnElement[bool]":
            return (i + 0).in_(within)  # without + 0 SQLite would look up each of the ids

        def by_id() -> OfId | None:
            return of_id if self.whole or found.size < CAP else None

        if self.whole:
            return Rule(lambda row: row.c[key].in_(ids), lambda: (found, nothing), 1, few=holds, by_id=by_id)
        return Rule(holds, lambda: (found, nothing), 2, by_id=by_id)

    def _logprob(self, where: Where) -> Rule:
        if where.model is None and where.field != "p10_logprob":
            return self._column(where)
        scores, models = tables.logprobs, tables.models
        if where.model is None:

            def own(row: Row) -> "ColumnElement[bool]":
                mine = (scores.c.completion_id == row.c.id) & (scores.c.model_id == row.c.model_id)
                return select(scores.c.id).where(mine, OPERATORS[where.op](scores.c[where.field], where.value)).exists()

            return Rule(own, cost=1)
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
        return self._as_said(self._through(scores.c.completion_id, true_), where.value)

    def _rating(self, where: Where) -> Rule:
        r, facet_id = tables.ratings, facet_id_of(self.connection, where.facet or "")
        values = [each for each in range(11) if OPERATORS[where.op](each, where.value)]
        if len(values) > FEW_VALUES:
            return self._through(r.c.completion_id, (r.c.facet_id == facet_id) & OPERATORS[where.op](r.c.rating, where.value))
        # In the index by facet the ratings of one value lie together; the other would lead to a page of its own for each row.
        condition = (r.c.facet_id == facet_id) & r.c.rating.in_(values)
        return self._through(r.c.completion_id, condition, tables.completions, "ix_ratings_facet_id")

    def _rated(self, where: Where) -> Rule:
        r, facet_id = tables.ratings, facet_id_of(self.connection, where.facet or "")
        return self._as_said(self._through(r.c.completion_id, r.c.facet_id == facet_id), where.value)

    def _approved(self, where: Where) -> Rule:
        a, facet_id = tables.approvals, facet_id_of(self.connection, where.facet or "")
        return self._as_said(self._through(a.c.completion_id, a.c.facet_id == facet_id), where.value)

    def _as_said(self, rule: Rule, value: bool) -> Rule:
        return rule if value else not_so(rule, self._few(rule.true_) if self.whole else None)

    def _completion_tag(self, where: Where) -> Rule:
        link = tables.completion_tags
        return self._through(link.c.completion_id, link.c.tag_id.in_(self._tag_ids(where)), tables.completions)

    # ------------------------------------------------------------ fields of samples

    def _sample(self, where: Where) -> Rule:
        ids = tuple(where.value) if where.op == "in" else (where.value,)
        source = self._source(select(tables.samples.c.id).where(tables.samples.c.id.in_(ids)))
        return Rule(lambda row: row.c.id.in_(ids), lambda: (source, None))

    def _prompt(self, where: Where) -> Rule:
        prompts, dialect, terms = tables.prompts, self.connection.dialect.name, parse_words(where.value)
        about = self._words(where, "search_samples", "samples", "id")
        found = matching(dialect, "search_prompts", "prompts", terms)

        def holds(row: Row) -> "ColumnElement[bool]":
            mine = (prompts.c.sample_id == row.c.id) & (prompts.c.number == row.c.revision)
            return select(prompts.c.id).where(mine, matching_row(dialect, "prompts", where.value, prompts.c.id)).exists()

        source = self._source(select(prompts.c.sample_id).where(prompts.c.id.in_(found)))
        return any_of([about, Rule(holds, lambda: (source, None), 2)])

    def _title(self, where: Where) -> Rule:
        if where.op == "is":
            return self._column(where)
        words = str(where.value).lower()
        return Rule(lambda row: func.lower(row.c.title).contains(words, autoescape=True))

    def _group(self, where: Where) -> Rule:
        if where.op == "is":
            return self._column(where)
        source = self._source(select(tables.samples.c.id).where(in_group(where.value)))
        return Rule(lambda row: in_group(where.value, row), lambda: (source, None))

    def _tag(self, where: Where) -> Rule:
        link = tables.sample_tags
        return self._through(link.c.sample_id, link.c.tag_id.in_(self._tag_ids(where)), tables.samples)

    # ------------------------------------------------------------ parts of them

    def _tag_ids(self, where: Where) -> tuple[int, ...]:
        names = where.value if where.op == "in" else (where.value,)
        return tuple(self.connection.execute(select(tables.tags.c.id).where(tables.tags.c.name.in_(names))).scalars())

    def _through(
        self, key: "ColumnElement[int]", condition: "ColumnElement[bool]", of: Table | None = None, index: str | None = None
    ) -> Rule:
        """True of rows that another table's `key` names where the condition holds there. index: which to ask SQLite through."""

        def of_id(i: Any) -> "ColumnElement[bool]":
            there = select(key).where(key == i, condition)
            if index is not None:
                there = there.with_hint(key.table, f"INDEXED BY {index}", "sqlite")
            return there.exists()

        source = self._source(select(key).where(condition), of)
        return Rule(lambda row: of_id(row.c.id), lambda: (source, nothing), 1, by_id=lambda: of_id)


def _probe(table: Table, holds: Holds, index: Any) -> OfId:
    """A condition on a column with one value or a few, asked of an id through the column's index."""
    there = named(table, "x")
    query = select(there.c.id).where(holds(there)).with_hint(there, f"INDEXED BY {index}", "sqlite")
    return lambda i: query.where(there.c.id == i).exists()


def _of_completions(filter_: Filter) -> bool:
    """Whether every condition is about completions."""
    if isinstance(filter_, Where):
        return FIELDS[filter_.field][0] == "completion"
    parts = (filter_.part,) if isinstance(filter_, Not) else filter_.parts
    return bool(parts) and all(_of_completions(part) for part in parts)
