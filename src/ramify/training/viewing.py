"""The trainer's view: every row as the trainer sees it, before anything is trained.

Per row its exact ids, which of them are learned, whether an EOS is, and everything that speaks against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ramify.training.examples import IGNORED, Example
from ramify.training.fitting import problems_of
from ramify.training.gathering import Gathered, TrainingRow
from ramify.training.spelling import Spelling

__all__ = ["RowView", "View", "numbered", "view", "view_row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideView:
    """One sequence: a completion after its prompt."""

    token_ids: tuple[int, ...]
    learned: tuple[bool, ...]
    """Of each token."""
    texts: tuple[str, ...]
    """Each token spelt out, special ones too."""
    eos: bool
    """Whether the model learns to end it."""
    eos_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    number: int
    """Counted from 1."""
    name: str
    validation: bool
    label: bool | None
    """None but for kto."""
    prompt_tokens: int
    tokens: int
    learned: int
    problems: tuple[str, ...]
    sides: tuple[SideView, ...]
    """The completion; or chosen and rejected."""
    source: dict[str, Any]


@dataclass(kw_only=True)
class View:
    """All rows in numbers."""

    kind: str
    model: str
    window: int
    rows: int = 0
    validation_rows: int = 0
    tokens: int = 0
    learned: int = 0
    longest: int = 0
    without_eos: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    """Rows with each kind of problem."""
    bad: list[RowView] = field(default_factory=list)
    stayed: dict[str, int] = field(default_factory=dict)
    """Why completions of the workspace did not become rows."""

    @property
    def passes(self) -> bool:
        return not self.bad and self.rows > self.validation_rows

    def to_data(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "bad"}
        bad = [{"number": row.number, "name": row.name, "problems": list(row.problems)} for row in self.bad]
        return {**plain, "bad": bad, "passes": self.passes}


def view(gathered: Gathered, spelling: Spelling, window: int) -> View:
    """Look at all rows."""
    found = View(kind=gathered.kind, model=spelling.name, window=window)
    for facet in gathered.facets:
        for reason, count in facet.reasons.most_common():
            found.stayed[reason] = found.stayed.get(reason, 0) + count
    for number, row in enumerate(gathered.rows, start=1):
        found.rows += 1
        found.validation_rows += row.validation
        found.tokens += sum(len(each.token_ids) for each in row.examples)
        found.learned += sum(each.learned for each in row.examples)
        found.longest = max(found.longest, row.length)
        found.without_eos += sum(not _ends(each, spelling) for each in row.examples)
        problems = problems_of(row, window)
        for problem in problems:
            kind = _kind(problem)
            found.problems[kind] = found.problems.get(kind, 0) + 1
        if problems:
            found.bad.append(view_row(row, number, gathered.kind, spelling, window))
    return found


def view_row(row: TrainingRow, number: int, kind: str, spelling: Spelling, window: int) -> RowView:
    """One row, token by token."""
    return RowView(
        number=number,
        name=row.name,
        validation=row.validation,
        label=row.label if kind == "kto" else None,
        prompt_tokens=row.prompt_length,
        tokens=row.length,
        learned=sum(each.learned for each in row.examples),
        problems=tuple(problems_of(row, window)),
        sides=tuple(_side(each, spelling) for each in row.examples),
        source=dict(row.source),
    )


def _side(example: Example, spelling: Spelling) -> SideView:
    size = spelling.codec.vocab_size
    eos = _ends(example, spelling)
    return SideView(
        token_ids=example.token_ids,
        learned=tuple(label != IGNORED for label in example.labels),
        texts=tuple(spelling.codec.token_text(i) if 0 <= i < size else f"<{i}?>" for i in example.token_ids),
        eos=eos,
        eos_id=example.token_ids[-1] if eos else None,
    )


def _ends(example: Example, spelling: Spelling) -> bool:
    return example.ended and example.token_ids[-1] in spelling.codec.eos_token_ids


def _kind(problem: str) -> str:
    """A problem without its numbers."""
    for start in ("it has", "token id"):
        if problem.startswith(start):
            return {"it has": "over the window", "token id": "an id outside the vocabulary"}[start]
    if "two tokenizers" in problem:
        return "ids of another tokenizer"
    return "empty completion" if "empty" in problem else problem.partition(";")[0]


def numbered(gathered: Gathered, numbers: Sequence[int]) -> list[tuple[int, TrainingRow]]:
    """Rows by their numbers, counted from 1; those that are not there are left out."""
    return [(n, gathered.rows[n - 1]) for n in numbers if 1 <= n <= len(gathered.rows)]
