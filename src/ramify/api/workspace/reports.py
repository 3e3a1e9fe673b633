"""Reports on the whole workspace: how ready a facet is for training, and what is there more than once."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from ramify.api.errors import ApiError
from ramify.api.workspace.desk import DeskState
from ramify.api.workspace.exchange_shapes import TaskShape, page_of, task_fields
from ramify.api.workspace.export_shapes import ReasonShape, TemplateFields, reason_shapes
from ramify.api.workspace.exporting import chosen_template
from ramify.api.workspace.shapes import After, Body, Limit, Nats, Page, Shape
from ramify.api.workspace.tasks import Task, ended
from ramify.exchange.duplicates import Cluster, DuplicateReport, find_duplicates
from ramify.exchange.readiness import Distribution, KindReady, Readiness, readiness
from ramify.exchange.readiness_page import as_html, as_markdown
from ramify.workbench.exchanging import token_counter

__all__ = ["router"]

router = APIRouter(tags=["exchange"])


class ReadinessBody(Body):
    facet: str
    target_model: str | None = Field(default=None, description="Whose logprobs; null: the facet's target.")
    template: TemplateFields | None = Field(
        default=None,
        description="Its thresholds, permissions and filter in place of the facet's own; its kind and form do not matter.",
    )
    saved: str | None = Field(default=None, description="A saved template, likewise.")
    wait: bool = Field(default=False, description="Answer at its end; its errors are this route's, and leaving cancels it.")


class DistributionShape(Shape):
    count: int
    least: float
    median: float
    mean: float
    most: float
    edges: list[float]
    counts: list[int] = Field(description="Bin i holds [edges[i], edges[i + 1]), the last one its end too.")


class KindShape(Shape):
    kind: str
    samples: int = Field(description="That could go out.")
    rows: int
    good: int = Field(description="Labels, of a set for KTO.")
    bad: int
    tokens: int = Field(description="That would be learned, where their number is known.")
    loss: Nats = Field(description="Nats in all of the measured ones: what the target model still has to learn.")
    measured: int
    reasons: list[ReasonShape]


class Thresholds(Shape):
    good_rating: int
    bad_rating: int
    min_logprob: Nats
    mean_logprob: Nats


class ReadinessReport(Shape):
    facet: str
    target_model: str
    samples: int
    completions: int
    rated: int
    preferences: int
    approved: int
    scored: int
    truncated: int
    thresholds: Thresholds
    kinds: list[KindShape]
    tokens: DistributionShape | None
    ratings: DistributionShape | None
    mean_logprobs: DistributionShape | None
    min_logprobs: DistributionShape | None


class ReadinessShape(TaskShape):
    report: ReadinessReport | None


class DuplicatesBody(Body):
    measure: Literal["exact", "normalised", "near"] = Field(
        default="normalised", description="normalised: but for case, space and punctuation."
    )
    near: float = Field(default=0.85, gt=0, le=1, description="How alike is nearly.")
    of: Literal["samples", "completions"] = Field(
        default="samples", description="Samples by their prompts; completions within each sample."
    )
    wait: bool = Field(default=False, description="Answer at its end; leaving cancels it.")


class ClusterShape(Shape):
    kind: Literal["samples", "completions"]
    ids: list[int] = Field(description="The oldest first.")
    likeness: float
    text: str = Field(description="The beginning of the oldest.")


class DuplicatesReport(Shape):
    measure: str
    near: float | None
    looked_at: int
    clusters: int
    spare: int = Field(description="How many could go, keeping one of each cluster.")


class DuplicatesShape(TaskShape):
    report: DuplicatesReport | None


@router.post("/readiness", status_code=201)
async def start_readiness(request: Request, desk: DeskState, body: ReadinessBody) -> ReadinessShape:
    """Look through all samples: what could go out under a facet, what could not and why."""
    said = None
    if body.saved is not None or body.template is not None:
        fields = body.template or TemplateFields()
        kind = fields if fields.kind is not None or body.saved is not None else fields.model_copy(update={"kind": "sft"})
        said = chosen_template(desk, body.saved, kind)
    desk.database.facets.get(body.facet)

    def work(task: Task) -> Readiness:
        return readiness(
            desk.database,
            body.facet,
            template=said,
            target_model=body.target_model,
            count_tokens=None if said is None or said.max_tokens is None else token_counter(desk.model),
            told=lambda done, total: task.told("looking", done, total),
        )

    task = desk.tasks.start("readiness", body.facet, work, passing=True)
    if body.wait:
        await ended(task, request.receive)
    return _readiness(task)


@router.get("/readiness/{report_key}")
def get_readiness(desk: DeskState, report_key: str) -> ReadinessShape:
    """How far a readiness report is, or what it says."""
    return _readiness(desk.tasks.get(report_key, "readiness"))


@router.get(
    "/readiness/{report_key}/page",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}, "text/markdown": {"schema": {"type": "string"}}}}},
)
def readiness_page(
    desk: DeskState,
    report_key: str,
    form: Annotated[Literal["html", "markdown"], Query(description="html has plots and needs nothing beside itself.")] = "html",
) -> Response:
    """The report as a page to keep."""
    task = desk.tasks.get(report_key, "readiness")
    if task.state != "done":
        raise ApiError(409, f"the report is not there: it is {task.state}", code="not_ready")
    text = as_html(task.result) if form == "html" else as_markdown(task.result)
    kind, ending = ("text/html", "html") if form == "html" else ("text/markdown", "md")
    headers = {"content-disposition": f"attachment; filename=readiness.{ending}", "cache-control": "no-store"}
    return Response(text, media_type=f"{kind}; charset=utf-8", headers=headers)


@router.post("/duplicates", status_code=201)
async def start_duplicates(request: Request, desk: DeskState, body: DuplicatesBody) -> DuplicatesShape:
    """Look for what is there more than once."""

    def work(task: Task) -> DuplicateReport:
        return find_duplicates(
            desk.database,
            measure=body.measure,
            near=body.near,
            of=body.of,
            told=lambda done, total: task.told("looking", done, total),
        )

    task = desk.tasks.start("duplicates", f"{body.of}, {body.measure}", work, passing=True)
    if body.wait:
        await ended(task, request.receive)
    return _duplicates(task)


@router.get("/duplicates/{report_key}")
def get_duplicates(desk: DeskState, report_key: str) -> DuplicatesShape:
    """How far a report of duplicates is, or what it found."""
    return _duplicates(desk.tasks.get(report_key, "duplicates"))


@router.get("/duplicates/{report_key}/clusters")
def clusters(desk: DeskState, report_key: str, limit: Limit = 50, after: After = None) -> Page[ClusterShape]:
    """What is alike, the largest cluster first."""
    task = desk.tasks.get(report_key, "duplicates")
    found: tuple[Cluster, ...] = () if task.result is None else task.result.clusters
    page = page_of(found, limit, after)
    items = [
        ClusterShape.model_validate({"kind": c.kind, "ids": list(c.ids), "likeness": c.likeness, "text": c.text})
        for c in page.items
    ]
    return Page(items=items, next=page.next)


# ------------------------------------------------------------ shapes


def _readiness(task: Task) -> ReadinessShape:
    report: Readiness | None = task.result
    return ReadinessShape.model_validate({**task_fields(task), "report": None if report is None else _report(report)})


def _report(report: Readiness) -> ReadinessReport:
    plain = set(ReadinessReport.model_fields) - {"thresholds", "kinds", "tokens", "ratings", "mean_logprobs", "min_logprobs"}
    spread = ("tokens", "ratings", "mean_logprobs", "min_logprobs")
    return ReadinessReport.model_validate(
        {
            **{name: getattr(report, name) for name in plain},
            "thresholds": dict(report.thresholds),
            "kinds": [_kind(each) for each in report.kinds.values()],
            **{name: _distribution(getattr(report, name)) for name in spread},
        }
    )


def _kind(ready: KindReady) -> KindShape:
    plain = set(KindShape.model_fields) - {"reasons"}
    return KindShape.model_validate(
        {**{name: getattr(ready, name) for name in plain}, "reasons": reason_shapes(ready.reasons, ready.waiting)}
    )


def _distribution(found: Distribution | None) -> DistributionShape | None:
    if found is None:
        return None
    return DistributionShape.model_validate({name: getattr(found, name) for name in DistributionShape.model_fields})


def _duplicates(task: Task) -> DuplicatesShape:
    report: DuplicateReport | None = task.result
    told = None
    if report is not None:
        told = DuplicatesReport(
            measure=report.measure,
            near=report.near,
            looked_at=report.looked_at,
            clusters=len(report.clusters),
            spare=report.spare,
        )
    return DuplicatesShape.model_validate({**task_fields(task), "report": told})
