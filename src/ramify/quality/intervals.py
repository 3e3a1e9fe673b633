"""Means of few samples, and how far they can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass

from ramify.errors import InputError

__all__ = ["Interval", "mean_of", "share_of"]

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate, and the bounds between which it lies with the confidence asked for; equal to it where nothing varies."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_of(values: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean with its percentile bootstrap interval of 2,000 resamples; the same values give the same interval.

    Source: Efron 1979, "Bootstrap Methods". Raises InputError for no values, or a confidence outside 0 to 1.
    """
    import numpy as np

    if not len(values):
        raise InputError("there are no values to take a mean of")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; it must be a number between 0 and 1")
    given = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(given), size=(RESAMPLES, len(given)))
    low, high = np.quantile(given[drawn].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean=float(given.mean()), low=float(low), high=float(high), count=len(given))


def share_of(won: float, count: int, *, z: float = 1.959963984540054) -> Interval:
    """The share `won` / `count` with its Wilson interval (95 % by default); ties count one half each.

    Source: Wilson 1927. Raises InputError for a share outside 0 to 1.
    """
    if count < 1 or not 0 <= won <= count:
        raise InputError(f"{won} of {count} is no share; give a count >= 1 and at most as many won")
    p, square = won / count, z * z
    middle = (p + square / (2 * count)) / (1 + square / count)
    half = z * ((p * (1 - p) / count + square / (4 * count * count)) ** 0.5) / (1 + square / count)
    return Interval(mean=p, low=max(0.0, middle - half), high=min(1.0, middle + half), count=count)
