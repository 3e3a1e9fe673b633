"""`ramify serve` as a process of its own: a test that may kill a server must not be the server."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

__all__ = ["KEY", "Serving", "serving"]

KEY = "a-key-for-tests"


@dataclass(frozen=True)
class Serving:
    url: str
    process: "subprocess.Popen[str]"

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {KEY}"}

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, **{"headers": self.headers, "timeout": 60, **options})


@contextlib.contextmanager
def serving(home: Path, arguments: Sequence[str] = (), *, key: str = KEY) -> Iterator[Serving]:
    """Start it on a free port, wait until its model is loaded, and stop it at the end. home: its data folder, where what it
    says goes to `stderr`. key: "" leaves it to make one."""
    environment = {**os.environ, "RAMIFY_API_KEY": key, "RAMIFY_HOME": str(home), "RAMIFY_DEVICE": "cpu"}
    errors = home / "stderr"
    with errors.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ramify", "serve", "--port", "0", *arguments], env=environment, stderr=log, text=True
        )
    try:
        while (found := re.search(r"http://\S+", errors.read_text())) is None:
            assert process.poll() is None, errors.read_text()
            time.sleep(0.05)
        with httpx2.Client(base_url=found[0], timeout=60) as client:
            while client.get("/health").status_code != 200:
                assert process.poll() is None, errors.read_text()
                time.sleep(0.05)
        yield Serving(found[0], process)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
