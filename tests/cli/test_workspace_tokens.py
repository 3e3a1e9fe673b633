"""`ramify tokens`: steps in, candidates out, through a pipe.

After "a" the model says b .5, c .3, EOS .2; after "ab" c .9, EOS .1.
"""

import json
from typing import Any

import pytest
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("stories", "scripted")


def steps(ramify: Run, *lines: str, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """What is answered to each step."""
    result = ramify("tokens", "1", "--json", *options, stdin="".join(f"{line}\n" for line in lines))
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def offered(step: dict[str, Any]) -> list[str]:
    return [each["text"] for each in step["candidates"]]


def kept(ramify: Run, completion: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ramify("completions", "show", str(completion), "--json").stdout)
    return found


def test_candidates_have_numbers_and_probabilities_and_the_rest_is_others(ramify: Run) -> None:
    result = ramify("tokens", "1", "--show", "1", stdin="1\nq\n")
    assert result.stdout.splitlines() == [
        "",
        "   1  b        50.00 %",
        "   2  <eos>    20.00 %  ends it",
        "      others   30.00 %",
        "b",
        "   1  c        90.00 %",
        "   2  <eos>    10.00 %  ends it",
        "      others    0.00 %",
    ]
    assert result.stderr == "[not saved]\n"
    assert ramify("completions", "list").stdout == ""


def test_the_saved_completion_has_exactly_the_picked_tokens(ramify: Run) -> None:
    *seen, saved = steps(ramify, "2", "1", "s")
    assert [each["text"] for each in seen] == ["", "c", "ca"]
    assert [each["token_ids"] for each in seen] == [[], [2], [2, 0]]
    found = kept(ramify)
    assert (found["id"], found["token_ids"], found["text"]) == (saved["id"], [2, 0], "ca")
    assert (found["finish_reason"], found["truncated"]) == ("user", True)
    assert found["spans"] == [{"start": 0, "end": 2, "origin": "picked"}]


def test_an_eos_can_be_picked_and_ends_it(ramify: Run) -> None:
    *seen, saved = steps(ramify, "3", "s")
    assert (seen[-1]["over"], seen[-1]["candidates"]) == (True, [])
    assert (saved["token_ids"], saved["finish_reason"], saved["truncated"]) == ([3], "eos", False)
    assert "[ended by EOS; s saves, u takes it back]" in ramify("tokens", "1", stdin="3\nq\n").stdout


def test_text_is_searched_for_and_then_picked_by_its_number(ramify: Run) -> None:
    seen = steps(ramify, "/c", "1", "/x", "/", "q")
    assert [offered(each) for each in seen] == [["b", "c", "<eos>"], ["c"], ["a", "<eos>"], [], ["a", "<eos>"]]
    assert [each["text"] for each in seen] == ["", "", "c", "c", "c"]
    assert "[no token contains 'x']" in ramify("tokens", "1", stdin="/x\nq\n").stdout


def test_text_is_typed_and_undone_a_token_at_a_time(ramify: Run) -> None:
    seen = steps(ramify, "t ba", "u", "u", "t c", "s")
    assert [each["text"] for each in seen[:-1]] == ["", "ba", "b", "", "c"]
    assert kept(ramify)["spans"] == [{"start": 0, "end": 1, "origin": "typed"}]


def test_the_model_writes_the_rest_with_the_settings_given_and_undo_takes_it_back(ramify: Run) -> None:
    seen = steps(ramify, "1", "g", "u", "g", "s", options=("--max-new-tokens", "1"))
    assert [each["text"] for each in seen] == ["", "b", "bc", "b", "bc", "bc"]
    found = kept(ramify)
    assert [(each["start"], each["end"], each["origin"]) for each in found["spans"]] == [(0, 1, "picked"), (1, 2, "sampled")]
    assert (found["finish_reason"], found["config"]) == ("length", {"max_new_tokens": 1})


def test_a_prefill_stands_before_the_first_pick(ramify: Run) -> None:
    seen = steps(ramify, "1", "s", options=("--prefill", "c"))
    assert [each["text"] for each in seen] == ["c", "ca", "ca"]
    assert [each["origin"] for each in kept(ramify)["spans"]] == ["prefill", "picked"]


def test_the_steps_are_told_when_asked_for(ramify: Run) -> None:
    told = ramify("tokens", "1", stdin="?\nq\n").stdout
    assert all(f"\n{step} " in told for step in ("NUMBER", "/TEXT", "t TEXT", "u", "g", "s", "q", "?"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1", "9"], "there is no candidate 9; they have the numbers 1 to 2"),
        (["0"], "there is no candidate 0"),
        (["bc"], "'bc' is no step; ? lists them, and t bc types it"),
        (["u"], "there is no token to take back"),
        (["3", "1"], "there is no candidate 1"),
        (["3", "t b"], "this completion has ended; undo takes the last token back"),
    ],
)
def test_a_step_that_cannot_be_ends_a_script_and_nothing_is_saved(ramify: Run, lines: list[str], message: str) -> None:
    result = ramify("tokens", "1", stdin="".join(f"{line}\n" for line in [*lines, "s"]))
    assert result.exit_code == 2
    assert message in result.stderr
    assert ramify("completions", "list").stdout == ""


def test_an_end_of_input_saves_nothing(ramify: Run) -> None:
    result = ramify("tokens", "1", stdin="1\n")
    assert (result.exit_code, result.stderr) == (0, "[not saved]\n")
    assert ramify("completions", "list").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["7"], "there is no sample 7"),
        (["1", "--show", "0"], "--show is 0; it must be at least 1"),
        (["1", "-n", "2", "--do-sample"], "one completion is made here"),
        (["1", "--facet", "legal"], "there is no facet 'legal'"),
    ],
)
def test_what_cannot_be_used_is_refused(ramify: Run, arguments: list[str], message: str) -> None:
    result = ramify("tokens", *arguments, stdin="s\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_it_begins_inside_a_completion_whose_child_is_saved(ramify: Run) -> None:
    assert ramify("completions", "generate", "1", "--quiet").stdout == "bc\n"
    result = ramify("tokens", "--completion", "1:0", "--json", stdin="2\ng\ns\n")
    assert result.exit_code == 0, result.stderr
    first, *_, saved = [json.loads(line) for line in result.stdout.splitlines()]
    assert (first["text"], offered(first)[:2]) == ("", ["b", "c"])
    assert (saved["text"], saved["parent_id"], saved["branch_position"]) == ("ca", 1, 0)
    later = [json.loads(line) for line in ramify("tokens", "--completion", "1:1", "--json", stdin="q\n").stdout.splitlines()]
    assert (later[0]["text"], later[0]["token_ids"], offered(later[0])) == ("b", [1], ["c", "<eos>"])


def test_where_it_begins_is_said_once_and_must_be_there(ramify: Run) -> None:
    assert ramify("completions", "generate", "1", "--quiet").exit_code == 0
    refused = {
        (): "give a SAMPLE, or --completion ID[:PLACE]",
        ("1", "--completion", "1"): "not both",
        ("--completion", "1:x"): "'1:x' is no place in a completion",
        ("--completion", "9:1"): "there is no completion 9",
        ("--completion", "1:7"): "position is 7; completion 1 has 3 tokens under scripted, so 0 to 3",
        ("--completion", "1"): "completion 1 was ended by EOS",
        ("--completion", "1:1", "--prefill", "b"): "leave one of them out",
    }
    for arguments, why in refused.items():
        result = ramify("tokens", *arguments, stdin="q\n")
        assert (result.exit_code, why in result.stderr) == (2, True), (arguments, result.stderr)


def test_the_settings_say_what_they_make_of_each_candidate(ramify: Run) -> None:
    # b .5, c .3, EOS .2; squared and without EOS: .25 and .09 of .34
    options = ("--temperature", "0.5", "--top-k", "2")
    result = ramify("tokens", "1", *options, stdin="q\n")
    assert result.stdout.splitlines()[1:4] == [
        "   1  b        50.00 % →  73.53 %",
        "   2  c        30.00 % →  26.47 %",
        "   3  <eos>    20.00 % → removed   ends it",
    ]
    (first,) = steps(ramify, "q", options=options)
    assert [round(each["processed"], 4) for each in first["candidates"]] == [0.7353, 0.2647, 0.0]
    (plain,) = steps(ramify, "q")
    assert [each["processed"] for each in plain["candidates"]] == [None, None, None]
