"""Before and after: what a training run changed, made at its end and kept beside the model; made anew on the rows as they are."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from ramify.api.errors import ApiError
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.exchange_shapes import TaskShape, page_of, task_shape
from ramify.api.workspace.shapes import After, Body, Nats, Page, Shape
from ramify.api.workspace.tasks import ended
from ramify.api.workspace.training import Key
from ramify.training.process import REPORT
from ramify.training.report import ALARM, CompletionChange, TrainingReport
from ramify.training.report_page import as_html, as_markdown
from ramify.training.scratch_plans import SCRATCH

__all__ = ["router"]

router = APIRouter(tags=["training"])

Part = Literal["training", "validation"]


class NewReport(Body):
    wait: bool = Field(default=False, description="Answer at its end; its errors are this route's, and leaving cancels it.")


class LossShape(Shape):
    """Nats a token of what is to be learned."""

    part: Part
    rows: int
    tokens: int
    before: Nats
    after: Nats


class PairsShape(Shape):
    """How often, and by how many nats, the chosen completion is likelier than the rejected one."""

    part: Part
    rows: int
    accuracy_before: Nats
    accuracy_after: Nats
    margin_before: Nats
    margin_after: Nats


class OtherText(Shape):
    """Text that has nothing to do with the rows: what the model before says unasked."""

    texts: int
    tokens: int
    before: Nats
    after: Nats
    worse: Nats = Field(description="By which share of its loss it became less likely.")
    alarm: bool
    bound: float = Field(description="Above which it is an alarm.")


class BeforeAfter(Shape):
    base: str
    tuned: str
    method: str
    losses: list[LossShape]
    pairs: list[PairsShape]
    unrelated: OtherText
    completions: int


class ChangeShape(Shape):
    """One curated completion under both models; lists have a value a learned token."""

    name: str
    side: Literal["chosen", "rejected", "good", "bad"]
    validation: bool
    sample: int | None
    completion: int | None
    change: Nats = Field(description="Of the mean logprob a token.")
    tokens: list[str]
    before: list[Nats]
    after: list[Nats]


@router.post("/training/runs/{run_key}/report", status_code=201)
async def start_report(request: Request, desk: DeskState, run_key: Key, body: NewReport) -> TaskShape:
    """Measure a completed run's rows, as they are now, before and after; it takes the place of the report that is there."""
    record = desk.trainings.get(run_key)
    if record.state != "completed":
        raise ApiError(409, f"{run_key!r} is {record.state}; a report is of a completed run", code="not_ready")
    if record.plan["method"] in SCRATCH:
        raise ApiError(409, f"{run_key!r} was made from scratch; there is nothing before it to compare it with", code="not_ready")
    task = desk.tasks.start("training-report", run_key, lambda task: desk.trainings.measure(run_key, task))
    if body.wait:
        await ended(task, request.receive)
    return task_shape(task)


@router.get("/training/runs/{run_key}/report")
def get_report(desk: DeskState, run_key: Key) -> BeforeAfter:
    """Losses, pairs and unrelated text before and after; 404 where there is no report yet."""
    found = _report(desk, run_key)
    other = {name: found.unrelated[name] for name in ("texts", "tokens", "before", "after", "worse", "alarm")}
    return BeforeAfter(
        base=found.base,
        tuned=found.tuned,
        method=found.method,
        losses=[LossShape.model_validate({"part": part, **told}) for part, told in found.losses.items()],
        pairs=[PairsShape.model_validate({"part": part, **told}) for part, told in found.pairs.items()],
        unrelated=OtherText.model_validate({**other, "bound": ALARM}),
        completions=len(found.completions),
    )


@router.get("/training/runs/{run_key}/report/completions")
def report_completions(
    desk: DeskState,
    run_key: Key,
    order: Annotated[
        Literal["rows", "gained", "lost"], Query(description="gained: which became likelier first; lost: less likely.")
    ] = "rows",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: After = None,
) -> Page[ChangeShape]:
    """Every curated completion, token by token before and after."""
    found = list(_report(desk, run_key).completions)
    if order != "rows":
        found.sort(key=lambda each: each.change, reverse=order == "gained")
    page = page_of(found, limit, after)
    return Page(items=[_change(each) for each in page.items], next=page.next)


@router.get(
    "/training/runs/{run_key}/report/page",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}, "text/markdown": {"schema": {"type": "string"}}}}},
)
def report_page(desk: DeskState, run_key: Key, form: Literal["html", "markdown"] = "html") -> Response:
    """The report as a page to keep."""
    found = _report(desk, run_key)
    text = as_html(found) if form == "html" else as_markdown(found)
    headers = {
        "content-disposition": f'attachment; filename="{run_key}.{"html" if form == "html" else "md"}"',
        "cache-control": "no-store",
    }
    return Response(text, media_type=f"text/{form}; charset=utf-8", headers=headers)


def _report(desk: Desk, key: str) -> TrainingReport:
    desk.trainings.get(key)
    try:
        data: dict[str, Any] = json.loads((desk.trainings.folder(key) / REPORT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ApiError(404, f"there is no report of {key!r} yet; ask for one once it is completed", code="not_found") from None
    return TrainingReport.from_data(data)


def _change(each: CompletionChange) -> ChangeShape:
    second = each.side == "rejected"
    return ChangeShape(
        name=each.name,
        side=each.side,  # type: ignore[arg-type]  # report.py says which there are
        validation=each.validation,
        sample=each.source.get("sample"),
        completion=each.source.get("rejected" if second else "completion"),
        change=each.change,
        tokens=list(each.tokens),
        before=list(each.before),
        after=list(each.after),
    )
