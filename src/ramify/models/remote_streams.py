"""A remote model's answer in pieces: one task feeds it, a listener on another thread or event loop takes it."""

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

from ramify.errors import RemoteError
from ramify.models.remote_answers import Answer, RemoteEvent, RemoteFinish
from ramify.models.remote_calls import Connection

__all__ = ["Flow", "Put", "RemoteAsyncStream", "RemoteStream", "fill"]

Put = Callable[[object], object]
"""Hands an item to the listener; called on the task's own loop."""

_END = object()


class Flow:
    """One stream under way. Puts its events, then its completions or its error, then _END, however it ends."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        request: tuple[str, dict[str, Any], Answer],
        max_time_s: float | None,
        put: Put,
    ) -> None:
        path, body, self._answer = request
        self._loop, self._put = loop, put
        self._task: asyncio.Task[bool] | None = None

        def begin() -> None:
            self._task = loop.create_task(fill(self._answer, connection, path, body, max_time_s, put))
            self._task.add_done_callback(self._ended)

        loop.call_soon_threadsafe(begin)

    def cancel(self) -> None:
        with contextlib.suppress(RuntimeError):  # closed: it was cancelled then
            self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    def _ended(self, task: "asyncio.Task[bool]") -> None:
        unfinished: RemoteFinish = "cancelled"
        if not task.cancelled():
            error = task.exception()
            if isinstance(error, RemoteError):
                error.completions = self._answer.completions(unfinished="error")
            if error is not None:
                self._put(error)
            unfinished = "error" if error is not None else "time"
        if unfinished != "error":
            for done in self._answer.completions(unfinished):
                self._put(RemoteEvent(text="", index=done.index, finish_reason=done.finish_reason, completion=done))
        self._put(_END)


class _Stream:
    def __init__(self, flow: Flow, owner: object) -> None:
        self._flow = flow
        self._owner = owner  # whose end would cancel this stream
        self._over = False

    def cancel(self) -> None:
        """End the request and close its connection; from any thread.

        What had arrived is kept: the last events follow, with finish_reason `cancelled`.
        """
        self._flow.cancel()

    def __del__(self) -> None:
        self._flow.cancel()

    def _taken(self, item: object) -> RemoteEvent | None:
        """The event, or None at the end."""
        if isinstance(item, RemoteEvent):
            return item
        self._over = True
        if isinstance(item, BaseException):
            raise item
        return None


class RemoteStream(_Stream):
    """Events of a request. RemoteError comes where the stream broke; its `completions` keep what had arrived.

    Leaving the `with` block, or dropping the stream, cancels what still runs.
    """

    def __init__(self, flow: Flow, arrived: "queue.SimpleQueue[object]", owner: object) -> None:
        super().__init__(flow, owner)
        self._arrived = arrived

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __iter__(self) -> Iterator[RemoteEvent]:
        return self

    def __next__(self) -> RemoteEvent:
        event = None if self._over else self._taken(self._arrived.get())
        if event is None:
            raise StopIteration
        return event


class RemoteAsyncStream(_Stream):
    """`RemoteStream` for `async for`."""

    def __init__(self, flow: Flow, arrived: "asyncio.Queue[object]", owner: object) -> None:
        super().__init__(flow, owner)
        self._arrived = arrived

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __aiter__(self) -> AsyncIterator[RemoteEvent]:
        return self

    async def __anext__(self) -> RemoteEvent:
        event = None if self._over else self._taken(await self._arrived.get())
        if event is None:
            raise StopAsyncIteration
        return event


async def fill(
    answer: Answer, connection: Connection, path: str, body: dict[str, Any], max_time_s: float | None, put: Put
) -> bool:
    """Feed a stream to an answer, each event to `put`. Whether it came to its end in time."""
    try:
        async with asyncio.timeout(max_time_s), contextlib.aclosing(connection.events(path, body)) as chunks:
            async for chunk in chunks:
                for event in answer.feed(chunk):
                    if event.text or event.tokens:
                        put(event)
    except TimeoutError:
        return False
    except RemoteError:
        # A connection that broke after every completion had its end took nothing away.
        with contextlib.suppress(RemoteError):
            answer.complete()
            return True
        raise
    answer.complete()
    return True
