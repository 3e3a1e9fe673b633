"""`ramify` as processes of their own, without each of them loading torch anew.

One Python loads the libraries and nothing else; every command is a fork of it, with its own memory, files, signals and end. Only
the one that forked a command can know of its end, so that one is asked.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

__all__ = ["ForkedRamify", "Zygote"]

FORKS = """
import importlib, json, os, pkgutil, sys, traceback
import ramify.api.app, ramify.api.serving, ramify.cli, ramify.cli.main
import transformers.models.llama.modeling_llama, transformers.models.auto.modeling_auto
for module in pkgutil.iter_modules(ramify.cli.__path__, "ramify.cli."):
    importlib.import_module(module.name)
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "wait" in asked:
        pid, status = os.waitpid(asked["wait"], os.WNOHANG)
        print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
        continue
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.environ.clear()
            os.environ.update(asked["environment"])
            log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for number, where in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
                os.dup2(where, number)
            sys.argv = ["ramify", *asked["arguments"]]
            ramify.cli.main.main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
"""


class Zygote:
    """The one that has loaded everything. Use it as a context; what it forked should have ended before."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._asking = threading.Lock()
        assert self._answer() == "ready\n"

    def ask(self, **asked: object) -> str:
        with self._asking:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class ForkedRamify:
    """A running `ramify` command: as much of `subprocess.Popen` as tests use. What it says goes to the file `log`."""

    def __init__(self, zygote: Zygote, arguments: list[str], *, environment: dict[str, str], log: Path) -> None:
        self._zygote = zygote
        self._code: int | None = None
        self.pid = int(zygote.ask(arguments=arguments, environment=environment, log=str(log)))

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        if self._code is None:
            self._code = json.loads(self._zygote.ask(wait=self.pid))
        return self._code

    def wait(self, timeout_s: float) -> int:
        """Raises TimeoutError where it has not ended by then."""
        ends = time.monotonic() + timeout_s
        while (code := self.poll()) is None:
            if time.monotonic() > ends:
                raise TimeoutError(f"process {self.pid} still runs after {timeout_s:g} s")
            time.sleep(0.02)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def end(self) -> None:
        """Let it end, and make it."""
        self.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            self.wait(20)
        self.send_signal(signal.SIGKILL)
        self.wait(20)
