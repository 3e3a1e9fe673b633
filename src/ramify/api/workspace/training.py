"""Training over HTTP: the settings, the trainer's view of a plan's rows, and runs: begun, ended, gone on with, forgotten."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from pydantic import Field, JsonValue

from ramify.api.errors import ApiError
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.exchange_shapes import page_of
from ramify.api.workspace.shapes import After, Limit, Page, Shape
from ramify.api.workspace.tasks import Task, ended
from ramify.api.workspace.training_shapes import (
    CheckShape,
    NewCheck,
    PlanBody,
    RowShape,
    RunShape,
    RunWhole,
    check_shape,
    line_shape,
    plan_of,
    row_shape,
    run_shape,
    run_whole,
)
from ramify.api.workspace.training_work import without_paths
from ramify.errors import InputError, NotFoundError
from ramify.models.registry import Registry, check_name
from ramify.settings import Settings
from ramify.training.curves import read_log
from ramify.training.plans import METHODS, TrainingPlan, plan_from
from ramify.training.process import REPORT
from ramify.training.runs import Prepared, gather, goes_on, prepare, steps_of
from ramify.training.scratch_plans import SCRATCH
from ramify.training.viewing import view, view_row

__all__ = ["Key", "check_free", "look_at", "router", "run_of"]

router = APIRouter(tags=["training"])

Key = Annotated[str, InPath(max_length=100, description="The run's key: the name of the model that it makes.")]
CheckKey = Annotated[str, InPath(max_length=50)]
BAD = 100
"""Rows that a check names at most; all can be paged through."""


class MethodShape(Shape):
    name: str
    learns: str
    train: dict[str, JsonValue] = Field(description="Its settings where none are given.")
    muon: dict[str, JsonValue] = Field(description="The same beside optimizer muon.")
    lora_learning_rate: float = Field(description="With an adapter.")
    preference: list[str] = Field(description="Which of `preference` it reads.")


class SettingsOfTraining(Shape):
    methods: list[MethodShape]


LEARNS = {
    "sft": "good completions, to imitate them",
    "dpo": "pairs: the better completion gains on the worse",
    "kto": "completions that are good and completions that are bad",
}
READS = {"sft": [], "dpo": ["beta", "loss", "sft", "reference"], "kto": ["beta", "desirable_weight", "undesirable_weight"]}


@router.get("/training/settings")
def settings() -> SettingsOfTraining:
    """The methods, and what each takes where nothing is said."""

    def defaults(method: str, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = plan_from({"method": method, "rows": ["x"], "out": "x", **more}).to_data()["train"]
        return made

    return SettingsOfTraining(
        methods=[
            MethodShape(
                name=name,
                learns=LEARNS[name],
                train=defaults(name),
                muon=defaults(name, train={"optimizer": "muon"}),
                lora_learning_rate=defaults(name, lora=True)["learning_rate"],
                preference=READS[name],
            )
            for name in METHODS
        ]
    )


def _plan(desk: Desk, body: PlanBody) -> TrainingPlan:
    """Raises ModelNotFoundError for a model that this server does not have, InputError for what no plan can be."""
    for name in (body.model, None if body.keep is None else body.keep.model):
        if name is not None:
            desk.models.check(name)
    return plan_of(body, desk.trainings.workspace, desk.trainings.root, Settings.load().device)


def check_free(desk: Desk, name: str) -> None:
    """Raises InputError where a new model cannot have this name."""
    check_name(name)
    if name in {entry.name for entry in Registry().list()}:
        raise InputError(f"{name!r} is the name of a model already; choose another")
    if desk.trainings.folder(name).exists():
        raise InputError(f"there is a training run {name!r} already; choose another name, or delete that run with its model")


# ------------------------------------------------------------ the gate


NOTHING: dict[str, Any] = {
    **dict.fromkeys(("window", "rows", "validation_rows", "tokens", "learned", "longest", "without_eos", "bad_rows"), 0),
    "problems": {}, "stayed": {}, "bad": [], "passes": False, "chosen": [], "steps": None, "settings": {},
}  # fmt: skip
"""What there is to say of a plan that has no rows."""


@dataclass(frozen=True)
class _Checked:
    found: Prepared | None
    report: dict[str, Any]
    bad: list[int]
    """The numbers of rows that cannot be trained on as they are, counted from 1."""


@router.post("/training/checks", status_code=201)
async def start_check(request: Request, desk: DeskState, body: NewCheck) -> CheckShape:
    """See every row of a plan as the trainer will see it, and whether a run of it could begin. What would be a 400 there is
    `refusal` here."""

    def work(task: Task) -> _Checked:
        task.told("reading the rows", 0, None)
        try:
            found = gather(_plan(desk, body), desk.database)
        except NotFoundError:
            raise
        except InputError as error:
            return _Checked(None, {**NOTHING, "model": body.model or "", "refusal": str(error)}, [])
        task.told("looking at every row", 0, len(found.gathered.rows))
        return _checked(desk, found, body.name)

    task = desk.tasks.start("training-check", body.name, work, passing=True)
    if body.wait:
        await ended(task, request.receive)
    return check_shape(task)


def _checked(desk: Desk, found: Prepared, name: str) -> _Checked:
    seen = view(found.gathered, found.spelling, found.window)
    refusal, chosen, steps = None, list[str](), None
    try:
        unnamed = replace(found.plan, name=None, target_of=None)
        ready = prepare(unnamed, gathered=replace(found, plan=unnamed))
        chosen, steps = list(ready.gathered.chosen), steps_of(ready)
        check_free(desk, name)
    except InputError as error:
        refusal = str(error)
    told = seen.to_data()
    bad = told.pop("bad")
    report = {
        **{name: value for name, value in told.items() if name != "kind"},
        "bad": bad[:BAD],
        "bad_rows": len(bad),
        "refusal": refusal,
        "chosen": chosen,
        "steps": steps,
        "settings": found.plan.to_data()["train"],
    }
    return _Checked(found, report, [row.number for row in seen.bad])


@router.get("/training/checks/{check_key}")
def get_check(desk: DeskState, check_key: CheckKey) -> CheckShape:
    """How far a check is, or what it found."""
    return check_shape(desk.tasks.get(check_key, "training-check"))


@router.get("/training/checks/{check_key}/rows")
def check_rows(
    desk: DeskState,
    check_key: CheckKey,
    bad: Annotated[bool, Query(description="Only those that cannot be trained on as they are.")] = False,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: After = None,
) -> Page[RowShape]:
    """The rows token by token: ids, which are learned, and everything that speaks against one."""
    checked: _Checked | None = desk.tasks.get(check_key, "training-check").result
    if checked is None or checked.found is None:
        return Page(items=[], next=None)
    gathered, found = checked.found.gathered, checked.found
    page = page_of(checked.bad if bad else range(1, len(gathered.rows) + 1), limit, after)
    rows = [view_row(gathered.rows[n - 1], n, gathered.kind, found.spelling, found.window) for n in page.items]
    return Page(items=[row_shape(row) for row in rows], next=page.next)


# ------------------------------------------------------------ runs


@router.post("/training/runs", status_code=201)
async def start_run(desk: DeskState, body: PlanBody) -> RunShape:
    """Begin a run in a process of its own. Its rows are checked first; what cannot be trained is refused, and nothing begins."""
    check_free(desk, body.name)
    return await desk.waiting(_start, desk, _plan(desk, body))


def _start(desk: Desk, plan: TrainingPlan) -> RunShape:
    ready = prepare(plan, desk.database)
    desk.trainings.start(ready.plan)
    return run_of(desk, str(plan.name))


@router.get("/training/runs")
def runs(desk: DeskState, limit: Limit = 50, after: After = None) -> Page[RunShape]:
    """Of this workspace, the one that was begun last first; also those that the command line began."""
    page = page_of(desk.trainings.list(), limit, after)
    return Page(items=[run_of(desk, key) for key, _ in page.items], next=page.next)


@router.get("/training/runs/{run_key}")
def get_run(desk: DeskState, run_key: Key) -> RunWhole:
    """A run as it is now, with its plan and everything that it measured."""
    return look_at(desk, run_key)


@router.post("/training/runs/{run_key}/cancel")
async def cancel_run(desk: DeskState, run_key: Key) -> RunShape:
    """End a run after the step at hand. Its checkpoint is kept, and it can go on; the answer may still say that it runs."""

    def cancelled() -> RunShape:
        desk.trainings.cancel(run_key)
        return run_of(desk, run_key)

    return await desk.waiting(cancelled)


@router.post("/training/runs/{run_key}/resume")
async def resume_run(desk: DeskState, run_key: Key) -> RunShape:
    """Let a run that was cancelled, killed or failed go on from its checkpoint; the same rows and settings, the same losses."""

    def resumed() -> RunShape:
        record = desk.trainings.get(run_key)
        if record.state not in ("running", "completed") and record.plan["method"] not in SCRATCH:
            ready = prepare(plan_from(record.plan), desk.database)
            if not goes_on(ready):
                raise ApiError(
                    409, f"the rows of {run_key!r}, or its model, are not what they were, and a run goes on with the same ones "
                    "only: take back what was judged since, or begin a new run", code="changed",
                )  # fmt: skip
        desk.trainings.resume(run_key)
        return run_of(desk, run_key)

    return await desk.waiting(resumed)


@router.delete("/training/runs/{run_key}", status_code=204)
async def delete_run(desk: DeskState, run_key: Key) -> Response:
    """Forget a run, its checkpoint and the model that it made. Refused while a facet or another model needs that."""
    await desk.waiting(_delete, desk, run_key)
    return Response(status_code=204)


def _delete(desk: Desk, key: str) -> None:
    desk.trainings.get(key)
    folder, registry = desk.trainings.folder(key), Registry()
    users = [f"the facet {each.name}" for each in desk.database.facets.list() if each.target_model == key]
    users += ["this workspace, as its target model"] if desk.database.settings.get("target_model") == key else []
    mine = [each for each in registry.list() if _lies_in(each.target, folder) or _lies_in(each.adapter, folder)]
    users += [f"the model {each.name}" for each in mine if each.name != key]
    if users:
        raise ApiError(409, f"the model {key!r} is needed by {', '.join(users)}; give them another first", code="in_use")
    desk.trainings.delete(key)
    if mine:
        registry.remove(key)
    desk.models.forget(key)


def _lies_in(path: str | None, folder: Path) -> bool:
    return path is not None and Path(path).resolve() == folder.resolve()


# ------------------------------------------------------------ a run as it looks


def run_of(desk: Desk, key: str) -> RunShape:
    """Raises NotFoundError."""
    return _seen(desk, key)[0]


def look_at(desk: Desk, key: str) -> RunWhole:
    """The same with its plan and log."""
    run, record, lines = _seen(desk, key)
    return run_whole(run, record, lines)


def _seen(desk: Desk, key: str) -> tuple[RunShape, Any, Any]:
    record, folder = desk.trainings.get(key), desk.trainings.folder(key)
    record = replace(record, problem=record.problem and without_paths(record.problem, folder))
    lines = [line_shape(line) for line in read_log(folder)]
    return run_shape(key, record, lines, has_report=(folder / REPORT).is_file()), record, lines
