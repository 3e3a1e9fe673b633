"""A contender in a process of its own, asked over a pipe; so that none shares threads, allocator or interpreter with another.

The child says one line when it is ready, then answers a workload a line with the time it took. All are loaded at the same time
and wait without computing while another is asked.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.workloads import Workload

__all__ = ["Contender", "Took", "UnableError", "answer", "contender"]

Run = Callable[[Workload], int]
"""Answers a workload; returns how many tokens it made."""


class UnableError(Exception):
    """A contender cannot be had here, or has no such way of decoding. Its text is the reason."""


@dataclass(frozen=True)
class Took:
    wall_s: float
    cpu_s: float
    """Of all of the process's threads, those that only wait in a loop included."""
    others: float
    """What other programs had of the machine's processors meanwhile, 0 to 1."""


class Contender:
    """The parent's end."""

    def __init__(self, process: "subprocess.Popen[str]", about: str) -> None:
        self.about = about
        """What it is, with its version."""
        self._process = process

    def ask(self, work: Workload) -> Took:
        """Raises UnableError where it has no such way of decoding, RuntimeError where it failed."""
        import psutil  # here, for the child may be in an environment without it

        assert self._process.stdin is not None
        before = psutil.cpu_times()
        self._process.stdin.write(work.to_json() + "\n")
        self._process.stdin.flush()
        said = _line(self._process)
        if "cannot" in said:
            raise UnableError(said["cannot"])
        after = psutil.cpu_times()
        total = sum(after) - sum(before)
        others = 1 - (after.idle - before.idle + after.iowait - before.iowait + said["cpu_s"]) / total if total else 0.0
        return Took(said["wall_s"], said["cpu_s"], max(0.0, others))


@contextlib.contextmanager
def contender(
    module: str, arguments: Sequence[str], *, python: str = sys.executable, environment: Mapping[str, str] | None = None
) -> Iterator[Contender]:
    """Start `python -m benchmarks.peers.MODULE`. Raises UnableError with the reason where it cannot be had."""
    if not Path(python).exists():
        raise UnableError(f"there is no {python}")
    command = [python, "-m", f"benchmarks.peers.{module}", *arguments]
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings)
    try:
        said = _line(process)
        if "cannot" in said:
            raise UnableError(said["cannot"])
        yield Contender(process, said["about"])
    finally:
        with contextlib.suppress(OSError):
            process.communicate(timeout=30)
        process.kill()
        process.wait()


def _line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        raise RuntimeError(f"{process.args!r} ended with exit code {process.wait()}; its error output says why")
    found: dict[str, Any] = json.loads(said)
    return found


def answer(start: Callable[[], tuple[str, Run]]) -> None:
    """The child's end: make the contender, then serve workloads until the input ends.

    What libraries print goes to the error output, so that only answers are on the pipe.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**what: Any) -> None:
        print(json.dumps(what), file=out, flush=True)

    try:
        about, run = start()
    except (ImportError, UnableError) as error:
        say(cannot=str(error))
        return
    say(about=about)
    for line in sys.stdin:
        work = Workload.from_json(line)
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            made = run(work)
        except UnableError as error:
            say(cannot=str(error))
            continue
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert made == work.tokens_out, f"{made} tokens instead of {work.tokens_out}"
        say(wall_s=wall, cpu_s=cpu)
