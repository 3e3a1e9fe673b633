"""`ramify serve` as a process of its own: a test that may kill a server must not be the server."""

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from forked_ramify import ForkedRamify, Zygote

__all__ = ["KEY", "Serving", "serving"]

KEY = "a-key-for-tests"


@dataclass(frozen=True)
class Serving:
    url: str
    process: ForkedRamify

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {KEY}"}

    def client(self, **options: Any) -> httpx2.Client:
        # verify: nothing here is TLS, and reading the certificates takes long.
        return httpx2.Client(base_url=self.url, verify=False, **{"headers": self.headers, "timeout": 60, **options})


@contextlib.contextmanager
def serving(zygote: Zygote, home: Path, arguments: Sequence[str] = (), *, key: str = KEY) -> Iterator[Serving]:
    """Start it on a free port, wait until its model is loaded, and stop it at the end. home: its data folder, where what it
    says goes to `stderr`. key: "" leaves it to make one."""
    environment = {**os.environ, "RAMIFY_API_KEY": key, "RAMIFY_HOME": str(home), "RAMIFY_DEVICE": "cpu"}
    said = home / "stderr"
    said.touch()
    process = ForkedRamify(zygote, ["serve", "--port", "0", *arguments], environment=environment, log=said)
    try:
        while (found := re.search(r"http://\S+", said.read_text())) is None:
            assert process.poll() is None, said.read_text()
            time.sleep(0.05)
        running = Serving(found[0], process)
        with running.client() as client:
            while client.get("/health").status_code != 200:
                assert process.poll() is None, said.read_text()
                time.sleep(0.05)
        yield running
    finally:
        process.end()
