"""Servers on real sockets: streams and disconnections cannot be seen through an in-process client."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
from fastapi import FastAPI

from ramify.api.serving import ServerProcess, bound, configuration
from ramify.api.state import Server

__all__ = ["TOKEN", "Live", "listening"]

TOKEN = "a-token-for-tests"


@dataclass(frozen=True)
class Live:
    """A server that listens."""

    url: str
    app: FastAPI
    token: str = TOKEN

    @property
    def server(self) -> Server:
        found: Server = self.app.state.server
        return found

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def client(self, **options: Any) -> httpx2.Client:
        """A client that carries the token."""
        return self.stranger(headers=self.headers, **options)

    def stranger(self, **options: Any) -> httpx2.Client:
        """One that does not."""
        # verify: nothing here is TLS, and reading the certificates takes longer than most requests.
        return httpx2.Client(base_url=self.url, timeout=60, verify=False, **options)


@contextlib.contextmanager
def listening(app: FastAPI, *, ready: bool = True) -> Iterator[Live]:
    """Serve `app` on a free port of this machine, on a thread. ready: wait until its model is loaded."""
    listener = bound("127.0.0.1", 0)
    process = ServerProcess(configuration(app))
    thread = threading.Thread(target=process.run, args=([listener],), daemon=True)
    thread.start()
    live = Live(f"http://127.0.0.1:{listener.getsockname()[1]}", app)
    try:
        with live.stranger() as client:
            while client.get("/health").status_code != 200 and ready:
                assert thread.is_alive()
        yield live
    finally:
        process.should_exit = True
        thread.join(timeout=60)
        listener.close()
