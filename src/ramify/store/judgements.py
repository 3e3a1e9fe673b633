"""Ratings, preferences and approvals: what people think of completions, under a facet.

A facet's own judgement counts first; where it has none of a completion or a pair, its parent's does, and so on up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.changes import chunks
from ramify.store.consistency import Agreement, Conflict, agreement, conflicts, cycles
from ramify.store.facets import facet_id_of, name_of
from ramify.store.ranking import Comparison, Ranking, rank
from ramify.store.records import (
    CompletionRecord,
    FacetRecord,
    PreferenceRecord,
    RatingRecord,
    SampleRecord,
    id_of,
    ids_of,
    moment,
)

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Effective", "Judgements", "Report"]

unanswered = tables.unanswered
ratings, preferences, approvals, completions, facets = (
    tables.ratings,
    tables.preferences,
    tables.approvals,
    tables.completions,
    tables.facets,
)


@dataclass(frozen=True, slots=True)
class Effective:
    """The judgements of a sample's completions that count under a facet."""

    ratings: Mapping[int, RatingRecord]
    """By completion; `facet` says which facet it comes from."""
    preferences: tuple[PreferenceRecord, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """How consistent the judgements under a facet are."""

    conflicts: tuple[Conflict, ...]
    cycles: tuple[tuple[int, ...], ...]
    agreement: Agreement


class Judgements:
    def __init__(self, database: "Database") -> None:
        self.database = database

    # ------------------------------------------------------------ ratings

    def rate(
        self, completion: CompletionRecord | int, facet: FacetRecord | str, rating: int | None, *, origin: str = "hand"
    ) -> None:
        """Rate a completion from 0 to 10 under a facet, in place of an earlier rating; None takes it back."""
        self.rate_many([completion], facet, rating, origin=origin)

    def rate_many(
        self, which: Sequence[CompletionRecord | int], facet: FacetRecord | str, rating: int | None, *, origin: str = "hand"
    ) -> None:
        """The same for several completions, as one action. Raises InputError, NotFoundError."""
        if rating is not None and (isinstance(rating, bool) or not isinstance(rating, int) or not 0 <= rating <= 10):
            raise InputError(f"the rating is {rating!r}; it must be a whole number from 0 to 10, or None for no rating")
        ids, facet = ids_of(which, CompletionRecord), name_of(facet)
        with self.database.action("rate", facet) as action:
            facet_id = facet_id_of(action.connection, facet)
            samples_of(action.connection, ids)
            old: dict[int, int] = {}
            for part in chunks(list(ids)):
                query = select(ratings.c.completion_id, ratings.c.id).where(
                    ratings.c.facet_id == facet_id, ratings.c.completion_id.in_(part)
                )
                old.update({row[0]: row[1] for row in action.connection.execute(query)})
            if rating is None:
                action.delete(ratings, list(old.values()))
                return
            action.update(ratings, list(old.values()), {"rating": rating, "origin": origin})
            fresh = [i for i in dict.fromkeys(ids) if i not in old]
            same = {"facet_id": facet_id, "rating": rating, "origin": origin, "created_at": action.time}
            action.insert(ratings, [{"completion_id": i, **same} for i in fresh])

    def ratings_of(self, completion: CompletionRecord | int) -> list[RatingRecord]:
        """Under every facet, by name."""
        return self._ratings(ratings.c.completion_id == id_of(completion, CompletionRecord))

    def _ratings(self, condition: Any) -> list[RatingRecord]:
        query = (
            select(ratings, facets.c.name)
            .join(facets, facets.c.id == ratings.c.facet_id)
            .where(condition)
            .order_by(facets.c.name)
        )
        with self.database.reading() as connection:
            return [
                RatingRecord(
                    completion_id=row.completion_id,
                    facet=row.name,
                    rating=row.rating,
                    origin=row.origin,
                    created_at=moment(row.created_at),
                )
                for row in connection.execute(query.order_by(ratings.c.completion_id))
            ]

    # ------------------------------------------------------------ preferences

    def prefer(
        self,
        better: CompletionRecord | int,
        worse: CompletionRecord | int,
        facet: FacetRecord | str,
        *,
        tie: bool = False,
        origin: str = "hand",
    ) -> PreferenceRecord:
        """Say that one completion is better than another under a facet, or that neither is.

        It takes the place of what the same origin said of this pair; another origin's word stays, and may conflict.
        Raises InputError for a completion against itself or one of another sample, NotFoundError.
        """
        better, worse, facet = id_of(better, CompletionRecord), id_of(worse, CompletionRecord), name_of(facet)
        if better == worse:
            raise InputError(f"completion {better} cannot be compared with itself")
        with self.database.action("prefer", facet) as action:
            connection = action.connection
            facet_id = facet_id_of(connection, facet)
            samples = samples_of(connection, [better, worse])
            if samples[better] != samples[worse]:
                raise InputError(
                    f"completion {better} answers sample {samples[better]} and completion {worse} sample {samples[worse]}; "
                    "only completions of one sample can be compared"
                )
            pair = preferences.c.better_id.in_([better, worse]) & preferences.c.worse_id.in_([better, worse])
            mine = (preferences.c.facet_id == facet_id) & (preferences.c.origin == origin)
            action.delete(preferences, connection.execute(select(preferences.c.id).where(pair, mine)).scalars().all())
            row = {"facet_id": facet_id, "sample_id": samples[better], "better_id": better, "worse_id": worse}
            (found,) = action.insert(preferences, [{**row, "tie": tie, "origin": origin, "created_at": action.time}])
            return self._preferences(preferences.c.id == found)[0]

    def withdraw(self, preference: PreferenceRecord | int) -> None:
        """Take a preference back. Raises NotFoundError."""
        preference_id = preference.id if isinstance(preference, PreferenceRecord) else preference
        with self.database.action("withdraw preference", str(preference_id)) as action:
            if not action.read(preferences, [preference_id]):
                raise NotFoundError(f"there is no preference {preference_id}")
            action.delete(preferences, [preference_id])

    def preferences(
        self, *, facet: FacetRecord | str | None = None, sample_id: SampleRecord | int | None = None
    ) -> list[PreferenceRecord]:
        """Oldest first."""
        with self.database.reading() as connection:
            condition: Any = preferences.c.id > 0
            if facet is not None:
                condition = condition & (preferences.c.facet_id == facet_id_of(connection, name_of(facet)))
            if sample_id is not None:
                condition = condition & (preferences.c.sample_id == id_of(sample_id, SampleRecord))
            return self._preferences(condition)

    def _preferences(self, condition: Any) -> list[PreferenceRecord]:
        query = select(preferences, facets.c.name).join(facets, facets.c.id == preferences.c.facet_id).where(condition)
        with self.database.reading() as connection:
            return [
                PreferenceRecord(
                    id=row.id,
                    facet=row.name,
                    sample_id=row.sample_id,
                    better_id=row.better_id,
                    worse_id=row.worse_id,
                    tie=bool(row.tie),
                    origin=row.origin,
                    created_at=moment(row.created_at),
                )
                for row in connection.execute(query.order_by(preferences.c.id))
            ]

    # ------------------------------------------------------------ approvals

    def approve(self, completion: CompletionRecord | int, facet: FacetRecord | str) -> None:
        """Make it the answer to its sample under a facet, in place of an earlier one. It settles requests that wait for it.

        Raises InputError for a draft or an archived completion.
        """
        completion_id, facet = id_of(completion, CompletionRecord), name_of(facet)
        with self.database.action("approve", facet) as action:
            record = self.database.completions.get(completion_id)
            if record.draft or record.archived:
                raise InputError(
                    f"completion {completion_id} is {'a draft' if record.draft else 'archived'}; save or unarchive it first"
                )
            facet_id = facet_id_of(action.connection, facet)
            where = (approvals.c.sample_id == record.sample_id) & (approvals.c.facet_id == facet_id)
            old = action.connection.execute(select(approvals.c.id).where(where)).scalars().all()
            if old:
                action.update(approvals, old, {"completion_id": completion_id})
            else:
                row = {"sample_id": record.sample_id, "facet_id": facet_id, "completion_id": completion_id}
                action.insert(approvals, [{**row, "created_at": action.time}])
            hashes = select(tables.prompts.c.hash).where(tables.prompts.c.id == record.prompt_id)
            waiting = select(unanswered.c.id).where(
                unanswered.c.facet_id == facet_id, unanswered.c.state == "waiting", unanswered.c.hash.in_(hashes)
            )
            settled = action.connection.execute(waiting).scalars().all()
            action.update(unanswered, settled, {"state": "answered", "sample_id": record.sample_id})

    def disapprove(self, sample: SampleRecord | int, facet: FacetRecord | str) -> None:
        """Take the approval back; does nothing where there is none."""
        sample_id, facet = id_of(sample, SampleRecord), name_of(facet)
        with self.database.action("disapprove", facet) as action:
            where = (approvals.c.sample_id == sample_id) & (approvals.c.facet_id == facet_id_of(action.connection, facet))
            action.delete(approvals, action.connection.execute(select(approvals.c.id).where(where)).scalars().all())

    def approved(self, sample: SampleRecord | int, facet: FacetRecord | str) -> int | None:
        """The approved completion's id under the facet itself; parents are not asked."""
        sample_id, facet = id_of(sample, SampleRecord), name_of(facet)
        with self.database.reading() as connection:
            where = (approvals.c.sample_id == sample_id) & (approvals.c.facet_id == facet_id_of(connection, facet))
            found: int | None = connection.execute(select(approvals.c.completion_id).where(where)).scalar()
            return found

    # ------------------------------------------------------------ what follows from them

    def effective(self, sample: SampleRecord | int, facet: FacetRecord | str) -> Effective:
        """Own judgements first, then each ancestor's for what is still open. Archived completions and drafts do not count."""
        sample_id, facet = id_of(sample, SampleRecord), name_of(facet)
        with self.database.reading() as connection:
            chain = [each.id for each in self.database.facets.chain(facet)]
            order = {each.name: place for place, each in enumerate(self.database.facets.chain(facet))}
            mine = set(_candidates(connection, sample_id))
            found = self._ratings(ratings.c.facet_id.in_(chain) & ratings.c.completion_id.in_(mine))
            pairs = self._preferences(preferences.c.facet_id.in_(chain) & (preferences.c.sample_id == sample_id))
        nearest: dict[int, RatingRecord] = {}
        for record in sorted(found, key=lambda each: order[each.facet]):
            nearest.setdefault(record.completion_id, record)
        level: dict[frozenset[int], int] = {}
        for each in pairs:
            pair = frozenset((each.better_id, each.worse_id))
            level[pair] = min(order[each.facet], level.get(pair, len(order)))
        kept = [each for each in pairs if {each.better_id, each.worse_id} <= mine]
        kept = [each for each in kept if order[each.facet] == level[frozenset((each.better_id, each.worse_id))]]
        return Effective(nearest, tuple(kept))

    def ranking(self, sample: SampleRecord | int, facet: FacetRecord | str) -> Ranking:
        """Bradley–Terry over a sample's completions: preferences, and ratings where a pair has no preference."""
        sample_id = id_of(sample, SampleRecord)
        found = self.effective(sample_id, facet)
        with self.database.reading() as connection:
            items = _candidates(connection, sample_id)
        asked = {frozenset((each.better_id, each.worse_id)) for each in found.preferences}
        games = [Comparison(each.better_id, each.worse_id, each.tie) for each in found.preferences]
        rated = sorted(found.ratings)
        for index, first in enumerate(rated):
            for second in rated[index + 1 :]:
                if frozenset((first, second)) not in asked:
                    difference = found.ratings[first].rating - found.ratings[second].rating
                    better, worse = (first, second) if difference >= 0 else (second, first)
                    games.append(Comparison(better, worse, difference == 0, weight=0.5))
        return rank(items, games)

    def next_pair(self, sample: SampleRecord | int, facet: FacetRecord | str) -> tuple[int, int] | None:
        """The two completions of a sample most worth comparing next; None when every pair was compared."""
        asked = {frozenset((each.better_id, each.worse_id)) for each in self.effective(sample, facet).preferences}
        return self.ranking(sample, facet).next_pair(skip=asked)

    def report(self, facet: FacetRecord | str, *, sample_id: SampleRecord | int | None = None) -> Report:
        """Conflicts, circles, and agreement with the ratings, of the facet's own judgements."""
        facet = name_of(facet)
        with self.database.reading() as connection:
            facet_id = facet_id_of(connection, facet)
            said = self.preferences(facet=facet, sample_id=sample_id)
            ids = sorted({i for each in said for i in (each.better_id, each.worse_id)})
            values: dict[int, int] = {}
            for part in chunks(ids):
                query = select(ratings.c.completion_id, ratings.c.rating).where(
                    ratings.c.facet_id == facet_id, ratings.c.completion_id.in_(part)
                )
                values.update({row[0]: row[1] for row in connection.execute(query)})
        return Report(tuple(conflicts(said)), tuple(cycles(said)), agreement(values, said))


def _candidates(connection: Connection, sample_id: int) -> list[int]:
    """The completions that can be ranked: saved and not archived."""
    query = select(completions.c.id).where(
        completions.c.sample_id == sample_id, completions.c.archived.is_(False), completions.c.draft.is_(False)
    )
    return list(connection.execute(query.order_by(completions.c.id)).scalars())


def samples_of(connection: Connection, ids: Sequence[int]) -> dict[int, int]:
    """The sample of each completion. Raises NotFoundError."""
    found: dict[int, int] = {}
    for part in chunks(list(ids)):
        query = select(completions.c.id, completions.c.sample_id).where(completions.c.id.in_(part))
        found.update({row[0]: row[1] for row in connection.execute(query)})
    missing = [i for i in ids if i not in found]
    if missing:
        raise NotFoundError(f"there is no completion {missing[0]}")
    return found
