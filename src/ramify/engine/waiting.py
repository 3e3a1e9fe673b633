"""Waiting for the engine in the name of somebody who may leave: what is waited for then ends, and nothing new begins.

waiter = Waiter()
with waiter.here():   # and in the threads that are given this context
    model.completions(...)
waiter.leave()        # from any thread
"""

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ramify.engine.tasks import Handle
from ramify.errors import CancelledError

__all__ = ["Waiter", "wait_for"]

_waiter: ContextVar["Waiter | None"] = ContextVar("waiter", default=None)


class Waiter:
    """Who waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: set[Handle] = set()
        self._gone = False

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Whatever is waited for inside, is waited for in this name."""
        token = _waiter.set(self)
        try:
            yield
        finally:
            _waiter.reset(token)

    def leave(self) -> None:
        """Cancel what is waited for; its waiting ends with CancelledError after the engine's step."""
        with self._lock:
            self._gone = True
            for handle in self._handles:
                handle.cancel()

    def result(self, handle: Handle) -> Any:
        with self._lock:
            self._handles.add(handle)
            if self._gone:
                handle.cancel()
        try:
            found = handle.future.result()
        finally:
            with self._lock:
                self._handles.discard(handle)
        if self._gone:
            raise CancelledError("nobody waits for the answer any more; nothing was kept of it")
        return found


def wait_for(handle: Handle) -> Any:
    """The handle's result; an interrupt on the way cancels the request. Raises CancelledError where its waiter has left."""
    waiter = _waiter.get()
    try:
        return handle.future.result() if waiter is None else waiter.result(handle)
    except BaseException:
        handle.cancel()
        raise
