"""The studio's page, modules and styles. They hold nothing of anybody's, so they are open; what they ask for needs the token.

What a model wrote can never run there: the policy allows scripts of this server's files alone, none inline, and nothing from
elsewhere; assigning markup to the page is refused by the browser itself (trusted types).
"""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from ramify.api.errors import ApiError
from ramify.web import FOLDER

__all__ = ["POLICY", "router"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
"""What may be read; the room's Python files are not."""

HEADERS = {"content-security-policy": POLICY, "cache-control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.get("/")
def page() -> Response:
    return _file(FOLDER / "index.html")


@router.get("/favicon.ico")
def icon() -> Response:
    return _file(FOLDER / "favicon.svg")


@router.get("/studio/{path:path}")
def module(path: str) -> Response:
    return _file((FOLDER / path).resolve())


def _file(file: Path) -> Response:
    """The file's bytes. Raises ApiError 404 for what is outside of the studio, or no page, module, style, image or font."""
    if not file.is_relative_to(FOLDER.resolve()) or file.suffix not in TYPES or not file.is_file():
        raise ApiError(404, f"the studio has no file {file.name!r}", code="not_found")
    return FileResponse(file, media_type=TYPES[file.suffix], headers=HEADERS)
