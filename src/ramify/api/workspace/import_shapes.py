"""How imports look on the wire: what is asked for, what a look shows, what an import did."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from ramify.api.workspace.exchange_shapes import ProblemShape, TaskShape, in_fields, task_fields
from ramify.api.workspace.shapes import Body, Shape
from ramify.api.workspace.tasks import Task
from ramify.errors import RecordError
from ramify.exchange.importing import ImportReport
from ramify.exchange.looking import Look

__all__ = [
    "FormatShape",
    "FormatsShape",
    "Given",
    "ImportBody",
    "ImportShape",
    "LookBody",
    "LookShape",
    "TwinShape",
    "import_shape",
    "look_shape",
    "problem_shape",
]


class FormatShape(Shape):
    name: str
    what: str


class FormatsShape(Shape):
    formats: list[FormatShape]
    fields: list[str] = Field(description="What a column can be mapped to.")
    endings: list[str] = Field(description="Of files that can be read; they may be packed too (gzip, bzip2, xz, zip).")
    folders: list[str] = Field(description="Of the server, from which files can be named by path.")


class Given(Body):
    """Which files: an upload's, or such as the server can read itself."""

    upload: str | None = Field(default=None, description="The key of an upload.")
    files: Annotated[list[str], Field(max_length=1000)] | None = Field(
        default=None,
        description="Of the upload only these. null: all; beside a dataset_info.json what it names is read through it.",
    )
    paths: Annotated[list[str], Field(max_length=1000)] | None = Field(
        default=None, description="Files under the server's folders (`--files`), and `hf:NAME` of the hub."
    )
    format: str | None = Field(default=None, description="null finds out.")
    mapping: dict[str, str] = Field(default_factory=dict, description="field: column.")
    datasets: list[str] = Field(default_factory=list, description="Of a dataset_info.json only these.")
    only: list[Literal["shared_success", "shared_failure", "new_failure", "fixed"]] = Field(
        default_factory=list, description="Of two compared runs only these outcomes."
    )
    filter: str | None = Field(default=None, description="lm-evaluation-harness: the filter that decides.")
    metric: str | None = Field(default=None, description="lm-evaluation-harness: the metric that decides.")
    password: str | None = Field(default=None, description="Of an encrypted file.")


class LookBody(Given):
    count: int = Field(default=20, ge=1, le=200, description="Records shown.")


class ImportBody(Given):
    facet: str | None = Field(default=None, description="Under which judgements are kept; made where it is missing.")
    good_rating: int = Field(default=8, ge=0, le=10)
    bad_rating: int = Field(default=2, ge=0, le=10)
    unrated: bool = Field(default=False, description="Answers of which a file says nothing are not rated good.")
    model: str | None = Field(default=None, description="Who wrote the answers of files that do not say.")
    group: str | None = Field(default=None, description="Where new samples go; null leaves it to the file.")
    tags: list[str] = Field(default_factory=list)
    duplicates: Literal["exact", "normalised", "near"] = "exact"
    near: float = Field(default=0.85, gt=0, le=1, description="How alike is nearly.")
    skip_bad: bool = Field(default=False, description="Leave bad records out; else the first stops everything.")
    dry_run: bool = Field(default=False, description="Do all of it and take it back: the report says what would happen.")
    limit: int | None = Field(default=None, ge=1, description="Stop after so many records.")
    wait: bool = Field(default=False, description="Answer at its end; its errors are this route's, and leaving cancels it.")


class RowShape(Shape):
    file: str
    line: int
    cells: dict[str, str]


class AnswerShape(Shape):
    text: str
    model: str | None
    good: bool | None
    rating: int | None
    truncated: bool


class EntryShape(Shape):
    file: str
    line: int
    prompt: str = Field(description="A chat's last turn; cut.")
    turns: int = Field(description="0: raw text.")
    title: str
    answers: list[AnswerShape]
    better: list[tuple[int, int]] = Field(description="Places in answers: better, worse.")


class FileFormat(Shape):
    file: str
    format: str


class LookShape(Shape):
    files: list[FileFormat] = Field(description="Those whose format is known.")
    why: str | None = Field(description="Why the format is not known, and what to do.")
    columns: list[str]
    rows: list[RowShape] = Field(description="The first records as they stand in the file.")
    suggested: dict[str, str] = Field(description="A mapping that the columns' names suggest.")
    entries: list[EntryShape] = Field(description="What they would become.")
    problems: list[ProblemShape] = Field(description="Bad records among those looked at.")


class ImportReportShape(Shape):
    dry_run: bool
    files: list[FileFormat]
    records: int
    samples_added: int
    samples_matched: int
    completions_added: int
    completions_matched: int
    ratings_added: int
    preferences_added: int
    approvals_added: int
    judgements_left_out: int
    duplicates_left_out: int
    bad_records: int
    remarks: list[str]
    compared: list[str] = Field(description="Two models, the new one first; empty where nothing was compared.")
    shared_success: int
    shared_failure: int
    new_failure: int
    fixed: int
    undecided: int
    unpaired: int


class ImportShape(TaskShape):
    dry_run: bool
    upload: str | None = Field(description="The upload that it reads.")
    problem: ProblemShape | None = Field(description="The bad record that ended it.")
    report: ImportReportShape | None


class TwinShape(Shape):
    file: str
    line: int
    of: str = Field(description="What it is like: `sample 7`, or a place in a file.")
    similarity: float


def problem_shape(each: dict[str, Any], shown: Callable[[str], str]) -> ProblemShape:
    return ProblemShape(file=shown(each["file"]), line=each["line"], reason=in_fields(shown(each["reason"])))


def _files(files: Any, shown: Callable[[str], str]) -> list[FileFormat]:
    return [FileFormat(file=shown(each["file"]), format=each["format"]) for each in files]


def look_shape(found: Look, shown: Callable[[str], str]) -> LookShape:
    return LookShape(
        files=_files(found.files, shown),
        why=None if found.why is None else in_fields(shown(found.why)),
        columns=list(found.columns),
        rows=[RowShape(file=shown(row.file), line=row.line, cells=dict(row.cells)) for row in found.rows],
        suggested=dict(found.suggested),
        entries=[EntryShape.model_validate({**asdict(each), "file": shown(each.file)}) for each in found.entries],
        problems=[ProblemShape(file=shown(p.file), line=p.line, reason=in_fields(shown(p.reason))) for p in found.problems],
    )


def import_shape(task: Task) -> ImportShape:
    fields, shown, report, cause = task_fields(task), task.about["shown"], task.result, task.cause
    return ImportShape.model_validate(
        {
            **fields,
            "dry_run": task.about["dry_run"],
            "upload": task.about["upload"],
            "problem": ProblemShape(file=cause.file, line=cause.line, reason=cause.reason)
            if isinstance(cause, RecordError)
            else None,
            "report": None if report is None else _report(report, shown),
        }
    )


def _report(report: ImportReport, shown: Callable[[str], str]) -> ImportReportShape:
    names = set(ImportReportShape.model_fields) - {"files", "remarks", "compared"}
    return ImportReportShape.model_validate(
        {
            **{name: getattr(report, name) for name in names},
            "files": _files(report.files, shown),
            "remarks": [in_fields(shown(remark)) for remark in report.remarks],
            "compared": [shown(name) for name in report.compared],
        }
    )
