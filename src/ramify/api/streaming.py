"""Server-sent events: what a stream looks like on the wire, and what ends it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ramify.api.errors import ApiError, error_of
from ramify.api.waiting import ClientGoneError, while_connected

__all__ = ["DONE", "HERE", "PING", "EventStream", "event", "filled", "template"]

_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

HERE = "\ue000here\ue001"
"""Stands in a template where the text goes."""

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


def event(data: Mapping[str, Any]) -> bytes:
    """One data-only event. JSON writes line breaks as escapes, so that it is one line."""
    return b"data: " + _encoded(data).encode("utf-8", "replace") + b"\n\n"


def template(data: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """An event that has HERE for its text once: what stands before the text, and after it."""
    before, _, after = event(data).partition(_encoded(HERE).encode())
    return before, after


def filled(template: tuple[bytes, bytes], text: str) -> bytes:
    """The event of a template, with that text; it costs a fifth of one that is made whole."""
    return template[0] + _encoded(text).encode("utf-8", "replace") + template[1]


class EventStream(Response):
    """A response that goes on until its events end, or its client leaves; `close` is called in every case.

    An error after the first byte can be no status any more: it becomes the last event, as `failure` writes it.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], *, close: Callable[[], None], failure: Callable[[ApiError], bytes]) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})
        self._events = events
        self._close = close
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send_all(send))
        except ClientGoneError:
            pass
        finally:
            self._close()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for piece in self._events:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except asyncio.CancelledError:
            raise
        except Exception as error:
            await send({"type": "http.response.body", "body": self._failure(error_of(error)), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
