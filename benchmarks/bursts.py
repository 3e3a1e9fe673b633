"""Many requests at the same moment, from plain sockets: what they wait for is the server, hardly the client.

A client library takes a millisecond or more of Python for each request, so that of 200 at once the last one waits for 199 others
of its own process. Here a request is bytes made beforehand, and an answer is read when the kernel has it.
"""

import json
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Answered", "Clock", "burst", "posted"]

LONGEST_S = 120


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes
    wait_s: float
    """From the beginning of the connection to the last byte of the answer."""


def posted(url: str, path: str, key: str, body: Any) -> bytes:
    """A request as it goes over the wire; the server closes the connection after it."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def burst(url: str, requests: Sequence[bytes]) -> list[Answered]:
    """Send them all at once, each over a connection of its own, and wait for every answer."""
    place = urlsplit(url)
    assert place.hostname is not None
    address = socket.gethostbyname(place.hostname), place.port or 80
    began, said, found = [0.0] * len(requests), [b""] * len(requests), dict[int, Answered]()
    with selectors.DefaultSelector() as waiting:
        for i, request in enumerate(requests):
            began[i] = time.perf_counter()
            connection = socket.create_connection(address)
            connection.sendall(request)
            connection.setblocking(False)
            waiting.register(connection, selectors.EVENT_READ, i)
        ends = time.monotonic() + LONGEST_S
        while len(found) < len(requests):
            for key, _ in waiting.select(1):
                i, connection = key.data, key.fileobj
                assert isinstance(connection, socket.socket)
                piece = connection.recv(2**16)
                said[i] += piece
                if not piece:
                    found[i] = _answer(said[i], time.perf_counter() - began[i])
                    waiting.unregister(connection)
                    connection.close()
            assert time.monotonic() < ends, f"{len(found)} of {len(requests)} answered"
    return [found[i] for i in range(len(requests))]


def _answer(said: bytes, wait_s: float) -> Answered:
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answered(int(first.split()[1]), headers, body, wait_s)


class Clock:
    """What one thread of another process got of the processor since the clock was made."""

    def __init__(self, pid: int, thread: int | None = None) -> None:
        """thread: by default the process's first, where a server has its event loop."""
        self._file = Path(f"/proc/{pid}/task/{thread or pid}/schedstat")
        self._began = self._now()

    def _now(self) -> tuple[int, int]:
        ran, waited, _ = self._file.read_text().split()
        return int(ran), int(waited)

    def read(self) -> tuple[float, float]:
        """(seconds it ran, seconds it was ready to run and others had the processor)."""
        ran, waited = self._now()
        return (ran - self._began[0]) / 1e9, (waited - self._began[1]) / 1e9
