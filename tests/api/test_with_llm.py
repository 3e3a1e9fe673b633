"""The `llm` tool, unmodified: a model of its own configuration whose api_base is a live server."""

import json
from pathlib import Path

import llm
import pytest
from click.testing import CliRunner
from llm.cli import cli
from tests.api.listening import Live

CONFIGURED = """
- model_id: small-chat
  model_name: tiny
  api_base: "{url}/v1"
  api_key_name: ramify
  supports_schema: true
- model_id: small-raw
  model_name: tiny
  api_base: "{url}/v1"
  api_key_name: ramify
  completion: true
"""


@pytest.fixture(autouse=True)
def configured(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(CONFIGURED.format(url=live.url))
    (tmp_path / "keys.json").write_text(json.dumps({"ramify": live.token}))
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))


def said(*arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments, "--no-log"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_chat_answers_streamed_and_whole(live: Live) -> None:
    given = ("-m", "small-chat", "Tell me a story about a cat.", "-o", "max_tokens", "20", "-o", "temperature", "0")
    model = live.server.models.loaded()["tiny"]
    messages = [{"role": "user", "content": "Tell me a story about a cat."}]
    expected = model.complete(messages, max_new_tokens=20, temperature=0).generated_text + "\n"
    assert said(*given) == expected
    assert said(*given, "--no-stream") == expected


def test_a_raw_prompt_is_completed_streamed_and_whole(live: Live) -> None:
    given = ("-m", "small-raw", "Once upon a time", "-o", "max_tokens", "20", "-o", "temperature", "0", "-o", "logprobs", "2")
    model = live.server.models.loaded()["tiny"]
    expected = model.complete("Once upon a time", max_new_tokens=20, temperature=0).generated_text + "\n"
    assert said(*given) == expected
    assert said(*given, "--no-stream") == expected


def test_a_schema_is_kept() -> None:
    found = json.loads(said("-m", "small-chat", "A person", "--schema", "name, age int", "-o", "temperature", "0"))
    assert set(found) == {"name", "age"}
    assert isinstance(found["age"], int)


def test_its_python_library_asks_and_converses() -> None:
    model = llm.get_model("small-chat")
    conversation = model.conversation()
    first = conversation.prompt("Hello", temperature=0, max_tokens=8)
    assert first.text()
    second = conversation.prompt("And now?", temperature=0, max_tokens=8)
    assert second.text()
    usage = second.usage()
    assert (usage.output or 0) > 0
    assert (usage.input or 0) > (first.usage().input or 0)


def test_a_wrong_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"ramify": "wrong"}))
    result = CliRunner().invoke(cli, ["-m", "small-chat", "Hello", "--no-log"])
    assert result.exit_code != 0
    assert "token is missing or wrong" in result.output
