"""`ramify facets`, `rate`, `prefer` and `score`: what is thought of completions, and what a model thinks of them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def completions(ramify: Run, stories: Path, scripted: list[dict[str, Any]]) -> None:
    """Completions 1, 2, 3 of sample 1: "bc", "c", "b"; 4 of sample 2. Facets legal and, below it, letters."""
    ramify("completions", "generate", "1")
    ramify("completions", "write", "1", "c")
    ramify("completions", "write", "1", "b")
    ramify("samples", "add", "ab")
    ramify("completions", "write", "2", "c")
    ramify("facets", "add", "legal", "--description", "For a court.", "--good-rating", "8")
    ramify("facets", "add", "letters", "--parent", "legal", "--mean-logprob", "-0.5")


def lines(ramify: Run, *arguments: str) -> list[dict[str, Any]]:
    result = ramify(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_facet_says_what_it_inherits_and_from_where(ramify: Run) -> None:
    assert ramify("facets", "list").stdout.splitlines() == [
        "facet    parent  good  bad   mean  min  model  description",
        "legal               8                          For a court.",
        "letters  legal              -0.50",
    ]
    (found,) = lines(ramify, "facets", "show", "letters")
    assert found["chain"] == ["letters", "legal"]
    assert found["effective"] == {
        "good_rating": {"value": 8, "from": "legal"},
        "bad_rating": {"value": 5, "from": "default"},
        "min_logprob": {"value": None, "from": "default"},
        "mean_logprob": {"value": -0.5, "from": "letters"},
        "target_model": {"value": "tiny", "from": "default"},
    }
    assert ramify("facets", "show", "letters").stdout.splitlines() == [
        "facet         letters",
        "inherits      legal",
        "good rating   8 (from legal)",
        "bad rating    5 (from default)",
        "mean logprob  -0.5",
        "target model  tiny (from default)",
    ]


def test_a_facet_is_changed_and_what_it_said_can_be_inherited_again(ramify: Run) -> None:
    call = [
        "facets",
        "edit",
        "letters",
        "--name",
        "post",
        "--inherit",
        "mean-logprob",
        "--inherit",
        "parent",
        "--bad-rating",
        "2",
    ]
    assert ramify(*call).stdout == "facet post is changed\n"
    found = lines(ramify, "facets", "list")[1]
    assert [found[name] for name in ("name", "parent", "bad_rating", "mean_logprob")] == ["post", None, 2, None]
    assert ramify("facets", "delete", "post").exit_code == 0
    assert [each["name"] for each in lines(ramify, "facets", "list")] == ["legal"]


def test_one_is_better_under_one_facet_and_worse_under_another(ramify: Run) -> None:
    assert ramify("prefer", "1", "2", "--facet", "legal").stdout == "completion 1 is better than 2 under legal\n"
    assert ramify("prefer", "2", "1", "--facet", "letters").stdout == "completion 2 is better than 1 under letters\n"
    compared = lines(ramify, "completions", "show", "1")[0]["preferences"]
    assert [(each["facet"], each["better_id"], each["worse_id"]) for each in compared] == [("legal", 1, 2), ("letters", 2, 1)]
    assert "better than 2 under legal, worse than 2 under letters" in ramify("completions", "show", "1").stdout
    assert [each["completion_id"] for each in lines(ramify, "facets", "rank", "legal", "1")] == [1, 3, 2]
    assert [each["completion_id"] for each in lines(ramify, "facets", "rank", "letters", "1")] == [2, 3, 1]


def test_a_preference_is_changed_tied_and_taken_back(ramify: Run) -> None:
    def said() -> list[tuple[int, int, bool]]:
        found = lines(ramify, "facets", "judgements", "legal", "1")
        return [(each["better_id"], each["worse_id"], each["tie"]) for each in found]

    ramify("prefer", "1", "2", "--facet", "legal")
    ramify("prefer", "2", "1", "--facet", "legal")
    assert said() == [(2, 1, False)]
    assert ramify("prefer", "1", "2", "--facet", "legal", "--tie").stdout == "completion 1 is like 2 under legal\n"
    assert said() == [(1, 2, True)]
    assert ramify("prefer", "2", "1", "--facet", "legal", "--back").stdout == "completions 2 and 1 are not compared under legal\n"
    assert said() == []
    assert "nothing was said by hand of completions 1 and 2" in ramify("prefer", "1", "2", "--facet", "legal", "--back").stderr


def test_a_rating_takes_the_place_of_the_last_one_and_none_takes_it_back(ramify: Run) -> None:
    ramify("rate", "1", "3", "--facet", "legal")
    assert ramify("rate", "1", "10", "--facet", "legal").stdout == "completion 1 is rated 10 under legal\n"
    assert ramify("facets", "judgements", "letters", "1").stdout.splitlines() == [
        "completion  rating  facet  origin",
        "         1      10  legal  hand",
    ]
    ramify("rate", "1", "none", "--facet", "legal")
    assert ramify("facets", "judgements", "letters", "1").stdout == ""


def test_circles_and_ratings_that_say_otherwise_are_told(ramify: Run) -> None:
    for better, worse in ((1, 2), (2, 3), (3, 1)):
        ramify("prefer", str(better), str(worse), "--facet", "legal")
    ramify("rate", "1", "2", "--facet", "legal")
    ramify("rate", "2", "9", "--facet", "legal")
    told = ramify("facets", "show", "legal").stdout
    assert "circles       1 > 2 > 3 > 1\n" in told
    assert "preferences   0 as the ratings say, 1 against them, 0 undecided by them\n" in told


def test_the_next_pair_is_one_that_was_not_compared(ramify: Run) -> None:
    ramify("prefer", "1", "2", "--facet", "legal")
    ramify("prefer", "1", "3", "--facet", "legal")
    assert {each["id"] for each in lines(ramify, "facets", "next", "legal", "1")} == {2, 3}
    ramify("prefer", "2", "3", "--facet", "legal")
    assert ramify("facets", "next", "legal", "1").stdout == ""


def test_any_model_measures_any_completion(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    scripted.clear()
    result = ramify("score", "1", "2", "--facet", "letters")
    assert result.stdout.splitlines() == [
        "completion    mean     min     sum  tokens  model     passes",
        "         1  -0.266  -0.693  -0.799       3  scripted  yes",
        "         2  -1.204  -1.204  -1.204       1  scripted  no",
    ]
    assert [each["name"] for each in scripted] == ["tiny"]
    found = lines(ramify, "score", "2", "--model", "other", "--logprobs", "1")[0]
    assert found["sum_logprob"] == pytest.approx(math.log(0.3))
    assert [each["rank"] for each in found["tokens"]] == [2]
    assert ramify("score", "1", "--logprobs", "0").stdout.splitlines()[0] == "b⁵⁰c⁹⁰<eos>⁹⁹"
    assert "scripted: mean -1.204" in ramify("completions", "show", "2").stdout


REFUSED = {
    "a rating above 10": (["rate", "1", "11", "--facet", "legal"], "the rating is 11"),
    "a rating that is none": (["rate", "1", "good", "--facet", "legal"], "the rating is 'good'; it must be a whole number"),
    "a rating of nothing": (["rate", "9", "5", "--facet", "legal"], "there is no completion 9"),
    "no such facet": (["rate", "1", "5", "--facet", "court"], "there is no facet 'court'"),
    "itself": (["prefer", "1", "1", "--facet", "legal"], "completion 1 cannot be compared with itself"),
    "another sample's": (["prefer", "1", "4", "--facet", "legal"], "only completions of one sample can be compared"),
    "two that are not there": (["prefer", "8", "9", "--facet", "legal"], "there are no completions 8, 9"),
    "a tie taken back": (["prefer", "1", "2", "--facet", "legal", "--tie", "--back"], "--tie and --back were given"),
    "a name that is taken": (["facets", "add", "legal"], "there is a facet 'legal' already"),
    "a circle of parents": (["facets", "edit", "legal", "--parent", "letters"], "'letters' cannot be the parent of 'legal'"),
    "bad above good": (["facets", "add", "x", "--good-rating", "3"], "bad_rating must be below good_rating"),
    "a logprob above 0": (["facets", "add", "x", "--mean-logprob", "1"], "mean_logprob is 1.0"),
    "an unknown word to inherit": (["facets", "edit", "legal", "--inherit", "name"], "'name' cannot be inherited"),
    "set and inherited": (["facets", "edit", "legal", "--good-rating", "9", "--inherit", "good-rating"], "give one of them"),
    "nothing to change": (["facets", "edit", "legal"], "nothing was given to change"),
    "a score of nothing": (["score", "1", "9"], "there is no completion 9"),
    "a score with logprobs below 0": (["score", "1", "--logprobs", "-1"], "logprobs is -1"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused_and_nothing_is_done(ramify: Run, arguments: list[str], message: str) -> None:
    before = ramify("history", "--json").stdout
    result = ramify(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert ramify("history", "--json").stdout == before


def test_where_judgements_contradict_each_other_is_said(ramify: Run) -> None:
    assert ramify("facets", "check", "legal").stdout == (
        "0 pairs judged in different ways, 0 circles; ratings agree with 0 of 0 preferences\n"
    )
    for better, worse in ((1, 2), (2, 3), (3, 1)):
        ramify("prefer", str(better), str(worse), "--facet", "legal")
    ramify("rate", "1", "3", "--facet", "legal")
    ramify("rate", "2", "8", "--facet", "legal")
    assert ramify("facets", "check", "legal", "--sample", "1").stdout.splitlines() == [
        "a circle: 1 > 2 > 3 > 1",
        "0 pairs judged in different ways, 1 circles; ratings agree with 0 of 1 preferences",
    ]
    circle, agreement = lines(ramify, "facets", "check", "legal")
    assert (circle["kind"], circle["completions"]) == ("circle", [1, 2, 3])
    assert (agreement["disagree"], agreement["share"]) == (1, 0.0)
    assert ramify("facets", "check", "nothing").exit_code == 2
