"""`ramify chat`, driven through standard input. The model answers with an x for each message it has been told of."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from ramify.cli import options
from ramify.cli.conversation import Conversation
from ramify.decoding.config import GenerationConfig
from ramify.errors import PromptTooLongError

pytestmark = pytest.mark.usefixtures("talkative")


def test_the_whole_conversation_is_the_prompt(ramify: Run) -> None:
    result = ramify("chat", stdin="y\n\nz\ny\n/quit\nz\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "x\nxx\nxxx\n", "")


def test_reset_begins_anew(ramify: Run) -> None:
    assert ramify("chat", "-q", stdin="y\nz\n/reset\ny\n").stdout == "x\nxx\nx\n"


def test_settings_can_be_given_seen_and_taken_back(ramify: Run) -> None:
    result = ramify("chat", "-q", stdin="/set max-new-tokens 1\ny\ny\n/set max_new_tokens\n/set stop_strings xx\n/set\n")
    assert result.stdout.splitlines() == [
        "max_new_tokens = 1",
        "x",
        "x",
        'stop_strings = ["xx"]',
        'stop_strings = ["xx"]',
    ]


def test_a_saved_conversation_is_messages_that_complete_reads(ramify: Run, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    result = ramify("chat", "--system", "z", "--seed", "3", stdin=f"y\n/save {file}\n")
    assert result.stdout == f"x\n3 messages in {file}\n"
    assert json.loads(file.read_text("utf-8")) == {
        "model": "scripted",
        "fingerprint": "scripted",
        "config": {"seed": 3},
        "messages": [
            {"role": "system", "content": "z"},
            {"role": "user", "content": "y"},
            {"role": "assistant", "content": "x"},
        ],
    }
    assert ramify("complete", "--messages", str(file)).exit_code == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/sett", "/sett is not a command; /help lists them"),
        ("/set tempratur 1", "did you mean temperature?"),
        ("/set temperature -1", "temperature is -1; it must be a number >= 0"),
        ("/set num_return_sequences 2", "a conversation goes on with one answer"),
        ("/save", "/save needs a file's name"),
        ("/save /nowhere/at/all", "'/nowhere/at/all' cannot be written"),
        ("y" * 40, "the prompt has 42 tokens; the model's context window holds 24"),
    ],
)
def test_a_script_with_a_mistake_ends_with_code_2(ramify: Run, line: str, message: str) -> None:
    result = ramify("chat", stdin=f"{line}\ny\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_line_with_two_slashes_is_said_with_one(ramify: Run) -> None:
    result = ramify("chat", stdin="//y\n")
    assert result.exit_code == 2
    assert "'/yA' does not begin with any word" in result.stderr  # The scripted vocabulary has no slash.


def test_the_oldest_exchanges_are_forgotten_first_and_the_system_message_stays() -> None:
    with options.open_model("any") as model:
        talk = Conversation(model, GenerationConfig(max_new_tokens=6), system="z")
        # "Sz", then "UyA" and an answer each time, and room for 6 more: a third exchange would make it 26 tokens or more.
        answers = ["".join(talk.answer("y")) for _ in range(6)]
        assert answers == ["x", "xx", "xxx", "xxx", "xxx", "xxx"]
        assert talk.forgotten == 3
        assert talk.messages[0] == {"role": "system", "content": "z"}
        assert len(talk.messages) == 1 + 2 * 6
        with pytest.raises(PromptTooLongError):
            next(talk.answer("y" * 30))
        assert len(talk.exchanges) == 6


def test_a_cancelled_answer_stays_as_far_as_it_got() -> None:
    with options.open_model("any") as model:
        talk = Conversation(model)
        for _ in range(3):
            "".join(talk.answer("y"))
        pieces = talk.answer("z")
        assert next(pieces) == "x"
        pieces.close()  # type: ignore[attr-defined]
        assert talk.exchanges[-1] == ("z", "x")
        assert talk.last is None
        untouched = talk.answer("z")
        untouched.close()  # type: ignore[attr-defined]
        assert len(talk.exchanges) == 4
