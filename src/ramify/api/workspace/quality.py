"""What a completion is worth in numbers, and whether a filter lets it through: document 003's metrics and checks."""

import dataclasses
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, JsonValue

from ramify.api.workspace.desk import DeskState
from ramify.api.workspace.shapes import Body, Id, Nats, Shape
from ramify.quality.filters import CHECKS, OutputFilter
from ramify.quality.metrics import DEFINITIONS, SCORING_MODEL, measure
from ramify.workbench.scoring import prompt_of

__all__ = ["router"]

router = APIRouter(tags=["quality"])

Source = Annotated[str, Field(max_length=1_000_000)]


class MetricShape(Shape):
    name: str
    meaning: str
    range: str
    better: str = Field(description="higher, lower, or neither.")
    source: str


class CheckShape(Shape):
    name: str
    meaning: str = Field(description="When a text passes it.")


class QualityFacts(Shape):
    metrics: list[MetricShape]
    checks: list[CheckShape]


class FilteredShape(Shape):
    text: str = Field(description="Rude words starred out where they were looked for.")
    passed: bool
    reasons: list[str] = Field(description="Why it did not pass; the key of the check comes first.")
    checked: dict[str, str] = Field(description="What each check really looked at.")


class QualityShape(Shape):
    model: str = Field(description="Whose opinion fluency and relevance are.")
    fingerprint: str
    metrics: dict[str, Nats] = Field(description="By name; null where there was nothing to measure it against.")
    filtered: FilteredShape | None


class Measured(Body):
    model: str | None = Field(None, description=f"Whose opinion fluency and relevance are; null: {SCORING_MODEL}.")
    reference: Source | None = Field(None, description="A text that BLEU, chrF and ROUGE compare it with.")
    tokenize: Literal["13a", "zh", "char", "intl", "none"] = Field("13a", description="sacrebleu's tokenizer; zh for Chinese.")
    checks: dict[str, JsonValue] | None = Field(None, description=f"Of a filter: {', '.join(CHECKS)}.")
    sources: Annotated[list[Source], Field(max_length=100)] = Field(
        default_factory=list, description="In which numbers, names and quotations must stand, for factuality_check."
    )


@router.get("/quality")
def facts() -> QualityFacts:
    """What each metric says, where it comes from, its range; and what each check of a filter really checks."""
    metrics = [MetricShape(name=name, **dataclasses.asdict(each)) for name, each in DEFINITIONS.items()]
    return QualityFacts(metrics=metrics, checks=[CheckShape(name=name, meaning=each) for name, each in CHECKS.items()])


@router.post("/completions/{completion_id}/quality")
async def measure_quality(desk: DeskState, completion_id: Id, body: Measured) -> QualityShape:
    """Measure a completion's text after its prompt, and look whether a filter lets it through. Nothing is kept."""

    def measured() -> QualityShape:
        record = desk.database.completions.get(completion_id)
        filtered = None
        if body.checks is not None or body.sources:
            found = OutputFilter.filter(record.text, body.checks or {}, sources=body.sources)
            filtered = FilteredShape(
                text=found.text, passed=found.passed, reasons=list(found.reasons), checked=dict(found.checked)
            )
        model = desk.model(body.model or SCORING_MODEL)
        prompt: Any = prompt_of(desk.database, record)
        numbers = measure(model, record.text, reference=body.reference, prompt=prompt, tokenize=body.tokenize).to_dict()
        metrics = {name: numbers[name] for name in DEFINITIONS}
        return QualityShape(model=model.info.name, fingerprint=model.info.fingerprint, metrics=metrics, filtered=filtered)  # type: ignore[arg-type]

    return await desk.waiting(measured)
