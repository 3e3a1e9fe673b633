"""The studio's page, modules and styles. They hold nothing of anybody's, so they are open; what they ask for needs the token.

What a model wrote can never run there: the policy allows scripts of this server's files alone, none inline, and nothing from
elsewhere; assigning markup to the page is refused by the browser itself (trusted types).

The page names all modules that its first drawing needs, so that a browser asks for them at once and not one level of imports
after the other, under an address that changes with their contents: what it has of them it never asks for again.
"""

import hashlib
import re
from collections import deque
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

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
FOR_EVER = {**HEADERS, "cache-control": "public, max-age=31536000, immutable"}
FONTS = ("inter-latin-wght-normal.woff2", "source-serif-4-latin-wght-normal.woff2")
"""Those that every page needs: without them its first words would be drawn twice."""

IMPORT = re.compile(r'(?:\bfrom|^import) ?"(\.[^"]+)"', re.MULTILINE)
"""A module's import, or what it passes on."""

router = APIRouter(include_in_schema=False)

_given: deque[str] = deque(maxlen=8)
"""Versions that pages of this process named."""


@router.get("/")
def page() -> Response:
    version = _version()
    if version not in _given:
        _given.append(version)
    early = [f'<link rel="modulepreload" href="/studio/{name}" />' for name in _imported("js/main.js", version)]
    early += [
        f'<link rel="preload" href="/studio/vendor/fonts/{name}" as="font" type="font/woff2" crossorigin />' for name in FONTS
    ]
    text = (FOLDER / "index.html").read_text("utf-8").replace("</head>", "\n".join((*early, "</head>")))
    return Response(text.replace("/studio/", f"/studio/{version}/"), media_type=TYPES[".html"], headers=HEADERS)


@router.get("/favicon.ico")
async def icon() -> Response:
    return _file(FOLDER / "favicon.svg", HEADERS)


@router.get("/studio/{path:path}")
async def module(path: str) -> Response:
    """A file; behind a version (`v-…/js/main.js`) it may be kept for ever."""
    version, _, rest = path.partition("/")
    return _file((FOLDER / (rest if version.startswith("v-") else path)).resolve(), FOR_EVER if version in _given else HEADERS)


def _version() -> str:
    """Of all files as they are now. A file that is changed while the server runs has another address."""
    found = [(file, file.stat()) for file in FOLDER.rglob("*") if file.suffix in TYPES]
    return f"v-{_named(tuple(sorted((str(file), stat.st_mtime_ns, stat.st_size) for file, stat in found)))}"


@lru_cache(maxsize=2)
def _imported(first: str, version: str) -> list[str]:
    """A module and all that it imports, but not what it brings later by `import()`. `version` is what the answer is kept by."""
    found, left = [], [FOLDER / first]
    while left:
        file = left.pop()
        name = file.relative_to(FOLDER).as_posix()
        if name not in found and file.is_file():
            found.append(name)
            left += [(file.parent / path).resolve() for path in IMPORT.findall(file.read_text("utf-8"))]
    return found


@lru_cache(maxsize=2)
def _named(files: tuple[tuple[str, int, int], ...]) -> str:
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]


def _file(file: Path, headers: dict[str, str]) -> Response:
    """The file's bytes. Raises ApiError 404 for what is outside of the studio, or no page, module, style, image or font."""
    if not file.is_relative_to(FOLDER.resolve()) or file.suffix not in TYPES or not file.is_file():
        raise ApiError(404, f"the studio has no file {file.name!r}", code="not_found")
    stat = file.stat()
    return Response(_read(file, stat.st_mtime_ns, stat.st_size), media_type=TYPES[file.suffix], headers=headers)


@lru_cache(maxsize=256)
def _read(file: Path, mtime_ns: int, size_bytes: int) -> bytes:
    """Kept as long as the file is the same."""
    return file.read_bytes()
