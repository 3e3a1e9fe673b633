"""Chat messages as the prompt of `ramify complete`. The model answers with an x for each message of the user."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("talkative")


def test_a_prompt_can_be_a_users_message(ramify: Run, tmp_path: Path) -> None:
    assert ramify("complete", "y", "--chat").stdout == "x\n"
    assert ramify("complete", "y", "--system", "z").stdout == "x\n"
    found = json.loads(ramify("complete", "y", "--system", "z", "--json").stdout)
    assert found["prompt_tokens"] == len("SzUyA")
    messages = [{"role": "user", "content": "y"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "z"}]
    (tmp_path / "messages.json").write_text(json.dumps(messages), "utf-8")
    assert ramify("complete", "--messages", str(tmp_path / "messages.json")).stdout == "xx\n"
    assert ramify("complete", "--messages", "-", stdin=json.dumps({"messages": messages})).stdout == "xx\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "'-' holds no messages"),
        ("[]", "'-' holds no messages"),
        ('["hello"]', "message 0 is 'hello'; it must be an object with role and content"),
        ('[{"role": "user"}]', "content"),
    ],
)
def test_messages_that_are_none_are_refused(ramify: Run, content: str, message: str) -> None:
    result = ramify("complete", "--messages", "-", stdin=content)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_messages_are_the_whole_conversation(ramify: Run) -> None:
    result = ramify("complete", "--messages", "-", "--system", "z", stdin="[]")
    assert result.exit_code == 2
    assert "leave --system and --chat out" in result.stderr
