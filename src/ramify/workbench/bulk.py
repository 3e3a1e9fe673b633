"""Bulk: many samples completed, or many completions measured, many in flight together, each kept as it is done.

    for step in workspace.generate_each({"field": "group", "op": "under", "value": "letters"}, model=["tiny", "openai:small"]):
        print(step.progress)

Every result is on disk before its step is told. What was done is seen in the workspace itself, so the same call goes on
where a killed or cancelled one ended: nothing is lost, and nothing done twice, also when two processes run it at once. As long
as nothing else is done in between, a run is one step of the history.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self

from ramify.engine.model import Model
from ramify.errors import ConfigError, ConstraintError, EngineError, InputError, RamifyError, RemoteError, UnsupportedError
from ramify.store.database import Database
from ramify.workbench.asking import AnyModel, name_of

__all__ = ["Bulk", "BulkReport", "BulkStep", "Lane", "Progress", "Started", "at_once", "finish"]

REMOTE_AT_ONCE = 8
"""Requests that one endpoint is asked to hold."""
HOPELESS = (401, 402, 403, 404)
"""Statuses that the next request would get too."""
FAILURES = 10
"""After so many errors of one endpoint in a row the rest is not tried."""
OF_THE_SETTINGS = (ConfigError, ConstraintError, UnsupportedError)
"""What is refused for all when it is refused for the first."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Counts of (sample or completion, model) pairs."""

    total: int
    before: int
    """Done by an earlier run already, or by another process meanwhile."""
    done: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        return self.total - self.before - self.done - self.failed


@dataclass(frozen=True, kw_only=True)
class BulkStep:
    """One sample or completion under one model, done or failed."""

    id: int
    """Of the sample that was completed, or of the completion that was measured."""
    model: str
    made: tuple[int, ...]
    """Ids of the completions that were made, or of the one that was measured; none where it failed, or was there before."""
    error: RamifyError | None
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class BulkReport:
    """How a run ended."""

    progress: Progress
    made: tuple[int, ...]
    errors: tuple[BulkStep, ...]
    """The steps that failed; the same call tries them again."""


@dataclass(frozen=True)
class Started:
    """One item under way."""

    future: "Future[Any]"
    cancel: Callable[[], object]
    keep: Callable[[], tuple[int, ...]]
    """Keep the future's result, inside an action. Ids of what was kept; none where another process was quicker."""


class Lane(Protocol):
    """The work of one model."""

    @property
    def model(self) -> AnyModel: ...
    @property
    def at_once(self) -> int:
        """How many items may be under way together."""
        ...

    def check(self, item: int) -> Callable[[], Started]:
        """Check one item; what comes back starts it. Raises RamifyError."""
        ...


def at_once(model: AnyModel, each: int, batch_size: int | None = None) -> int:
    """How many requests of `each` rows keep a model busy: some more wait than run, unless batch_size says how many may."""
    if not isinstance(model, Model):
        return REMOTE_AT_ONCE
    rows = batch_size or model.engine.scheduler.max_rows
    running = max(1, rows // max(1, each))
    return running if batch_size else running + max(2, running // 2)


class Bulk:
    """A run under way. Iterate to drive it; leaving the loop, `close` and `cancel` keep what is done."""

    def __init__(
        self, database: Database, name: str, detail: str, lanes: Sequence[tuple[Lane, Sequence[int]]], before: int
    ) -> None:
        """lanes: each with the items it has still to do. Raises what one refuses of the settings, before any runs."""
        left = sum(len(items) for _, items in lanes)
        self.progress = Progress(total=left + before, before=before)
        self._database, self._name, self._detail = database, name, detail
        self._lanes = [(lane, deque(items)) for lane, items in lanes]
        self._finished: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self._running: dict[Future[Any], tuple[Lane, int, Started]] = {}
        self._in_a_row: dict[int, int] = {}
        self._action: int | None = None
        self._cancelled = threading.Event()
        for lane, items in lanes:
            _refuse_settings(lane, items)
        self._steps = self._run()

    def __iter__(self) -> Iterator[BulkStep]:
        return self

    def __next__(self) -> BulkStep:
        return next(self._steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def cancel(self) -> None:
        """From any thread: end soon. What is done is kept, what is under way is not, and the loop ends."""
        self._cancelled.set()
        self._finished.put(None)

    def close(self) -> None:
        """The same from the thread that iterates, at once."""
        self._cancelled.set()
        self._steps.close()  # type: ignore[attr-defined]

    # ------------------------------------------------------------ the loop

    def _run(self) -> Iterator[BulkStep]:
        try:
            while not self._cancelled.is_set():
                yield from self._start_more()
                if not self._running or self._cancelled.is_set():
                    return
                yield from self._keep(self._ready(wait=True))
        finally:
            # What ended before anyone cancelled is done, and kept.
            ready = self._ready(wait=False)
            for _, _, started in self._running.values():
                started.cancel()
            for _ in self._keep(ready, ending=True):
                pass
            self._running.clear()

    def _start_more(self) -> Iterator[BulkStep]:
        for lane, items in self._lanes:
            under_way = sum(each is lane for each, _, _ in self._running.values())
            while items and under_way < lane.at_once and not self._cancelled.is_set():
                item = items.popleft()
                try:
                    started = lane.check(item)()
                except EngineError:
                    raise
                except RamifyError as error:
                    yield self._failed(lane, item, error)
                    continue
                self._running[started.future] = (lane, item, started)
                under_way += 1
                started.future.add_done_callback(self._finished.put)

    def _ready(self, *, wait: bool) -> list["Future[Any]"]:
        """The futures that are done; with `wait` at least one, unless it is cancelled meanwhile."""
        found = list[Future[Any]]()
        while True:
            try:
                future = self._finished.get(block=wait and not found)
            except queue.Empty:
                return found
            if future is None:
                return found
            found.append(future)

    def _keep(self, ready: Sequence["Future[Any]"], *, ending: bool = False) -> Iterator[BulkStep]:
        """Keep what is ready in one transaction, then tell of it. Raises what makes going on hopeless, unless it ends anyway."""
        steps = list[tuple[Lane, int, tuple[int, ...] | RamifyError]]()
        hopeless: RamifyError | None = None
        taken = [self._running.pop(future) for future in ready if future in self._running]
        if not taken:
            return
        with self._database.action(self._name, self._detail, onto=self._action) as action:
            for lane, item, started in taken:
                future = started.future
                error = future.exception() if not future.cancelled() else RemoteError("the endpoint's model was closed")
                if error is None:
                    try:
                        steps.append((lane, item, started.keep()))
                        self._in_a_row[id(lane)] = 0
                    except InputError as refused:  # the sample was deleted meanwhile
                        steps.append((lane, item, refused))
                elif isinstance(error, RamifyError) and not isinstance(error, EngineError):
                    steps.append((lane, item, error))
                    hopeless = hopeless or self._hopeless(lane, error)
                else:
                    hopeless = error if isinstance(error, RamifyError) else EngineError(f"the run failed: {error!r}")
        self._action = action.id or self._action
        told = [self._told(lane, item, made) for lane, item, made in steps]
        yield from told
        if hopeless is not None and not ending:
            raise hopeless

    def _hopeless(self, lane: Lane, error: RamifyError) -> RamifyError | None:
        """The error that says that going on makes no sense, if it does."""
        if not isinstance(error, RemoteError):
            return None
        self._in_a_row[id(lane)] = self._in_a_row.get(id(lane), 0) + 1
        spent = error.status in HOPELESS or error.code == "insufficient_quota" or self._in_a_row[id(lane)] >= FAILURES
        return error if spent else None

    def _told(self, lane: Lane, item: int, made: tuple[int, ...] | RamifyError) -> BulkStep:
        if isinstance(made, RamifyError):
            return self._failed(lane, item, made)
        kind = "done" if made else "before"
        self.progress = replace(self.progress, **{kind: getattr(self.progress, kind) + 1})
        return BulkStep(id=item, model=name_of(lane.model), made=made, error=None, progress=self.progress)

    def _failed(self, lane: Lane, item: int, error: RamifyError) -> BulkStep:
        self.progress = replace(self.progress, failed=self.progress.failed + 1)
        return BulkStep(id=item, model=name_of(lane.model), made=(), error=error, progress=self.progress)


def _refuse_settings(lane: Lane, items: Sequence[int]) -> None:
    if items:
        try:
            lane.check(items[0])
        except OF_THE_SETTINGS:
            raise
        except RamifyError:  # of this item; it is told when its turn comes
            return


def finish(bulk: Bulk, progress: Callable[[BulkStep], object] | None = None) -> BulkReport:
    """Drive a run to its end, telling `progress` of each step. An interrupt cancels it, and what is done is kept."""
    made, errors = list[int](), list[BulkStep]()
    with bulk:
        for step in bulk:
            made += step.made
            if step.error is not None:
                errors.append(step)
            if progress is not None:
                progress(step)
    return BulkReport(progress=bulk.progress, made=tuple(made), errors=tuple(errors))
