"""Duplicates: equal to the letter; equal but for case, space and punctuation; nearly equal.

Nearly equal: the share of five-character pieces that two normalised texts have in common (Jaccard) is at least a threshold. Pairs
that may be so are found by MinHash and banding (datasketch), and then measured exactly. About 1.5 kB of memory a text.
"""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from ramify.errors import InputError
from ramify.store.database import Database
from ramify.store.walking import count_samples, prompt_texts

__all__ = ["MEASURES", "Cluster", "DuplicateReport", "Seen", "find_duplicates", "normalised"]

MEASURES = ("exact", "normalised", "near")
PIECE, HASHES = 5, 64
SPACE, MARKS = re.compile(r"\s+"), re.compile(r"[^\w\s]", re.UNICODE)


def normalised(text: str) -> str:
    """Lower case, compatibility forms unified, punctuation gone, one space between words."""
    return SPACE.sub(" ", MARKS.sub(" ", unicodedata.normalize("NFKC", text).casefold())).strip()


def _pieces(text: str) -> set[str]:
    words = normalised(text)
    return {words[i : i + PIECE] for i in range(max(1, len(words) - PIECE + 1))}


def likeness(first: set[str], second: set[str]) -> float:
    return len(first & second) / len(first | second) if first or second else 1.0


class Seen:
    """Texts that have come by, and whether another is like one of them."""

    def __init__(self, measure: str, near: float = 0.85) -> None:
        if measure not in MEASURES:
            raise InputError(f"the measure is {measure!r}; it must be one of {', '.join(MEASURES)}")
        self.measure, self.near = measure, near
        self._exact: dict[bytes, str] = {}
        self._letters: dict[str, bytes] = {}
        self._near: Any = None
        self._texts: dict[Hashable, tuple[str, str]] = {}
        if measure == "near":
            from datasketch import MinHashLSH

            # A lower bound than asked for: banding misses some at its threshold, and the exact measure drops what is below.
            self._near = MinHashLSH(threshold=max(0.1, near - 0.15), num_perm=HASHES)

    def _key(self, text: str) -> bytes:
        told = text if self.measure == "exact" else normalised(text)
        return hashlib.sha256(told.encode()).digest()[:16]

    def add(self, text: str, name: str, *, key: Hashable | None = None) -> None:
        self._exact.setdefault(self._key(text), name)
        self._letters.setdefault(name, hashlib.sha256(text.encode()).digest()[:16])
        if self._near is not None:
            key = key if key is not None else name
            if key not in self._texts:
                self._texts[key] = (name, text)
                self._near.insert(key, _minhash(_pieces(text)), check_duplication=False)

    def twin(self, text: str, name: str) -> tuple[str, float] | None:
        """(name, likeness) of a text like this one; None where there is none, and then this one has come by too.

        A text that is the same to the letter is no twin: it is the same prompt, and joins its sample.
        """
        found = self._exact.get(self._key(text))
        if found is not None:
            same = self._letters.get(found) == hashlib.sha256(text.encode()).digest()[:16]
            return None if same else (found, 1.0)
        if self._near is not None:
            close = self.close(text)
            if close:
                likest = max(close, key=lambda each: each[1])
                return self._texts[likest[0]][0], round(likest[1], 4)
        self.add(text, name)
        return None

    def close(self, text: str) -> list[tuple[Hashable, float]]:
        """(key, likeness) of every text that is nearly this one."""
        mine = _pieces(text)
        found = [(key, likeness(mine, _pieces(self._texts[key][1]))) for key in self._near.query(_minhash(mine))]
        return [each for each in found if each[1] >= self.near]


def _minhash(pieces: Iterable[str]) -> Any:
    from datasketch import MinHash

    made = MinHash(num_perm=HASHES, seed=1)
    made.update_batch([piece.encode() for piece in pieces])
    return made


# ---------------------------------------------------------------- the report


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Things that are like each other."""

    kind: str
    """ "samples" or "completions"."""
    ids: tuple[int, ...]
    """The oldest first."""
    likeness: float
    """The least between one of them and the one that it was found by; 1 for equal."""
    text: str
    """The beginning of the oldest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateReport:
    measure: str
    near: float | None
    looked_at: int
    clusters: tuple[Cluster, ...]
    """The largest first."""

    @property
    def spare(self) -> int:
        """How many could go, keeping one of each cluster."""
        return sum(len(cluster.ids) - 1 for cluster in self.clusters)


def find_duplicates(
    database: Database,
    *,
    measure: str = "normalised",
    near: float = 0.85,
    of: str = "samples",
    told: Callable[[int, int], None] | None = None,
) -> DuplicateReport:
    """Clusters of samples by their prompt, or of completions by their text among those of one sample.

    told: is told now and then how many of how many were looked at. Raises InputError.
    """
    if measure not in MEASURES:
        raise InputError(f"the measure is {measure!r}; it must be one of {', '.join(MEASURES)}")
    if of not in ("samples", "completions"):
        raise InputError(f"duplicates are looked for of samples or completions, not of {of!r}")
    if not 0 < near <= 1:
        raise InputError(f"near is {near}; it must be above 0 and at most 1")
    if of == "completions":
        looked_at, clusters = _of_completions(database, measure, near, told)
    else:
        with database.reading() as connection:
            total = count_samples(connection)
            texts = ((sample_id, text) for _, sample_id, text in prompt_texts(connection))
            looked_at, clusters = _clusters(texts, "samples", measure, near, total, told)
    ordered = sorted(clusters, key=lambda each: (-len(each.ids), each.ids))
    return DuplicateReport(
        measure=measure, near=near if measure == "near" else None, looked_at=looked_at, clusters=tuple(ordered)
    )


def _clusters(
    texts: Iterable[tuple[int, str]],
    kind: str,
    measure: str,
    near: float,
    total: int,
    told: Callable[[int, int], None] | None,
) -> tuple[int, list[Cluster]]:
    seen = Seen(measure, near)
    groups = _Groups()
    first: dict[bytes, int] = {}
    heads: dict[int, str] = {}
    count = 0
    for count, (number, text) in enumerate(texts, start=1):
        key = seen._key(text)
        heads[number] = text[:80]
        if key in first:
            groups.join(first[key], number, 1.0)
        else:
            first[key] = number
            if measure == "near":
                for other, alike in seen.close(text):
                    groups.join(int(other), number, alike)  # type: ignore[call-overload]
                seen.add(text, str(number), key=number)
        if told is not None and not count % 500:
            told(count, total)
    found = [
        Cluster(kind=kind, ids=tuple(sorted(ids)), likeness=round(least, 4), text=heads[min(ids)]) for ids, least in groups.all()
    ]
    return count, found


class _Groups:
    """Which belong together, as more and more is known."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}
        self._least: dict[int, float] = {}

    def _top(self, number: int) -> int:
        while (above := self._above.setdefault(number, number)) != number:
            self._above[number] = self._above[above]
            number = above
        return number

    def join(self, first: int, second: int, alike: float) -> None:
        one, other = self._top(first), self._top(second)
        least = min(alike, self._least.get(one, 1.0), self._least.get(other, 1.0))
        self._above[max(one, other)] = min(one, other)
        self._least[min(one, other)] = least

    def all(self) -> list[tuple[list[int], float]]:
        found: dict[int, list[int]] = defaultdict(list)
        for number in list(self._above):
            found[self._top(number)].append(number)
        return [(ids, self._least.get(top, 1.0)) for top, ids in found.items() if len(ids) > 1]


def _of_completions(
    database: Database, measure: str, near: float, told: Callable[[int, int], None] | None
) -> tuple[int, list[Cluster]]:
    from ramify.store.walking import texts_of, walk

    looked_at, clusters = 0, list[Cluster]()
    with database.reading() as connection:
        total = count_samples(connection)
        for number, sample in enumerate(walk(connection, database), start=1):
            ids = [each.id for each in sample.candidates if not each.archived]
            if told is not None and not number % 500:
                told(number, total)
            if len(ids) > 1:
                written = texts_of(connection, ids)
                some = ((i, written[i].text) for i in ids)
                count, found = _clusters(some, "completions", measure, near, len(ids), None)
                looked_at, clusters = looked_at + count, clusters + found
            else:
                looked_at += len(ids)
    return looked_at, clusters
