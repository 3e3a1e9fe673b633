"""Whether judgements agree: pairs judged both ways, preferences that run in a circle, ratings that say otherwise."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from ramify.store.records import PreferenceRecord

__all__ = ["Agreement", "Conflict", "agreement", "conflicts", "cycles"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A pair that was judged in different ways. `preferences` are the judgements' ids."""

    pair: tuple[int, int]
    preferences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How explicit preferences compare with ratings. Pairs in which a rating is missing do not count."""

    agree: int
    disagree: int
    undecided: int
    """Preferred, though rated alike; or tied, though rated differently."""
    against: tuple[int, ...]
    """Ids of the preferences that the ratings contradict."""

    @property
    def share(self) -> float | None:
        """Of the decided pairs, how many agree; None where nothing is decided."""
        decided = self.agree + self.disagree
        return self.agree / decided if decided else None


def conflicts(preferences: Iterable[PreferenceRecord]) -> list[Conflict]:
    """Pairs for which there are judgements of more than one kind: one way, the other way, tie."""
    kinds: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for each in preferences:
        pair = (min(each.better_id, each.worse_id), max(each.better_id, each.worse_id))
        kinds[pair][0 if each.tie else each.better_id].append(each.id)
    return [
        Conflict(pair, tuple(sorted(chain.from_iterable(said.values())))) for pair, said in sorted(kinds.items()) if len(said) > 1
    ]


def cycles(preferences: Iterable[PreferenceRecord]) -> list[tuple[int, ...]]:
    """Circles of three or more, each better than the next and the last better than the first; a shortest one through each pair
    that is in any, each circle once, beginning with its lowest id. Pairs judged both ways are `conflicts`, not circles."""
    worse: dict[int, set[int]] = defaultdict(set)
    for each in preferences:
        if not each.tie:
            worse[each.better_id].add(each.worse_id)
    found: set[tuple[int, ...]] = set()
    for better, others in sorted(worse.items()):
        for other in sorted(others):
            path = _shortest(worse, other, better, skip=(other, better))
            if path is not None:
                start = path.index(min(path))
                found.add((*path[start:], *path[:start]))
    return sorted(found)


def _shortest(worse: Mapping[int, set[int]], start: int, end: int, *, skip: tuple[int, int]) -> tuple[int, ...] | None:
    """The items from start to end, by breadth; the direct edge `skip` is not used."""
    paths: list[tuple[int, ...]] = [(start,)]
    seen = {start}
    while paths:
        longer = []
        for path in paths:
            for step in sorted(worse.get(path[-1], ())):
                if (path[-1], step) == skip or (step in seen and step != end):
                    continue
                if step == end:
                    return (*path, end)
                seen.add(step)
                longer.append((*path, step))
        paths = longer
    return None


def agreement(ratings: Mapping[int, int], preferences: Sequence[PreferenceRecord]) -> Agreement:
    """ratings: completion id → rating, under the facet of the preferences."""
    agree = disagree = undecided = 0
    against = []
    for each in preferences:
        if each.better_id not in ratings or each.worse_id not in ratings:
            continue
        difference = ratings[each.better_id] - ratings[each.worse_id]
        if (each.tie and difference == 0) or (not each.tie and difference > 0):
            agree += 1
        elif not each.tie and difference < 0:
            disagree += 1
            against.append(each.id)
        else:
            undecided += 1
    return Agreement(agree, disagree, undecided, tuple(against))
