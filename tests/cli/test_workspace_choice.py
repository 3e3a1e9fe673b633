"""Which workspace a command works on, and what every command of the workspace has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run

from ramify.cli.main import command
from ramify.store.secrets import without_password

COMMANDS = (
    "samples",
    "completions",
    "facets",
    "rate",
    "prefer",
    "tokens",
    "score",
    "search",
    "filters",
    "history",
    "undo",
    "redo",
)


def leaves(parsed: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A command's own commands, down to those that do something."""
    children = getattr(parsed, "commands", None)
    if not children:
        yield name, parsed
    for child, found in (children or {}).items():
        yield from leaves(found, f"{name} {child}")


LEAVES = {name: found for top in COMMANDS for name, found in leaves(command(top), top)}


def options_of(name: str) -> set[str]:
    return {option for param in LEAVES[name].params for option in param.opts}


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_takes_a_workspace(name: str) -> None:
    assert {"--workspace", "-w"} <= options_of(name)


@pytest.mark.parametrize("name", ["samples list", "completions list", "facets list", "filters list", "search", "history"])
def test_every_listing_can_be_json(name: str) -> None:
    assert "--json" in options_of(name)


def titles(ramify: Run, *arguments: str) -> str:
    return ramify("samples", "list", *arguments).stdout


def test_the_one_named_comes_first_then_the_environment_then_the_last_one_used(
    ramify: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        where = str(tmp_path / f"{name}.ramify")
        assert ramify("new", where).stdout == f"made {where}\n"
        ramify("samples", "add", "a", "--title", name)
    assert "three" in titles(ramify)
    assert "one" in titles(ramify, "--workspace", str(tmp_path / "one.ramify"))
    assert "one" in titles(ramify)
    monkeypatch.setenv("RAMIFY_WORKSPACE", str(tmp_path / "two.ramify"))
    assert "two" in titles(ramify)
    assert "three" in titles(ramify, "-w", str(tmp_path / "three.ramify"))
    assert "two" in titles(ramify)


def test_the_last_one_used_is_found_from_another_folder(ramify: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert ramify("new", "stories.ramify").exit_code == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ramify("samples", "add", "a").stdout == "1\n"


def test_no_workspace_at_all_is_answered_with_how_to_make_one(ramify: Run) -> None:
    result = ramify("samples", "list")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "`ramify new stories.ramify` makes one" in result.stderr


def test_a_workspace_that_is_not_there_is_not_made_by_accident(ramify: Run, tmp_path: Path) -> None:
    where = tmp_path / "storys.ramify"
    result = ramify("samples", "add", "a", "--workspace", str(where))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"ramify: there is no workspace at {where}; `ramify new {where}` makes one\n"
    assert not where.exists()


def test_a_last_one_that_is_gone_is_named(ramify: Run, stories: Path) -> None:
    stories.unlink()
    assert f"there is no workspace at {stories} (the last one used)" in ramify("undo").stderr


def test_a_refused_workspace_does_not_become_the_last_one(ramify: Run, stories: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no workspace " * 100)
    assert ramify("samples", "list", "-w", str(tmp_path / "notes.txt")).exit_code == 1
    assert "Letters" in titles(ramify)


def test_new_takes_nothing_that_is_there(ramify: Run, stories: Path) -> None:
    before = stories.read_bytes()
    result = ramify("new", str(stories))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"there is something at {stories} already" in result.stderr
    assert stories.read_bytes() == before


def test_a_new_workspace_can_say_which_model_completes(ramify: Run, tmp_path: Path, scripted: list[dict[str, Any]]) -> None:
    ramify("new", str(tmp_path / "s.ramify"), "--model", "mine")
    ramify("samples", "add", "a")
    assert ramify("completions", "generate", "1").stdout == "bc\n"
    assert scripted == [{"name": "mine"}]


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db?password=secret&application_name=r", "postgresql://host/db?application_name=r"),
        ("postgresql+psycopg://me@/db?host=/tmp/x", "postgresql+psycopg://me@/db?host=/tmp/x"),
    ],
)
def test_a_password_is_not_remembered(url: str, kept: str) -> None:
    assert without_password(url) == kept


def test_a_data_folder_that_cannot_be_written_is_no_reason_to_fail(ramify: Run, stories: Path, home: Path) -> None:
    (home / "last-workspace").unlink()
    home.rmdir()
    home.write_text("a file where the folder should be")
    assert "Letters" in titles(ramify, "--workspace", str(stories))
