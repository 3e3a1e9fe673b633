"""The next pair to compare, over a whole workspace."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from ramify.store import tables

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Duel", "next_duel"]

LOOKED_AT = 2_000
"""Samples whose pairs are counted at most before the search gives up."""


@dataclass(frozen=True, slots=True)
class Duel:
    sample_id: int
    pair: tuple[int, int]
    compared: int
    """Pairs of the sample that were compared under the facet or its ancestors."""
    pairs: int


def next_duel(database: "Database", facet: str, *, sample_id: int | None = None) -> Duel | None:
    """The two completions most worth comparing next under a facet, of one sample or of the newest with a pair open.

    None when nothing is left to compare. Raises NotFoundError.
    """
    database.facets.get(facet)
    if sample_id is not None:
        database.samples.get(sample_id)
        return _of(database, facet, sample_id)
    c, s = tables.completions, tables.samples
    rankable = c.c.archived.is_(False) & c.c.draft.is_(False) & s.c.archived.is_(False)
    query = select(c.c.sample_id).join(s, s.c.id == c.c.sample_id).where(rankable).group_by(c.c.sample_id)
    query = query.having(func.count() > 1).order_by(c.c.sample_id.desc()).limit(LOOKED_AT)
    with database.reading() as connection:
        ids = connection.execute(query).scalars().all()
    return next((found for i in ids if (found := _of(database, facet, i)) is not None), None)


def _of(database: "Database", facet: str, sample_id: int) -> Duel | None:
    asked = {frozenset((p.better_id, p.worse_id)) for p in database.judgements.effective(sample_id, facet).preferences}
    ranking = database.judgements.ranking(sample_id, facet)
    pair = ranking.next_pair(skip=asked)
    size = len(ranking.strengths)
    return None if pair is None else Duel(sample_id, pair, len(asked), size * (size - 1) // 2)
