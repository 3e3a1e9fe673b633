"""Labs that this server is at work on: each on a thread of its own, its report growing in hand and kept on disk now and then."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ramify.errors import RamifyError
from ramify.quality.lab import Lab, Run
from ramify.quality.lab_content import group_head, report_content, rules_of, text_content
from ramify.store.database import Database
from ramify.store.labs import LabRunRecord

__all__ = ["LabNews", "LabsAtWork"]

log = logging.getLogger(__name__)

MAX_ROWS = 24
"""Rows of a model that a lab takes at once: a click in the studio finds room beside it."""
HEAD_S = 0.7
"""The tables and checks of a group are made anew at most so often."""
KEEP_S = 20.0
"""The report that grows is put on disk so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabNews:
    """text: a completion that is measured. head: a group's tables and checks. end: the run is over."""

    kind: Literal["text", "head", "end"]
    place: int = 0
    """The group's number."""
    content: Mapping[str, Any] | None = None
    """The text, or the group without its texts."""
    shared: tuple[tuple[int, int], ...] = ()
    """Of a head: for each text its number, and what it shares with greedy decoding."""
    done: int = 0


Listener = Callable[[LabNews], None]


class _Work:
    """One run."""

    def __init__(self, database: Database, run: LabRunRecord, lab: Lab) -> None:
        self.run, self.lab = run, lab
        self.content = report_content(lab.report())
        self.done = 0
        self.listeners: list[Listener] = []
        self.lock = threading.Lock()
        self._database = database
        self.over = threading.Event()
        """Set once the report is on disk."""
        self._stop = threading.Event()
        self._rules = {name: place for place, name in enumerate(rules_of(lab.plan))}
        self._stale: dict[int, float] = {}
        """Groups whose tables are older than their texts, and when they were made."""
        self._kept_at = time.monotonic()
        self.thread = threading.Thread(target=self._go, name=f"lab {run.id}", daemon=True)

    def cancel(self) -> None:
        self._stop.set()

    def _go(self) -> None:
        state, problem = "completed", None
        try:
            self.lab.run(watch=self._seen, stopped=self._stop.is_set)
            state = "cancelled" if self._stop.is_set() else "completed"
        except RamifyError as error:
            state, problem = "failed", str(error)
        except Exception as error:
            log.exception("run %d of the lab failed", self.run.id)
            state, problem = "failed", f"{type(error).__name__}: {error}"
        try:
            for place in range(len(self.lab.trials)):
                self._make_head(place)
            with self.lock:
                self.content["seconds"] = round(self.lab.report().seconds, 3)
            self._keep(state, problem)
        except Exception:
            log.exception("the report of run %d of the lab cannot be kept", self.run.id)
        with self.lock:
            self.over.set()
        self._tell(LabNews(kind="end", done=self.done))

    def _seen(self, place: int, run: Run) -> None:
        text = text_content(run, self._rules)
        with self.lock:
            runs = self.content["groups"][place]["runs"]
            runs.append(text)
            runs.sort(key=lambda each: each["number"])
            self.done += 1
        self._tell(LabNews(kind="text", place=place, content=text, done=self.done))
        now = time.monotonic()
        if now - self._stale.get(place, 0.0) >= HEAD_S:
            self._make_head(place)
            self._stale[place] = time.monotonic()
        if now - self._kept_at >= KEEP_S:
            self._keep("running", None)
            self._kept_at = time.monotonic()

    def _make_head(self, place: int) -> None:
        group = self.lab.group(place)
        shared = {run.number: run.shared for run in group.runs}
        with self.lock:
            mine = self.content["groups"][place]
            mine.update(group_head(group))
            mine["runs"] = [{**run, "shared": shared.get(run["number"], run["shared"])} for run in mine["runs"]]
            head = {name: value for name, value in mine.items() if name != "runs"}
            # The group may be ahead of what was told of it.
            told = tuple((run["number"], run["shared"]) for run in mine["runs"])
        self._tell(LabNews(kind="head", place=place, content=head, shared=told, done=self.done))

    def _keep(self, state: str, problem: str | None) -> None:
        self._database.labs.put(self.run.id, self.snapshot(), done=self.done, state=state, problem=problem)

    def snapshot(self) -> dict[str, Any]:
        """The report as it stands."""
        with self.lock:
            return {**self.content, "groups": [{**group, "runs": list(group["runs"])} for group in self.content["groups"]]}

    def _tell(self, news: LabNews) -> None:
        with self.lock:
            listeners = tuple(self.listeners)
        for listener in listeners:
            listener(news)


class LabsAtWork:
    """Safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._works: dict[int, _Work] = {}
        self._lock = threading.Lock()
        self._looked = False

    def start(self, lab: Lab, models: tuple[str, ...]) -> LabRunRecord:
        """Begin to run it; returns at once."""
        self.tidy()
        run = self._database.labs.add(lab.plan.name, lab.plan.to_dict(), models, lab.asked)
        work = _Work(self._database, run, lab)
        with self._lock:
            self._works[run.id] = work
        work.thread.start()
        return run

    def tidy(self) -> None:
        """Once in a server's life: end what an earlier one left behind."""
        with self._lock:
            if self._looked or self._database.read_only:
                return
            self._looked = True
            known = list(self._works)
        self._database.labs.abandon(known)

    def done(self, run: LabRunRecord) -> int:
        """Completions that are measured."""
        work = self._works.get(run.id)
        return run.done if work is None else max(run.done, work.done)

    def at_work(self, run_id: int) -> bool:
        """Whether it still runs here."""
        work = self._works.get(run_id)
        return work is not None and not work.over.is_set()

    def content(self, run_id: int) -> dict[str, Any]:
        """The report as it stands; without groups before the first."""
        work = self._works.get(run_id)
        if work is not None and self.at_work(run_id):
            return work.snapshot()
        kept: dict[str, Any] | None = self._database.labs.report(run_id)
        run = self._database.labs.get(run_id)
        empty = {"name": run.name, "note": "", "one_by_one": False, "seconds": 0.0, "rules": [], "groups": []}
        return empty if kept is None else kept

    def follow(self, run_id: int, listener: Listener) -> Callable[[], None] | None:
        """Hear what happens to a run from now on; the answer ends that. None where it is over."""
        work = self._works.get(run_id)
        if work is None:
            return None
        with work.lock:
            if work.over.is_set():
                return None
            work.listeners.append(listener)

        def stop() -> None:
            with work.lock:
                work.listeners.remove(listener)

        return stop

    def cancel(self, run_id: int, *, wait: bool = False) -> None:
        """Stop a run; what is there stays. Nothing happens to one that is over."""
        work = self._works.get(run_id)
        if work is not None:
            work.cancel()
            if wait:
                work.over.wait()

    def close(self) -> None:
        """Stop all, and wait until their reports are on disk."""
        for run_id in tuple(self._works):
            self.cancel(run_id)
        for work in tuple(self._works.values()):
            work.over.wait()
