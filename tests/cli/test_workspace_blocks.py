"""`ramify completions blocks` on a model that writes "b\\n\\n" and then "b" or "c", and ends."""

import json
from typing import Any

import pytest
from tests.cli.conftest import Run

from ramify.cli import options
from ramify.engine.model import Model
from ramify.models.chat import ChatTemplate
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from workbench.test_blocks import TABLE, WORDS

pytestmark = pytest.mark.usefixtures("stories")


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "open_model", lambda name, **how: Model(ScriptedBackend(TABLE, WORDS)))


def steps(ramify: Run, *lines: str, options: tuple[str, ...] = ("--show", "1")) -> list[dict[str, Any]]:
    """What is answered to each step."""
    result = ramify("completions", "blocks", "1", "--json", *options, stdin="".join(f"{line}\n" for line in lines))
    assert result.exit_code == 0, (result.stderr, result.exception)
    return [json.loads(line) for line in result.stdout.splitlines()]


def offered(step: dict[str, Any]) -> list[str]:
    return [each["text"] for each in step["candidates"]]


def test_paragraphs_are_accepted_until_the_model_ends_and_saved(ramify: Run) -> None:
    *seen, saved = steps(ramify, "1", "1", "s")
    assert [(each["text"], offered(each), each["over"]) for each in seen] == [
        ("", ["b\n\n"], False),
        ("b\n\n", ["b"], False),
        ("b\n\nb", [], True),
    ]
    assert (saved["text"], saved["token_ids"], saved["finish_reason"]) == ("b\n\nb", [1, 3, 3, 1, 4], "eos")
    assert [each["start"] for each in saved["details"]["blocks"]] == [0, 3]


def test_a_paragraph_is_edited_typed_and_taken_back(ramify: Run) -> None:
    *seen, saved = steps(ramify, "e 1 cb\\n\\n", "u", "t c\\n\\n", "s")
    assert [each["text"] for each in seen] == ["", "cb\n\n", "", "c\n\n"]
    assert [each["origin"] for each in saved["spans"]] == ["typed"]
    assert (saved["finish_reason"], saved["truncated"]) == ("user", True)


def test_shorter_and_longer_ones_are_asked_for(ramify: Run) -> None:
    seen = steps(ramify, "1", "+ 1", "- 1", "q")
    assert [offered(each) for each in seen[1:3]] == [["b"], ["bca"]]
    assert len(seen[3]["candidates"][0]["token_ids"]) < len(seen[2]["candidates"][0]["token_ids"])
    assert ramify("completions", "list").stdout == ""


def test_several_candidates_are_sampled_and_a_seed_gives_them_again(ramify: Run) -> None:
    first = steps(ramify, "1", "n", "q", options=("--show", "3", "--seed", "4"))
    again = steps(ramify, "1", "n", "q", options=("--show", "3", "--seed", "4"))
    assert first == again
    assert [len(each["candidates"]) for each in first] == [3, 3, 3]


def test_an_instruction_reaches_the_model_and_is_kept_with_its_block(ramify: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = ScriptedTokenizer(("a", "x", "U", "A", "\n", "s"))
    codec.chat_template = "{% for m in messages %}U{{ m['content'] }}{% endfor %}A"

    def script(ids: tuple[int, ...]) -> list[float]:
        said = codec.decode(ids)
        answer = said[said.rindex("A") + 1 :]
        wanted = ("s" if "\n\ns" in said.split("A")[0] else "x") if not answer else None
        best = codec.encode(wanted)[0] if wanted else codec.eos_token_ids[0]
        return [0.0 if i == best else -20.0 for i in range(codec.vocab_size)]

    monkeypatch.setattr(
        options, "open_model", lambda name, **how: Model(ScriptedBackend(script, codec), chat=ChatTemplate(codec))
    )
    assert ramify("samples", "add", "a", "--chat").stdout == "2\n"
    result = ramify("completions", "blocks", "2", "--json", "--show", "1", stdin="r s\n1\ns\n")
    seen = [json.loads(line) for line in result.stdout.splitlines()]
    assert [offered(each) for each in seen[:2]] == [["x"], ["s"]]
    assert (seen[-1]["text"], seen[-1]["details"]["blocks"][0]["instruction"]) == ("s", "s")


@pytest.mark.parametrize(
    ("lines", "options_", "message"),
    [
        (["9"], (), "there is no candidate 9; they have the numbers 1 to 1"),
        (["bc"], (), "'bc' is no step"),
        (["u"], (), "there is no block to take back"),
        (["s"], (), "there is no paragraph to save yet"),
        (["r shorter"], (), "an instruction needs messages"),
        (["e 1"], (), "an editor needs a terminal"),
        ([], ("--stop-strings", "x"), "a block ends at its border"),
        ([], ("--border", ""), "a border is what ends a block"),
    ],
)
def test_what_cannot_be_ends_a_script_and_nothing_is_saved(
    ramify: Run, lines: list[str], options_: tuple[str, ...], message: str
) -> None:
    stdin = "".join(f"{line}\n" for line in [*lines, "1", "s"])
    result = ramify("completions", "blocks", "1", "--show", "1", *options_, stdin=stdin)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert ramify("completions", "list").stdout == ""


def test_paragraphs_are_shown_with_their_numbers_and_the_steps_are_told(ramify: Run) -> None:
    result = ramify("completions", "blocks", "1", "--show", "1", stdin="1\n1\n?\nq\n")
    assert result.stdout.startswith("\n   1  b\nb\n\n\n   1  b (ends it)\nb\n\nb\n  [ended by EOS; s saves, u takes it back]\n")
    assert all(f"\n{step} " in result.stdout for step in ("e NUMBER TEXT", "- NUMBER", "+ NUMBER", "r TEXT", "n", "t TEXT"))
    assert result.stderr == "[not saved]\n"
