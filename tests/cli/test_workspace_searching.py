"""`ramify search`, `filters`, `history`, `undo` and `redo`."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("stories", "scripted")

TRUNCATED = '{"field": "truncated", "op": "is", "value": true}'


def lines(ramify: Run, *arguments: str) -> list[dict[str, Any]]:
    result = ramify(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_words_are_found_in_completions_prompts_titles_and_notes(ramify: Run) -> None:
    ramify("samples", "add", "a hedgehog", "--notes", "prickly")
    ramify("completions", "write", "1", "Sonic, the hedgehog,\nran away.")
    ramify("completions", "write", "1", "A mouse.")
    assert [(each["kind"], each["id"]) for each in lines(ramify, "search", "hedgehog")] == [("completion", 1), ("sample", 2)]
    assert [(each["kind"], each["id"]) for each in lines(ramify, "search", "prick*")] == [("sample", 2)]
    assert lines(ramify, "search", "hedgehog mouse") == []
    (hit,) = lines(ramify, "search", '"ran away"')
    assert [hit["snippet"][start:end] for start, end in hit["spans"]] == ["ran away"]
    assert ramify("search", "hedgehog", "--limit", "1").stdout.splitlines() == [
        "            id  text",
        "completion   1  Sonic, the hedgehog,⏎ran away.",
    ]


def test_the_word_found_is_seen_however_far_it_stands(ramify: Run) -> None:
    ramify("completions", "write", "1", "word " * 100 + "hedgehog " + "word " * 100)
    (_, line) = ramify("search", "hedgehog").stdout.splitlines()
    assert line.index("hedgehog") < 50
    assert line.split("  ")[-1].startswith("…")


def test_a_filter_has_a_name_and_narrows_lists(ramify: Run, tmp_path: Path) -> None:
    ramify("completions", "write", "1", "b", "--truncated")
    ramify("completions", "write", "1", "c")
    assert ramify("filters", "add", "cut", TRUNCATED, "--description", "ends early").stdout == "filter cut is kept\n"
    assert [each["id"] for each in lines(ramify, "completions", "list", "--filter", "cut")] == [1]
    (tmp_path / "whole.json").write_text(f'{{"not": {TRUNCATED}}}', "utf-8")
    ramify("filters", "add", "whole", f"@{tmp_path / 'whole.json'}")
    assert [each["id"] for each in lines(ramify, "completions", "list", "--filter", "whole")] == [2]
    assert lines(ramify, "completions", "list", "--filter", "whole", "--filter", "cut") == []
    assert lines(ramify, "filters", "list") == [
        {"name": "cut", "filter": json.loads(TRUNCATED)},
        {"name": "whole", "filter": {"not": json.loads(TRUNCATED)}},
    ]
    assert json.loads(ramify("filters", "show", "cut").stdout) == json.loads(TRUNCATED)
    assert ramify("filters", "add", "cut", f'{{"not": {TRUNCATED}}}', "--replace").exit_code == 0
    assert [each["id"] for each in lines(ramify, "completions", "list", "--filter", "cut")] == [2]
    assert ramify("filters", "delete", "cut").stdout == "filter cut deleted; `ramify undo` brings back\n"
    assert [each["name"] for each in lines(ramify, "filters", "list")] == ["whole"]


def test_the_history_is_newest_first_and_outlives_undo_and_redo(ramify: Run) -> None:
    ramify("completions", "write", "1", "b")
    ramify("completions", "write", "1", "c")
    assert ramify("undo").stdout == "undone: add completion: manual\n"
    assert [each["text"] for each in lines(ramify, "completions", "list")] == ["b"]
    found = lines(ramify, "history")
    assert [(each["name"], each["state"]) for each in found] == [
        ("add completion", "undone"),
        ("add completion", "done"),
        ("add sample", "done"),
    ]
    assert lines(ramify, "history", "--limit", "1", "--before", str(found[0]["id"]))[0]["id"] == found[1]["id"]
    assert ramify("redo").stdout == "done again: add completion: manual\n"
    assert [each["text"] for each in lines(ramify, "completions", "list")] == ["c", "b"]
    table = [line.split("  ") for line in ramify("history").stdout.splitlines()]
    assert table[1][-1] == "add completion: manual"


def test_an_action_says_what_it_changed_and_a_completion_what_was_done_to_it(ramify: Run) -> None:
    ramify("completions", "write", "1", "b")
    ramify("completions", "archive", "1")
    newest, *_ = lines(ramify, "history")
    (change,) = lines(ramify, "history", str(newest["id"]))
    assert (change["table"], change["kind"], change["row_ids"]) == ("completions", "update", [1])
    assert [each["name"] for each in lines(ramify, "history", "--completion", "1")] == ["add completion", "archive completions"]
    assert [each["name"] for each in lines(ramify, "history", "--sample", "1")] == ["add sample"]
    assert ramify("history", str(newest["id"])).stdout.splitlines() == ["table        change  rows", "completions  update  row 1"]


def test_undo_goes_back_to_the_beginning_and_no_further(ramify: Run) -> None:
    assert ramify("undo").exit_code == 0
    result = ramify("undo")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "ramify: there is nothing to undo\n")
    assert ramify("redo").exit_code == 0
    assert "there is nothing to redo" in ramify("redo").stderr


REFUSED = {
    "no word": (["search", "..."], "has no word to look for"),
    "no page": (["search", "a", "--limit", "0"], "limit is 0"),
    "a filter that is no JSON": (["filters", "add", "x", "rating > 8"], "'rating > 8' is not JSON"),
    "a filter that is no filter": (["filters", "add", "x", "[]"], "a filter is list; it must be an object"),
    "a rating without its facet": (
        ["filters", "add", "x", '{"field": "rating", "op": ">=", "value": 8}'],
        "rating needs a facet",
    ),
    "a file that is not there": (["filters", "add", "x", "@nowhere.json"], "'nowhere.json' cannot be read"),
    "no such filter": (["filters", "delete", "x"], "there is no filter 'x'"),
    "no such action": (["history", "99"], "there is no action 99"),
    "two questions": (["history", "--sample", "1", "--completion", "1"], "ask different questions"),
    "a history of nothing": (["history", "--limit", "0"], "limit is 0"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused_and_nothing_is_done(ramify: Run, arguments: list[str], message: str) -> None:
    before = ramify("history", "--json").stdout
    result = ramify(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert ramify("history", "--json").stdout == before


def test_a_filter_that_is_there_is_not_replaced_by_accident(ramify: Run) -> None:
    ramify("filters", "add", "cut", TRUNCATED)
    result = ramify("filters", "add", "cut", f'{{"not": {TRUNCATED}}}')
    assert result.exit_code == 2
    assert "there is a filter 'cut' already; choose another name, or give --replace" in result.stderr


def test_a_filter_names_all_that_the_list_with_it_shows(ramify: Run) -> None:
    for text in ("b", "c", "bc"):
        assert ramify("completions", "write", "1", text, "--truncated").exit_code == 0
    assert ramify("completions", "write", "1", "ca").exit_code == 0
    assert ramify("completions", "archive", "2").exit_code == 0
    assert ramify("completions", "tag", "--filter", TRUNCATED, "--add", "short").stdout.splitlines() == [
        "completion 1: short",
        "completion 3: short",
    ]
    assert ramify("completions", "label", "--filter", TRUNCATED, "--style", "plain").stdout.count("style plain") == 2
    assert ramify("completions", "archive", "--filter", TRUNCATED, "--back").stdout == "completion 2 out of the archive\n"
    assert ramify("completions", "delete", "--filter", TRUNCATED).stdout == (
        "completions 1, 2, 3 deleted; `ramify undo` brings back\n"
    )
    assert [each["id"] for each in lines(ramify, "completions", "list")] == [4]
    assert ramify("completions", "delete", "--filter", TRUNCATED).stdout == "0 completions deleted; `ramify undo` brings back\n"
    titled = '{"field": "text", "op": "matches", "value": "ca"}'
    assert ramify("samples", "hide", "--filter", titled).stdout == "sample 1 out of view\n"
    assert ramify("samples", "hide", "--filter", titled, "--back").stdout == "sample 1 shown again\n"


@pytest.mark.parametrize("kind", ["samples", "completions"])
def test_what_an_action_is_for_is_said_in_one_way(ramify: Run, kind: str) -> None:
    for arguments, why in (
        ([], f"no {kind[:-1]} was named; give ids, or --filter"),
        (["1", "--filter", TRUNCATED], "give one of"),
    ):
        for action in ("archive", "hide", "delete", "tag"):
            more = ["--add", "x"] if action == "tag" else []
            result = ramify(kind, action, *arguments, *more)
            assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
