"""Token by token: the model proposes, a person picks. Each pick is one forward pass of one token."""

import math
from dataclasses import dataclass
from typing import Self

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.store.database import Database
from ramify.store.records import SampleRecord
from ramify.workbench.beginnings import Beginning, after_prompt
from ramify.workbench.token_branching import Picking

__all__ = ["Candidate", "Candidates", "TokenByToken"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that may be picked. text spells it out, special ones too; whitespace is the shower's business."""

    token_id: int
    text: str
    probability: float
    rank: int
    ends: bool
    """Whether it is an EOS: picking it ends the completion."""
    processed: float | None = None
    """Its probability under the settings, 0 where they remove it; None where no settings act."""


@dataclass(frozen=True, slots=True)
class Candidates:
    shown: tuple[Candidate, ...]
    others: float
    """The probability of all that is not shown."""


class TokenByToken(Picking):
    """A completion in the making, after a sample's prompt or inside another. `pick`, `type`, `undo`, `finish`, then `save`."""

    def __init__(self, database: Database, model: Model, start: SampleRecord | Beginning, *, prefill: str | None = None) -> None:
        """prefill: what it begins with, after a sample's prompt."""
        if isinstance(start, SampleRecord):
            start = after_prompt(model, start, prefill)
        super().__init__(database, model, start)

    def candidates(self, k: int = 20, *, search: str | None = None, config: GenerationConfig | None = None) -> Candidates:
        """The k likeliest next tokens and every EOS, best first; with `search`, the likeliest whose text contains it.

        config: settings under which their probabilities are told besides.
        """
        found = self.next(k, search=search, config=config)
        after = [None] * len(found.token_ids) if found.processed is None else [math.exp(each) for each in found.processed]
        columns = zip(found.token_ids, found.texts, found.probabilities, found.ranks, found.ends, after, strict=True)
        return Candidates(tuple(Candidate(*column) for column in columns), found.others)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
