"""Many `ramify` commands, each in a process of its own, without each of them loading torch anew.

One Python loads the libraries and nothing else; every command is a fork of it, with its own memory, files and end. What a command
leaves behind is in the workspace or nowhere, as with a process started afresh.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

SERVE = """
import json, os, sys, traceback
import ramify.cli.main, ramify.store.database, ramify.engine.model
import transformers.models.llama.modeling_llama, transformers.models.auto.modeling_auto
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            for number, name, flags in ((0, "in", os.O_RDONLY), (1, "out", os.O_WRONLY), (2, "err", os.O_WRONLY)):
                os.dup2(os.open(asked["files"] + "/" + name, flags), number)
            os.chdir(asked["folder"])
            sys.stdin = open(0, encoding="utf-8")
            sys.argv = ["ramify", *asked["arguments"]]
            ramify.cli.main.main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    print(json.dumps([child, os.waitstatus_to_exitcode(status)]), flush=True)
"""


class Ramify:
    """`ramify` as a function of its arguments; use it as a context."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.files = folder, folder / "streams"
        self.files.mkdir()
        self.processes: list[int] = []
        """The number of each command's process."""
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """What the command prints. Fails where it fails."""
        for name, text in (("in", stdin), ("out", ""), ("err", "")):
            (self.files / name).write_text(text, "utf-8")
        asked = {"arguments": arguments, "folder": str(self.folder), "files": str(self.files)}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        process, code = json.loads(self._server.stdout.readline())
        self.processes.append(process)
        assert code == 0, (arguments, (self.files / "err").read_text("utf-8"))
        return (self.files / "out").read_text("utf-8")

    def __enter__(self) -> "Ramify":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)
        if self._server.stdout is not None:
            self._server.stdout.close()


def environment(home: Path) -> dict[str, str]:
    """One core, a data folder of its own, and no workspace named."""
    found = os.environ | {"RAMIFY_HOME": str(home), "OMP_NUM_THREADS": "1"}
    found.pop("RAMIFY_WORKSPACE", None)
    return found
