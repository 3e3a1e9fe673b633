"""How much a request may say: its size, and how deep its JSON goes. Judged before anything parses it."""

import asyncio
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ramify.api.errors import ApiError, error_response

__all__ = ["BodyLimits", "depth_of"]

STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
OFF_LOOP_BYTES = 2**18


def depth_of(body: bytes) -> int:
    """How deep the brackets of a JSON text go, strings left out."""
    deepest = depth = 0
    for bracket in STRINGS.sub(b"", body).translate(None, NOT_BRACKETS):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


class BodyLimits:
    """ASGI middleware. JSON bodies are read whole, judged and handed on; others are counted as they pass."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_upload_bytes: int, max_depth: int) -> None:
        """max_bytes: of a JSON body. max_upload_bytes: of any other, such as a file."""
        self.app = app
        self.max_bytes = max_bytes
        self.max_upload_bytes = max_upload_bytes
        self.max_depth = max_depth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_file = (
            headers.get("content-type", "")
            .lower()
            .startswith(("multipart/", "application/octet-stream", "text/", "application/x-ndjson"))
        )
        limit = self.max_upload_bytes if is_file else self.max_bytes
        stated = headers.get("content-length", "")
        if stated.isdigit() and int(stated) > limit:
            await error_response(_too_large(limit), scope["path"])(scope, receive, send)
            return
        try:
            if is_file:
                await self.app(scope, _counted(receive, limit), send)
                return
            body = await _whole(receive, limit)
            if body is None:  # The client left before it had said everything.
                return
            if body.count(b"[") + body.count(b"{") > self.max_depth:
                deep = depth_of(body) if len(body) < OFF_LOOP_BYTES else await asyncio.to_thread(depth_of, body)
                if deep > self.max_depth:
                    raise ApiError(
                        400, f"the JSON goes {deep} levels deep; at most {self.max_depth} are allowed", code="too_deep"
                    )
        except ApiError as error:
            await error_response(error, scope["path"])(scope, receive, send)
            return
        await self.app(scope, _replayed(body, receive), send)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body has more than {limit} bytes, which is the most that this route takes", code="too_large")


async def _whole(receive: Receive, limit: int) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once, then whatever comes: a disconnection still reaches whoever waits for it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _counted(receive: Receive, limit: int) -> Receive:
    size = 0

    async def counting() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise _too_large(limit)
        return message

    return counting
