"""Code of a model's making, run where it can reach nothing: bubblewrap's namespaces, an unprivileged user, and limits.

Inside there is the interpreter and its standard library, read-only, an empty /tmp in memory, and nothing else: no network, no
host files, no environment, no input, no other process. Limits hold for time, memory, processes, files and output, and whatever is
over them is killed with all that it started. Where this isolation cannot be made, nothing is run: there is no lesser way.
"""

import contextlib
import functools
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import psutil

from ramify.errors import UnsupportedError

__all__ = ["Limits", "Outcome", "Sandbox", "why_not"]

Status = Literal["ok", "error", "timeout", "memory", "output", "killed"]

OUTSIDERS = 60_100
"""From here on are the users that root becomes inside."""
_runs = itertools.count()
POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one run may use."""

    wall_s: float = 60.0
    memory_bytes: int = 512 * 2**20
    """Of all its processes together."""
    processes: int = 16
    """Threads count."""
    tmp_bytes: int = 64 * 2**20
    files: int = 64
    """Open at once, in a process."""
    file_bytes: int = 16 * 2**20
    output_bytes: int = 64 * 2**10


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run said, standard output and errors in the order they came, and how it ended."""

    status: Status
    output: str
    wall_s: float


BOOT = """
import os, resource, sys
memory, processes, files, size, cpu = map(int, sys.argv[1:6])
for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_NPROC, processes), (resource.RLIMIT_NOFILE, files),
                     (resource.RLIMIT_FSIZE, size), (resource.RLIMIT_CPU, cpu), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(limit, (value, value))
os.execv(sys.executable, [sys.executable, "-I", "-S", "-B", "-u", "/code/main.py"])
"""
"""Run inside, where the namespace is new, so that its limit on processes counts its own alone."""

DROP = """
import os, sys
user = int(sys.argv[1])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
os.execv(sys.argv[2], sys.argv[2:])
"""

PROBE = "print(6 * 7)"

TOGETHER = """
import contextlib, io
_before = {before}
_names = {{"__name__": "__main__"}}
for _each in _before:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            exec(compile(_each, "<before>", "exec"), _names)
        except Exception:
            pass
exec(compile({code}, "<code>", "exec"), _names)
"""
"""A program after those before it, whose output is not said again."""


class Sandbox:
    """Runs Python. Raises UnsupportedError where no sandbox can be made."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        missing = why_not()
        if missing is not None:
            raise UnsupportedError(f"code cannot be run here: {missing}. Without a sandbox no code of a model's is run")

    def run(self, code: str, *, after: Sequence[str] = ()) -> Outcome:
        """Run a program. after: programs whose definitions it finds, and whose output is not said."""
        whole = TOGETHER.format(before=json.dumps(list(after)), code=json.dumps(code)) if after else code
        return _run(whole, self.limits)


@functools.cache
def why_not() -> str | None:
    """Why there is no sandbox here; None: there is one, tried just now."""
    if not sys.platform.startswith("linux"):
        return "it takes Linux's namespaces"
    if shutil.which("bwrap") is None:
        return "bubblewrap is missing; install it (apt-get install bubblewrap, dnf install bubblewrap)"
    tried = _run(PROBE, Limits(wall_s=20))
    if tried.status != "ok" or tried.output.strip() != "42":
        return f"bubblewrap cannot make one ({tried.output.strip()[:300] or tried.status}); are user namespaces allowed?"
    return None


def _command(limits: Limits, code: int) -> list[str]:
    """bubblewrap's words: what is seen inside, and nothing else.

    Root makes the view, becomes nobody in it, and a second bubblewrap gives that nobody a user namespace of its own: limits on
    processes do not hold for root, and what root can read nobody may not. Others need only one.
    """
    bwrap, python = str(shutil.which("bwrap")), os.path.realpath(sys.executable)
    cpu = max(1, int(limits.wall_s) + 1)
    told = (limits.memory_bytes, limits.processes, limits.files, limits.file_bytes, cpu)
    boot = [python, "-I", "-S", "-B", "-c", BOOT, *map(str, told)]
    alone = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    alone += ["--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox", "--cap-drop", "ALL"]
    powerless = ["--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"]
    if os.geteuid():
        return [bwrap, *alone, *powerless, *_view(limits, code, python), "--", *boot]
    as_nobody = [python, "-I", "-S", "-B", "-c", DROP, str(_outsider())]
    inner = [bwrap, *powerless, "--die-with-parent", "--cap-drop", "ALL", "--dev-bind", "/", "/", "--", *boot]
    may_become = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [bwrap, *alone, *may_become, *_view(limits, code, python), "--", *as_nobody, *inner]


def _outsider() -> int:
    """A user of whom there is nobody; each run's own, for the limit on processes is a user's."""
    return OUTSIDERS + (os.getpid() * 17 + next(_runs)) % 4000


def _view(limits: Limits, code: int, python: str) -> list[str]:
    """The interpreter and what it is linked with, read-only; no device but four; an empty /tmp."""
    base = Path(sys.base_prefix)
    system = [path for path in ("/usr", "/lib", "/lib64", "/lib32", "/bin") if Path(path).exists()]
    words: list[str] = []
    for path in system:
        words += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
    seen = [Path(path) for path in system]
    for place in (base, Path(python)):
        if not any(place.is_relative_to(each) for each in seen):
            seen.append(place)
            for parent in reversed(place.parents[:-1]):  # else made for root alone
                words += ["--dir", str(parent)]
            words += ["--ro-bind", str(place), str(place)]
    for hidden in ("/usr/src", "/usr/local/src", "/usr/share", "/usr/local/share", "/usr/games"):
        if Path(hidden).is_dir() and not base.is_relative_to(hidden):
            words += ["--tmpfs", hidden, "--remount-ro", hidden]
    words += ["--proc", "/proc", "--dir", "/dev"]
    for device in ("null", "zero", "random", "urandom"):
        words += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    words += ["--perms", "1777", "--size", str(limits.tmp_bytes), "--tmpfs", "/tmp"]
    words += ["--perms", "0444", "--ro-bind-data", str(code), "/code/main.py"]
    words += ["--remount-ro", "/", "--chdir", "/tmp", "--setenv", "HOME", "/tmp", "--setenv", "LC_ALL", "C.UTF-8"]
    # Each thread's own arena would reserve 64 MiB of what it may use.
    return [*words, "--setenv", "MALLOC_ARENA_MAX", "1"]


def _run(code: str, limits: Limits) -> Outcome:
    began = time.monotonic()
    with tempfile.TemporaryFile() as file:
        try:
            file.write(code.encode())
        except UnicodeEncodeError as error:
            return Outcome(status="error", output=f"SyntaxError: {error}", wall_s=0.0)
        file.seek(0)
        process = subprocess.Popen(
            _command(limits, file.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(file.fileno(),),
            env={},  # the first process inside could be asked for it
            cwd="/",
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        said, status = _heard(process, process.stdout, limits, began)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    text = said.decode("utf-8", "replace").rstrip("\n")
    return Outcome(status=status, output=_with_ending(text, status, limits), wall_s=time.monotonic() - began)


def _heard(process: "subprocess.Popen[bytes]", stdout: IO[bytes], limits: Limits, began: float) -> tuple[bytes, Status]:
    """What it says until it ends, or is over a limit."""
    said, shared = bytearray(), _shared_bytes()
    while True:
        left = limits.wall_s - (time.monotonic() - began)
        if left <= 0:
            return bytes(said), "timeout"
        ready, _, _ = select.select([stdout], [], [], min(left, POLL_S))
        if ready:
            data = os.read(stdout.fileno(), 1 << 16)
            if not data:
                break
            said += data
            if len(said) > limits.output_bytes:
                return bytes(said[: limits.output_bytes]), "output"
        # What is shared belongs to no process, and may be anybody's: a run is only blamed for more than all of its own limits.
        held = _shared_bytes() - shared
        if _memory(process.pid) > limits.memory_bytes or held > limits.memory_bytes + limits.tmp_bytes:
            return bytes(said), "memory"
    # Its output is closed; it may still run.
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = process.wait(max(0.0, limits.wall_s - (time.monotonic() - began)))
        return bytes(said), "ok" if code == 0 else "killed" if code > 128 or code < 0 else "error"
    return bytes(said), "timeout"


def _memory(pid: int) -> int:
    """Of all that a process started."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for each in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total


def _shared_bytes() -> int:
    """Memory files and shared segments of the whole machine, which no limit of a process covers."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Shmem:")), 0)


def _with_ending(text: str, status: Status, limits: Limits) -> str:
    """The output as it is fed back: what stopped it stands at its end."""
    endings = {
        "timeout": f"[stopped after {limits.wall_s:g} s]",
        "memory": f"[stopped: more than {limits.memory_bytes >> 20} MiB of memory]",
        "output": f"[stopped: more than {limits.output_bytes >> 10} KiB of output]",
        "killed": "[killed: over a limit]",
    }
    ending = endings.get(status)
    return text if ending is None else f"{text}\n{ending}" if text else ending
