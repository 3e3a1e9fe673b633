"""Who may run next: a bounded queue that serves its requests in turn.

A request asks for completions in parts (a prompt each). Parts of different requests are let in by turns, so that a request of a
thousand prompts delays one of a single prompt by one part, not by a thousand: start-time fair queueing, where each part stands at
the point up to which its request has been served, and a newcomer at the point that all have reached. Used by one event loop;
nothing is locked.
"""

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import Sequence

from ramify.api.errors import ApiError

__all__ = ["Admission", "Arrival", "Turn"]

LONGEST_RETRY_S = 60


class Turn:
    """One request's place in the queue, for all its parts. `close` gives back whatever it still holds.

    A request counts from the moment it enters, and stands in line from the moment it is `ready`: what still tokenizes a long
    prompt or compiles a grammar keeps nobody from the engine.
    """

    def __init__(self, admission: "Admission", rows: Sequence[int]) -> None:
        """rows: how many completions each part makes."""
        self.rows = tuple(rows)
        self._admission = admission
        self._doors = [asyncio.Event() for _ in rows]
        self._served = 0
        """How many parts have been let in."""
        self._inside: set[int] = set()
        self._closed = False

    def ready(self) -> None:
        """Stand in line. Called once."""
        self._admission._line_up(self)

    async def comes(self, part: int) -> None:
        """Wait until this part may run."""
        await self._doors[part].wait()

    def has_come(self, part: int) -> bool:
        """Whether it may run now."""
        return self._doors[part].is_set()

    def done(self, part: int) -> None:
        """The part has ended; its rows are free for others."""
        if part in self._inside:
            self._inside.remove(part)
            self._admission._left(self.rows[part])

    def close(self) -> None:
        """Leave the queue, and the engine if some of it is there."""
        if not self._closed:
            self._closed = True
            self._admission._withdraw(self)


class Arrival:
    """A request that was seen at the door and has not entered the queue yet. Of some hundred that come at the same moment, the
    first ones are still being read when the last are refused: they count until they have entered, or are gone."""

    def __init__(self, admission: "Admission") -> None:
        self._admission: Admission | None = admission
        admission.arriving += 1

    def over(self) -> None:
        """It enters now, or never will."""
        if self._admission is not None:
            self._admission.arriving -= 1
            self._admission = None


class Admission:
    """The queue of one model."""

    def __init__(self, *, places: int, max_queue: int) -> None:
        """places: completions that run together. max_queue: completions that may wait beside them."""
        self.places = places
        self.max_queue = max_queue
        self.running = 0
        self.waiting = 0
        """Completions that wait to be let in."""
        self.arriving = 0
        """Requests that were seen and have not entered yet."""
        self.refused = 0
        self._queue: list[tuple[int, int, Turn]] = []
        """A heap of (point, arrival, request)."""
        self._arrivals = itertools.count()
        self._point = 0
        """Up to which all have been served, in rows."""
        self._row_s = 1.0
        """How long a row held its place, lately."""
        self._since = 0.0
        self._held_s = 0.0

    def enter(self, rows: Sequence[int]) -> Turn:
        """A place in the queue for a request. Raises ApiError: 429 where it is full, 400 for what could never be let in."""
        wanted, most = sum(rows), self.places + self.max_queue
        if wanted > max(most, max(rows, default=0)) or max(rows, default=0) > max(most, 128):
            raise ApiError(
                400,
                f"the request asks for {wanted} completions; this server takes at most {most} at once. Ask in several requests",
                code="too_many_completions",
            )
        if not self.has_room(wanted):
            raise self.refusal()
        turn = Turn(self, rows)
        self.waiting += wanted
        return turn

    def has_room(self, rows: int = 1) -> bool:
        """Whether so many completions more may run or wait. Where none do, a request of any width may come in."""
        held = self.running + self.waiting
        return not held or held + rows <= self.places + self.max_queue

    @property
    def full(self) -> bool:
        """Whether a newcomer must be refused, those before it counted who are still on their way in."""
        return self.running + self.waiting + self.arriving >= self.places + self.max_queue

    def refusal(self) -> ApiError:
        """What somebody is told for whom there is no room; it is counted."""
        self.refused += 1
        wait_s = self.retry_after_s()
        return ApiError(
            429,
            f"the server is busy: {self.running} completions run, {self.waiting} wait, and at most {self.max_queue} may; "
            f"ask again in {wait_s} s",
            code="queue_full",
            headers={"retry-after": str(wait_s)},
        )

    def _line_up(self, turn: Turn) -> None:
        if turn.rows and not turn._closed:
            heapq.heappush(self._queue, (self._point, next(self._arrivals), turn))
            self._let_in()

    def retry_after_s(self) -> int:
        """About when half of those who wait will have been let in, from how long rows took lately."""
        rounds = self.waiting / 2 / self.places
        return max(1, min(LONGEST_RETRY_S, math.ceil(self._row_s * rounds)))

    def _let_in(self) -> None:
        """The first in line is always next: a wide one waits until there is room, and is not overtaken for ever."""
        while self._queue:
            point, arrival, turn = self._queue[0]
            part = turn._served
            if self.running and self.running + turn.rows[part] > self.places:
                return
            self._count_time()
            self._point = point
            self.running += turn.rows[part]
            self.waiting -= turn.rows[part]
            turn._inside.add(part)
            turn._served += 1
            turn._doors[part].set()
            if turn._served < len(turn.rows):
                heapq.heapreplace(self._queue, (point + turn.rows[part], arrival, turn))
            else:
                heapq.heappop(self._queue)

    def _left(self, rows: int) -> None:
        self._count_time()
        self.running -= rows
        # Little's law over what is inside: time held by all rows, a row that left.
        self._row_s = 0.9 * self._row_s + 0.1 * (self._held_s / max(1, rows))
        self._held_s = 0.0
        self._let_in()

    def _count_time(self) -> None:
        now = time.monotonic()
        if self.running:
            self._held_s += self.running * (now - self._since)
        self._since = now

    def _withdraw(self, turn: Turn) -> None:
        self.waiting -= sum(turn.rows[turn._served :])
        self._queue = [entry for entry in self._queue if entry[2] is not turn]
        heapq.heapify(self._queue)
        for part in tuple(turn._inside):
            turn.done(part)
        self._let_in()
