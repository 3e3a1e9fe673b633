"""The short way to the two routes that are asked most: from a JSON body to its answer, past the search for a route.

The framework's way (routes one after another, dependencies, a stack of exits, wrapped senders) takes a third of what a request
costs before the engine has it, and a little of every token. What does not fit, and what is no plain JSON, goes that way all the
same and is told there what is wrong: the routes, their documentation and their refusals stay in one place.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ramify.api.errors import error_of, error_response
from ramify.api.openai_fields import Sampling
from ramify.api.state import Server
from ramify.errors import RamifyError

__all__ = ["Called", "ShortWay"]

Called = tuple[type[Sampling], Callable[[Any, Server, Request], Awaitable[Response]]]
"""A body's fields, and the route that is called with them."""


class ShortWay:
    """ASGI middleware behind the one that reads a body whole."""

    def __init__(self, app: ASGIApp, *, server: Server, routes: Mapping[str, Called]) -> None:
        """routes: what a POST to a path calls."""
        self.app = app
        self._server = server
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        called = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if called is None or Headers(scope=scope).get("content-type", "").lower() != "application/json":
            await self.app(scope, receive, send)
            return
        message = await receive()
        fields, route = called
        try:
            body = fields.model_validate(json.loads(message["body"]))
        except (KeyError, ValueError, RecursionError):
            await self.app(scope, _again(message, receive), send)
            return
        try:
            response = await route(body, self._server, Request(scope, receive))
        except RamifyError as error:
            response = error_response(error_of(error), scope["path"])
        await response(scope, receive, send)


def _again(message: Message, receive: Receive) -> Receive:
    """`message`, which was received already, and then whatever comes."""
    waiting = [message]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
