"""Who works at something: a process, known by its machine, its id and the moment it was born, and whether it lives."""

import functools
import os
import socket
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["SILENT_S", "Process", "alive", "this_process"]

SILENT_S = 120.0
"""After so long without a word a process on another machine is taken for dead."""


class Process(NamedTuple):
    host: str
    """The machine since it was started: after that no process of before lives on."""
    pid: int
    born: float


@functools.cache
def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}/{boot.read_text().strip() if boot.exists() else ''}"


def this_process() -> Process:
    import psutil

    return Process(_machine(), os.getpid(), psutil.Process().create_time())


def alive(process: Process, beat_at: float) -> bool:
    """Whether it still works. beat_at: when it said so last, in seconds since 1970; it decides for other machines."""
    import psutil

    if process.host != _machine():
        return time.time() - beat_at < SILENT_S
    try:
        found = psutil.Process(process.pid)
        # Reckoned from the clock, which may have been set since.
        return bool(abs(found.create_time() - process.born) < 2 and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
