"""How exports look on the wire: templates, what goes out, what stays and why."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from ramify.api.workspace.exchange_shapes import TaskShape, in_fields, task_fields
from ramify.api.workspace.shapes import Body, Shape
from ramify.api.workspace.tasks import Task
from ramify.exchange.exporting import ExportReport

__all__ = [
    "ExportBody",
    "ExportShape",
    "FormShape",
    "FormsShape",
    "NewTemplate",
    "ReasonShape",
    "SelectionFields",
    "TemplateFields",
    "TemplateShape",
    "export_shape",
    "reason_shapes",
]

Rating = Annotated[int, Field(ge=0, le=10)]
Bound = Annotated[float, Field(le=0, allow_inf_nan=False)]


class FacetFields(Body):
    name: str
    count: int | None = Field(default=None, ge=1, description="At most so many samples.")
    share: float | None = Field(default=None, gt=0, le=1, description="Or this share of those that can go out.")
    order: Literal["oldest", "newest", "random"] = "oldest"


class SelectionFields(Body):
    """Which completions; what is left out or null is the facet's own."""

    filter: dict[str, JsonValue] | None = Field(default=None, description="Only what matches it: completions (prompts: samples).")
    good_rating: Rating | None = None
    bad_rating: Rating | None = None
    min_logprob: Bound | None = None
    mean_logprob: Bound | None = None
    p10_logprob: Bound | None = None
    percentile: float | None = Field(default=None, ge=0, lt=100)
    target_model: str | None = None
    on_policy: bool | None = None
    per_sample: int | None = Field(default=None, ge=1)
    margin: int | None = Field(default=None, ge=1)
    truncated: bool | None = None
    archived: bool | None = None
    prompts: Literal["as-is", "as-user", "raw", "messages"] | None = None
    seed: int | None = None
    validation: float | None = Field(default=None, ge=0, lt=1, description="The share of prompts that is held out.")

    def changes(self) -> dict[str, Any]:
        """What was said, as a template's JSON."""
        return self.model_dump(exclude_none=True)


class TemplateFields(SelectionFields):
    """What goes into a training set; what is left out or null is the facet's own, or the saved template's."""

    kind: Literal["sft", "dpo", "kto", "reward", "prompts", "stepwise"] | None = None
    form: str | None = Field(default=None, description="trl where it is not said.")
    file_type: Literal["jsonl", "json", "parquet"] | None = Field(default=None, description="null goes by the file's ending.")
    facets: list[FacetFields] | None = Field(
        default=None, description="In order: a sample goes out under the first that has any."
    )
    max_tokens: int | None = Field(default=None, ge=1)


class ExportBody(Body):
    template: TemplateFields = Field(default_factory=TemplateFields)
    saved: str | None = Field(default=None, description="A saved template, of which `template` changes what it says.")
    file: str = Field(default="training.jsonl", description="What the file is to be called; the others are called after it.")
    password: str | None = Field(default=None, min_length=1, description="Encrypt every file under it.")
    dry_run: bool = Field(default=False, description="Only say what would go out, and why the rest stays.")
    examples: int = Field(default=0, ge=0, le=50, description="Rows that a dry run shows.")
    wait: bool = Field(default=False, description="Answer at its end; its errors are this route's, and leaving cancels it.")


class FormShape(Shape):
    name: str
    kinds: list[str]


class FormsShape(Shape):
    kinds: list[str]
    forms: list[FormShape]
    file_types: list[str]
    orders: list[str]
    prompts: list[str]


class TemplateShape(Shape):
    name: str
    template: TemplateFields


class NewTemplate(Body):
    name: str
    template: TemplateFields


class ReasonShape(Shape):
    reason: str
    count: int = Field(description="Completions, or samples where there is none.")
    samples: list[int] = Field(description="The first of which nothing goes out.")


class FacetReportShape(Shape):
    facet: str = Field(description='"" where none was named.')
    target_model: str
    samples: int = Field(description="Looked at: those that an earlier facet sent out are not.")
    available: int
    taken: int
    rows: int
    reasons: list[ReasonShape]


class ExportFile(Shape):
    file: str
    rows: int
    size_bytes: int
    sha256: str = Field(description="Of the content before encryption.")


class ExampleShape(Shape):
    sample: int
    facet: str
    row: dict[str, JsonValue]


class ExportReportShape(Shape):
    dry_run: bool
    kind: str
    form: str
    file_type: str
    rows: int
    files: list[ExportFile]
    facets: list[FacetReportShape]
    left_out: list[ReasonShape] = Field(description="Rows that the form has no words for.")
    examples: list[ExampleShape]


class MadeFile(Shape):
    number: int
    name: str
    size_bytes: int


class ExportShape(TaskShape):
    dry_run: bool
    report: ExportReportShape | None
    files: list[MadeFile] = Field(description="What can be downloaded: data, manifest, a trainer's configuration.")


def reason_shapes(reasons: Mapping[str, int], waiting: Mapping[str, list[int]]) -> list[ReasonShape]:
    """The commonest first."""
    ordered = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    return [ReasonShape(reason=reason, count=count, samples=waiting.get(reason, [])) for reason, count in ordered]


def export_shape(task: Task) -> ExportShape:
    report: ExportReport | None = task.result
    files = task.about["files"]() if report is not None else []
    return ExportShape.model_validate(
        {
            **task_fields(task),
            "dry_run": task.about["dry_run"],
            "report": None if report is None else _report(report),
            "files": [
                MadeFile(number=number, name=path.name, size_bytes=path.stat().st_size) for number, path in enumerate(files)
            ],
        }
    )


def _report(report: ExportReport) -> ExportReportShape:
    facets = [
        FacetReportShape(
            **{name: getattr(each, name) for name in ("facet", "target_model", "samples", "available", "taken", "rows")},
            reasons=reason_shapes(each.reasons, each.waiting),
        )
        for each in report.facets
    ]
    names = ("dry_run", "kind", "form", "file_type", "rows")
    return ExportReportShape.model_validate(
        {
            **{name: getattr(report, name) for name in names},
            "files": [{**each, "file": each["file"].rpartition("/")[2]} for each in report.files],
            "facets": facets,
            "left_out": reason_shapes({in_fields(reason): count for reason, count in report.left_out.items()}, {}),
            "examples": [ExampleShape.model_validate(each) for each in report.examples],
        }
    )
