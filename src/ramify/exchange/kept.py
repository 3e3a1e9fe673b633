"""What only another workspace can bring: whole completions with their measures, and judgements under many facets."""

from dataclasses import dataclass

from ramify.store.records import FacetRecord, ImageRecord, LogprobsRecord, NewCompletion

__all__ = ["Kept", "KeptAnswer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    new: NewCompletion
    parent: int | None
    """The place of its parent among the entry's answers."""
    branch_position: int | None
    logprobs: tuple[LogprobsRecord, ...]
    archived: bool
    hidden: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Answers are named by their place."""

    ratings: tuple[tuple[int, str, int], ...]
    """(answer, facet, rating)"""
    preferences: tuple[tuple[str, int, int, bool], ...]
    """(facet, better, worse, tie)"""
    approved: tuple[tuple[str, int], ...]
    """(facet, answer)"""
    facets: tuple[FacetRecord, ...]
    """Those of the judgements, ancestors first."""
    archived: bool
    hidden: bool
    images: tuple[ImageRecord, ...]
