"""Who comes in: every request must name an allowed host, come from no other site, and carry the token.

Three checks before any route is looked for, so that a route is closed unless it is in the explicit list:

1. The Host header names this server (a rebound name of somebody else's page does not).
2. A method that changes something is not sent by another site's page (Origin, Sec-Fetch-Site). There is no CORS.
3. `Authorization: Bearer TOKEN`, or `x-api-key: TOKEN` as LLM Engine's clients send it. Compared in constant time.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ramify.api.errors import ApiError, error_response

__all__ = ["LOOPBACK_HOSTS", "OPEN_PATHS", "OPEN_UNDER", "SHIELDS", "Door", "Doorkeeper", "is_open"]

OPEN_PATHS = frozenset({"/", "/health", "/docs", "/docs.js", "/favicon.ico"})
"""Open to GET without a token: the health check, and pages that hold nothing (they ask with a token of their own)."""
OPEN_UNDER = ("/studio/",)
"""The studio's page, modules and styles."""

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

SHIELDS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Sent with every answer that says nothing else: an API's answers are no page, whatever a model wrote into them."""


def is_open(method: str, path: str) -> bool:
    """Whether a request needs no token."""
    return method in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith(OPEN_UNDER))


class Doorkeeper:
    """ASGI middleware. It never buffers, so streams and disconnections pass through it untouched."""

    def __init__(self, app: ASGIApp, *, door: "Door") -> None:
        self.app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in SHIELDS if pair[0] not in sent)]
            await send(message)

        refusal = self._door.refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is None:
            await self.app(scope, receive, shielded)
        else:
            await error_response(refusal, scope["path"])(scope, receive, shielded)


class Door:
    """The three checks, as a function of a request's head."""

    def __init__(self, *, token: str, hosts: Iterable[str], any_address: bool = False) -> None:
        """hosts: names without a port. any_address: an IP address as Host is allowed too (no rebinding has one)."""
        if not token:
            raise ValueError("a server needs a token")
        self._digest = hashlib.sha256(token.encode()).digest()
        self._hosts = {host.lower().strip("[]") for host in hosts}
        self._any_address = any_address

    def refusal(self, method: str, path: str, headers: Headers) -> ApiError | None:
        """Why the request may not come in; None where it may."""
        host = headers.get("host", "")
        if not self._knows(host):
            return ApiError(
                403,
                f"the Host header is {host[:100]!r}, which is no name of this server; `ramify serve --allow-host NAME` adds one",
                code="host_not_allowed",
            )
        if method not in SAFE and not _same_site(headers, host):
            return ApiError(403, "the request comes from another site's page", code="cross_site")
        if not is_open(method, path) and not self._has_token(headers):
            return ApiError(
                401,
                "the token is missing or wrong; send it as `Authorization: Bearer TOKEN` (the server printed it at its start, "
                "or took it from RAMIFY_API_KEY)",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        return None

    def _knows(self, host: str) -> bool:
        name = _without_port(host)
        if name in self._hosts:
            return True
        return self._any_address and _is_address(name)

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = headers.get("x-api-key", "")
        # Digests have one length: the time to compare says nothing of the token's.
        found = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        return hmac.compare_digest(found, self._digest)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower() if host.count(":") <= 1 else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_site(headers: Headers, host: str) -> bool:
    """Whether a browser says that this server's own page sent the request, or no browser did."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
