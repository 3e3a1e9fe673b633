"""The documents, and what is typed at a prompt."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import models_made_here
from ramify.inference import forget_models

DOCUMENTS = Path(__file__).parents[3] / "shared" / "reference" / "documents"

Typed = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder."""
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAMIFY_DEVICE", "cpu")
    return tmp_path / "home"


@pytest.fixture(scope="session", autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    forget_models()


@pytest.fixture(scope="session")
def folder() -> Path:
    """A small random model with a chat template, as a folder."""
    return models_made_here.folder("llama")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """`typed("a", "b")`: what a person types from now on, line by line; the list is what is still to be typed."""

    def type_lines(*lines: str) -> list[str]:
        waiting = list(lines)

        def answer(prompt: str = "") -> str:
            if not waiting:
                raise EOFError
            return waiting.pop(0)

        monkeypatch.setattr("builtins.input", answer)
        return waiting

    return type_lines


def blocks_of(document: str) -> list[tuple[str, str]]:
    """(heading, code) of every code block, or a skip where the document is not here."""
    file = DOCUMENTS / document
    if not file.is_file():
        pytest.skip(f"document {document} is not here")
    found, heading = [], ""
    for match in re.finditer(r"^#+ ([^\n]*)$|^```(\w*)\n(.*?)^```", file.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if match[1] is not None:
            heading = match[1].strip()
        else:
            found.append((f"{heading} ({match[2]})", match[3]))
    return found
