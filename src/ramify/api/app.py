"""The server as one ASGI application.

To add a router: write it in a module of its own as `router = APIRouter(prefix="/api", tags=[…])`, take what routes share through
the parameter `server: ServerState` (`api/state.py`), raise `RamifyError`s (or `ApiError` for a status of its own) and never an
HTTP exception, and add it to `ROUTERS` below. It is behind the token, the Host and cross-site checks and the body limits without
doing anything: those are middleware, and what is open without a token is listed in `api/auth.py`. A plain `def` route runs in a
thread; an `async def` one must not block. `api/studio.py` has the studio's files.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from ramify import __version__
from ramify.api import batches, docs_page, errors, health, llm_engine, openai, studio, tokens
from ramify.api import workspace as workspace_routes
from ramify.api.auth import LOOPBACK_HOSTS, Door, Doorkeeper
from ramify.api.bodies import BodyLimits
from ramify.api.job_service import service_of
from ramify.api.model_pool import Load, ModelPool
from ramify.api.short_way import ShortWay
from ramify.api.state import Limits, Server
from ramify.engine.model import load as load_model
from ramify.models.registry import Registry
from ramify.workbench.workspace import Workspace

__all__ = ["ROUTERS", "create_app"]

ROUTERS = (
    health.router,
    docs_page.router,
    openai.router,
    llm_engine.router,
    batches.router,
    tokens.router,
    workspace_routes.router,
    studio.router,
)


def create_app(
    *,
    token: str,
    workspace: Workspace | None = None,
    folders: Iterable[Path] = (),
    load: Load = load_model,
    model: str = "tiny",
    models: Sequence[str] = (),
    registry: Registry | None = None,
    hosts: Iterable[str] = LOOPBACK_HOSTS,
    any_address: bool = False,
    limits: Limits | None = None,
    batch_roots: Sequence[str] = (),
    allow_code_evaluator: bool = False,
) -> FastAPI:
    """The application of one server.

    token: what every request but the open ones must carry. workspace: served under /api; it is not closed at the end. folders:
    from which files may be imported by path. load: how a name becomes a model. model: the default one, loaded at the start.
    models: others that requests may name, besides those of `registry`. hosts: names in the Host header; with any_address every
    IP address too. batch_roots: where requests may have jobs read and write. allow_code_evaluator: whether jobs may run a
    model's code, in the sandbox.
    """
    limits = limits or Limits()
    pool = ModelPool(load, default=model, names=models, registry=registry, max_queue=limits.max_queue)
    if workspace is not None:
        workspace.load = pool.get
    server = Server(
        models=pool,
        workspace=workspace,
        folders=tuple(folders),
        limits=limits,
        batch_roots=tuple(batch_roots),
        allow_code_evaluator=allow_code_evaluator,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await server.start()
        if workspace is not None and not workspace.database.read_only:
            service_of(server)  # jobs that the last server left are gone on with
        try:
            yield
        finally:
            await server.stop()

    app = FastAPI(title="Ramify", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = server
    app.state.door = door = Door(token=token, hosts=tuple(hosts), any_address=any_address)
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    # The last one added is the outermost: a stranger's body is never read.
    body_limits: dict[str, Any] = {
        "max_bytes": limits.max_body_bytes,
        "max_upload_bytes": limits.max_upload_bytes,
        "max_depth": limits.max_depth,
    }
    app.add_middleware(ShortWay, server=server, routes=openai.SHORT_WAYS)
    app.add_middleware(BodyLimits, **body_limits)
    app.add_middleware(Doorkeeper, door=door)
    return app
