"""`ramify completions`: every way of making one, and what can be done with those that are there.

The model completes "a" by "bc" and EOS: .5 × .9 × 1.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("stories", "scripted")


def shown(ramify: Run, completion: int, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ramify("completions", "show", str(completion), "--json", *arguments).stdout)
    return found


def ids(ramify: Run, *arguments: str) -> list[int]:
    return [json.loads(line)["id"] for line in ramify("completions", "list", "--json", *arguments).stdout.splitlines()]


# Making.


def test_standard_output_is_the_completion_alone_and_its_id_stands_beside_it(ramify: Run) -> None:
    result = ramify("completions", "generate", "1")
    assert (result.exit_code, result.stdout) == (0, "bc\n")
    assert result.stderr == "[completion 1 by scripted: eos, 3 tokens]\n"
    assert ramify("completions", "generate", "1", "--quiet").stderr == ""


def test_what_is_kept_is_what_was_made_and_how(ramify: Run) -> None:
    made = json.loads(ramify("completions", "generate", "1", "--top-k", "1", "--seed", "5", "--json").stdout)
    found = shown(ramify, 1, "--logprobs", "1")
    logprobs = found.pop("logprobs")
    assert {name: found[name] for name in made} == made
    for name in ("created_at", "prompt_id", "sample_id", "id"):
        made.pop(name)
    assert made == {
        "model": "scripted",
        "fingerprint": "scripted",
        "text": "bc",
        "generated_start": 0,
        "token_ids": [1, 2, 3],
        "spans": [{"start": 0, "end": 3, "origin": "sampled"}],
        "config": {"top_k": 1, "seed": 5},
        "processors": ["top_k"],
        "seed": 5,
        "finish_reason": "eos",
        "stop_string": None,
        "beam_score": None,
        "truncated": False,
        "archived": False,
        "hidden": False,
        "draft": False,
        "parent_id": None,
        "branch_position": None,
        "mean_logprob": pytest.approx(math.log(0.5 * 0.9) / 3),
        "min_logprob": pytest.approx(math.log(0.5)),
        "labels": {},
        "tags": [],
        "details": {},
        "bulk": None,
    }
    (own,) = logprobs
    assert [each["token_id"] for each in own["tokens"]] == [1, 2, 3]
    assert own["sum_logprob"] == pytest.approx(math.log(0.45))


def test_several_at_once_are_one_step_of_the_history(ramify: Run) -> None:
    result = ramify("completions", "generate", "1", "-n", "3", "--do-sample", "--seed", "7", "--json")
    assert [json.loads(line)["seed"] for line in result.stdout.splitlines()] == [7, 8, 9]
    ramify("undo")
    assert ids(ramify) == []


def test_several_models_complete_one_after_the_other(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    assert ramify("completions", "generate", "1", "-m", "one", "-m", "two").stdout == "bc\nbc\n"
    assert [each["name"] for each in scripted] == ["one", "two"]
    assert ids(ramify) == [2, 1]


def test_a_facets_target_completes_where_no_model_is_named(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    ramify("facets", "add", "legal", "--target-model", "lawyer")
    ramify("facets", "add", "letters", "--parent", "legal")
    ramify("completions", "generate", "1", "--facet", "letters")
    ramify("completions", "generate", "1", "--facet", "letters", "--model", "other")
    ramify("completions", "generate", "1")
    assert [each["name"] for each in scripted] == ["lawyer", "other", "tiny"]


def test_a_prefill_begins_the_completion(ramify: Run) -> None:
    assert ramify("completions", "generate", "1", "--prefill", "c").stdout == "ca\n"
    assert shown(ramify, 1)["spans"] == [{"start": 0, "end": 1, "origin": "prefill"}, {"start": 1, "end": 3, "origin": "sampled"}]


def test_a_draft_streams_and_is_saved_later(ramify: Run) -> None:
    result = ramify("completions", "generate", "1", "--draft", "--prefill", "c")
    assert result.stdout == "ca\n"
    assert result.stderr.splitlines()[-1] == "[a draft; `ramify completions save 1` keeps it]"
    assert shown(ramify, 1)["draft"] is True
    assert "eos, draft" in ramify("completions", "list").stdout
    assert ramify("completions", "save", "1").stdout == "ca\n"
    assert shown(ramify, 1)["draft"] is False
    assert "completion 1 is saved already" in ramify("completions", "save", "1").stderr


def test_a_truncated_one_is_continued_from_its_own_tokens(ramify: Run) -> None:
    ramify("completions", "generate", "1", "--max-new-tokens", "1")
    result = ramify("completions", "continue", "1")
    assert result.stdout == "bc\n"
    assert result.stderr == "[completion 2 by scripted: eos, 3 tokens, from completion 1]\n"
    parent, child = shown(ramify, 1), shown(ramify, 2)
    assert (parent["truncated"], parent["text"], parent["children"]) == (True, "b", [2])
    assert (child["truncated"], child["parent_id"], child["branch_position"]) == (False, 1, 1)
    assert child["token_ids"][:1] == parent["token_ids"]


def test_a_text_is_written_under_the_name_of_its_author(ramify: Run, tmp_path: Path) -> None:
    assert ramify("completions", "write", "1", "by hand").stdout == "by hand\n"
    (tmp_path / "pasted.txt").write_text("pasted\n", "utf-8")
    pasted = ramify("completions", "write", "1", "--file", str(tmp_path / "pasted.txt"), "--model", "Grok", "--truncated")
    assert pasted.stderr == "[completion 2 by Grok: written, truncated]\n"
    found = [shown(ramify, i) for i in (1, 2)]
    assert [(each["model"], each["text"], each["truncated"]) for each in found] == [
        ("manual", "by hand", False),
        ("Grok", "pasted", True),
    ]


def test_an_edit_is_a_child_that_keeps_the_untouched_tokens(ramify: Run) -> None:
    ramify("completions", "generate", "1", "--max-new-tokens", "2")
    assert ramify("completions", "edit", "1", "ba").stdout == "ba\n"
    assert ramify("completions", "edit", "1", "--replace", "b", "a", "--model", "me").stdout == "ac\n"
    whole, part = shown(ramify, 2), shown(ramify, 3)
    assert [(each["start"], each["end"], each["origin"]) for each in whole["spans"]] == [(0, 1, "sampled"), (1, 2, "typed")]
    assert [(each["start"], each["end"], each["origin"]) for each in part["spans"]] == [(0, 1, "typed"), (1, 2, "sampled")]
    assert [(each["model"], each["parent_id"], each["token_ids"]) for each in (whole, part)] == [
        ("scripted", 1, [1, 0]),
        ("me", 1, [0, 2]),
    ]


def test_a_typed_text_is_edited_without_a_model(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    ramify("completions", "write", "1", "one two")
    assert ramify("completions", "edit", "1", "--replace", "two", "three").stdout == "one three\n"
    assert scripted == []


# What is there.


def test_a_list_is_newest_first_and_narrowed(ramify: Run) -> None:
    ramify("samples", "add", "ab")
    ramify("completions", "generate", "1")
    ramify("completions", "generate", "2", "--max-new-tokens", "1")
    ramify("completions", "write", "1", "by\nhand")
    assert ids(ramify) == [3, 2, 1]
    assert ids(ramify, "1") == [3, 1]
    assert ids(ramify, "--order", "mean_logprob") == [2, 1]
    assert ids(ramify, "--filter", '{"field": "truncated", "op": "is", "value": true}') == [2]
    assert ids(ramify, "1", "--filter", '{"field": "truncated", "op": "is", "value": true}') == []
    assert ramify("completions", "list").stdout.splitlines() == [
        "completion  sample  model     ended              tokens   mean  tags  text",
        "         3       1  manual    written                                 by⏎hand",
        "         2       2  scripted  length, truncated       1  -0.11        c",
        "         1       1  scripted  eos                     3  -0.27        bc",
    ]


def test_probabilities_of_a_kept_completion_are_shown_without_a_model(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    ramify("completions", "generate", "1")
    scripted.clear()
    lines = ramify("completions", "show", "1", "--logprobs", "2").stdout.split("\n\n", 1)[1].splitlines()
    assert lines[0] == "b⁵⁰c⁹⁰<eos>⁹⁹"
    assert lines[2:] == [
        "     token  prob %   rank   nats  alternatives",
        "   1 b       50.00      1  1.030  b 50.00  c 30.00",
        "   2 c       90.00      1  0.325  c 90.00  <eos> 10.00",
        "   3 <eos>  100.00      1  0.000  <eos> 100.00",
    ]
    assert scripted == []


def test_everything_known_of_a_completion_is_on_one_page(ramify: Run) -> None:
    ramify("facets", "add", "legal")
    ramify("completions", "generate", "1", "--max-new-tokens", "1", "--top-k", "1", "--seed", "3")
    ramify("completions", "continue", "1")
    ramify("completions", "label", "1", "--style", "plain")
    ramify("completions", "tag", "1", "--add", "good")
    ramify("rate", "1", "8", "--facet", "legal")
    ramify("prefer", "2", "1", "--facet", "legal")
    ramify("completions", "approve", "1", "--facet", "legal")
    facts, text = ramify("completions", "show", "1").stdout.split("\n\n")
    assert text == "b\n"
    lines = [line.split(maxsplit=1) for line in facts.splitlines()]
    assert [line for line in lines if line[0] != "made"] == [
        ["completion", "1"],
        ["sample", "1"],
        ["model", "scripted (scripted)"],
        ["ended", "length, truncated"],
        ["children", "2"],
        ["tokens", "1"],
        ["origin", "tokens 0–1 sampled"],
        ["settings", "max_new_tokens=1, seed=3, top_k=1"],
        ["processors", "top_k"],
        ["seed", "3"],
        ["labels", "style plain"],
        ["tags", "good"],
        ["ratings", "8 under legal"],
        ["compared", "worse than 2 under legal"],
        ["approved", "under legal"],
        ["logprobs", "scripted: mean -0.693, min -0.693, sum -0.693 over 1 token"],
    ]


def test_labels_and_tags_are_put_on_several_and_taken_off(ramify: Run) -> None:
    for text in ("b", "c"):
        ramify("completions", "write", "1", text)
    assert ramify("completions", "label", "1", "2", "--style", "terse", "--refusal", "complied").stdout == (
        "completion 1: style terse, refusal complied\ncompletion 2: style terse, refusal complied\n"
    )
    assert ramify("completions", "label", "2", "--style", "").stdout == "completion 2: refusal complied\n"
    assert ramify("completions", "tag", "1", "2", "--add", "x").stdout == "completion 1: x\ncompletion 2: x\n"
    assert ramify("completions", "tag", "1", "--remove", "x", "--add", "y").stdout == "completion 1: y\n"
    ramify("undo")
    assert [shown(ramify, i)["tags"] for i in (1, 2)] == [["x"], ["x"]]


def test_an_approval_takes_the_place_of_an_earlier_one(ramify: Run) -> None:
    ramify("facets", "add", "legal")
    for text in ("b", "c"):
        ramify("completions", "write", "1", text)
        ramify("completions", "approve", str(len(ids(ramify))), "--facet", "legal")
    assert [shown(ramify, i)["approved"] for i in (1, 2)] == [[], ["legal"]]
    assert (
        "completion 1 is not approved under 'legal'" in ramify("completions", "approve", "1", "--facet", "legal", "--back").stderr
    )
    assert ramify("completions", "approve", "2", "--facet", "legal", "--back").exit_code == 0
    assert shown(ramify, 2)["approved"] == []


def test_archive_hide_and_delete_are_three_things(ramify: Run) -> None:
    for text in ("b", "c"):
        ramify("completions", "write", "1", text)
    assert ramify("completions", "archive", "1").stdout == "completion 1 in the archive\n"
    assert (ids(ramify), ids(ramify, "--archived")) == ([2], [1])
    ramify("completions", "archive", "1", "--back")
    assert ramify("completions", "hide", "2").stdout == "completion 2 out of view\n"
    assert (ids(ramify), ids(ramify, "--hidden")) == ([1], [2])
    assert ramify("completions", "delete", "1", "2").stdout == "completions 1, 2 deleted; `ramify undo` brings back\n"
    assert ramify("completions", "show", "1").exit_code == 2
    ramify("undo")
    assert shown(ramify, 1)["text"] == "b"


REFUSED = {
    "no such sample": (["generate", "7"], "there is no sample 7"),
    "no such completion": (["show", "7"], "there is no completion 7"),
    "one of several": (["tag", "1", "7", "--add", "x"], "there is no completion 7"),
    "a setting that cannot be": (["generate", "1", "--temperature", "-1"], "temperature is -1"),
    "an unknown facet": (["generate", "1", "--facet", "legal"], "there is no facet 'legal'"),
    "an unknown facet beside a model": (["generate", "1", "--facet", "legal", "-m", "x"], "there is no facet 'legal'"),
    "a draft of several": (["generate", "1", "--draft", "-n", "2", "--do-sample"], "a draft is one completion"),
    "a prefill the model cannot read": (["generate", "1", "-m", "x", "-m", "y", "--prefill", "ü"], "ü"),
    "what EOS ended": (["continue", "1"], "completion 1 was ended by EOS, so there is nothing to continue"),
    "an edit that changes nothing": (["edit", "1", "bc"], "the text is the same as completion 1's"),
    "a place that is not there": (["edit", "1", "--replace", "x", "y"], "'x' is not in completion 1"),
    "two texts": (["edit", "1", "b", "--replace", "b", "c"], "a text and --replace were given"),
    "no label": (["label", "1"], "no label was given; give --style"),
    "logprobs below 0": (["show", "1", "--logprobs", "-1"], "logprobs is -1"),
    "logprobs nobody measured": (["show", "1", "--under", "other"], "completion 1 has no logprobs under other; score it first"),
    "no such order": (["list", "--order", "best"], "order is 'best'"),
    "a filter of nothing": (
        ["list", "--filter", '{"field": "colour", "op": "is", "value": "red"}'],
        "there is no field 'colour'",
    ),
    "a filter that is no JSON": (["list", "--filter", "{"], "'{' is not JSON"),
    "an approval under no facet": (["approve", "1", "--facet", "legal"], "there is no facet 'legal'"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused_and_nothing_is_done(ramify: Run, arguments: list[str], message: str) -> None:
    ramify("completions", "generate", "1")
    before = ramify("history", "--json").stdout
    result = ramify("completions", *arguments, stdin="")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert ramify("history", "--json").stdout == before
