"""What all routes share: the workspace, the models, the limits. One object, reached through the dependency `ServerState`.

from ramify.api.state import ServerState

@router.get("/api/samples")
def samples(server: ServerState) -> …:
    server.workspace_or_refuse().samples.list()
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from ramify.api.errors import ApiError
from ramify.api.model_pool import ModelPool
from ramify.engine.model import Model
from ramify.workbench.workspace import Workspace

__all__ = ["Limits", "Server", "ServerState", "server_of"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one server takes upon itself."""

    max_queue: int = 256
    """Completions that may wait for a place in the engine, for each model; those beyond get 429."""
    request_timeout_s: float = 600
    """The longest that a request may take, its waiting included."""
    drain_timeout_s: float = 30
    """How long running requests may go on after SIGTERM."""
    max_body_bytes: int = 32 * 2**20
    max_upload_bytes: int = 512 * 2**20
    max_depth: int = 64
    """Of nested JSON."""


@dataclass(kw_only=True)
class Server:
    """The state of one server. `app.state.server` is it."""

    models: ModelPool
    workspace: Workspace | None = None
    limits: Limits = field(default_factory=Limits)
    draining: bool = False
    """Whether it is on its way to stop: what runs may end, nothing new begins."""
    on_stop: list[Callable[[], None]] = field(default_factory=list)
    """Called before the models close: what is being made is put on disk."""
    _first: "asyncio.Task[Model] | None" = None

    async def start(self) -> None:
        """Begin to load the default model; requests that come before it is there wait for it."""
        self._first = asyncio.create_task(self.models.aget())

    async def stop(self) -> None:
        self.draining = True
        for call in self.on_stop:
            await asyncio.to_thread(call)
        await asyncio.to_thread(self.models.close)

    def status(self) -> str:
        """ok, loading, failed or draining."""
        if self.draining:
            return "draining"
        if not self.models.loaded():
            return "loading" if self.models.loading else "failed"
        return "ok"

    def workspace_or_refuse(self) -> Workspace:
        """Raises ApiError 404 where the server was started without one."""
        if self.workspace is None:
            raise ApiError(
                404, "this server has no workspace; start it with `ramify serve --workspace FILE`", code="no_workspace"
            )
        return self.workspace


def server_of(request: Request) -> Server:
    found: Server = request.app.state.server
    return found


ServerState = Annotated[Server, Depends(server_of)]
