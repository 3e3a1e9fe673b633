"""What went wrong, as every client is told it: a status, and {"error": {"message", "type", "param", "code"}}."""

import difflib
import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ramify import errors

__all__ = ["ApiError", "ErrorBody", "error_of", "error_response", "install", "nearest"]

log = logging.getLogger(__name__)

ErrorBody = dict[str, dict[str, str | None]]

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "unavailable_error",
    504: "timeout_error",
}
"""OpenAI's words where it has one. Other statuses below 500 are invalid requests, the rest server errors."""

STATUSES: tuple[tuple[type[errors.RamifyError], int, str | None], ...] = (
    (errors.PromptTooLongError, 400, "context_length_exceeded"),
    (errors.ModelNotFoundError, 404, "model_not_found"),
    (errors.NotFoundError, 404, "not_found"),
    (errors.StaleError, 409, "stale"),
    (errors.ConflictError, 409, "conflict"),
    (errors.ForbiddenError, 403, "forbidden"),
    (errors.UnsupportedError, 400, "unsupported"),
    (errors.UnsafeModelError, 403, "unsafe_model"),
    (errors.ConstraintError, 400, "invalid_constraint"),
    (errors.ConfigError, 400, "invalid_value"),
    (errors.MessageError, 400, "invalid_value"),
    (errors.BadRequestError, 400, "invalid_value"),
    (errors.RecordError, 400, "bad_record"),
    (errors.InputError, 400, None),
    (errors.WorkspaceError, 503, "workspace_unavailable"),
    (errors.RemoteError, 502, "upstream_error"),
    (errors.EngineError, 500, "engine_failed"),
)
"""The first kind that fits decides."""

UNPARSED = "There was an error parsing the body"
"""FastAPI's words for a body that is no text."""

LONGEST = 1000
"""Characters of a message."""

SECRETIVE = "the server failed; its log says why"
"""All that a client learns of a defect."""


class ApiError(errors.RamifyError):
    """An answer with a status of its own. `headers` go with it, such as Retry-After."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # What was given may be part of the message; it came from the client and need not go back whole.
        super().__init__(message if len(message) <= LONGEST else f"{message[:LONGEST]}…")
        self.status = status
        self.type = type or TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> ErrorBody:
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}


def error_of(error: BaseException) -> ApiError:
    """What a client is told of any exception; a defect of ours is logged and not shown."""
    if isinstance(error, ApiError):
        return error
    for kind, status, code in STATUSES:
        if isinstance(error, kind):
            return ApiError(status, str(error), param=_param(error), code=code)
    log.error("a request failed", exc_info=error)
    return ApiError(500, SECRETIVE, code="internal_error")


def _param(error: BaseException) -> str | None:
    """The field that is to blame."""
    if isinstance(error, errors.ConfigError):
        return error.fields[0] if error.fields else None
    if isinstance(error, errors.MessageError):
        return error.where
    if isinstance(error, errors.BadRequestError):
        return error.param
    return "model" if isinstance(error, errors.ModelNotFoundError) else None


def error_response(error: ApiError, path: str = "") -> Response:
    """The error as a response. LLM Engine's clients look for the message in `detail`, so its routes have that too."""
    body: dict[str, Any] = dict(error.body)
    if path.startswith("/v1/llm/"):
        body["detail"] = str(error)
    # ASCII: a message may quote a lone surrogate, which UTF-8 cannot carry.
    return Response(json.dumps(body), error.status, error.headers, media_type="application/json")


def install(app: FastAPI) -> None:
    """Every way in which a request can fail ends in the one shape."""

    async def failed(request: Request, error: Exception) -> Response:
        return error_response(error_of(error), request.url.path)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 400 and error.detail == UNPARSED:
            return error_response(ApiError(400, "the body is not JSON in UTF-8", code="invalid_json"), request.url.path)
        message = f"{request.method} {request.url.path}: {error.detail}" if error.status_code in (404, 405) else str(error.detail)
        found = ApiError(error.status_code, message, headers=error.headers)
        return error_response(found, request.url.path)

    async def unfit(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        field = getattr(request.scope.get("route"), "body_field", None)
        kind = None if field is None else field.field_info.annotation
        return error_response(_unfit(error, request.headers.get("content-type", ""), kind), request.url.path)

    app.add_exception_handler(errors.RamifyError, failed)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, unfit)
    app.add_exception_handler(Exception, failed)


def nearest(name: str, kind: Any) -> str:
    """What an unknown field of a body was perhaps meant to be, as the end of a refusal; "" where nothing is near it.

    kind: the body's model. Its `CALLED`, where it has one, says how names that are known elsewhere are called here.
    """
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return ""
    called: Mapping[str, str] = getattr(kind, "CALLED", {})
    if name in called:
        return f"; here it is called {called[name]}"
    names = [field.alias or key for key, field in kind.model_fields.items()]
    near = difflib.get_close_matches(name[:100], names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _unfit(error: RequestValidationError, content_type: str, body: Any) -> ApiError:
    """The first thing that did not fit, by its path in the request. body: the model that it was to be."""
    found = error.errors()
    first = found[0]
    where = [str(step) for step in first["loc"]]
    kind, source = str(first["type"]), where[0]
    if source == "body" and isinstance(error.body, bytes) and error.body and not _is_json(content_type):
        return ApiError(
            415, f"the body is {content_type or 'of no stated type'}; send application/json", code="unsupported_media_type"
        )
    if kind == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}", code="invalid_json")
    steps = (step for step in where[1:] if not step.startswith(("function-", "list[", "str", "constrained")))
    param = "".join(f"[{step}]" if step.isdecimal() else f".{step}" for step in steps).removeprefix(".")
    if kind == "extra_forbidden":
        return ApiError(
            400,
            f"unknown field {param!r}; it is not one of this route's, and nothing is ignored"
            + (nearest(param, body) if source == "body" else ""),
            param=param,
            code="unknown_field",
        )
    if kind == "missing":
        return ApiError(400, f"{param or 'the body'} is missing", param=param or None, code="missing")
    given = _shown(first.get("input"))
    why = str(first["msg"]).removeprefix("Value error, ")
    if where[1:] and sum(each["loc"][:2] == first["loc"][:2] for each in found) > 1:
        # It fits none of several forms: what the field is says more than why it is not the first of them.
        why = _about(where[1], body) or why
    message = f"{param or 'the body'} is {given}: {why[:1].lower()}{why[1:]}"
    return ApiError(400, message, param=param or None, code="invalid_value")


def _about(name: str, kind: Any) -> str:
    """What a body says of a field; "" where it says nothing."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return ""
    return next((field.description or "" for key, field in kind.model_fields.items() if name in (key, field.alias)), "")


def _is_json(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"
