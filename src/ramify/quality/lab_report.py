"""What a decoding lab found, as data: completions, tables, checks; `lab_html` and `lab_markdown` write it down."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ramify.decoding.config import GenerationConfig
from ramify.quality.explaining import Place
from ramify.quality.intervals import Interval
from ramify.quality.metrics import Metrics
from ramify.quality.plans import LabPrompt, Plan

if TYPE_CHECKING:
    from ramify.quality.lab_checks import Check

__all__ = ["Group", "LabReport", "Row", "Run"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One completion of the lab."""

    number: int
    """Its place among those that were asked for of this model and prompt."""
    experiment: str
    repeat: int
    config: GenerationConfig
    seed: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    beam_score: float | None
    seconds: float
    """From the start until it ended; beside all the others, unless the lab ran one by one."""
    room: int
    """Tokens that it was allowed: max_new_tokens, or what the window left."""
    metrics: Metrics
    places: tuple[Place, ...]
    json_valid: bool | None
    """Whether the whole text is JSON; None where no JSON was asked for."""
    schema_valid: bool | None
    """Whether it fits the prompt's schema too."""
    schema_error: str | None
    shared: int
    """Tokens in common with greedy decoding, from the start."""

    @property
    def title(self) -> str:
        return self.experiment if self.repeat == 0 else f"{self.experiment} #{self.repeat + 1}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """An experiment's runs in one line of the table."""

    experiment: str
    runs: int
    averages: dict[str, Interval]
    """By metric; with several runs the interval is a bootstrap one, with a single run it is a point."""
    json_valid: int | None
    schema_valid: int | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Group:
    """One model on one prompt."""

    model: str
    fingerprint: str
    prompt: LabPrompt
    prompt_text: str
    prompt_tokens: int
    context_window: int
    eos: tuple[tuple[int, str], ...]
    runs: tuple[Run, ...] = ()
    rows: tuple[Row, ...] = ()
    checks: "tuple[Check, ...]" = ()
    token_texts: dict[int, str] = field(default_factory=dict)
    """The text of every id that occurs, special ones spelt out."""
    special_ids: frozenset[int] = frozenset()
    """Those of them that are special tokens."""
    refused: str | None = None
    """Why this prompt could not be run on this model."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Experiments that this model or prompt cannot do, and why."""
    computed_tokens: int = 0
    """Tokens that went through the model for the completions of all prompts, each prompt once; every beam counts."""
    seconds: float = 0.0
    """That this took."""


@dataclass(frozen=True, kw_only=True)
class LabReport:
    """Everything the lab found, or has found so far."""

    plan: Plan
    groups: tuple[Group, ...]
    one_by_one: bool
    seconds: float
