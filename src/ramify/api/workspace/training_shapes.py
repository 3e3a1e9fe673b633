"""How training looks on the wire: a plan, the trainer's view of its rows, a run and its log."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from ramify.api.workspace.exchange_shapes import TaskShape, task_fields
from ramify.api.workspace.export_shapes import SelectionFields
from ramify.api.workspace.shapes import Body, Nats, Shape
from ramify.api.workspace.tasks import Task
from ramify.training.plans import TrainingPlan, plan_from
from ramify.training.records import RunRecord, RunState

__all__ = [
    "CheckShape",
    "LineShape",
    "PlanBody",
    "RowShape",
    "RunShape",
    "RunWhole",
    "check_shape",
    "line_shape",
    "plan_of",
    "row_shape",
    "run_shape",
    "run_whole",
    "thinned",
]

MOST_LINES = 1500
"""Of a log that is sent whole; more are thinned out evenly."""

Count = Annotated[int, Field(ge=1, le=10_000_000)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class FacetPart(Body):
    name: str
    count: Annotated[int, Field(ge=1)] | None = Field(default=None, description="At most so many samples.")
    share: Annotated[float, Field(gt=0, le=1)] | None = Field(default=None, description="Or this share of those that can go out.")


class LearnFields(Body):
    """What of a row is learned."""

    turns: Literal["last", "all"] | None = Field(default=None, description="all: the assistant's earlier turns too.")
    prefill: bool | None = Field(default=None, description="Whether a prefill is learned (it is).")
    retokenize: bool | None = Field(
        default=None, description="Spell completions of another tokenizer anew, in place of refusing them."
    )


class TrainFields(Body):
    """How it is learned; what is left out or null is the method's default (GET /api/training/settings)."""

    epochs: Annotated[float, Field(gt=0, le=1000)] | None = Field(default=None, description="How often every row is read.")
    max_steps: Count | None = None
    max_seconds: Positive | None = None
    batch_size: Annotated[int, Field(ge=1, le=100_000)] | None = Field(default=None, description="Rows in one pass.")
    tokens_per_step: Count | None = Field(default=None, description="Tokens a step, in place of a number of rows.")
    accumulation: Annotated[int, Field(ge=1, le=10_000)] | None = Field(default=None, description="Passes a step.")
    packing: bool | None = Field(default=None, description="Rows behind one another without padding; none sees another.")
    together: bool | None = Field(default=None, description="Rows of one prompt in one pass, so that packing reads it once.")
    checkpointing: bool | None = Field(default=None, description="Less memory for a third more work.")
    optimizer: Literal["adamw", "muon"] | None = None
    learning_rate: Positive | None = None
    matrix_learning_rate: Positive | None = Field(default=None, description="Muon's.")
    weight_decay: Share | None = None
    warmup_steps: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    schedule: Literal["constant", "linear", "cosine"] | None = None
    clip_norm: Positive | None = None
    max_length: Count | None = Field(default=None, description="Longest row in tokens; never more than the model was made for.")
    seed: Annotated[int, Field(ge=0, le=2**31)] | None = None
    bf16: bool | None = None
    log_every: Count | None = None
    validate_every: Count | None = Field(default=None, description="Steps between validations.")
    save_every: Count | None = Field(default=None, description="Steps between checkpoints.")
    patience: Count | None = Field(
        default=None, description="End after so many validations without a better loss; the best weights are kept."
    )


class LoraFields(Body):
    """A LoRA adapter in place of all weights."""

    rank: Annotated[int, Field(ge=1, le=4096)] | None = None
    alpha: Positive | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None


class KeepFields(Body):
    """What the model used to say unasked is learned beside the rows."""

    texts: Annotated[int, Field(ge=1, le=10_000)] | None = None
    weight: Positive | None = None
    model: str | None = Field(default=None, description="Whose words; null: those of the model that the run starts from.")


class PreferenceFields(Body):
    """Of dpo and kto; one that the method does not read is refused."""

    beta: Positive | None = None
    loss: Literal["sigmoid", "ipo", "hinge"] | None = None
    sft: Share | None = None
    reference: bool | None = Field(default=None, description="dpo: gains on the model that the run starts from, or likelihoods.")
    desirable_weight: Share | None = None
    undesirable_weight: Share | None = None


class PlanBody(Body):
    """What is to be trained, on what, and how. Nothing in it is a path: the result lies in the server's own folder."""

    method: Literal["sft", "dpo", "kto"]
    name: Annotated[str, Field(max_length=100)] = Field(description="Of the model that is made; it enters the registry.")
    model: str | None = Field(default=None, description="The model to start from; null: the first facet's target.")
    facets: Annotated[list[FacetPart], Field(max_length=100)] = Field(
        default_factory=list, description="In order; none: every completion (sft)."
    )
    select: SelectionFields = Field(default_factory=SelectionFields)
    learn: LearnFields = Field(default_factory=LearnFields)
    overlong: Literal["refuse", "leave-out", "cut-prompt", "cut-completion"] = Field(
        default="refuse", description="What becomes of rows over the window."
    )
    unusable: Literal["refuse", "leave-out"] = Field(default="refuse", description="And of those that cannot be trained on.")
    train: TrainFields = Field(default_factory=TrainFields)
    preference: PreferenceFields = Field(default_factory=PreferenceFields)
    lora: LoraFields | None = None
    merge: bool = Field(default=False, description="Keep the adapter's effect in the weights, in place of an adapter.")
    keep: KeepFields | None = None
    target_of: str | None = Field(default=None, description="The facet whose target model the result becomes by itself.")


class NewCheck(PlanBody):
    wait: bool = Field(default=False, description="Answer at its end; its errors are this route's, and leaving cancels it.")


def plan_of(body: PlanBody, workspace: str, root: Path, device: str | None) -> TrainingPlan:
    """The plan that a request asks for. Raises InputError, with the names of its fields."""
    data = body.model_dump(exclude_none=True, exclude={"wait", "facets"})
    facets = []
    for each in body.facets:
        much = f"={each.count}" if each.count is not None else f"={100 * each.share:g}%" if each.share is not None else ""
        # A name with "=" in it is told from a count by having one.
        facets.append(each.name + (much or ("=100%" if "=" in each.name else "")))
    return plan_from({**data, "facets": facets, "workspace": workspace, "out": str(root / body.name), "device": device})


# ------------------------------------------------------------ the trainer's view


class BadRow(Shape):
    number: int
    name: str
    problems: list[str]


class ViewShape(Shape):
    """All rows in numbers, as the trainer will see them."""

    model: str = Field(description="The one that it starts from.")
    window: int
    rows: int
    validation_rows: int
    tokens: int
    learned: int
    longest: int
    without_eos: int = Field(description="Completions whose end is not learned.")
    problems: dict[str, int] = Field(description="Rows with each kind of problem.")
    stayed: dict[str, int] = Field(description="Why completions of the workspace did not become rows.")
    bad: list[BadRow] = Field(description="The first hundred that cannot be trained on as they are.")
    bad_rows: int
    passes: bool = Field(description="Whether every row can be trained on as it is.")
    refusal: str | None = Field(description="Why a run of this plan would be refused; null: it can begin.")
    chosen: list[str] = Field(description="What was decided about rows that could not stay as they were.")
    steps: int | None = Field(description="The run's; null where seconds decide, or it would be refused.")
    settings: dict[str, JsonValue] = Field(description="The training's, defaults filled in.")


class CheckShape(TaskShape):
    report: ViewShape | None


class SideShape(Shape):
    """One sequence: a completion after its prompt."""

    token_ids: list[int]
    learned: list[bool] = Field(description="Of each token.")
    texts: list[str] = Field(description="Each token spelt out, special ones too.")
    eos: bool = Field(description="Whether the model learns to end it.")
    eos_id: int | None


class RowShape(Shape):
    number: int
    name: str
    validation: bool
    label: bool | None = Field(description="Of kto.")
    prompt_tokens: int
    tokens: int
    learned: int
    problems: list[str]
    sides: list[SideShape] = Field(description="The completion; or chosen and rejected.")
    sample: int | None
    completions: list[int]


def check_shape(task: Task) -> CheckShape:
    found = task.result
    return CheckShape.model_validate({**task_fields(task), "report": None if found is None else found.report})


def row_shape(row: Any) -> RowShape:
    """Of a `RowView`."""
    plain = ("number", "name", "validation", "label", "prompt_tokens", "tokens", "learned")
    sides = [
        SideShape(token_ids=list(s.token_ids), learned=list(s.learned), texts=list(s.texts), eos=s.eos, eos_id=s.eos_id)
        for s in row.sides
    ]
    source = row.source
    return RowShape(
        **{name: getattr(row, name) for name in plain},
        problems=list(row.problems),
        sides=sides,
        sample=source.get("sample"),
        completions=[source[name] for name in ("completion", "rejected") if source.get(name)],
    )


# ------------------------------------------------------------ runs


class LineShape(Shape):
    """What was measured at a step: of the rows it learned from, or (`held_out`) of the validation rows."""

    step: int
    seconds: float = Field(description="Of training until then.")
    held_out: bool
    loss: Nats
    accuracy: Nats = Field(description="How often the better one is likelier.")
    margin: Nats
    tokens_per_s: Nats
    lr: Nats


class RunShape(Shape):
    key: str = Field(description="And the name of the model that it makes.")
    method: str
    model: str | None = Field(description="The one that it started from.")
    facets: list[str]
    state: RunState
    doing: str
    problem: str | None = Field(description="Why it failed; of a completed one, what else did not come to be.")
    step: int
    steps: int | None = Field(description="The number of its last step; null: not known.")
    loss: Nats
    validation: Nats = Field(description="The last loss on validation rows.")
    tokens_per_s: Nats
    seconds: float
    left_s: float | None
    started_at: str
    ended_at: str | None
    can_go_on: bool
    has_report: bool


class RunWhole(RunShape):
    plan: dict[str, JsonValue]
    log: list[LineShape] = Field(description="In order; a long one is thinned out evenly.")


def line_shape(line: Mapping[str, Any]) -> LineShape:
    held = line.get("validation")
    told: Mapping[str, Any] = line
    if held is not None:
        first = next(iter(held.values()))
        told = first if isinstance(first, Mapping) else {"loss": first}
    return LineShape(
        step=line["step"],
        seconds=line.get("seconds", 0.0),
        held_out=held is not None,
        **{name: told.get(name) for name in ("loss", "accuracy", "margin", "tokens_per_s", "lr")},
    )


def thinned(lines: Sequence[LineShape]) -> list[LineShape]:
    """At most about `MOST_LINES` of what was learned, the last one among them, and everything held out."""
    every = max(1, -(-len(lines) // MOST_LINES))
    last = len(lines) - 1
    return [line for at, line in enumerate(lines) if line.held_out or at % every == 0 or at == last]


def run_shape(key: str, record: RunRecord, lines: Sequence[LineShape], *, has_report: bool) -> RunShape:
    """lines: the last ones at least."""
    plan, learned = record.plan, [line for line in lines if not line.held_out]
    held = [line for line in lines if line.held_out]
    last = learned[-1] if learned else None
    step, seconds = (0, 0.0) if last is None else (last.step, last.seconds)
    left = []
    if record.state == "running" and last is not None:
        if record.steps is not None and seconds:
            left.append(max(0, record.steps - step) * seconds / step)
        if plan["train"].get("max_seconds") is not None:
            left.append(max(0.0, plan["train"]["max_seconds"] - seconds))
    return RunShape(
        key=key,
        method=plan["method"],
        model=plan["model"],
        facets=list(plan["facets"]),
        state=record.state,
        doing=record.doing,
        problem=record.problem,
        step=step,
        steps=record.steps,
        loss=None if last is None else last.loss,
        validation=held[-1].loss if held else None,
        tokens_per_s=None if last is None else last.tokens_per_s,
        seconds=seconds,
        left_s=min(left) if left else None,
        started_at=record.started_at,
        ended_at=record.ended_at,
        can_go_on=record.state in ("cancelled", "failed", "killed"),
        has_report=has_report,
    )


HIDDEN = ("out", "workspace", "rows", "validation_rows")
"""Of a plan: the server's own paths."""


def run_whole(run: RunShape, record: RunRecord, lines: Sequence[LineShape]) -> RunWhole:
    plan = {name: value for name, value in json.loads(json.dumps(record.plan)).items() if name not in HIDDEN}
    if plan.get("tokenizer") is not None:
        plan["tokenizer"] = Path(plan["tokenizer"]).name  # of an earlier run, which is a folder
    return RunWhole(**run.model_dump(), plan=plan, log=thinned(lines))
