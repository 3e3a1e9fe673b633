"""The decoding lab: every experiment of a plan on every prompt, over one shared trunk, and what came of each."""

import collections
import contextlib
import math
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ramify.errors import InputError, RamifyError
from ramify.quality.lab_report import Group, LabReport, Row, Run
from ramify.quality.lab_trial import Trial
from ramify.quality.plans import Plan

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.tasks import Handle

__all__ = ["Group", "Lab", "LabReport", "Row", "Run", "run_plan"]

READERS = 8
"""Completions that are read and measured at once, beside those that are still being made."""
LOOK_S = 0.2
"""How often a lab looks whether it shall stop."""

Watch = Callable[[int, Run], None]
"""Told the number of a group, and a completion of it that is measured."""


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
    return Lab(models, plan, one_by_one=one_by_one).run(progress=progress)


class Lab:
    """A plan at work: `run` runs it, and `group` and `report` say at any moment, from any thread, what there is."""

    def __init__(self, models: "Sequence[Model]", plan: Plan, *, one_by_one: bool = False, max_rows: int | None = None) -> None:
        """Makes every request ready; nothing runs yet. max_rows: rows of a model that it takes at once, so that others who use
        the model find room; None: all. Raises InputError where there is no model."""
        if not models:
            raise InputError("there is no model to try; give at least one")
        self.plan, self.one_by_one, self.max_rows = plan, one_by_one, max_rows
        self.trials = [Trial(model, plan, prompt) for model in models for prompt in plan.prompts]
        """Model by model, and for each prompt by prompt: the report's groups."""
        self._began = time.perf_counter()
        self._seconds: float | None = None

    @property
    def asked(self) -> int:
        """Completions that are to be made."""
        return sum(len(trial.experiments) for trial in self.trials)

    def group(self, place: int) -> Group:
        return self.trials[place].group()

    def report(self) -> LabReport:
        """Everything so far."""
        seconds = time.perf_counter() - self._began if self._seconds is None else self._seconds
        groups = tuple(trial.group() for trial in self.trials)
        return LabReport(plan=self.plan, groups=groups, one_by_one=self.one_by_one, seconds=seconds)

    def run(
        self,
        *,
        progress: Callable[[str], None] | None = None,
        watch: Watch | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> LabReport:
        """Make, read and measure every completion; returns the report.

        progress: told a line now and then. watch: told each completion once it is measured, with the number of its group; all
        on the caller's thread. stopped: asked often; once it says yes, what runs is cancelled and what is there is the report.
        """
        tell = progress or (lambda line: None)
        self._began = time.perf_counter()
        for model in dict.fromkeys(trial.model for trial in self.trials):
            if not stopped():
                self._on(model, tell, watch or (lambda place, run: None), stopped)
        self._seconds = time.perf_counter() - self._began
        return self.report()

    def _on(self, model: "Model", tell: Callable[[str], None], watch: Watch, stopped: Callable[[], bool]) -> None:
        mine = [(place, trial) for place, trial in enumerate(self.trials) if trial.model is model]
        began, before = time.perf_counter(), model.engine.computed_tokens
        asked = [(place, number) for place, trial in mine for number in range(len(trial.experiments))]
        tell(f"{model.info.name}: {len(asked)} completions of {len(mine)} prompts")
        for wave in [[one] for one in asked] if self.one_by_one else [asked]:
            if not stopped():
                _Wave(self.trials, wave, self.max_rows).run(watch, stopped)
        seconds = time.perf_counter() - began
        for _, trial in mine:
            trial.computed_tokens, trial.seconds = model.engine.computed_tokens - before, seconds
        tell(f"{model.info.name}: {model.engine.computed_tokens - before} tokens in {seconds:.0f} s")


class _Wave:
    """Completions that run together; each is read while others are still being made."""

    def __init__(self, trials: Sequence[Trial], asked: Sequence[tuple[int, int]], max_rows: int | None) -> None:
        self._trials = trials
        self._to_start = collections.deque(asked)
        self._left = len(asked)
        self._room = math.inf if max_rows is None else max_rows
        self._news: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        """What there is to do on the caller's thread."""
        self._handles: set[Handle] = set()

    def run(self, watch: Watch, stopped: Callable[[], bool]) -> None:
        began, stopping = time.perf_counter(), False
        with ThreadPoolExecutor(max_workers=READERS) as readers:
            try:
                while self._left:
                    if not stopping and stopped():
                        stopping = True
                        self._left -= len(self._to_start)
                        self._to_start.clear()
                        self._cancel()
                    while self._to_start and (self._width(*self._to_start[0]) <= self._room or not self._handles):
                        self._start(*self._to_start.popleft(), began, readers, watch)
                    with contextlib.suppress(queue.Empty):
                        self._news.get(timeout=LOOK_S)()
            except BaseException:
                self._cancel()
                raise

    def _width(self, place: int, number: int) -> int:
        config = self._trials[place].experiments[number][2]
        return max(config.num_beams, (config.top_k or 1) if config.strategy == "contrastive" else 1)

    def _start(self, place: int, number: int, began: float, readers: ThreadPoolExecutor, watch: Watch) -> None:
        trial, width = self._trials[place], self._width(place, number)
        handle = trial.model.submit(trial.model.request(trial.prompt_ids, trial.experiments[number][2], logprobs=None))
        self._handles.add(handle)
        self._room -= width

        def ended(_: Any) -> None:  # on the engine's thread
            seconds = time.perf_counter() - began
            self._news.put(lambda: read(seconds))

        def read(seconds: float) -> None:
            self._handles.discard(handle)
            self._room += width
            error = handle.future.exception()
            if error is not None and not isinstance(error, RamifyError):
                raise error
            if error is not None:
                trial.failed(number, error)
            elif handle.future.result()[0].finish_reason != "cancelled":
                looking = readers.submit(trial.look, number, handle.future.result()[0], seconds)
                looking.add_done_callback(lambda done: self._news.put(lambda: seen(done)))
                return
            self._left -= 1

        def seen(done: "Future[Run]") -> None:
            self._left -= 1
            watch(place, done.result())

        handle.future.add_done_callback(ended)

    def _cancel(self) -> None:
        for handle in self._handles:
            handle.cancel()
