"""When a queue is full, who asks for more is told so at once, by the connection itself.

By way of the application a refusal costs ten times what the connection does: HTTP is taken apart event by event, the route is
found, the body validated; and of some hundred requests at the same moment the last waits for all of that. Only what is certain is
refused here: a whole, small request for completions that may come in, of a model whose queue has not one place. Everything else,
and every doubt, goes the usual way, which refuses with the same words. A request that is let through counts from here on.
"""

import json
import re
from http import HTTPStatus
from urllib.parse import parse_qs

import h11
from fastapi import FastAPI
from starlette.datastructures import Headers
from uvicorn.protocols.http.h11_impl import H11Protocol

from ramify.api.admission import Admission, Arrival
from ramify.api.auth import SHIELDS, Door
from ramify.api.errors import ApiError, error_response
from ramify.api.state import Server

__all__ = ["PlainRequest", "TurnsAway", "plain_request", "turning_away"]

LARGEST_BYTES = 65536
"""Of a request that is judged here."""

BEGINNING = b"POST /v1/"
FIRST = re.compile(rb"POST ([!-\x3e@-~]+)(?:\?([!-~]*))? HTTP/1\.1")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t]*)")
NAMED_IN_BODY = frozenset({"/v1/completions", "/v1/chat/completions"})
NAMED_IN_QUERY = frozenset({"/v1/llm/completions-sync", "/v1/llm/completions-stream"})
UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade"})


class PlainRequest:
    """A request for completions as far as it must be known to refuse it."""

    __slots__ = ("body", "headers", "path", "query", "size_bytes")

    def __init__(self, path: str, query: str, headers: Headers, size_bytes: int, body: bytes) -> None:
        """size_bytes: of the body when it is complete."""
        self.path, self.query, self.headers, self.size_bytes, self.body = path, query, headers, size_bytes, body

    @property
    def complete(self) -> bool:
        return len(self.body) == self.size_bytes

    def model(self, default: str) -> str | None:
        """The name that it asks for; None where that is not clear."""
        try:
            if self.path in NAMED_IN_QUERY:
                given = parse_qs(self.query, max_num_fields=10).get("model_endpoint_name", [])
                return given[0] if len(given) == 1 else None
            body = json.loads(self.body)
        except (ValueError, RecursionError):  # which the usual way has words for
            return None
        name = body.get("model", default) if isinstance(body, dict) else None
        return name if isinstance(name, str) else None


def plain_request(data: bytes) -> PlainRequest | None:
    """The request in what a connection said so far; None where it is no plain request for completions."""
    head, ended, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    asked = FIRST.fullmatch(first)
    if not ended or asked is None:
        return None
    path = asked[1].decode()
    if path not in NAMED_IN_BODY and path not in NAMED_IN_QUERY:
        return None
    fields: dict[bytes, bytes] = {}
    for line in lines:
        field = FIELD.fullmatch(line)
        if field is None or (name := field[1].lower()) in fields or name in UNUSUAL:
            return None
        fields[name] = field[2].strip()
    size = fields.get(b"content-length", b"")
    if not size.isdigit() or len(size) > 6 or int(size) > LARGEST_BYTES or len(body) > int(size):
        return None
    if not fields.get(b"content-type", b"").lower().startswith(b"application/json"):
        return None
    return PlainRequest(path, (asked[2] or b"").decode(), Headers(raw=list(fields.items())), int(size), body)


class TurnsAway(H11Protocol):
    """uvicorn's protocol, which asks first whether a request must be refused. `turning_away` makes one for an application."""

    server_state_of_app: Server
    door: Door

    _held = b""
    """A request of which the end has not come yet."""
    _arrival: Arrival | None = None
    """The request that the application has."""

    def data_received(self, data: bytes) -> None:
        if not self._held and not (data.startswith(BEGINNING) and self._between_requests):
            super().data_received(data)
            return
        data, self._held = self._held + data, b""
        asked = plain_request(data)
        if asked is None or self.server_state_of_app.draining or self.door.refusal("POST", asked.path, asked.headers) is not None:
            super().data_received(data)
        elif not asked.complete:
            self._held = data
        elif (queue := self._queue_of(asked)) is None:
            super().data_received(data)
        elif queue.full:
            self._turn_away(queue.refusal(), asked.path)
        else:
            self._arrival = arrival = Arrival(queue)
            super().data_received(data)
            # The application's task begins after this; there the request enters the queue.
            self.scope["ramify.arrival"] = arrival  # type: ignore[typeddict-unknown-key]

    def on_response_complete(self) -> None:
        self._gone()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        super().connection_lost(exc)

    def _gone(self) -> None:
        if self._arrival is not None:
            self._arrival.over()
            self._arrival = None

    @property
    def _between_requests(self) -> bool:
        return self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]

    def _queue_of(self, asked: PlainRequest) -> Admission | None:
        models = self.server_state_of_app.models
        name = asked.model(models.default)
        return None if name is None else models.admissions().get(name)

    def _turn_away(self, refusal: ApiError, path: str) -> None:
        """Say it, and end the connection, whose request the parser has never seen."""
        answer = error_response(refusal, path)
        headers = [*self.server_state.default_headers, *answer.raw_headers, *SHIELDS, (b"connection", b"close")]
        lines = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        first = f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n".encode()
        self.transport.write(first + lines + b"\r\n" + bytes(answer.body))
        self.transport.close()


def turning_away(app: FastAPI) -> type[TurnsAway]:
    """The protocol for the server of `app`."""
    return type("TurnsAway", (TurnsAway,), {"server_state_of_app": app.state.server, "door": app.state.door})
