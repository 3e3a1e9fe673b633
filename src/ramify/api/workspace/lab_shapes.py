"""How a lab's runs, reports, texts and comparisons look as JSON."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, JsonValue

from ramify.api.workspace.shapes import Config, Shape
from ramify.quality.comparison import Comparison
from ramify.quality.intervals import Interval
from ramify.store.labs import LabRunRecord, TextKey

__all__ = [
    "CheckShape",
    "ComparisonShape",
    "ContestantShape",
    "GroupHead",
    "GroupShape",
    "IntervalShape",
    "LabRunShape",
    "LabTokens",
    "PairShape",
    "PlanShape",
    "ReportShape",
    "Side",
    "TextShape",
    "comparison_shape",
    "head_shape",
    "report_shape",
    "text_shape",
    "tokens_shape",
]


class PlanShape(Shape):
    name: str
    plan: dict[str, JsonValue] = Field(description="name, prompts, experiments, max_new_tokens, seed: docs/quality.md.")


class LabRunShape(Shape):
    id: int
    name: str
    models: list[str]
    state: Literal["running", "completed", "cancelled", "failed"]
    problem: str | None
    asked: int = Field(description="Completions that are to be made.")
    done: int
    created_at: datetime
    ended_at: datetime | None


class IntervalShape(Shape):
    mean: float
    low: float
    high: float
    count: int


class CheckShape(Shape):
    title: str
    holds: bool | None = Field(description="null: an observation, no law.")
    detail: str


class Named(Shape):
    name: str
    text: str


class LabRow(Shape):
    """An experiment."""

    experiment: str
    runs: int
    averages: dict[str, tuple[float, float, float]] = Field(description="By metric: mean, and the 95 % interval's bounds.")
    json_valid: int | None = Field(description="How many are JSON; null where none was asked for.")
    schema_valid: int | None
    seconds: float


class TextShape(Shape):
    """A completion of the lab; its tokens' measures have a route of their own."""

    place: int
    number: int
    title: str
    experiment: str
    repeat: int
    config: Config
    strategy: str
    sampled: bool
    seed: int | None
    finish_reason: str
    beam_score: float | None
    json_valid: bool | None
    schema_valid: bool | None
    schema_error: str | None
    shared: int = Field(description="Tokens in common with greedy decoding, from the start.")
    metrics: dict[str, float | int | str | None]
    text: str
    ids: list[int]
    completion_id: int | None = Field(description="The completion that it became, where it was kept or judged.")


class GroupHead(Shape):
    """One model on one prompt, without its texts."""

    place: int
    model: str
    title: str
    prompt: str
    facts: list[Named]
    refused: str | None
    left_out: list[Named] = Field(description="Experiments that cannot be done here, and why.")
    checks: list[CheckShape]
    judged_as_json: bool
    rows: list[LabRow]


class GroupShape(GroupHead):
    texts: list[TextShape]


class ReportShape(Shape):
    run: LabRunShape
    plan: dict[str, JsonValue]
    note: str
    groups: list[GroupShape]


class LabTokens(Shape):
    """A text's tokens as columns."""

    ids: list[int]
    text: list[str] = Field(description="Spelt out, special ones too.")
    special: list[int]
    probability: list[float]
    rank: list[int]
    entropy: list[float]
    kept: dict[str, list[float]] = Field(description="By processor: the share of the mass it found that it left.")
    alternatives: list[list[tuple[int, float, str | None, float]]] = Field(
        description="For each token the likeliest: id, the model's probability, the processor that removed it, what was left."
    )
    vocabulary: dict[str, str] = Field(description="How ids are spelt.")


class Side(Shape):
    """Nothing says who wrote it."""

    place: int
    number: int
    text: str


class PairShape(Shape):
    title: str = Field(description="Of the prompt.")
    prompt: str
    left: Side
    right: Side
    votes: int = Field(description="Given under this facet so far.")


class ContestantShape(Shape):
    experiment: str
    model: str
    config: Config
    samples: int
    quality: IntervalShape
    diversity: IntervalShape | None = Field(description="null for one sample.")
    won: IntervalShape | None = Field(description="Share of its blind duels, ties one half; null before the first.")


class ComparisonShape(Shape):
    """What compare_generations gives, over a run's texts of one prompt."""

    title: str
    votes: int
    contestants: list[ContestantShape]
    report: str = Field(description="The same as Markdown.")


def report_shape(run: LabRunShape, record: LabRunRecord, content: Mapping[str, Any], kept: Mapping[TextKey, int]) -> ReportShape:
    groups = [
        GroupShape(
            **head_shape(place, group).model_dump(),
            texts=[text_shape(place, text, kept.get((place, text["number"]))) for text in group["runs"]],
        )
        for place, group in enumerate(content["groups"])
    ]
    return ReportShape(run=run, plan=dict(record.plan), note=content["note"], groups=groups)


def head_shape(place: int, group: Mapping[str, Any]) -> GroupHead:
    return GroupHead(
        place=place,
        model=group["model"],
        title=group["title"],
        prompt=group["prompt"],
        facts=_named(group["facts"]),
        refused=group["refused"],
        left_out=_named(group["left_out"]),
        checks=[CheckShape(title=title, holds=holds, detail=detail) for title, holds, detail in group["checks"]],
        judged_as_json=group["json"],
        rows=[
            LabRow(
                experiment=row["title"],
                runs=row["runs"],
                averages={name: tuple(found) for name, found in row["a"].items()},
                json_valid=row["json"],
                schema_valid=row["schema"],
                seconds=row["seconds"],
            )
            for row in group["rows"]
        ],
    )


def text_shape(place: int, text: Mapping[str, Any], completion_id: int | None) -> TextShape:
    return TextShape(
        place=place,
        config=json.loads(text["settings"]),
        finish_reason=text["fin"],
        beam_score=text["score"],
        json_valid=text["json"],
        schema_valid=text["schema"],
        schema_error=text["error"],
        completion_id=completion_id,
        ids=list(text["ids"]),
        **{name: text[name] for name in ("number", "title", "experiment", "repeat", "strategy", "sampled", "seed")},
        **{name: text[name] for name in ("shared", "metrics", "text")},
    )


def tokens_shape(content: Mapping[str, Any], group: Mapping[str, Any], text: Mapping[str, Any]) -> LabTokens:
    spelt = {str(token_id): said for token_id, said in group["texts"].items()}
    rules = content["rules"]
    seen = {i for row in text["c"] for i, *_ in row} | set(text["ids"])
    return LabTokens(
        ids=list(text["ids"]),
        text=[spelt.get(str(i), "") for i in text["ids"]],
        special=[i for i in group["special"] if i in seen],
        probability=text["p"],
        rank=text["r"],
        entropy=text["h"],
        kept=text["kept"],
        alternatives=[[(i, p, None if by < 0 else rules[by], left) for i, p, by, left in row] for row in text["c"]],
        vocabulary={str(i): spelt.get(str(i), "") for i in sorted(seen)},
    )


def comparison_shape(title: str, comparison: Comparison) -> ComparisonShape:
    return ComparisonShape(
        title=title,
        votes=len(comparison.votes),
        contestants=[
            ContestantShape(
                experiment=result.title,
                model=result.model,
                config=result.config.to_dict(),
                samples=len(result.samples),
                quality=_interval(result.quality),
                diversity=None if result.diversity is None else _interval(result.diversity),
                won=None if (won := comparison.won(place)) is None else _interval(won),
            )
            for place, result in enumerate(comparison)
        ],
        report=comparison.report(),
    )


def _interval(found: Interval) -> IntervalShape:
    return IntervalShape(mean=found.mean, low=found.low, high=found.high, count=found.count)


def _named(pairs: Sequence[Sequence[str]]) -> list[Named]:
    return [Named(name=name, text=text) for name, text in pairs]
