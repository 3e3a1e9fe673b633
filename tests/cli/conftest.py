"""`ramify` as a function, on a model whose every probability is written down."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ramify.cli import options
from ramify.cli.main import app
from ramify.engine.model import Model
from ramify.models.chat import ChatTemplate
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer

Run = Callable[..., Result]

TABLE = {
    "a": {"b": 0.5, "c": 0.3, "<eos>": 0.2},
    "ab": {"c": 0.9, "<eos>": 0.1},
    "abc": {"<eos>": 1.0},
    "ac": {"a": 0.6, "<eos>": 0.4},
    "aca": {"<eos>": 1.0},
}
"""Greedy completes "a" by "bc" and EOS: .5 × .9 × 1."""

TEMPLATE = (
    "{% for m in messages %}{{ m['role'][0]|upper }}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}A{% endif %}"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and an environment that says nothing of colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "RAMIFY_DEVICE", "RAMIFY_PRECISION", "RAMIFY_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def ramify() -> Run:
    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, prog_name="ramify")

    return run


@pytest.fixture
def stories(ramify: Run, tmp_path: Path) -> Path:
    """A workspace with the prompt "a" as sample 1; the last one used."""
    where = tmp_path / "stories.ramify"
    assert ramify("new", str(where)).exit_code == 0
    assert ramify("samples", "add", "a", "--title", "Letters").stdout == "1\n"
    return where


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every model is the one of TABLE. The list gets how each was asked for."""
    asked: list[dict[str, Any]] = []

    def open_model(name: str, **how: Any) -> Model:
        asked.append({"name": name, **{key: value for key, value in how.items() if value not in (None, False)}})
        return Model(ScriptedBackend(TABLE))

    monkeypatch.setattr(options, "open_model", open_model)
    return asked


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model answers with an x for each message of the user so far, in a window of 24 tokens."""

    def open_model(name: str, **how: Any) -> Model:
        codec = ScriptedTokenizer(("x", "y", "z", "S", "U", "A"))
        codec.chat_template = TEMPLATE

        def script(ids: tuple[int, ...]) -> list[float]:
            said = codec.decode(ids)
            answer = said[said.rindex("A") + 1 :]
            wanted = "x" if len(answer) < said.count("U") else None
            best = codec.encode(wanted)[0] if wanted else codec.eos_token_ids[0]
            return [0.0 if i == best else -20.0 for i in range(codec.vocab_size)]

        return Model(ScriptedBackend(script, codec, context_window=24), chat=ChatTemplate(codec))

    monkeypatch.setattr(options, "open_model", open_model)
