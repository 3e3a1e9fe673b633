"""One process at work on a job: rows are leased, asked many at once, and each is committed as it is done.

The engine always has enough rows to choose from and never more, so memory does not grow with the job. Where the process dies, the
rows it had out go back to the others, and what was committed is never asked again.
"""

import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from typing import Any, Literal

from ramify.batch.outputs import error_record
from ramify.batch.rows import UnderWay
from ramify.batch.spec import JobSpec
from ramify.errors import EngineError, RamifyError, RemoteError
from ramify.store.database import Database
from ramify.store.job_leases import BEAT_S
from ramify.store.job_records import JobRecord, JobRow, NewResult
from ramify.workbench.asking import AnyModel
from ramify.workbench.bulk import FAILURES, HOPELESS, at_once

__all__ = ["Ended", "Runner", "failed", "most_at_once"]

Ended = Literal["done", "cancelled", "expired"]

IDLE_S = 0.5
"""How long one waits for rows that another may give back."""
CODES: Mapping[str, str] = {
    "PromptTooLongError": "context_length_exceeded",
    "ConstraintError": "invalid_constraint",
    "UnsupportedError": "unsupported",
    "ConfigError": "invalid_value",
}


def most_at_once(spec: JobSpec, model: AnyModel) -> int:
    """How many rows of a job keep a model busy."""
    return at_once(model, int(spec.settings.get("num_beams") or 1), spec.settings.get("batch_size"))


def failed(spec: JobSpec, row: JobRow, error: RamifyError) -> NewResult:
    """A row that has an error in its answer's place."""
    data = json.loads(row.request) if spec.shape in ("rows", "openai-batch") else None
    code = CODES.get(type(error).__name__) or getattr(error, "code", None) or "failed"
    return NewResult(number=row.number, result=error_record(spec.shape, str(error), code, data), error=str(error))


class Runner:
    """Works at one job until nothing is left. `stop` ends it from any thread."""

    def __init__(
        self,
        database: Database,
        key: str,
        spec: JobSpec,
        ask: Callable[[JobRow], UnderWay],
        *,
        most: Callable[[], int],
        remote: bool = False,
        told: Callable[[JobRecord], object] = lambda job: None,
    ) -> None:
        """ask: how a row is asked. most: rows that may be under way together. remote: an endpoint is asked, whose refusals may
        be meant for all rows. told: called about once a second."""
        self._database, self._key, self._spec, self._ask, self._told = database, key, spec, ask, told
        self._most, self._remote = most, remote
        self._finished: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self._running: dict[Future[Any], tuple[JobRow, UnderWay]] = {}
        self._stock: deque[JobRow] = deque()
        self._in_a_row = 0
        self._stopping = False
        self._beaten_at = 0.0

    def stop(self) -> None:
        """End soon; what is done is kept."""
        self._stopping = True
        self._finished.put(None)

    def run_until(self, stop: threading.Event | None) -> Ended:
        """Work, as `run` does, until another thread sets `stop`."""
        if stop is None:
            return self.run()
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                if stop.is_set():
                    self.stop()
                    return

        threading.Thread(target=watch, name=f"stop {self._key}", daemon=True).start()
        try:
            return self.run()
        finally:
            done.set()

    def run(self) -> Ended:
        """Work. Raises EngineError where the model fails, RemoteError where going on makes no sense; what is done is kept."""
        self._runner = self._database.leases.enter(self._key)
        try:
            while True:
                end = self._over()
                if end is not None:
                    return end
                results = self._start_more()
                if not self._running and not results:
                    if not self._others_at_work():
                        return "done"
                    time.sleep(IDLE_S)
                    continue
                self._keep(results + self._read(self._ready(wait=bool(self._running) and not results)))
        finally:
            self._end()

    # ------------------------------------------------------------ out and in

    def _start_more(self) -> list[NewResult]:
        """Ask for as many rows as may be under way; returns those that were refused at once."""
        refused: list[NewResult] = []
        most = self._most()
        while len(self._running) < most and not self._stopping:
            if not self._stock:
                self._stock.extend(self._database.leases.claim(self._key, self._runner, max(16, most // 2)))
                if not self._stock:
                    break
            row = self._stock.popleft()
            try:
                self._watch(row, self._ask(row))
            except EngineError:
                raise
            except RamifyError as error:
                refused.append(failed(self._spec, row, error))
                if len(refused) >= most:
                    break
        return refused

    def _watch(self, row: JobRow, under_way: UnderWay) -> None:
        self._running[under_way.future] = (row, under_way)
        under_way.future.add_done_callback(self._finished.put)

    def _ready(self, *, wait: bool) -> list["Future[Any]"]:
        """The futures that are done; with `wait` for at least one, or until it is time to say that we are here."""
        found: list[Future[Any]] = []
        while True:
            try:
                future = self._finished.get(block=wait and not found, timeout=BEAT_S / 5)
            except queue.Empty:
                return found
            if future is None:
                return found
            found.append(future)

    def _read(self, ready: Sequence["Future[Any]"]) -> list[NewResult]:
        made: list[NewResult] = []
        hopeless: RamifyError | None = None
        for future in ready:
            row, under_way = self._running.pop(future)
            try:
                found = under_way.read(future.result())
            except FutureCancelledError:
                hopeless = hopeless or RemoteError("the endpoint's model was closed")
            except EngineError as error:
                hopeless = error
            except RamifyError as error:
                given_up = self._hopeless(error)
                if given_up is None or self._in_a_row >= FAILURES:
                    made.append(failed(self._spec, row, error))
                hopeless = hopeless or given_up
            else:
                self._in_a_row = 0
                if isinstance(found, UnderWay):
                    self._watch(row, found)
                else:
                    made.append(found)
        if hopeless is not None:
            self._keep(made)
            raise hopeless
        return made

    def _hopeless(self, error: RamifyError) -> RamifyError | None:
        """The error, where the next row would only meet it too: the row is not to blame, and waits for a retry."""
        if not isinstance(error, RemoteError) or not self._remote:
            return None
        self._in_a_row += 1
        spent = error.status in HOPELESS or error.code == "insufficient_quota"
        return error if spent or self._in_a_row >= FAILURES else None

    def _keep(self, made: Sequence[NewResult]) -> None:
        if made:
            self._database.leases.keep(self._key, self._runner, made)

    # ------------------------------------------------------------ the end

    def _over(self) -> Ended | None:
        if self._stopping:
            return "cancelled"
        if time.monotonic() - self._beaten_at < BEAT_S / 5:
            return None
        self._beaten_at = time.monotonic()
        cancelled = self._database.leases.beat(self._key, self._runner)
        job = self._database.jobs.get(self._key)
        self._told(job)
        if cancelled:
            return "cancelled"
        return "expired" if job.run_s >= self._spec.max_runtime_sec else None

    def _others_at_work(self) -> bool:
        """Whether rows are out with others, who may yet give them back."""
        left = self._database.jobs.states(self._key)
        return bool(left["waiting"]) or bool(left["leased"] and self._database.leases.others(self._key, self._runner))

    def _end(self) -> None:
        """What is done is kept, also of those that ended meanwhile; the rest goes back."""
        try:
            self._keep(self._read([future for future in self._ready(wait=False) if future in self._running]))
        except RamifyError:
            pass  # what ended this run is being told
        finally:
            for _, under_way in self._running.values():
                under_way.cancel()
            self._running.clear()
            self._stock.clear()
            self._database.leases.leave(self._runner)
