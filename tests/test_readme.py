"""The README's tour, run as it stands, on the model that is inside."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ramify.cli.main import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [line for line in blocks("sh")[0].splitlines() if line.startswith("ramify ")]


def says_something(result: Result) -> None:
    assert result.stdout.strip()


def is_a_payment(result: Result) -> None:
    found = json.loads(result.stdout)
    assert list(found) == ["contractor", "sum", "currency"]
    assert re.fullmatch("[A-Z]{3}", found["currency"])


def is_an_object(result: Result) -> None:
    assert json.loads(result.stdout)["finish_reason"] in ("eos", "length")


def is_two_beams(result: Result) -> None:
    assert "[completion 2 of 2: " in result.stderr
    assert "beam score -" in result.stderr


def has_alternatives(result: Result) -> None:
    assert "alternatives" in result.stdout
    assert "¹" in result.stdout or "⁹" in result.stdout


def is_a_chat(result: Result) -> None:
    assert len(result.stdout.strip()) > 1


CHECKS: dict[str, Callable[[Result], None]] = {
    "--json-schema": is_a_payment,
    "--json": is_an_object,
    "--num-beams": is_two_beams,
    "--logprobs": has_alternatives,
    "chat": is_a_chat,
}


def test_the_tour_shows_completing_streaming_logprobs_beams_schemas_and_chat() -> None:
    tour = " ".join(COMMANDS)
    assert [word for word in ("--stream", *CHECKS) if word not in tour] == []


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_tour_works(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path))
    arguments = shlex.split(line)[1:]
    if arguments[0] == "chat":
        arguments += ["--max-new-tokens", "30"]  # The person at the keyboard could stop it.
    result = CliRunner().invoke(app, arguments, input="Hello!\n/quit\n", prog_name="ramify")
    assert result.exit_code == 0, result.output
    checks = [check for word, check in CHECKS.items() if word in arguments]
    for check in checks or [says_something]:
        check(result)


def test_the_python_of_the_tour_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path))
    (source,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), names)
    names["model"].close()  # type: ignore[attr-defined]
    assert "Once upon a time" not in capsys.readouterr().out[:16]  # The text is the completion, without its prompt.


def test_make_has_every_target_that_the_documents_name() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    documents = "\n".join(file.read_text("utf-8") for file in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", documents, flags=re.MULTILINE))
    assert {"run", "test"} <= named <= targets
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == targets
