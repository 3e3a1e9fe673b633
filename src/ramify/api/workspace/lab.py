"""The decoding lab: plans, runs and their reports as they grow, why a token was not taken, and blind votes."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, JsonValue

from ramify.api.workspace.completions import CompletionShape, completion_shape
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.judging import PreferenceShape, preference_shape
from ramify.api.workspace.lab_shapes import (
    ComparisonShape,
    LabRunShape,
    LabTokens,
    PairShape,
    PlanShape,
    ReportShape,
    Side,
    comparison_shape,
    report_shape,
    tokens_shape,
)
from ramify.api.workspace.lab_work import MAX_ROWS
from ramify.api.workspace.shapes import After, Body, Id, Items, Limit, Page, Prompt, RowId, Shape, cursor_of, place_of
from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError
from ramify.quality.explaining import verdict, why_not
from ramify.quality.lab import Lab
from ramify.quality.lab_comparison import blind_pair, comparison_of, prompts_of, text_of
from ramify.quality.lab_html import lab_html
from ramify.quality.lab_markdown import lab_markdown
from ramify.quality.plans import PLANS, SAMPLES, LabPrompt, Plan
from ramify.store.labs import LabRunRecord, TextKey
from ramify.workbench.lab_texts import LabText, Verdict, keep_text, vote

__all__ = ["router", "run_shape"]

router = APIRouter(tags=["lab"])

MOST = 2000
"""Completions of one run."""

Place = Annotated[int, Path(ge=0, le=2**31, description="The group's number.")]
Number = Annotated[int, Path(ge=0, le=2**31, description="The text's number in its group.")]
Facet = Annotated[str, Query(description="The facet's name.")]


class PromptOfPlan(Body):
    prompt: Prompt
    title: str | None = None
    json_schema: dict[str, JsonValue] | None = None


class NewRun(Body):
    plan: str | dict[str, JsonValue] = Field(default="document-004", description="A plan's name, or a plan.")
    models: Annotated[list[str], Field(max_length=16)] | None = Field(default=None, description="null: the target model.")
    prompts: Annotated[list[PromptOfPlan], Field(min_length=1, max_length=50)] | None = Field(
        default=None, description="In place of the plan's."
    )
    samples: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description=f"How often a named plan repeats sampling; null: {SAMPLES} times."
    )
    max_new_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = Field(default=None, description="In place of the plan's.")
    seed: RowId | None = Field(default=None, description="In place of the plan's.")
    one_by_one: bool = Field(default=False, description="Each completion alone, so that its seconds are its own.")


class TextOfRun(Body):
    place: RowId
    number: RowId


class NewVote(Body):
    facet: str
    left: TextOfRun
    right: TextOfRun
    better: Literal["left", "right", "tie"]


class WhyShape(Shape):
    token_id: int
    token: str
    probability: float = Field(description="In the model's own distribution.")
    removed_by: str | None = Field(description="The processor that took it out; null when it was still in at the end.")
    left: float = Field(description="Its probability after all processors.")
    chosen: bool
    says: str = Field(description="The same in a sentence.")


# ------------------------------------------------------------ runs


@router.get("/lab/plans")
def plans(desk: DeskState) -> Items[PlanShape]:
    """The plans that have a name, whole: to run as they are, or to begin an own one from."""
    return Items(items=[PlanShape(name=name, plan=make().to_dict()) for name, make in PLANS.items()])


@router.post("/lab/runs", status_code=201)
async def start(desk: DeskState, body: NewRun) -> LabRunShape:
    """Begin a run. Its plan is checked and its models are loaded before it is there; its report comes as events."""
    return await desk.waiting(_start, desk, body)


def _start(desk: Desk, body: NewRun) -> LabRunShape:
    plan = _plan(body)
    models = [desk.model(name) for name in dict.fromkeys(body.models or [desk.target(None)])]
    lab = Lab(models, plan, one_by_one=body.one_by_one, max_rows=MAX_ROWS)
    if lab.asked > MOST:
        raise InputError(f"the run has {lab.asked} completions; it may have {MOST}. Take fewer prompts, experiments or repeats")
    if lab.asked == 0:
        reasons = "; ".join(dict.fromkeys(trial.refused for trial in lab.trials if trial.refused)) or "no experiment can be done"
        raise InputError(f"nothing of this plan can be run: {reasons}")
    return run_shape(desk, desk.labs.start(lab, tuple(model.info.name for model in models)))


def _plan(body: NewRun) -> Plan:
    if isinstance(body.plan, str):
        if body.plan not in PLANS:
            raise InputError(f"there is no plan {body.plan!r}; there are {', '.join(PLANS)}, or give a plan")
        plan = PLANS[body.plan](body.samples or SAMPLES)
    elif body.samples is not None:
        raise InputError("samples is of a named plan; a plan of your own says how often each of its experiments is repeated")
    else:
        plan = Plan.from_dict(body.plan)
    changes: dict[str, Any] = {}
    if body.prompts is not None:
        changes["prompts"] = tuple(
            LabPrompt(title=each.title or f"prompt {place}", prompt=_prompt(each.prompt), json_schema=each.json_schema)
            for place, each in enumerate(body.prompts, 1)
        )
    if body.max_new_tokens is not None:
        changes["max_new_tokens"] = body.max_new_tokens
    if body.seed is not None:
        changes["seed"] = body.seed
    return plan.replaced(**changes) if changes else plan


def _prompt(given: Prompt) -> str | Sequence[dict[str, Any]]:
    return given if isinstance(given, str) else [message.model_dump() for message in given]


@router.get("/lab/runs")
def runs(desk: DeskState, limit: Limit = 50, after: After = None) -> Page[LabRunShape]:
    """Newest first."""
    desk.labs.tidy()
    place = place_of(after)
    found = desk.database.labs.list(limit=limit + 1, before=None if place is None else place[1])
    shown = found[:limit]
    end = (shown[-1].id, shown[-1].id) if len(found) > limit else None
    return Page(items=[run_shape(desk, record) for record in shown], next=cursor_of(end))


@router.get("/lab/runs/{run_id}")
def report(desk: DeskState, run_id: Id) -> ReportShape:
    """A run's report as it stands, with every text; the texts' tokens have a route of their own."""
    desk.labs.tidy()
    record = desk.database.labs.get(run_id)
    return report_shape(run_shape(desk, record), record, desk.labs.content(run_id), desk.database.labs.kept(run_id))


@router.post("/lab/runs/{run_id}/cancel")
async def cancel(desk: DeskState, run_id: Id) -> LabRunShape:
    """Stop a run. What is measured stays, and is its report."""
    return await desk.waiting(_cancel, desk, run_id)


def _cancel(desk: Desk, run_id: int) -> LabRunShape:
    desk.database.labs.get(run_id)
    desk.labs.cancel(run_id, wait=True)
    return run_shape(desk, desk.database.labs.get(run_id))


@router.delete("/lab/runs/{run_id}", status_code=204)
async def delete(desk: DeskState, run_id: Id) -> Response:
    """Forget a run and its report. Completions that came of it, and votes, stay."""
    await desk.waiting(_delete, desk, run_id)
    return Response(status_code=204)


def _delete(desk: Desk, run_id: int) -> None:
    desk.labs.cancel(run_id, wait=True)
    desk.database.labs.delete(run_id)


@router.get(
    "/lab/runs/{run_id}/page",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}, "text/markdown": {"schema": {"type": "string"}}}}},
)
def page(desk: DeskState, run_id: Id, form: Literal["html", "markdown"] = "html") -> Response:
    """The report as a file: a page that needs nothing else, or Markdown."""
    record, content = desk.database.labs.get(run_id), desk.labs.content(run_id)
    text = lab_html(content) if form == "html" else lab_markdown(content)
    name = f"lab-{record.id}.{'html' if form == 'html' else 'md'}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=f"text/{form}; charset=utf-8", headers=headers)


# ------------------------------------------------------------ texts


@router.get("/lab/runs/{run_id}/texts/{place}/{number}")
def tokens(desk: DeskState, run_id: Id, place: Place, number: Number) -> LabTokens:
    """A text's tokens with what could have stood there, and which rule removed it."""
    content = desk.labs.content(run_id)
    text = text_of(content, (place, number))
    return tokens_shape(content, content["groups"][place], text)


@router.get("/lab/runs/{run_id}/texts/{place}/{number}/why")
async def why(
    desk: DeskState,
    run_id: Id,
    place: Place,
    number: Number,
    position: Annotated[int, Query(ge=0, le=2**31, description="A token of the text.")],
    token: Annotated[str, Query(min_length=1, max_length=200, description="A token's text, a leading space included.")],
) -> WhyShape:
    """Why this token does not stand there: the rule that removed it, or that none did. The model reads the text again."""
    return await desk.waiting(_why, desk, run_id, (place, number), position, token)


def _why(desk: Desk, run_id: int, key: TextKey, position: int, token: str) -> WhyShape:
    record, content = desk.database.labs.get(run_id), desk.labs.content(run_id)
    text, group = text_of(content, key), content["groups"][key[0]]
    model = desk.model(group["model"])
    prompt = next(each.prompt for each in Plan.from_dict(record.plan).prompts if each.title == group["title"])
    config = GenerationConfig.from_dict(json.loads(text["settings"]))
    found = why_not(model, model.ids_of(prompt)[0], text["ids"], config, position, token)
    chosen = text["ids"][position]
    return WhyShape(
        token_id=found.token_id,
        token=token,
        probability=found.probability,
        removed_by=found.removed_by,
        left=found.left,
        chosen=chosen == found.token_id,
        says=verdict(found, chosen=chosen == found.token_id, config=config),
    )


@router.post("/lab/runs/{run_id}/texts/{place}/{number}/keep", status_code=201)
def keep(desk: DeskState, run_id: Id, place: Place, number: Number) -> CompletionShape:
    """Make a text a completion of the sample that has its prompt, or of a new one. The same one comes back for the same text."""
    record = desk.database.labs.get(run_id)
    made = keep_text(desk.database, record, _lab_text(desk.labs.content(run_id), (place, number)))
    return completion_shape(desk, made.id)


# ------------------------------------------------------------ votes


@router.get("/lab/runs/{run_id}/pair")
def pair(
    desk: DeskState,
    run_id: Id,
    facet: Facet,
    prompt: Annotated[str | None, Query(max_length=1000, description="The title of a prompt: its texts only.")] = None,
) -> PairShape | None:
    """Two texts of one prompt to judge, by contestants that were judged least; null where every pair was.

    Which they are, and their sides, is drawn here. Answer with POST …/votes.
    """
    desk.database.labs.get(run_id)
    desk.database.facets.get(facet)
    content, votes = desk.labs.content(run_id), desk.database.labs.votes(run_id, facet)
    found = blind_pair(content, votes, prompt=prompt)
    if found is None:
        return None
    group = content["groups"][found[0][0]]
    left, right = (Side(place=key[0], number=key[1], text=text_of(content, key)["text"]) for key in found)
    return PairShape(title=group["title"], prompt=group["prompt"], left=left, right=right, votes=len(votes))


@router.post("/lab/runs/{run_id}/votes", status_code=201)
def cast(desk: DeskState, run_id: Id, body: NewVote) -> PreferenceShape:
    """A blind vote under a facet. Both texts become completions, if they are not, and one is preferred: one step of the history.

    It takes the place of an earlier vote on the same two.
    """
    record, content = desk.database.labs.get(run_id), desk.labs.content(run_id)
    left, right = (_lab_text(content, (side.place, side.number)) for side in (body.left, body.right))
    better: Verdict = body.better
    return preference_shape(vote(desk.database, record, body.facet, left, right, better))


@router.get("/lab/runs/{run_id}/comparison")
def comparison(desk: DeskState, run_id: Id, facet: str | None = None) -> Items[ComparisonShape]:
    """For each prompt what compare_generations tells: quality and diversity with their intervals, and the votes under a facet."""
    desk.database.labs.get(run_id)
    content = desk.labs.content(run_id)
    votes = [] if facet is None else desk.database.labs.votes(run_id, facet)
    return Items(items=[comparison_shape(title, comparison_of(content, title, votes)) for title in prompts_of(content)])


def run_shape(desk: Desk, record: LabRunRecord) -> LabRunShape:
    same = {name: getattr(record, name) for name in ("id", "name", "state", "problem", "asked", "created_at", "ended_at")}
    return LabRunShape(**same, models=list(record.models), done=desk.labs.done(record))


def _lab_text(content: dict[str, Any], key: TextKey) -> LabText:
    return LabText(key, content["groups"][key[0]] if key[0] < len(content["groups"]) else {}, text_of(content, key))
