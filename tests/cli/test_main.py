"""`ramify` itself: its commands, its exit codes, and what it says when something goes wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run

from ramify import __version__
from ramify.cli import options
from ramify.cli.main import COMMANDS, command
from ramify.cli.reference import page
from ramify.errors import CancelledError, EngineError, InputError

ROOT = Path(__file__).parents[2]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def open_model(name: str, **how: Any) -> None:
        raise error

    monkeypatch.setattr(options, "open_model", open_model)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("that cannot be used"), 2, "ramify: that cannot be used\n"),
        (EngineError("the engine failed"), 1, "ramify: the engine failed\n"),
        (CancelledError("cancelled"), 1, "ramify: cancelled\n"),
        (PermissionError(13, "Permission denied", "x"), 1, "ramify: [Errno 13] Permission denied: 'x'\n"),
        (KeyError("x"), 1, "ramify: KeyError: 'x' (`ramify --debug …` shows where)\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    ramify: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    failing(monkeypatch, error)
    result = ramify("complete", "a")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", message)


def test_debug_shows_where_an_error_came_from(ramify: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, EngineError("the engine failed"))
    result = ramify("--debug", "complete", "a")
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback")
    assert "open_model" in result.stderr
    assert result.stderr.endswith("ramify: the engine failed\n")


@pytest.mark.parametrize("arguments", [["complet"], ["--nonsense"], ["models", "sho"], ["models", "show"]])
def test_bad_usage_is_code_2(ramify: Run, arguments: list[str]) -> None:
    result = ramify(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: ramify" in result.stderr


def test_a_misspelt_command_is_answered_with_the_nearest(ramify: Run) -> None:
    assert "Did you mean 'complete', 'completions'?" in " ".join(ramify("complet").stderr.split())


def test_help_names_every_command_and_the_exit_codes(ramify: Run) -> None:
    result = ramify("--help")
    assert result.exit_code == 0
    told = " ".join(result.stdout.replace("│", " ").split())
    for name, words in COMMANDS.items():
        assert f"{name} {words}" in told
    assert "Exit codes: 0 done, 1 failed while running, 2 the command line or the input cannot be used, 130 interrupted." in told


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_of_itself_what_the_list_says(name: str, ramify: Run) -> None:
    found = command(name)
    assert found.help
    if getattr(found, "commands", None):
        assert found.help.splitlines()[0] == COMMANDS[name]
    result = ramify(name, "--help")
    assert result.exit_code == 0
    assert f"Usage: ramify {name}" in result.stdout


def test_the_version_is_the_packages(ramify: Run) -> None:
    assert ramify("--version").stdout == f"ramify {__version__}\n"


def test_docs_cli_md_is_what_the_commands_say() -> None:
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == page(), "run `make docs`"


def test_an_interrupt_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    """A real process, a real signal, while it waits for its prompt."""
    code = (
        "import sys; from ramify.cli import options; from ramify.cli.main import main\n"
        "def wait(*a, **b):\n    print('ready', flush=True)\n    import time; time.sleep(60)\n"
        "options.open_model = wait; sys.argv = ['ramify', 'complete', 'a']; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAMIFY_HOME": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")


def test_a_reader_who_leaves_early_is_no_error_message() -> None:
    code = (
        "import sys; from ramify.cli.main import main\nsys.argv = ['ramify', 'complete', '--help']\n"
        "import time; sys.stdin.readline(); main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
        assert process.stderr is not None
        errors = process.stderr.read()
    assert "Traceback" not in errors
