"""Drafts that are being made now: several at once, watched by anybody, cancelled one by one, their text always kept.

The engine's thread hands every token to the listeners at once; a writer's thread puts what has arrived on disk, so that neither
waits for the other. An event has a number: who saw number N asks for what came after it, and gets the drafts whole where that is
no longer held.
"""

import queue
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult, GenerationRequest, TokenEvent
from ramify.engine.tasks import Handle
from ramify.errors import CancelledError, EngineError, InputError, NotFoundError, RamifyError
from ramify.store.database import Database
from ramify.store.records import CompletionRecord
from ramify.workbench.asking import ALTERNATIVES
from ramify.workbench.beginnings import Beginning
from ramify.workbench.draft_events import DraftEvent, Following, Listener, Snapshot
from ramify.workbench.draft_growing import Growing, settled
from ramify.workbench.remote_drafting import RemoteRun

__all__ = ["Drafting", "Prepared"]

HELD_EVENTS = 50_000
"""Of all drafts together; who missed more gets them whole."""
WRITE_EVERY_S = 0.5
"""How often a growing draft goes to disk at most; less often where writing it takes long."""
MOST = 64
"""Drafts of one request."""

SEARCHES = ("beam", "beam_sampling", "diverse_beam", "forced_beam", "contrastive")


class _Run:
    """One request to the engine and the drafts that it fills: one, or all results of a search."""

    def __init__(self, model: Model, drafts: list[Growing]) -> None:
        self.model, self.drafts = model, drafts
        self.handle = Handle()
        self.over = threading.Event()
        self.error: RamifyError | None = None

    def cancel(self) -> None:
        self.handle.cancel()


@dataclass(frozen=True, slots=True)
class Prepared:
    """Drafts that are in the workspace and have not begun: a request and its drafts for each run."""

    model: Model
    requests: list[GenerationRequest]
    drafts: list[list[Growing]]


class Drafting:
    """The drafts of one workspace that this process is making. Safe to use from any thread. `close` cancels what runs."""

    def __init__(self, database: Database, *, held_events: int = HELD_EVENTS, every_s: float = WRITE_EVERY_S) -> None:
        self._database, self._every_s = database, every_s
        self._lock = threading.Lock()
        self._runs: dict[int, _Run | RemoteRun] = {}
        self._growing: dict[int, Growing | RemoteRun] = {}
        self._expected: weakref.WeakSet[Growing | RemoteRun] = weakref.WeakSet()
        """In the workspace, or about to be, and not begun; what is given up before it begins leaves by itself."""
        self._events: deque[DraftEvent] = deque(maxlen=held_events)
        self._number = 0
        self._listeners: dict[int, Listener] = {}
        self._work: queue.SimpleQueue[_Run | Literal["look", "stop"]] = queue.SimpleQueue()
        self._dirty = threading.Event()
        self._closed = False
        self._writer: threading.Thread | None = None
        self.epoch = secrets.token_hex(4)
        """Numbers of events mean something within one epoch only."""

    # ------------------------------------------------------------ making

    def start(
        self, model: Model, beginning: Beginning, config: GenerationConfig, *, n: int = 1, alternatives: int | None = ALTERNATIVES
    ) -> list[CompletionRecord]:
        """Begin `n` drafts and return them as they are now: without a finish_reason. Draft i draws from the seed + i."""
        ids = self.begin(self.prepare(model, beginning, config, n=n, alternatives=alternatives))
        return self._database.completions.get_many(ids)

    def prepare(
        self, model: Model, beginning: Beginning, config: GenerationConfig, *, n: int = 1, alternatives: int | None = ALTERNATIVES
    ) -> "Prepared":
        """Check everything that can be refused, and put the empty drafts into the workspace. `begin` starts them.

        Inside an action of the caller's, drafts of several models are one step of the history, or none of them exists.
        """
        if self._closed:
            raise EngineError("the workspace is being closed; nothing new begins")
        n = max(n, config.num_return_sequences)
        if not 1 <= n <= MOST:
            raise InputError(f"n is {n}; it must be from 1 to {MOST}")
        settings = config.replace(num_return_sequences=n)
        seed = secrets.randbits(31) if settings.seed is None else settings.seed
        together = settings.strategy in SEARCHES
        each = [settings] if together else [settings.replace(num_return_sequences=1, seed=seed + i) for i in range(n)]
        whole = (*beginning.prompt_ids, *beginning.ids)
        requests = [model.request_of_ids(whole, beginning.ids, one, logprobs=alternatives, stream=True) for one in each]
        with self._database.action("draft", model.info.name):
            drafts = [
                Growing.begun(self._database, model, beginning, one, request.seed)
                for one, request in (zip(each, requests, strict=True) if not together else [(each[0], requests[0])] * n)
            ]
            self.expect(drafts)
        return Prepared(model, requests, [drafts] if together else [[draft] for draft in drafts])

    def expect(self, drafts: Iterable[Growing | RemoteRun]) -> None:
        """Count drafts as running before others can see them: said inside the action that puts them into the workspace."""
        with self._lock:
            self._expected.update(drafts)

    def begin(self, prepared: "Prepared") -> list[int]:
        """Start what was prepared; returns the drafts' ids."""
        runs = [_Run(prepared.model, drafts) for drafts in prepared.drafts]
        with self._lock:
            for run in runs:
                for draft in run.drafts:
                    self._runs[draft.id], self._growing[draft.id] = run, draft
                    self._expected.discard(draft)
                    self._publish_begun(draft)
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="ramify-drafts", daemon=True)
                self._writer.start()
        self._work.put("look")
        for run, request in zip(runs, prepared.requests, strict=True):
            run.handle.sink = partial(self._grown, run)
            try:
                prepared.model.submit(request, run.handle)
            except RamifyError as error:
                run.error = error
                run.handle.future.set_result([])
            run.handle.future.add_done_callback(partial(self._over, run))
        return [draft.id for run in runs for draft in run.drafts]

    def _over(self, run: _Run, _: object) -> None:
        self._work.put(run)

    def begin_remote(self, runs: Sequence[RemoteRun]) -> list[int]:
        """Start drafts of a model behind an endpoint, each with a thread that listens to it; returns their ids."""
        if self._closed:
            raise EngineError("the workspace is being closed; nothing new begins")
        with self._lock:
            for run in runs:
                self._runs[run.id] = self._growing[run.id] = run
                self._expected.discard(run)
                self._publish_begun(run)
        for run in runs:
            run.start(self._tell_remote)
        return [run.id for run in runs]

    def _tell_remote(self, run: RemoteRun, event: DraftEvent) -> None:
        """From the thread of a remote draft."""
        with self._lock:
            run.text += event.text
            if event.kind != "tokens":
                self._growing.pop(run.id, None)
                self._runs.pop(run.id, None)
            self._publish(event)

    def cancel(self, draft_id: int) -> CompletionRecord:
        """Stop it and keep its text; what a search fills together stops together. One that stopped already stays as it is.

        Raises NotFoundError, and InputError for a completion that is saved.
        """
        with self._lock:
            run = self._runs.get(draft_id)
        if run is not None:
            run.cancel()
            run.over.wait()
        return settled(self._database, draft_id)

    def save(self, draft_id: int) -> CompletionRecord:
        """Make it a completion like any other. Raises InputError while it grows."""
        if not self.is_running(draft_id):
            settled(self._database, draft_id)
        return self._database.completions.save(draft_id)

    def discard(self, draft_id: int) -> None:
        """Stop it and delete it; an undo brings it back. Raises InputError for a completion that is saved."""
        record = self.cancel(draft_id)
        self._database.completions.delete([draft_id])
        with self._lock:
            self._publish(DraftEvent(number=0, draft=draft_id, sample=record.sample_id, kind="gone"))

    def running(self, sample_id: int | None = None) -> list[int]:
        """The drafts that grow now."""
        with self._lock:
            return [i for i, draft in self._growing.items() if sample_id in (None, draft.sample_id)]

    def is_running(self, draft_id: int) -> bool:
        with self._lock:
            return draft_id in self._growing or any(each.id == draft_id for each in self._expected)

    def close(self) -> None:
        """Cancel what runs, and return when all of it is on disk."""
        with self._lock:
            self._closed = True
            runs = set(self._runs.values())
        for run in runs:
            run.cancel()
        for run in runs:
            run.over.wait()
        if self._writer is not None:
            self._work.put("stop")
            self._writer.join()

    # ------------------------------------------------------------ watching

    def follow(
        self, listener: Listener, *, after: int | None = None, sample: int | None = None, draft: int | None = None
    ) -> Following:
        """Hear of everything that happens from now on, and what was missed since event `after`.

        The listener is called on the engine's or the writer's thread and must not block.
        """

        def wanted(event: DraftEvent) -> bool:
            return (sample is None or event.sample == sample) and (draft is None or event.draft == draft)

        key = id(listener)
        with self._lock:
            held = after is not None and after <= self._number and (not self._events or after >= self._events[0].number - 1)
            missed = tuple(e for e in self._events if e.number > (after or 0) and wanted(e)) if held else ()
            shown = [g for g in self._growing.values() if sample in (None, g.sample_id) and draft in (None, g.id)]
            snapshots = () if held else tuple(self._snapshot(growing) for growing in shown)
            self._listeners[key] = lambda event: listener(event) if wanted(event) else None

            def stop() -> None:
                with self._lock:
                    self._listeners.pop(key, None)

            return Following(number=self._number, snapshots=snapshots, missed=missed, stop=stop)

    def _snapshot(self, growing: Growing | RemoteRun) -> Snapshot:
        return Snapshot(
            number=self._number,
            draft=growing.id,
            sample=growing.sample_id,
            text=growing.text,
            ids=tuple(growing.ids),
            pieces=tuple(growing.pieces),
            measured_from=growing.measured_from,
            logprobs=tuple(growing.measured),
        )

    def _publish_begun(self, growing: Growing | RemoteRun) -> None:
        """Before its first token: who listens knows what the draft begins with. The lock is held."""
        shot = replace(self._snapshot(growing), number=self._number + 1)
        self._publish(DraftEvent(number=0, draft=growing.id, sample=growing.sample_id, kind="begun", snapshot=shot))

    def _publish(self, event: DraftEvent) -> None:
        """The next event. The lock is held."""
        self._number += 1
        self._events.append(event := replace(event, number=self._number))
        for listener in list(self._listeners.values()):
            listener(event)

    # ------------------------------------------------------------ on the engine's thread

    def _grown(self, run: _Run, event: TokenEvent) -> None:
        draft = run.drafts[event.index if len(run.drafts) > 1 else 0]
        with self._lock:
            start = len(draft.ids)
            pieces = draft.feed(event)
            if event.text or event.token_ids:
                self._publish(
                    DraftEvent(
                        number=0,
                        draft=draft.id,
                        sample=draft.sample_id,
                        kind="tokens",
                        model=run.model,
                        start=start,
                        text=event.text,
                        ids=event.token_ids,
                        pieces=pieces,
                        logprobs=event.logprobs,
                    )
                )
        self._dirty.set()

    # ------------------------------------------------------------ on the writer's thread

    def _write(self) -> None:
        pause = self._every_s
        while True:
            try:
                job = self._work.get(timeout=pause if self._growing else None)
            except queue.Empty:
                if self._dirty.is_set():
                    self._dirty.clear()
                    began = time.monotonic()
                    self._keep_growing()
                    pause = min(5.0, max(self._every_s, 10 * (time.monotonic() - began)))
                continue
            if job == "stop":
                return
            if isinstance(job, _Run):
                self._end(job)

    def _keep_growing(self) -> None:
        with self._lock:
            grown = [
                (draft, draft.frozen())
                for draft in self._growing.values()
                if isinstance(draft, Growing) and draft.take_unwritten()
            ]
        for draft, moment in grown:
            try:
                self._database.completions.grow(draft.id, draft.so_far(None, moment))
            except NotFoundError:  # its making was undone: nobody wants it any more
                with self._lock:
                    run = self._runs.get(draft.id)
                if run is not None:
                    run.cancel()
            except RamifyError:  # a full disk, a long lock: the next round, or the end, tries again
                draft.unwritten = True

    def _end(self, run: _Run) -> None:
        """Everything a request made is on disk before anybody hears that it ended."""
        results: Sequence[CompletionResult] = ()
        try:
            results = run.handle.future.result() or ()
        except RamifyError as error:
            run.error = error
        except Exception as error:  # a defect: the draft ends as one that failed, and the listener is told
            run.error = EngineError(f"the engine failed: {type(error).__name__}: {error}")
        for place, draft in enumerate(run.drafts):
            result = results[place] if place < len(results) else None
            cancelled = isinstance(run.error, CancelledError) or (run.handle.cancelled and run.error is None)
            failure: RamifyError | None = None if cancelled else run.error
            gone = False
            try:
                new = draft.finished(result) if result is not None else draft.so_far("cancelled" if cancelled else "error")
                self._database.completions.grow(draft.id, new)
            except NotFoundError:
                gone = True
            except RamifyError as error:
                failure = error
            with self._lock:
                self._growing.pop(draft.id, None)
                self._runs.pop(draft.id, None)
                kind: Literal["gone", "error", "end"] = "gone" if gone else "error" if failure is not None else "end"
                self._publish(DraftEvent(number=0, draft=draft.id, sample=draft.sample_id, kind=kind, error=failure))
        run.over.set()
