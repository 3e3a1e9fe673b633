"""What all routes share: the workspace, the models, the limits. One object, reached through the dependency `ServerState`.

from ramify.api.state import ServerState

@router.get("/api/samples")
def samples(server: ServerState) -> …:
    server.workspace_or_refuse().samples.list()
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Depends, Request

from ramify.api.errors import ApiError
from ramify.api.letterbox import Letterbox
from ramify.api.metrics import Metrics
from ramify.api.model_pool import ModelPool
from ramify.engine.model import Model
from ramify.errors import EngineError
from ramify.workbench.workspace import Workspace

if TYPE_CHECKING:
    from ramify.api.running import Run

__all__ = ["Limits", "Server", "ServerState", "Status", "server_of"]

log = logging.getLogger(__name__)

Status = Literal["ok", "loading", "failed", "draining"]

LONGEST_PAUSE_S = 30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one server takes upon itself."""

    max_queue: int = 256
    """Completions that may wait for a place in the engine, for each model; those beyond get 429."""
    request_timeout_s: float = 600
    """The longest that a request may take, its waiting included."""
    drain_timeout_s: float = 30
    """How long running requests may go on after SIGTERM."""
    ping_s: float = 15
    """A stream that has nothing to say for so long sends a comment, so that nobody between takes it for dead."""
    max_body_bytes: int = 32 * 2**20
    max_upload_bytes: int = 512 * 2**20
    max_depth: int = 64
    """Of nested JSON."""


@dataclass(kw_only=True)
class Server:
    """The state of one server. `app.state.server` is it."""

    models: ModelPool
    workspace: Workspace | None = None
    folders: tuple[Path, ...] = ()
    """From which files may be imported by path; none: only what is uploaded."""
    limits: Limits = field(default_factory=Limits)
    draining: bool = False
    """Whether it is on its way to stop: what runs may end, nothing new begins."""
    batch_roots: tuple[str, ...] = ()
    """Folders and URLs under which requests may name input and output of jobs."""
    allow_code_evaluator: bool = False
    """Whether a job may run the code that a model writes, in the sandbox."""
    jobs: object = None
    """What works at jobs, once there are any (`api/job_service.py`)."""
    on_stop: list[Callable[[], None]] = field(default_factory=list)
    """Called before the models close: what is being made is put on disk."""
    metrics: Metrics = field(init=False)
    runs: "set[Run]" = field(default_factory=set)
    """The requests for completions that are at work or wait."""
    _loop: asyncio.AbstractEventLoop | None = None
    _letterbox: Letterbox | None = None
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.models)

    # Its life.

    async def start(self) -> None:
        """Begin to load the default model; requests that come before it is there wait for it."""
        self._loop = asyncio.get_running_loop()
        self._keep(self._load_first())

    async def stop(self) -> None:
        """Give the models' memory back."""
        self.draining = True
        for task in self._tasks:
            task.cancel()
        for call in self.on_stop:
            await asyncio.to_thread(call)
        await asyncio.to_thread(self.models.close)

    def drain(self) -> None:
        """Called by a signal. Take nothing new, let what runs go on for `drain_timeout_s`, then end it with an error."""
        if not self.draining:
            self.draining = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.call_later, self.limits.drain_timeout_s, self._end_runs)

    def _end_runs(self) -> None:
        for run in tuple(self.runs):
            run.end(ApiError(503, "the server stopped before the request was done", code="draining"))

    async def _load_first(self) -> None:
        try:
            await self.models.aget()
        except Exception:  # whoever asks for the model is told; health says failed
            log.exception("the model %r cannot be loaded", self.models.default)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Its health.

    def status(self) -> Status:
        if self.draining:
            return "draining"
        loaded = self.models.loaded()
        if any(self.models.failure(name) is not None for name in loaded):
            return "failed"
        if self.models.default not in loaded:
            return "loading" if self.models.loading else "failed"
        return "ok"

    def engine_failed(self, name: str, error: EngineError) -> None:
        """Say so in /health until the engine answers again; it is asked from time to time."""
        log.error("the engine of %r failed: %s", name, error)
        if self.models.failure(name) is None and not self.draining:
            self._keep(self._until_well(name))
        self.models.failed(name, error)

    async def _until_well(self, name: str) -> None:
        pause_s = 1.0
        while True:
            await asyncio.sleep(pause_s)
            if self.models.failure(name) is None:  # a request was answered meanwhile
                return
            if await self._answers(self.models.loaded()[name]):
                self.models.answered(name)
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _answers(self, model: Model) -> bool:
        """Whether a model makes a token."""
        some_id = int(model.engine.backend.codec.exists.argmax())
        try:
            async with asyncio.timeout(LONGEST_PAUSE_S):
                await model.acomplete([some_id], max_new_tokens=1, logprobs=None)
        except (EngineError, TimeoutError):
            return False
        return True

    # What routes ask of it.

    def letterbox(self) -> Letterbox:
        """Of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._letterbox is None or self._letterbox.loop is not loop:
            self._letterbox = Letterbox(loop)
        return self._letterbox

    def workspace_or_refuse(self) -> Workspace:
        """Raises ApiError 404 where the server was started without one."""
        if self.workspace is None:
            raise ApiError(
                404, "this server has no workspace; start it with `ramify serve --workspace FILE`", code="no_workspace"
            )
        return self.workspace


async def server_of(request: Request) -> Server:
    """Asynchronous, though it waits for nothing: any other dependency is called in a thread, for every request."""
    found: Server = request.app.state.server
    return found


ServerState = Annotated[Server, Depends(server_of)]
