"""The one thread that owns an engine. Everybody else asks it."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ramify.engine.engine import Engine
from ramify.errors import EngineError, RamifyError
from ramify.models import threads

__all__ = ["Worker"]

T = TypeVar("T")

IDLE_S = 0.1
"""After so long without work the engine's helpers end, and other engines' have the processors to themselves."""


class Worker:
    """Runs an engine's steps while there is something to do, and sleeps otherwise. Starts with the first call."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.RLock()  # a finalizer may call while its own thread is inside
        self._thread: threading.Thread | None = None
        self._closed = False
        self._before: list[Callable[[], None]] = []
        """What is to run before the next call."""

    def tell(self, call: Callable[[], Any], *, wake: bool = True) -> None:
        """Run `call` on the engine's thread between two steps. It must report its own errors.

        wake=False: nobody waits for it, so it may wait until there is another call, and runs before that one.
        """
        with self._lock:
            if self._closed:
                raise EngineError("the model was closed; load it again")
            if not wake:
                self._before.append(call)
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ramify-engine", daemon=True)
                self._thread.start()
            for each in (*self._before, call):
                self._calls.put(each)
            self._before.clear()

    def start(self, call: Callable[[], Any], promise: "Future[Any]") -> None:
        """Run `call` on the engine's thread; if it fails, `promise` is told, for nobody else would be."""

        def run() -> None:
            try:
                call()
            except Exception as error:
                failure = error if isinstance(error, RamifyError) else EngineError(f"the engine failed: {error!r}")
                failure.__cause__ = None if failure is error else error
                promise.set_exception(failure)

        self.tell(run)

    def ask(self, call: Callable[[], T]) -> "Future[T]":
        """Run `call` on the engine's thread and bring its result."""
        future: Future[T] = Future()
        self.start(lambda: future.set_result(call()), future)
        return future

    def close(self) -> None:
        """Stop after the step that is under way; requests that are not finished are cancelled."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._calls.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        threads.take(self.engine.backend.threads)
        while True:
            if not self._take(block=not self.engine.busy):
                break
            if self.engine.busy:
                try:
                    self.engine.step()
                except Exception as error:  # whatever happens, nobody waits for an answer that will not come
                    self.engine.fail(error)
            self.engine.step_over()
        for task in (*self.engine.scheduler.running, *self.engine.scheduler.waiting):
            if not task.done:
                task.cancel()
        self.engine.step_over()
        self.engine.scheduler.retire()
        self.engine.tree.clear()

    def _take(self, *, block: bool) -> bool:
        """Run the calls that wait. False when it is time to stop."""
        while True:
            try:
                call = self._calls.get(block=block, timeout=IDLE_S)
            except queue.Empty:
                if not block:
                    return True
                threads.give_back()
                call = self._calls.get()
            if call is None:
                return False
            call()
            block = False
