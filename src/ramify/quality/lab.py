"""The decoding lab: every experiment of a plan on every prompt, over one shared trunk, and what came of each."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError, RamifyError
from ramify.quality.explaining import Place, explain
from ramify.quality.intervals import Interval, mean_of
from ramify.quality.lab_checks import Check, checks_of
from ramify.quality.metrics import Metrics, measure
from ramify.quality.plans import Experiment, LabPrompt, Plan

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import CompletionResult

__all__ = ["Group", "LabReport", "Row", "Run", "run_plan"]

CANDIDATES = 6
"""Alternatives kept for each token, for heatmaps and for the question why not."""
AVERAGED = ("quality", "perplexity", "coherence", "relevance", "diversity", "repetition", "tokens")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One completion of the lab."""

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
    checks: tuple[Check, ...] = ()
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
    """Everything the lab found; `lab_html` and `lab_markdown` write it down."""

    plan: Plan
    groups: tuple[Group, ...]
    one_by_one: bool
    seconds: float


def run_plan(
    models: "Sequence[Model]",
    plan: Plan,
    *,
    one_by_one: bool = False,
    progress: Callable[[str], None] | None = None,
) -> LabReport:
    """Run a plan on each model. All completions of a model run together, and those of a prompt share its trunk.

    one_by_one: each alone, so that its seconds are its own. progress: told a line now and then. A prompt that a model cannot
    take, or an experiment that it cannot do, is reported in its place and does not stop the others.
    """
    if not models:
        raise InputError("there is no model to try; give at least one")
    tell = progress or (lambda line: None)
    began = time.perf_counter()
    groups = [group for model in models for group in _groups(model, plan, one_by_one, tell)]
    return LabReport(plan=plan, groups=tuple(groups), one_by_one=one_by_one, seconds=time.perf_counter() - began)


@dataclass(kw_only=True)
class _Asked:
    """What one prompt is to be tried with."""

    prompt: LabPrompt
    prompt_ids: tuple[int, ...] = ()
    refused: str | None = None
    experiments: list[tuple[Experiment, int, GenerationConfig]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def _groups(model: "Model", plan: Plan, one_by_one: bool, tell: Callable[[str], None]) -> list[Group]:
    began = time.perf_counter()
    asked = [_asked(model, plan, prompt) for prompt in plan.prompts]
    requests = [(one.prompt_ids, config) for one in asked for _, _, config in one.experiments]
    tell(f"{model.info.name}: {len(requests)} completions of {len(asked)} prompts")
    before = model.engine.computed_tokens
    answered = _answers(model, requests, one_by_one)
    computed, seconds = model.engine.computed_tokens - before, time.perf_counter() - began
    tell(f"{model.info.name}: {computed} tokens in {seconds:.0f} s; measuring")
    groups, start = [], 0
    for one in asked:
        mine = answered[start : start + len(one.experiments)]
        start += len(one.experiments)
        groups.append(_group(model, plan, one, mine, computed, seconds))
    return groups


def _asked(model: "Model", plan: Plan, prompt: LabPrompt) -> _Asked:
    found = _Asked(prompt=prompt)
    try:
        found.prompt_ids = model.ids_of(prompt.prompt)[0]
        model.request(found.prompt_ids, GenerationConfig(max_new_tokens=1))
    except InputError as error:
        found.refused = str(error)
        return found
    for experiment, config in zip(plan.experiments, plan.configs, strict=True):
        if experiment.prompts and prompt.title not in experiment.prompts:
            continue
        try:
            model.engine.constraint(model.request(found.prompt_ids, config))
        except InputError as error:
            found.left_out.append((experiment.title, str(error)))
            continue
        for repeat in range(experiment.repeats):
            found.experiments.append((experiment, repeat, config.replace(seed=(config.seed or 0) + repeat)))
    return found


def _group(
    model: "Model",
    plan: Plan,
    asked: _Asked,
    answered: "Sequence[tuple[CompletionResult | None, Any]]",
    computed: int,
    seconds: float,
) -> Group:
    info, codec, prompt_ids = model.info, model.codec, asked.prompt_ids
    known: dict[str, Any] = {
        "model": info.name,
        "fingerprint": info.fingerprint,
        "prompt": asked.prompt,
        "context_window": info.context_window,
        "eos": tuple((i, codec.literal_bytes[i].decode("utf-8", "replace")) for i in info.eos_token_ids),
        "prompt_tokens": len(prompt_ids),
    }
    if asked.refused is not None:
        return Group(**known, prompt_text=_shown(asked.prompt), refused=asked.refused)
    pairs = list(zip(asked.experiments, answered, strict=True))
    greedy = next((a.generated_token_ids for (_, _, c), (a, _) in pairs if _is_greedy(c) and a is not None), ())
    looked = partial(_looked_at, model, asked.prompt, prompt_ids, greedy)
    with ThreadPoolExecutor(max_workers=8) as pool:
        runs = list(pool.map(lambda one: looked(*one), [(e, a, s) for e, (a, s) in pairs if a is not None]))
    failed = [(e.title, str(error)) for (e, _, _), (a, error) in pairs if a is None]
    ids = {i for run in runs for place in run.places for i in (place.token_id, *(c.token_id for c in place.candidates))}
    return Group(
        **known,
        prompt_text=b"".join(codec.literal_bytes[i] for i in prompt_ids).decode("utf-8", "replace"),
        runs=tuple(runs),
        rows=tuple(_row(e, [run for run in runs if run.experiment == e.title]) for e in plan.experiments if _ran(e, runs)),
        checks=checks_of(model, prompt_ids, runs),
        token_texts={i: codec.literal_bytes[i].decode("utf-8", "replace") for i in sorted(ids)},
        special_ids=frozenset(codec.special_ids & ids),
        left_out=tuple(dict.fromkeys([*asked.left_out, *failed])),
        computed_tokens=computed,
        seconds=seconds,
    )


def _answers(
    model: "Model", requests: Sequence[tuple[tuple[int, ...], GenerationConfig]], one_by_one: bool
) -> "list[tuple[CompletionResult | None, Any]]":
    """A completion and its seconds for each config; None and the error where it failed."""
    handles, ends, starts = [], [0.0] * len(requests), []

    def noted(place: int, _: object) -> None:
        ends[place] = time.perf_counter()

    for place, (prompt_ids, config) in enumerate(requests):
        starts.append(time.perf_counter())
        handle = model.submit(model.request(prompt_ids, config, logprobs=None))
        handle.future.add_done_callback(partial(noted, place))
        handles.append(handle)
        if one_by_one:
            handle.future.exception()
    found: list[tuple[CompletionResult | None, Any]] = []
    try:
        for place, handle in enumerate(handles):
            error = handle.future.exception()
            if error is not None and not isinstance(error, RamifyError):
                raise error
            began = starts[place] if one_by_one else starts[0]
            found.append((None, error) if error is not None else (handle.future.result()[0], ends[place] - began))
    except BaseException:
        for handle in handles:
            handle.cancel()
        raise
    return found


def _looked_at(
    model: "Model",
    prompt: LabPrompt,
    prompt_ids: tuple[int, ...],
    greedy: Sequence[int],
    asked: tuple[Experiment, int, GenerationConfig],
    result: "CompletionResult",
    seconds: float,
) -> Run:
    experiment, repeat, config = asked
    ids = result.generated_token_ids
    said = model.codec.decode(ids)
    valid, fits, why = _as_json(said, prompt)
    return Run(
        experiment=experiment.title,
        repeat=repeat,
        config=config,
        seed=result.seed,
        text=result.generated_text,
        token_ids=ids,
        finish_reason=result.finish_reason,
        beam_score=result.beam_score,
        seconds=seconds,
        room=config.budget(len(prompt_ids), model.info.context_window) or 0,
        metrics=_measured(model, result.generated_text, prompt_ids),
        places=tuple(explain(model, prompt_ids, ids, config, top=CANDIDATES)),
        json_valid=valid,
        schema_valid=fits,
        schema_error=why,
        shared=next(
            (at for at, pair in enumerate(zip(ids, greedy, strict=False)) if pair[0] != pair[1]), min(len(ids), len(greedy))
        ),
    )


def _measured(model: "Model", text: str, prompt_ids: tuple[int, ...]) -> Metrics:
    # A text that fills the window has tokens of its own when it is read again, and may then be a little too long.
    room = model.info.context_window - len(prompt_ids)
    ids = model.codec.encode(text)
    return measure(model, text if len(ids) <= room else model.codec.decode(ids[: max(1, room - 8)]), prompt=prompt_ids)


def _as_json(text: str, prompt: LabPrompt) -> tuple[bool | None, bool | None, str | None]:
    if prompt.json_schema is None:
        return None, None, None
    import jsonschema

    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return False, False, f"not JSON: {error}"
    try:
        jsonschema.validate(content, prompt.json_schema)
    except jsonschema.ValidationError as error:
        return True, False, str(error.message)[:300]
    except jsonschema.SchemaError as error:
        raise InputError(f"the schema of prompt {prompt.title!r} is no JSON Schema: {error.message}") from error
    return True, True, None


def _row(experiment: Experiment, runs: Sequence[Run]) -> Row:
    averages = {}
    for name in AVERAGED:
        values = [getattr(run.metrics, name) if name != "tokens" else len(run.token_ids) for run in runs]
        if all(value is not None for value in values):
            averages[name] = mean_of(values)
    judged = [run for run in runs if run.json_valid is not None]
    return Row(
        experiment=experiment.title,
        runs=len(runs),
        averages=averages,
        json_valid=sum(bool(run.json_valid) for run in judged) if judged else None,
        schema_valid=sum(bool(run.schema_valid) for run in judged) if judged else None,
        seconds=sum(run.seconds for run in runs) / len(runs),
    )


def _ran(experiment: Experiment, runs: Sequence[Run]) -> bool:
    return any(run.experiment == experiment.title for run in runs)


def _is_greedy(config: GenerationConfig) -> bool:
    return config.strategy == "greedy" and config.order == () and config.guidance_scale == 1.0


def _shown(prompt: LabPrompt) -> str:
    return prompt.prompt if isinstance(prompt.prompt, str) else json.dumps(list(prompt.prompt), ensure_ascii=False)
