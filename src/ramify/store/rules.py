"""What a filter asks of a row, said in three ways, and how conditions are joined.

- `Rule.holds(row)`: is it true of this row? Asked row by row while walking along an order.
- `Rule.start()`: the ids of all rows for which it can be true, found through an index. Asked first, when few rows match.
- `Rule.by_id()`: is it true of this id? Asked of such ids before their rows are read, each from a page of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, not_, or_, select, true, union

from ramify.store import tables
from ramify.store.rows import Row, named
from ramify.store.sources import CAP, FEW, Source

__all__ = ["Holds", "OfId", "Rule", "Start", "all_of", "any_of", "not_so", "nothing"]

Holds = Callable[[Row], ColumnElement[bool]]
OfId = Callable[[Any], ColumnElement[bool]]
Start = tuple[Source | None, Holds | None]


@dataclass(frozen=True, eq=False)
class Rule:
    holds: Holds
    start: Callable[[], Start] = lambda: (None, None)
    """Where all matches are, and what is still to be asked of their rows: None means all of it."""
    cost: int = 0
    """Of asking one row: 0 a column, 1 a look into another table, 2 a look into the words."""
    false: Source | None = None
    """Exactly the completions of which it is not true, where they are few; looked for where every match is wanted."""
    few: Holds | None = None
    """The same as `holds`, for who asks few rows of a condition that many fulfil."""
    by_id: Callable[[], OfId | None] = lambda: None
    """The same asked of an id through an index, without its row; None where that is not possible."""

    @property
    def source(self) -> Source | None:
        return self.start()[0]

    @property
    def true_(self) -> Source | None:
        """Exactly the rows of which it is true."""
        source, rest = self.start()
        return source if rest is nothing else None

    def holds_still(self, row: Row) -> "ColumnElement[bool]":
        return (self.start()[1] or self.holds)(row)


def nothing(row: Row) -> "ColumnElement[bool]":
    """The source was exact."""
    return true()


def all_of(rules: Sequence[Rule]) -> Rule:
    """Cheap questions first.

    Matches are in every source, so all are found from the smallest. Of its ids is asked what needs no row, and what few enough
    rows fulfil: an index has those near together, where each row would be on a page of its own.
    """
    ordered = sorted(rules, key=lambda rule: rule.cost)

    def holds(row: Row) -> "ColumnElement[bool]":
        return and_(true(), *(rule.holds(row) for rule in ordered))

    @cache
    def start() -> Start:
        sources = [(rule, source) for rule in ordered if (source := rule.source) is not None]
        for most in (FEW, CAP):
            near = [(rule, source) for rule, source in sources if source.up_to(most) < most]
            if near:
                return _narrowed(sorted(near, key=lambda each: each[1].up_to(most)), ordered)
        return None, None

    return Rule(holds, start, max((rule.cost for rule in rules), default=0), by_id=_by_id(ordered, partial(and_, true())))


def _by_id(rules: Sequence[Rule], joined: Callable[..., "ColumnElement[bool]"]) -> Callable[[], OfId | None]:
    """Where all of them can be asked of an id."""

    def by_id() -> OfId | None:
        asked = [of_id for rule in rules if (of_id := rule.by_id()) is not None]
        return None if len(asked) < len(rules) else lambda i: joined(*(of_id(i) for of_id in asked))

    return by_id


def _narrowed(near: Sequence[tuple[Rule, Source]], rules: Sequence[Rule]) -> Start:
    """What is left of the first source when its ids have been asked; of the others, columns are asked only if they are near."""
    (first, source), *others = near
    also = [rule for rule, _ in others] + [rule for rule in rules if rule.cost and all(rule is not each for each, _ in near)]
    by_id = {rule: of_id for rule in also if (of_id := rule.by_id()) is not None}

    def rest(row: Row) -> "ColumnElement[bool]":
        unasked = (rule for rule in rules if rule not in by_id)
        return and_(true(), *(rule.holds_still(row) if rule is first else rule.holds(row) for rule in unasked))

    if not by_id:
        return source, rest

    def up_to(most: int) -> int:
        about = source.up_to(most)
        for rule, other in others:
            if other.among is not None and rule in by_id:
                about = about * other.size // other.among()
        return about

    (each,) = source.ids.subquery().c
    return Source(select(each).where(*(of_id(each) for of_id in by_id.values())), up_to, source.among), rest


def any_of(rules: Sequence[Rule]) -> Rule:
    ordered = sorted(rules, key=lambda rule: rule.cost)

    def either(*said: "ColumnElement[bool]") -> "ColumnElement[bool]":
        return or_(false(), *(func.coalesce(each, false()) for each in said))

    @cache
    def start() -> Start:
        sources = [source for rule in rules if (source := rule.source) is not None]
        if not rules or len(sources) < len(rules):
            return None, None
        whole = union(*(source.ids for source in sources)).subquery()
        return Source(select(*whole.c), lambda most: min(most, sum(source.up_to(most) for source in sources))), None

    return Rule(
        lambda row: either(*(rule.holds(row) for rule in ordered)),
        start,
        max((rule.cost for rule in rules), default=0),
        false=_of_none(rules),
        by_id=_by_id(ordered, either),
    )


def not_so(rule: Rule, exceptions: Source | None = None) -> Rule:
    """exceptions: exactly the rows of which the rule is true, where they are few and known."""

    def opposite(said: "ColumnElement[bool]") -> "ColumnElement[bool]":
        return not_(func.coalesce(said, false()))

    return Rule(lambda row: opposite(rule.holds(row)), cost=rule.cost, false=exceptions, by_id=_by_id([rule], opposite))


def _of_none(rules: Sequence[Rule]) -> Source | None:
    """Rows of which no rule is true: those of the smallest set of exceptions that the others do not hold of either."""
    known = sorted((rule for rule in rules if rule.false is not None), key=lambda rule: rule.false.size)  # type: ignore[union-attr]
    if not known:
        return None
    smallest, c = known[0].false, named(tables.completions, "n")
    assert smallest is not None
    others = (not_(func.coalesce(rule.holds(c), false())) for rule in rules if rule is not known[0])
    return Source(select(c.c.id).where(c.c.id.in_(smallest.ids), *others), smallest.up_to)
