"""Whether the server is well. The one route of data that needs no token; it says no more than that."""

from fastapi import APIRouter, Response

from ramify.api.state import ServerState

__all__ = ["router"]

router = APIRouter(tags=["server"])


@router.get("/health")
async def health(server: ServerState, response: Response) -> dict[str, str]:
    """200 where requests are answered; 503 while a model loads, after the engine failed, and while the server drains."""
    status = server.status()
    response.status_code = 200 if status == "ok" else 503
    return {"status": status}
