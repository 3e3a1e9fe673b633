"""Long work on whole files and lists: imports, exports, reports. Each has a thread, tells how far it is, and can be cancelled.

Tasks live as long as the server; what they did is in the workspace, and their reports here until newer ones take their place.
"""

import asyncio
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, Literal

from starlette.types import Receive

from ramify.api.errors import ApiError, error_of
from ramify.api.waiting import client_gone
from ramify.errors import CancelledError, NotFoundError

__all__ = ["Kind", "State", "Task", "Tasks", "ended"]

Kind = Literal["import", "export", "readiness", "duplicates", "training-check", "training-report"]
State = Literal["running", "done", "failed", "cancelled"]

MOST_RUNNING = 8
MOST_KEPT = 32
"""Ended tasks whose reports are kept; of those that only looked, as many again."""
TELL_S = 0.2
"""Between two words of a task's progress."""


class Task:
    """One piece of work. Its fields may be read from any thread; the task's own thread alone writes them."""

    def __init__(self, kind: Kind, title: str, *, passing: bool, about: Mapping[str, Any]) -> None:
        self.key = secrets.token_urlsafe(9)
        self.kind, self.title, self.passing, self.about = kind, title, passing, about
        self.state: State = "running"
        self.doing, self.done, self.total = "", 0, None
        self.started_at, self.ended_at = datetime.now(UTC), None
        self.error: ApiError | None = None
        self.cause: Exception | None = None
        """What `error` was made of."""
        self.result: Any = None
        self.close: Callable[[], None] = lambda: None
        """Gives back what the result holds."""
        self.future: Future[None] = Future()
        """Done when the task has ended, however it ended."""
        self._cancelled = threading.Event()
        self._changed: Callable[[Task], None] = lambda task: None
        self._told_at = 0.0

    doing: str
    done: int
    total: int | None
    ended_at: datetime | None

    def told(self, doing: str, done: int, total: int | None) -> None:
        """Called by the work, often. Raises CancelledError when it is to end; it then takes back what it has begun."""
        if self._cancelled.is_set():
            raise CancelledError("it was cancelled; nothing was kept of it")
        self.doing, self.done, self.total = doing, done, total
        now = time.monotonic()
        if now - self._told_at >= TELL_S:
            self._told_at = now
            self._changed(self)

    def cancel(self) -> None:
        """Ask it to end; it does so at its next word."""
        self._cancelled.set()

    @property
    def ended(self) -> bool:
        return self.state != "running"

    def _run(self, work: Callable[["Task"], Any]) -> None:
        try:
            self.result = work(self)
            state: State = "done"
        except CancelledError as error:
            state, self.error = "cancelled", ApiError(499, str(error), code="cancelled")
        except Exception as error:
            state, self.error, self.cause = "failed", error_of(error), error
        self.ended_at = datetime.now(UTC)
        self.state = state
        self.future.set_result(None)
        self._changed(self)


class Tasks:
    def __init__(self) -> None:
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._listeners: list[Callable[[Task], None]] = []
        self._lock = threading.Lock()

    def start(
        self,
        kind: Kind,
        title: str,
        work: Callable[[Task], Any],
        *,
        passing: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> Task:
        """Begin. passing: it changes nothing and leaves nothing but a report, which newer ones push out sooner. about: what its
        routes want to know of it.

        Raises ApiError 429 where too many run already.
        """
        task = Task(kind, title, passing=passing, about=about or {})
        task._changed = self._tell
        with self._lock:
            if sum(not each.ended for each in self._tasks.values()) >= MOST_RUNNING:
                raise ApiError(
                    429, f"{MOST_RUNNING} imports, exports and reports are running; wait for one", headers={"retry-after": "5"}
                )
            self._tasks[task.key] = task
            gone = self._too_many()
        for each in gone:
            each.close()
        threading.Thread(target=task._run, args=(work,), name=f"ramify-{kind}", daemon=True).start()
        self._tell(task)
        return task

    def _too_many(self) -> list[Task]:
        gone = []
        for passing in (True, False):
            ended = [each for each in self._tasks.values() if each.ended and each.passing == passing]
            gone += ended[: max(0, len(ended) - MOST_KEPT)]
        for each in gone:
            del self._tasks[each.key]
        return gone

    def get(self, key: str, kind: Kind | None = None) -> Task:
        """Raises NotFoundError."""
        with self._lock:
            found = self._tasks.get(key)
        if found is None or kind not in (None, found.kind):
            raise NotFoundError(f"there is no {kind or 'task'} {key!r}; newer ones took its place, or the server began anew")
        return found

    def all(self) -> list[Task]:
        """The newest first."""
        with self._lock:
            return list(reversed(self._tasks.values()))

    def drop(self, key: str) -> None:
        """Forget an ended task and what it made; a running one is cancelled first. Raises NotFoundError."""
        task = self.get(key)
        task.cancel()
        task.future.result()
        with self._lock:
            self._tasks.pop(key, None)
        task.close()

    def follow(self, heard: Callable[[Task], None]) -> Callable[[], None]:
        """Hear of every task's progress and end, from their threads. Returns what ends it."""
        with self._lock:
            self._listeners.append(heard)

        def stop() -> None:
            with self._lock:
                self._listeners.remove(heard)

        return stop

    def _tell(self, task: Task) -> None:
        with self._lock:
            listeners = tuple(self._listeners)
        for heard in listeners:
            heard(task)

    def close(self) -> None:
        """Cancel what runs and wait for its end: an import takes back what it has begun."""
        for task in self.all():
            task.cancel()
        for task in self.all():
            task.future.result()
            task.close()
        self._tasks.clear()


async def ended(task: Task, receive: Receive) -> None:
    """Wait for the end of a task, which is cancelled when the client leaves. Raises the error that it ended with."""
    gone, end = asyncio.create_task(client_gone(receive)), asyncio.wrap_future(task.future)
    try:
        await asyncio.wait({gone, end}, return_when=asyncio.FIRST_COMPLETED)
        if not end.done():
            task.cancel()
            await end
    finally:
        gone.cancel()
    if task.error is not None:
        raise task.error
