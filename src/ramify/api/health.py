"""Whether the server is well, and what it does."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ramify import __version__
from ramify.api.state import ServerState

__all__ = ["router"]

router = APIRouter(tags=["server"])


@router.get("/health")
async def health(server: ServerState, response: Response) -> dict[str, str]:
    """200 where requests are answered; 503 while a model loads, after the engine failed, and while the server drains.

    The one route of data that needs no token; it says no more than this.
    """
    status = server.status()
    response.status_code = 200 if status == "ok" else 503
    return {"status": status}


@router.get("/metrics", response_model=None)
async def metrics(server: ServerState) -> Response:
    """Prometheus' text format."""
    return Response(server.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/version")
async def version() -> dict[str, str]:
    """The version of Ramify."""
    return {"version": __version__}
