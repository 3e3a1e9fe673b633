"""Waiting on the event loop: for a call in a thread, and for work whose client may leave before it is done."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.types import Receive

__all__ = ["ClientGoneError", "client_gone", "off_loop", "while_connected"]

T = TypeVar("T")

LARGE_CHARACTERS = 50_000

_SMALL = ThreadPoolExecutor(4, "ramify-prepare")
_LARGE = ThreadPoolExecutor(2, "ramify-prepare-large")


class ClientGoneError(Exception):
    """The client left before its answer was there."""


async def off_loop(characters: int, call: Callable[[], T]) -> T:
    """Run a call in a thread; long texts have threads of their own, so that short ones never wait behind them."""
    pool = _LARGE if characters > LARGE_CHARACTERS else _SMALL
    return await asyncio.get_running_loop().run_in_executor(pool, call)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves first. Raises ClientGoneError then.

    The work is done by the task that waits for it: one of its own for each request would be a tenth of what a request costs.
    """
    task, gone, left = asyncio.current_task(), asyncio.create_task(client_gone(receive)), False
    assert task is not None

    def leave(watch: "asyncio.Task[None]") -> None:
        nonlocal left
        if not watch.cancelled():
            watch.exception()  # seen: whatever it was, nobody reads the answer
            left = True
            task.cancel()

    gone.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if left and not task.uncancel():
            raise ClientGoneError from None
        raise
    finally:
        gone.remove_done_callback(leave)
        gone.cancel()


async def client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
