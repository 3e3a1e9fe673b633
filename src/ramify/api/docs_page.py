"""/docs: the routes as a page, from /openapi.json. The page holds nothing; it asks with the token that its reader gives it."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _file(name: str) -> bytes:
    return files("ramify.api").joinpath(name).read_bytes()


@router.get("/docs")
async def page() -> Response:
    return Response(_file("docs_page.html"), media_type="text/html", headers={"content-security-policy": POLICY})


@router.get("/docs.js")
async def script() -> Response:
    return Response(_file("docs_page.js"), media_type="text/javascript")
