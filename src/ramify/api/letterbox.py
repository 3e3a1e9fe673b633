"""From the engine's thread to the event loop: one wake-up a step, however many rows have something to say.

A wake-up is a write to a socket, lets the other thread have the interpreter in the middle of a step, and is a round of the loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Arrivals", "Letterbox"]

T = TypeVar("T")


class Letterbox:
    """What other threads have for the event loop: they `post`, then `wake` it once; it calls what was posted, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._letters: deque[tuple[Callable[[Any], None], Any]] = deque()

    def post(self, call: Callable[[Any], None], about: Any) -> None:
        """Have `call(about)` called when the loop next empties the box. From any thread."""
        self._letters.append((call, about))

    def wake(self) -> None:
        """From any thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.empty)

    def empty(self) -> None:
        """On the loop: call what waits. Who must know that nothing posted before is still under way empties it first."""
        while self._letters:
            call, about = self._letters.popleft()
            call(about)


class Arrivals(Generic[T]):
    """What comes for one consumer, which takes all that is there at once. On the loop only."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._waiting: asyncio.Future[None] | None = None

    def put(self, item: T) -> None:
        self._items.append(item)
        self._wake()

    async def take(self, timeout_s: float) -> list[T]:
        """All that has come, after waiting for the first; [] when nothing came for so long."""
        if not self._items:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            timer = loop.call_later(timeout_s, self._wake)
            try:
                await self._waiting
            finally:
                timer.cancel()
                self._waiting = None
        taken, self._items = self._items, []
        return taken

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
