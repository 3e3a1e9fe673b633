"""From an application to a port: uvicorn, and an end that lets running requests finish."""

import signal
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

from ramify.api.state import Server
from ramify.api.turning_away import turning_away
from ramify.errors import InputError

__all__ = ["ServerProcess", "bound", "serve"]

SWITCH_S = 0.0005
"""How long the engine's thread keeps the interpreter while the event loop wants it. Python's 5 ms are waited for several times
in every answer."""


class ServerProcess(uvicorn.Server):
    """uvicorn's server, whose signals begin a drain: no new request, running ones end within their time."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        """The first signal drains; an interrupt after it ends at once. The process then ends by itself, its files closed."""
        server: Server = self.config.app.state.server  # type: ignore[union-attr]
        server.drain()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises InputError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol said, asyncio sends small answers at once (TCP_NODELAY); without it each waits 40 ms for the client's ACK.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise InputError(f"{host}:{port} cannot be had ({error.strerror or error}); choose another --port or --host") from error
    found.listen(2048)
    return found


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve until a signal says stop; returns when what was running has ended."""
    sys.setswitchinterval(SWITCH_S)
    ServerProcess(configuration(app)).run(sockets=[listener])


def configuration(app: FastAPI) -> uvicorn.Config:
    server: Server = app.state.server
    return uvicorn.Config(
        app,
        http=turning_away(app),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what a client says of itself is not believed
        timeout_keep_alive=65,
        timeout_graceful_shutdown=int(server.limits.drain_timeout_s) + 1,
        h11_max_incomplete_event_size=2**16,
        ws="none",
        lifespan="on",
    )
