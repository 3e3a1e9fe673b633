"""One conversation, one rule for its history, under four names."""

import json
from pathlib import Path

import pytest
from tests.inference.conftest import Typed
from typer.testing import CliRunner

import ramify
from ramify.cli.main import app
from ramify.engine.model import Model
from ramify.errors import ConfigError, InputError, PromptTooLongError
from ramify.models.chat import ChatTemplate
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m['role'][0]|upper }}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}A{% endif %}"
)


@pytest.fixture
def model() -> Model:
    """It answers with an x for each message of the user so far, in a window of 24 tokens."""
    codec = ScriptedTokenizer(("x", "y", "z", "S", "U", "A"))
    codec.chat_template = TEMPLATE

    def script(ids: tuple[int, ...]) -> list[float]:
        said = codec.decode(ids)
        answer = said[said.rindex("A") + 1 :]
        best = codec.encode("x")[0] if len(answer) < said.count("U") else codec.eos_token_ids[0]
        return [0.0 if i == best else -20.0 for i in range(codec.vocab_size)]

    return Model(ScriptedBackend(script, codec, context_window=24), chat=ChatTemplate(codec))


def test_an_interactive_generator_remembers_until_it_is_reset(model: Model) -> None:
    generator = ramify.InteractiveGenerator(model)
    assert [generator.generate("y"), generator.generate("z")] == ["x", "xx"]
    generator.reset()
    assert generator.generate("y") == "x"


def test_the_session_and_the_calls_are_one_conversation(model: Model, typed: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    generator = ramify.InteractiveGenerator(model)
    generator.generate("y")
    typed("z", "/set max_new_tokens 1", "y", "/quit", "never read")
    generator.start_session()
    assert capsys.readouterr().out == "xx\nmax_new_tokens = 1\nx\n"
    assert generator.conversation.exchanges == [("y", "x"), ("z", "xx"), ("y", "x")]


def test_a_chat_interface_takes_the_callers_history_or_keeps_its_own(model: Model) -> None:
    chat = ramify.ChatInterface(model, system_prompt="y")
    told = [{"user": "y", "assistant": "x"}, {"user": "z", "assistant": "xx"}]
    assert chat.respond("y", told) == "xxx"
    assert told == [{"user": "y", "assistant": "x"}, {"user": "z", "assistant": "xx"}]
    assert [chat.respond("y"), chat.respond("y")] == ["x", "xx"]
    assert chat.conversation.messages[0] == {"role": "system", "content": "y"}


def test_the_oldest_exchanges_are_forgotten_first_wherever_the_history_is_kept(model: Model) -> None:
    told = [{"user": "yyyyyy", "assistant": "x"}] * 3
    chat = ramify.ChatInterface(model, max_new_tokens=4)
    assert chat.respond("y", told) == "xx"  # of four messages two fit, the new one among them
    with pytest.raises(PromptTooLongError):
        chat.respond("y" * 30)


def test_settings_may_hold_for_one_answer(model: Model) -> None:
    chat = ramify.ChatInterface(model)
    chat.respond("y")
    assert chat.respond("y", max_new_tokens=1) == "x"
    assert chat.respond("y") == "xxx"
    with pytest.raises(ConfigError, match="did you mean max_new_tokens"):
        chat.respond("y", max_tokens=1)


@pytest.mark.parametrize(
    "entry", [{"user": "y"}, {"role": "user", "content": "y"}, "y", {"user": "y", "assistant": None}], ids=str
)
def test_a_history_of_another_shape_is_refused(model: Model, entry: object) -> None:
    with pytest.raises(InputError, match=r"conversation holds .* at 0"):
        ramify.ChatInterface(model).respond("y", [entry])  # type: ignore[list-item]


def test_saving_a_session_writes_what_was_said(model: Model, typed: Typed, tmp_path: Path) -> None:
    typed("y", f"/save {tmp_path / 'talk.json'}", "/reset", "z", "/quit")
    ramify.interactive_cli(model)
    saved = json.loads((tmp_path / "talk.json").read_text("utf-8"))
    assert saved["messages"] == [{"role": "user", "content": "y"}, {"role": "assistant", "content": "x"}]


def test_an_empty_message_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match="must be text that is not empty"):
        ramify.InteractiveGenerator(model).generate("  ")


@pytest.mark.parametrize("command", [("chat",), ("generate", "text", "--interactive")])
def test_the_commands_are_the_same_conversation(model: Model, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    from ramify.cli import options

    monkeypatch.setattr(options, "open_model", lambda name, **how: model)
    result = CliRunner().invoke(app, [*command, "-q"], input="y\nz\n/reset\ny\n/quit\nz\n", prog_name="ramify")
    assert (result.exit_code, result.stdout) == (0, "x\nxx\nx\n")
