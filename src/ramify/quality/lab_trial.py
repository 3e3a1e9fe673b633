"""One model on one prompt of a lab: what is asked of it, what each completion is worth, and what has come so far."""

import json
import math
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError
from ramify.quality.explaining import Place, explain
from ramify.quality.intervals import mean_of
from ramify.quality.lab_checks import checks_of
from ramify.quality.lab_report import Group, Row, Run
from ramify.quality.metrics import Metrics, measure
from ramify.quality.plans import Experiment, LabPrompt, Plan

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import CompletionResult

__all__ = ["AVERAGED", "CANDIDATES", "Trial", "as_json"]

T = TypeVar("T")

CANDIDATES = 6
"""Alternatives kept for each token, for heatmaps and for the question why not."""
AVERAGED = ("quality", "perplexity", "coherence", "relevance", "diversity", "repetition", "tokens")


class _Once:
    """Answers by key, each made once, whoever asks first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Hashable, Future[Any]] = {}

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            mine = key not in self._found
            future = self._found.setdefault(key, Future())
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
        found: T = future.result()
        return found


class Trial:
    """Safe to use from any thread."""

    def __init__(self, model: "Model", plan: Plan, prompt: LabPrompt) -> None:
        self.model, self.plan, self.prompt = model, plan, prompt
        self.prompt_ids: tuple[int, ...] = ()
        self.refused: str | None = None
        self.experiments: list[tuple[Experiment, int, GenerationConfig]] = []
        """Each completion that is asked for: its experiment, which repeat it is, its settings."""
        self.computed_tokens, self.seconds = 0, 0.0
        self._left_out: list[tuple[str, str]] = []
        self._runs: dict[int, Run] = {}
        self._lock = threading.Lock()
        self._once = _Once()
        self._rows: dict[tuple[str, int], Row] = {}
        try:
            self.prompt_ids = model.ids_of(prompt.prompt)[0]
            model.request(self.prompt_ids, GenerationConfig(max_new_tokens=1))
        except InputError as error:
            self.refused = str(error)
            return
        for experiment, config in zip(plan.experiments, plan.configs, strict=True):
            if experiment.prompts and prompt.title not in experiment.prompts:
                continue
            try:
                model.engine.constraint(model.request(self.prompt_ids, config))
            except InputError as error:
                self._left_out.append((experiment.title, str(error)))
                continue
            for repeat in range(experiment.repeats):
                self.experiments.append((experiment, repeat, config.replace(seed=(config.seed or 0) + repeat)))

    # ------------------------------------------------------------ what comes in

    def failed(self, number: int, error: Exception) -> None:
        """A completion that could not be made."""
        with self._lock:
            self._left_out.append((self.experiments[number][0].title, str(error)))

    def look(self, number: int, result: "CompletionResult", seconds: float) -> Run:
        """Read and measure a completion; it counts from now on. Waits for the model."""
        experiment, repeat, config = self.experiments[number]
        ids, text = result.generated_token_ids, result.generated_text
        said = self.model.codec.decode(ids)
        valid, fits, why = as_json(said, self.prompt)
        places = self._once(("places", ids, _reading(config)), lambda: tuple(self._explained(ids, config)))
        run = Run(
            number=number,
            experiment=experiment.title,
            repeat=repeat,
            config=config,
            seed=result.seed,
            text=text,
            token_ids=ids,
            finish_reason=result.finish_reason,
            beam_score=result.beam_score,
            seconds=seconds,
            room=config.budget(len(self.prompt_ids), self.model.info.context_window) or 0,
            metrics=self._once(("metrics", text), lambda: self._measured(text, ids, places)),
            places=places,
            json_valid=valid,
            schema_valid=fits,
            schema_error=why,
            shared=0,
        )
        with self._lock:
            self._runs[number] = run
        return run

    def _explained(self, ids: tuple[int, ...], config: GenerationConfig) -> list[Place]:
        return explain(self.model, self.prompt_ids, ids, config, top=CANDIDATES)

    def _measured(self, text: str, ids: tuple[int, ...], places: Sequence[Place]) -> Metrics:
        codec, info = self.model.codec, self.model.info
        again = tuple(codec.encode(text))
        if again and again == ids[: len(again)] and all(i in codec.special_ids for i in ids[len(again) :]):
            known = [place.probability for place in places[: len(again)]]
            if min(known) > 0:
                return measure(self.model, text, prompt=self.prompt_ids, logprobs=[math.log(p) for p in known])
        # A text that fills the window has tokens of its own when it is read again, and may then be a little too long.
        room = info.context_window - len(self.prompt_ids)
        read = text if len(again) <= room else codec.decode(again[: max(1, room - 8)])
        return measure(self.model, read, prompt=self.prompt_ids)

    # ------------------------------------------------------------ what there is

    @property
    def runs(self) -> tuple[Run, ...]:
        """In the plan's order, each with what it shares with greedy decoding, as far as that is there."""
        import dataclasses

        with self._lock:
            runs = [run for _, run in sorted(self._runs.items())]
        greedy = next((run.token_ids for run in runs if _is_greedy(run.config)), ())
        return tuple(dataclasses.replace(run, shared=_common(run.token_ids, greedy)) for run in runs)

    def group(self) -> Group:
        """All of it, as it stands: tables and checks are over the completions that are there."""
        info, codec = self.model.info, self.model.codec
        known: dict[str, Any] = {
            "model": info.name,
            "fingerprint": info.fingerprint,
            "prompt": self.prompt,
            "context_window": info.context_window,
            "eos": tuple((i, codec.literal_bytes[i].decode("utf-8", "replace")) for i in info.eos_token_ids),
            "prompt_tokens": len(self.prompt_ids),
        }
        if self.refused is not None:
            shown = self.prompt.prompt
            text = shown if isinstance(shown, str) else json.dumps(list(shown), ensure_ascii=False)
            return Group(**known, prompt_text=text, refused=self.refused)
        runs = self.runs
        with self._lock:
            left_out = tuple(dict.fromkeys(self._left_out))
        ids = {i for run in runs for place in run.places for i in (place.token_id, *(c.token_id for c in place.candidates))}
        return Group(
            **known,
            prompt_text=b"".join(codec.literal_bytes[i] for i in self.prompt_ids).decode("utf-8", "replace"),
            runs=runs,
            rows=self._table(runs),
            checks=checks_of(self.model, self.prompt_ids, runs, read=self._read_under),
            token_texts={i: codec.literal_bytes[i].decode("utf-8", "replace") for i in sorted(ids)},
            special_ids=frozenset(codec.special_ids & ids),
            left_out=left_out,
            computed_tokens=self.computed_tokens,
            seconds=self.seconds,
        )

    def _read_under(self, ids: tuple[int, ...], config: GenerationConfig) -> Sequence[Place]:
        """A text read under other settings than its own."""
        return self._once(
            ("read", ids, _reading(config)), lambda: tuple(explain(self.model, self.prompt_ids, ids, config, top=0))
        )

    def _table(self, runs: Sequence[Run]) -> tuple[Row, ...]:
        rows = []
        for experiment in self.plan.experiments:
            mine = [run for run in runs if run.experiment == experiment.title]
            if mine:
                key = (experiment.title, len(mine))
                row = self._rows[key] = self._rows.get(key) or _row(experiment, mine)
                rows.append(row)
        return tuple(rows)


def _reading(config: GenerationConfig) -> Hashable:
    """What of the settings shows when a text is read again: without processors, nothing."""
    return () if config.order == () and config.guidance_scale == 1.0 else config.replace(seed=None)


def as_json(text: str, prompt: LabPrompt) -> tuple[bool | None, bool | None, str | None]:
    """Whether the whole text is JSON, whether it fits the prompt's schema, and why not; nothing where none was asked for."""
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


def _is_greedy(config: GenerationConfig) -> bool:
    return config.strategy == "greedy" and config.order == () and config.guidance_scale == 1.0


def _common(ids: Sequence[int], others: Sequence[int]) -> int:
    parted = (at for at, (mine, other) in enumerate(zip(ids, others, strict=False)) if mine != other)
    return next(parted, min(len(ids), len(others)))
