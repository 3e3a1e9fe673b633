"""Between the engine's thread and the event loop: one wake-up of the loop a step, however many rows have something to say; and
requests that come together go together to an engine that sleeps.

A wake-up is a write to a socket, lets the other thread have the interpreter in the middle of a step, and is a round of the loop.
A step that begins while other requests are still read shares the interpreter with that, takes three times as long, and they wait
for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Arrivals", "Letterbox"]

T = TypeVar("T")

MOST_ROUNDS = 16
"""Of the loop that a request waits for others."""


class Letterbox:
    """What other threads have for the event loop: they `post`, then `wake` it once; it calls what was posted, in order. And what
    the loop has for a thread that sleeps: what it `send`s in neighbouring rounds goes together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._letters: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._woken = False
        """Whether the loop was woken and has not come yet."""
        self._departing: list[Callable[[], None]] = []

    def send(self, call: Callable[[], None]) -> None:
        """On the loop: call it after a round in which nothing was sent, and after `MOST_ROUNDS` at the latest; it must report its
        own errors. Of what becomes readable together one round reads the sockets, and the next does what they said."""
        self._departing.append(call)
        if len(self._departing) == 1:
            self.loop.call_soon(self._depart)

    def _depart(self, before: int = 0, rounds: int = 0) -> None:
        """before: how many there were a round ago."""
        if len(self._departing) > before and rounds < MOST_ROUNDS:
            self.loop.call_soon(self._depart, len(self._departing), rounds + 1)
            return
        departing, self._departing = self._departing, []
        for call in departing:
            call()

    def post(self, call: Callable[[Any], None], about: Any) -> None:
        """Have `call(about)` called when the loop next empties the box. From any thread."""
        self._letters.append((call, about))

    def wake(self) -> None:
        """From any thread."""
        if not self._woken and not self.loop.is_closed():
            self._woken = True
            self.loop.call_soon_threadsafe(self.empty)

    def empty(self) -> None:
        """On the loop: call what waits. Who must know that nothing posted before is still under way empties it first."""
        self._woken = False  # before the box is looked into: what is posted from here on wakes again
        while self._letters:
            call, about = self._letters.popleft()
            call(about)


class Arrivals(Generic[T]):
    """What comes for one consumer, which takes all that is there at once. On the loop only."""

    def __init__(self, quiet_s: float) -> None:
        """quiet_s: how long a consumer waits at most."""
        self._quiet_s = quiet_s
        self._items: list[T] = []
        self._waiting: asyncio.Future[None] | None = None
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        """One for many waits: each begins before the last one's time is over."""

    def put(self, item: T) -> None:
        self._items.append(item)
        self._wake()

    async def take(self) -> list[T]:
        """All that has come, after waiting for the first; [] when nothing came for `quiet_s`."""
        if not self._items:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            self._until = loop.time() + self._quiet_s
            if self._timer is None:
                self._timer = loop.call_at(self._until, self._quiet, loop)
            try:
                await self._waiting
            finally:
                self._waiting = None
        taken, self._items = self._items, []
        return taken

    def close(self) -> None:
        """Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _quiet(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiting is not None:
            if loop.time() >= self._until:
                self._wake()
            else:
                self._timer = loop.call_at(self._until, self._quiet, loop)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
