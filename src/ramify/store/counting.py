"""Exact counts: of what matches, or of all less what does not, whichever is fewer rows to look at."""

from typing import Any

from sqlalchemy import Connection, Table, func, select, union

from ramify.store import tables
from ramify.store.conditions import Compiler
from ramify.store.filters import All
from ramify.store.rows import named, unindexed
from ramify.store.rules import Rule, all_of
from ramify.store.sources import CAP

__all__ = ["count", "count_query"]

A_TEXT = 7
"""Reading a text for its words costs what looking up so many rows does."""


def count(connection: Connection, table: Table, filter_: All) -> int:
    """How many rows match."""
    found: int = connection.execute(count_query(connection, table, filter_)).scalar_one()
    return found


def count_query(connection: Connection, table: Table, filter_: All) -> Any:
    """The one statement that says it."""
    compiler = Compiler(connection, whole=True)
    if table is not tables.completions:
        return _matches(connection, table, compiler.samples(filter_))
    rules = [compiler.completions(part) for part in filter_.parts]
    rule = all_of(rules)
    less = _all_less_exceptions(connection, rules, CAP if rule.source is None else rule.source.size)
    return _matches(connection, table, rule) if less is None else less


def _matches(connection: Connection, table: Table, rule: Rule) -> Any:
    row = named(table, "r")
    plain = unindexed(row, connection.dialect.name)
    query = select(func.count()).select_from(row)
    if rule.source is not None and rule.source.size < CAP:
        return query.where(rule.holds_still(plain), row.c.id.in_(rule.source.ids))
    return query.where(rule.holds(plain))


def _all_less_exceptions(connection: Connection, rules: list[Rule], most: int) -> Any:
    """All completions, or all that have the words looked for, less the exceptions; None where those are not fewer than `most`, or
    not known."""
    c = tables.completions
    exceptions = [rule.false for rule in rules if rule.false is not None]
    others = [rule for rule in rules if rule.false is None]
    size = sum(each.size for each in exceptions)
    if not exceptions or size >= most:
        return None
    # A union of one is no set yet, and a completion may be there twice: scored by two models, or with two of the tags.
    outside = select(*union(*(each.ids for each in exceptions)).subquery("them").c).distinct().subquery("outside")
    if not others:
        whole = select(func.count()).select_from(c).scalar_subquery()
        return select(whole - select(func.count()).select_from(outside).scalar_subquery())
    (words, *more) = others
    if more or words.few is None or words.true_ is None or size >= most // A_TEXT:
        return None
    row = named(c, "r")
    plain = unindexed(row, connection.dialect.name)
    inside = select(func.count()).select_from(row).where(row.c.id.in_(select(*outside.c)), words.few(plain))
    whole = select(func.count()).select_from(words.true_.ids.subquery("inside")).scalar_subquery()
    return select(whole - inside.scalar_subquery())
