"""From comparisons of pairs to a ranking with its uncertainty, and to the pair most worth asking about next.

Bradley–Terry: item i is preferred to j with probability 1 / (1 + exp(s_j - s_i)). A tie counts as half a win each way. A normal
prior of mean 0 and deviation `SPREAD` keeps strengths finite where one item always won; the strengths are the posterior's mode
(Newton's method; the posterior is strictly concave), their covariance the inverse of its curvature there (Laplace).
Source: Bradley and Terry 1952; Hunter 2004 for uniqueness of the maximum.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Comparison", "Ranking", "Strength", "rank"]

SPREAD = 2.0
"""Standard deviation of strengths before anything is known: odds of e² ≈ 7 : 1 against an average item are nothing unusual."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One judgement: `better` was preferred to `worse`, or neither where `tie`. weight 1 is one whole judgement."""

    better: int
    worse: int
    tie: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Strength:
    item: int
    strength: float
    """In log-odds; 0 is average."""
    error: float
    """Standard deviation of the strength."""
    comparisons: int


@dataclass(frozen=True)
class Ranking:
    """Strengths, best first."""

    strengths: tuple[Strength, ...]
    covariance: NDArray[np.float64]
    """(N, N), rows in the order of `strengths`."""

    def chance(self, first: int, second: int) -> float:
        """The probability that `first` would be preferred to `second`."""
        at = {entry.item: entry.strength for entry in self.strengths}
        return float(1.0 / (1.0 + np.exp(at[second] - at[first])))

    def next_pair(self, *, skip: Iterable[frozenset[int]] = ()) -> tuple[int, int] | None:
        """The pair whose comparison is expected to say most: near even, and little known. None when nothing is left to ask.

        The measure is p (1 - p) · var(s_i - s_j), the first-order information gain; ties go to the better-ranked pair.
        """
        left_out, best, found = set(skip), 0.0, None
        for i, first in enumerate(self.strengths):
            for j in range(i + 1, len(self.strengths)):
                second = self.strengths[j]
                if frozenset((first.item, second.item)) in left_out:
                    continue
                p = self.chance(first.item, second.item)
                gain = p * (1 - p) * (self.covariance[i, i] + self.covariance[j, j] - 2 * self.covariance[i, j])
                if gain > best * (1 + 1e-9):
                    best, found = gain, (first.item, second.item)
        return found


def rank(items: Sequence[int], comparisons: Iterable[Comparison]) -> Ranking:
    """Rank items, those never compared too. Equal strengths keep the order given. Comparisons of other items are left out."""
    order = list(dict.fromkeys(items))
    place = {item: index for index, item in enumerate(order)}
    size = len(order)
    wins = np.zeros((size, size))
    seen = np.zeros(size, int)
    for each in comparisons:
        if each.better not in place or each.worse not in place or each.better == each.worse:
            continue
        i, j = place[each.better], place[each.worse]
        wins[i, j] += each.weight * (0.5 if each.tie else 1.0)
        wins[j, i] += each.weight * 0.5 if each.tie else 0.0
        seen[[i, j]] += 1
    strengths, covariance = _mode(wins)
    best = sorted(range(size), key=lambda i: (-round(float(strengths[i]), 9), i))
    entries = tuple(Strength(order[i], float(strengths[i]), float(np.sqrt(covariance[i, i])), int(seen[i])) for i in best)
    return Ranking(entries, covariance[np.ix_(best, best)])


def _mode(wins: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """wins: (N, N), how often row beat column. Returns the mode (N,) and the covariance (N, N)."""
    size = len(wins)
    strengths: NDArray[np.float64] = np.zeros(size)
    games, precision = wins + wins.T, np.eye(size) / SPREAD**2

    def curvature(at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        chance = 1.0 / (1.0 + np.exp(np.clip(at[None, :] - at[:, None], -60, 60)))
        gradient = (wins - games * chance).sum(1) - at / SPREAD**2
        weights = games * chance * (1 - chance)
        return gradient, np.diag(weights.sum(1)) - weights + precision

    for _ in range(100):
        gradient, hessian = curvature(strengths)
        step = np.linalg.solve(hessian, gradient) if size else gradient
        strengths = strengths + step * min(1.0, 4.0 / (np.abs(step).max(initial=0.0) + 1e-12))
        if np.abs(step).max(initial=0.0) < 1e-10:
            break
    covariance: NDArray[np.float64] = np.asarray(np.linalg.inv(curvature(strengths)[1]), np.float64)
    return strengths, covariance
