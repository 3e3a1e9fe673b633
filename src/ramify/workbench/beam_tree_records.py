"""What a beam tree answers: plain values."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ramify.store.records import BeamNodeRecord

__all__ = ["Implied", "Measure", "NextToken", "NextTokens", "Ranked", "Scene", "Unlikely"]

Measure = Literal["cumulative", "mean", "minimum", "entropy"]
"""The sum, the mean or the least of the path's logprobs; or the mean entropy of the distributions its tokens came from."""


@dataclass(frozen=True, slots=True)
class NextToken:
    """A token that the model could say after a node."""

    token_id: int
    token_bytes: bytes
    """Special tokens are spelt out."""
    logprob: float
    rank: int
    ends: bool
    """Whether it is an EOS."""
    node_id: int | None
    """The child that it is already."""

    @property
    def text(self) -> str:
        return self.token_bytes.decode("utf-8", errors="replace")

    @property
    def probability(self) -> float:
        return math.exp(self.logprob)


@dataclass(frozen=True, slots=True)
class NextTokens:
    """What could come after a node, likeliest first."""

    node_id: int
    shown: tuple[NextToken, ...]
    others: float
    """The probability of all that is not shown."""
    entropy: float | None
    """Of the whole distribution, in nats; None where the tree keeps the likeliest tokens of it and no more."""

    def __iter__(self) -> Iterator[NextToken]:
        return iter(self.shown)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A leaf in its place."""

    node: BeamNodeRecord
    value: float
    """By the measure asked for; higher is better but for entropy."""
    text: str
    """From the root on, without the prefill."""


@dataclass(frozen=True, slots=True)
class Unlikely:
    """A branch that sampling cannot reach."""

    node: BeamNodeRecord
    value: float
    text: str
    removed: tuple[tuple[int, str, float], ...]
    """(token's place in the path, the processor that removes it, the token's raw logprob)."""
    beats: float
    """The share of the reachable leaves that rank lower."""


@dataclass(frozen=True, slots=True)
class Implied:
    """A preference that a decision at a fork implies, for the caller to write under a facet: two saved completions."""

    better_id: int
    worse_id: int
    shared_tokens: int
    """The completions are equal up to here."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One step of a path, as it was: the token taken, what else there was, and the path's standing among its rivals."""

    node: BeamNodeRecord
    text: str
    """The path up to and with this token."""
    candidates: tuple[tuple[int, float], ...]
    """What the model could have said, as far as the tree keeps it."""
    siblings: tuple[BeamNodeRecord, ...]
    """Other children of the same parent, likeliest first."""
    place: int
    """1 for the likeliest path of this length in the tree."""
