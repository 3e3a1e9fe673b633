"""An error of a service as one of ours."""

import json
import time
from collections.abc import Mapping
from typing import Any

from ramify.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RamifyError,
    RateLimitExceededError,
    RemoteError,
    ServerError,
    UnauthorizedError,
)
from ramify.models.remote_retries import retry_after_s

__all__ = ["error_of", "shown"]

SHOWN = 500
KINDS: dict[int, type[RemoteError]] = {401: UnauthorizedError, 403: ForbiddenError, 409: ConflictError}


def error_of(status: int, headers: Mapping[str, str], body: str, *, where: str, keyed: bool) -> RamifyError:
    """The error class of a status, with the service's own words; nothing of its body is lost but what is too long to show."""
    message, param, code = _words(body)
    if status in (400, 413, 415, 422):
        return BadRequestError(message, status=status, param=param, code=code)
    if status == 404:
        return NotFoundError(message)
    if status == 429:
        return RateLimitExceededError(message, retry_after=retry_after_s(headers, time.time()), code=code)
    if status == 401:
        message += "; the key came from RAMIFY_API_KEY" if keyed else "; no key was sent: put it in RAMIFY_API_KEY"
    if 300 <= status < 400:
        message = f"{where} has moved to {headers.get('location', 'nowhere')}; put that address in RAMIFY_BASE_URL"
    kind = ServerError if status >= 500 else KINDS.get(status, RemoteError)
    return kind(message, status=status, code=code)


def shown(text: str) -> str:
    """The beginning of what a service said, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "…"


def _words(body: str) -> tuple[str, str | None, str | None]:
    """Message, parameter and code, in the shapes that servers give them.

    Ours and OpenAI's {"error": {...}}, LLM Engine's {"detail": "…"} and {"error": "…"}, FastAPI's {"detail": [{"loc", "msg"}]}.
    """
    try:
        content: Any = json.loads(body)
    except ValueError:
        return shown(body) or "no message", None, None
    told = content.get("error", content.get("detail", content)) if isinstance(content, Mapping) else content
    if isinstance(told, list) and told and isinstance(told[0], Mapping) and "msg" in told[0]:
        place = [str(part) for part in told[0].get("loc", ()) if part != "body"]
        return f"{'.'.join(place)}: {told[0]['msg']}", place[0] if place else None, None
    if isinstance(told, Mapping) and "message" in told:
        param, code = told.get("param"), told.get("code") or told.get("type")
        return str(told["message"]), None if param is None else str(param), None if code is None else str(code)
    return told if isinstance(told, str) else shown(body), None, None
