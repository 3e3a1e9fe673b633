"""Where a filter's matches are: ids found through an index, and about how many there are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, func, select

from ramify.store.rows import ends

__all__ = ["CAP", "FEW", "Owners", "Source", "source_of"]

CAP = 150_000
"""Counts stop here: a source with more rows than this is not worth starting from."""
FEW = 2_000
"""A condition that so few rows fulfil is worth starting from; only where there is none are the others counted further."""
LOOKED_AT = 10_000
"""Where an exact number is not needed, so many ids at each of three places say how many there are in all."""


@dataclass(frozen=True)
class Source:
    """Ids that contain all matches. They are counted when that is asked for."""

    ids: "Select[Any]"
    up_to: Callable[[int], int]
    """(most) -> how many there are at most, about; `most` says: that many or more. Counted when asked, and not far beyond."""
    among: Callable[[], int] | None = None
    """Of about how many rows, where that is known."""
    through: "Owners | None" = None
    """Where they are the samples of completions."""

    @property
    def size(self) -> int:
        return self.up_to(CAP)


@dataclass(frozen=True)
class Owners:
    """Samples by their completions."""

    completions: "Select[Any]"
    """Ids that contain all that match."""
    of: "Callable[[Any, bool], Select[Any]]"
    """(which completions, along) -> their samples, of those that do match. along: by going along the index of completions by
    sample, quicker for a part of many in that order; else each completion is looked up to learn its sample."""


def source_of(connection: Connection, ids: "Select[Any]", of: Table | None = None, *, exact: bool = False) -> Source:
    """of: the table whose ids they are, where an index has them in order, so that a part of them is soon counted."""

    def counted(part: "Select[Any]", most: int) -> int:
        return int(connection.execute(select(func.count()).select_from(part.limit(most).subquery())).scalar_one())

    if of is None or exact:
        return Source(ids, cache(lambda most: counted(ids, most)))
    (each,) = ids.subquery().c

    def between(first: int, last: int, most: int) -> int:
        return counted(select(each).where(each.between(first, last)), most)

    @cache
    def all_ids() -> tuple[int, int]:
        first, last = ends(connection, of)
        return (first, last) if first is not None else (1, 1)

    def rows() -> int:
        first, last = all_ids()
        return last - first + 1  # there are few gaps

    @cache
    def up_to(most: int) -> int:
        first, last = all_ids()
        if most <= FEW or up_to(FEW) < FEW:
            return between(first, last, most)
        starts = (first, (first + last - LOOKED_AT) // 2, last - LOOKED_AT + 1)
        seen = sum(between(start, start + LOOKED_AT - 1, LOOKED_AT) for start in starts)
        return min(most, max(FEW, seen * rows() // (len(starts) * LOOKED_AT)))

    return Source(ids, up_to, rows)
