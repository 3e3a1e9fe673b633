"""`ramify beams`: every step is a command of its own; the tree is in the workspace.

After "a" the model says b .5, c .3, EOS .2; after "ab" c .9, EOS .1; after "abc" EOS; after "ac" a .6, EOS .4.
"""

import json
import math
from typing import Any

import pytest
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("stories", "scripted")


def ask(ramify: Run, *arguments: str, stdin: str | None = None) -> list[dict[str, Any]]:
    result = ramify("beams", *arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return [json.loads(line) for line in result.stdout.splitlines()]


def said(ramify: Run, *arguments: str) -> str:
    result = ramify("beams", *arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def texts(beams: list[dict[str, Any]]) -> list[str]:
    return [each["text"] for each in beams]


def test_beams_grow_from_the_likeliest_tokens_and_are_listed_in_order(ramify: Run) -> None:
    grown = ask(ramify, "grow", "1", "--width", "2", "--depth", "3")
    assert [(each["text"], each["token_ids"], each["ended"]) for each in grown] == [
        ("bc", [1, 2, 3], True),
        ("ca", [2, 0, 3], True),
    ]
    assert [each["sum_logprob"] for each in grown] == pytest.approx([math.log(0.45), math.log(0.18)], abs=1e-5)
    assert texts(ask(ramify, "show", "1")) == ["bc", "ca"]
    assert [(each["sample_id"], each["nodes"], each["beams"]) for each in ask(ramify, "list")] == [(1, 7, 2)]
    assert said(ramify, "show", "1").splitlines()[1].split()[:3] == [str(grown[0]["id"]), "3", "-0.80"]
    assert said(ramify, "list", "1").splitlines()[1].split()[:5] == ["1", "1", "scripted", "6", "2"]


def test_one_beams_out_at_any_place_of_any_beam_with_picked_tokens(ramify: Run) -> None:
    first, _ = ask(ramify, "grow", "1", "--width", "2", "--depth", "3")
    (picked,) = ask(ramify, "grow", "1", "--at", f"{first['id']}:1", "--token", "<eos>")
    assert (picked["text"], picked["token_ids"], picked["origin"]) == ("b", [1, 3], "picked")
    (by_id,) = ask(ramify, "grow", "1", "--at", str(picked["parent_id"]), "--token", "id=0", "--depth", "1")
    assert by_id["token_ids"] == [1, 0]
    assert by_id["logprob"] == -math.inf or by_id["logprob"] is None
    refused = ramify("beams", "grow", "1", "--token", "bc")
    assert (refused.exit_code, "'bc': it is no single token" in refused.stderr) == (2, True)


def test_a_completion_joins_the_tree_and_is_branched_at_its_token(ramify: Run) -> None:
    made = json.loads(ramify("completions", "generate", "1", "--json").stdout)
    assert made["token_ids"] == [1, 2, 3]
    (other,) = ask(ramify, "grow", "1", "--completion", f"{made['id']}:1", "--token", "<eos>")
    assert other["token_ids"] == [1, 3]
    (whole,) = ask(ramify, "grow", "1", "--completion", f"{made['id']}:2", "--width", "1", "--depth", "1")
    assert whole["token_ids"] == made["token_ids"]
    assert [each["origin"] for each in ask(ramify, "replay", str(whole["id"]))] == ["sampled", "sampled", "sampled"]
    refused = ramify("beams", "grow", "1", "--completion", f"{made['id']}:9")
    assert "has 3 tokens and 9 was asked for" in refused.stderr


def test_looking_shows_what_could_come_and_changes_nothing(ramify: Run) -> None:
    grown = ask(ramify, "grow", "1", "--width", "1", "--depth", "1")
    steps = ramify("history", "--json").stdout
    found = ask(ramify, "look", "1")
    assert [(each["token"], each["rank"], each["node_id"]) for each in found] == [
        ("b", 1, grown[0]["id"]),
        ("c", 2, None),
        ("<eos>", 3, None),
    ]
    assert [each["token"] for each in ask(ramify, "look", "1", "--at", str(grown[0]["id"]), "--search", "c")] == ["c"]
    assert said(ramify, "look", "1", "--show", "1").splitlines()[-1].split() == ["others", "50.00"]
    assert ramify("history", "--json").stdout == steps


def test_a_search_in_the_tree_gives_what_completing_gives(ramify: Run) -> None:
    settings = ("--num-beams", "2", "-n", "2", "--max-new-tokens", "3")
    found = ask(ramify, "search", "1", *settings)
    fresh = [json.loads(line) for line in ramify("completions", "generate", "1", *settings, "--json").stdout.splitlines()]
    assert [each["token_ids"] for each in found] == [each["token_ids"] for each in fresh]
    ended = ask(ramify, "finish", "1")
    assert texts(ended) == ["bc"]


def test_marks_are_put_on_and_taken_off_without_a_model(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    first, second = (str(each["id"]) for each in ask(ramify, "grow", "1", "--width", "2", "--depth", "3"))
    loaded = len(scripted)
    said(ramify, "pin", second)
    assert texts(ask(ramify, "show", "1")) == ["ca", "bc"]
    said(ramify, "pin", second, "--back")
    said(ramify, "bookmark", first)
    assert [each["bookmarked"] for each in ask(ramify, "show", "1")] == [True, False]
    said(ramify, "prune", first)
    assert texts(ask(ramify, "show", "1")) == ["ca"]
    assert texts(ask(ramify, "show", "1", "--pruned")) == ["bc", "ca"]
    said(ramify, "resume", first)
    assert texts(ask(ramify, "show", "1")) == ["bc", "ca"]
    assert ramify("undo").stdout.startswith("undone: resumed beams")
    assert texts(ask(ramify, "show", "1")) == ["ca"]
    said(ramify, "remove", f"{ask(ramify, 'replay', second)[0]['id']}")
    assert texts(ask(ramify, "show", "1", "--pruned")) == ["bc"]
    assert len(scripted) == loaded


def test_keeping_at_a_fork_writes_the_preference_that_it_implies(ramify: Run) -> None:
    ramify("facets", "add", "legal")
    grown = ask(ramify, "grow", "1", "--width", "2", "--depth", "3")
    second = str(ask(ramify, "replay", f"{grown[1]['id']}")[0]["id"])
    told = said(ramify, "keep", second, "--facet", "legal").splitlines()
    assert told == [f"kept: beam {second}", "completion 1 is better than 2 under legal"]
    completions = [json.loads(line) for line in ramify("completions", "list", "--order", "oldest", "--json").stdout.splitlines()]
    assert [(each["text"], each["token_ids"]) for each in completions] == [("ca", [2, 0, 3]), ("bc", [1, 2, 3])]
    assert ramify("undo").stdout == f"undone: kept beams: {second}\n"
    assert ramify("completions", "list").stdout == ""


def test_a_beam_is_saved_with_its_very_tokens(ramify: Run) -> None:
    first, _ = ask(ramify, "grow", "1", "--width", "2", "--depth", "3")
    (made,) = ask(ramify, "save", str(first["id"]))
    assert (made["text"], made["token_ids"], made["finish_reason"], made["truncated"]) == ("bc", [1, 2, 3], "eos", False)
    assert made["details"] == {"beam_tree": 1, "beam_node": first["id"]}
    shown = json.loads(ramify("completions", "show", str(made["id"]), "--logprobs", "2", "--json").stdout)
    assert [token["logprob"] for token in shown["logprobs"][0]["tokens"]] == pytest.approx(
        [math.log(0.5), math.log(0.9), 0.0], abs=1e-5
    )
    assert [each["id"] for each in ask(ramify, "save", str(first["id"]))] == [made["id"]]


def test_a_tree_is_drawn_branch_by_branch_and_a_beam_replayed_token_by_token(ramify: Run) -> None:
    ask(ramify, "grow", "1", "--width", "2", "--depth", "2")
    lines = said(ramify, "show", "1", "--as-tree").splitlines()
    assert [line.split()[-2:] for line in lines] == [["(the", "beginning)"], ["bc", "-0.80"], ["ca", "-1.71"]]
    assert [line.split()[0] for line in lines[1:]] == ["├", "└"]
    nodes = ask(ramify, "show", "1", "--as-tree")
    assert [each["depth"] for each in nodes] == [0, 1, 1, 2, 2]
    beam = ask(ramify, "show", "1")[1]
    steps = ask(ramify, "replay", f"{beam['id']}:1")
    assert [(each["place"], each["token"], each["standing"], len(each["siblings"])) for each in steps] == [(1, "c", 2, 1)]
    table = said(ramify, "replay", str(beam["id"])).splitlines()
    assert table[1].split() == ["1", str(steps[0]["id"]), "c", "30.00", "2", "2", "b", "50.00", "∅", "20.00"]


def test_beams_are_ranked_anew_and_the_dead_say_why(ramify: Run) -> None:
    ask(ramify, "grow", "1", "--width", "3", "--depth", "3")
    found = ask(ramify, "rerank", "1", "--suppress-tokens", "1")
    assert [(each["text"], each["dead"], each["why"]) for each in found] == [
        ("", False, None),
        ("ca", False, None),
        ("bc", True, "token 1 (b) is removed by suppress_tokens"),
    ]
    colder = ask(ramify, "rerank", "1", "--temperature", "0.5")
    total = 0.25 + 0.09 + 0.04
    assert colder[0]["total"]["high"] == pytest.approx(math.log(0.25 / total * 0.81 / 0.82), abs=1e-4)
    searched = ask(ramify, "rerank", "1", "--num-beams", "2", "--max-new-tokens", "3", "--suppress-tokens", "1")
    fresh = ramify(
        "completions", "generate", "1", "--num-beams", "2", "--max-new-tokens", "3", "--suppress-tokens", "1", "--json"
    )
    assert searched[0]["state"] == "best"
    assert searched[0]["text"] == json.loads(fresh.stdout)["text"]
    assert {each["text"]: each["why"] for each in searched}["bc"] == "token 1 was removed by suppress_tokens"
    assert "is removed by suppress_tokens" in said(ramify, "rerank", "1", "--suppress-tokens", "1")


def test_what_the_tree_does_not_know_is_unknown_until_it_is_covered(ramify: Run) -> None:
    ask(ramify, "grow", "1", "--width", "1", "--depth", "1")
    asked = ("1", "--num-beams", "2", "--max-new-tokens", "3")
    result = ramify("beams", "rerank", *asked)
    assert "--cover does so" in result.stderr
    assert [(each["state"], each["decided"]) for each in ask(ramify, "rerank", *asked)] == [("alive", False)]
    covered = ask(ramify, "rerank", *asked, "--cover")
    fresh = json.loads(ramify("completions", "generate", *asked, "--json").stdout)
    assert (covered[0]["state"], covered[0]["text"]) == ("best", fresh["text"])
    assert covered[0]["beam_score"] == pytest.approx(fresh["beam_score"])


def test_beams_that_sampling_never_reaches_are_found(ramify: Run) -> None:
    ask(ramify, "grow", "1", "--width", "1", "--depth", "3")
    assert ask(ramify, "unlikely", "1", "--top-k", "1") == []
    found = ask(ramify, "unlikely", "1", "--top-k", "1", "--explore", "1", "--depth", "3")
    assert texts(found) == ["ca", "b"]
    assert [(each["place"], each["by"]) for each in found[1]["removed"]] == [(1, "top_k")]
    assert "by top_k" in said(ramify, "unlikely", "1", "--top-k", "1")


def walk(ramify: Run, *lines: str, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return ask(ramify, "open", "1", *options, stdin="".join(f"{line}\n" for line in lines))


def test_a_tree_is_walked_in_the_terminal(ramify: Run) -> None:
    best, other = walk(ramify, "o 2 3")
    assert (best["text"], other["text"]) == ("bc", "ca")
    listed = 2
    chosen, place, offered, picked, saved = walk(ramify, f"{best['id']}", "@1", "c", "+2", "s")[listed:]
    assert (chosen["text"], place["text"], place["beam"]) == ("bc", "b", best["id"])
    assert [(each["number"], each["token_id"], each["ends"]) for each in offered["candidates"]] == [(1, 2, False), (2, 3, True)]
    assert (picked["text"], picked["origin"], picked["ended"]) == ("b", "picked", True)
    assert (saved["text"], saved["token_ids"], saved["finish_reason"]) == ("b", [1, 3], "eos")
    ended = walk(ramify, "a", "l mean", options=("--num-beams", "2", "--max-new-tokens", "3"))
    assert [each["by"] for each in ended[-3:]] == ["mean"] * 3
    result = ramify("beams", "open", "1", stdin="o 1 2 3\n")
    assert (result.exit_code, "says too much" in result.stderr) == (2, True)
    assert "'z' is no step" in ramify("beams", "open", "1", stdin="z\n").stderr
    assert "there is no candidate 9" in ramify("beams", "open", "1", stdin="c\n+ 9\n").stderr


def test_the_steps_are_told_and_decisions_are_taken_off_and_undone(ramify: Run) -> None:
    told = ramify("beams", "open", "1", stdin="?\n").stdout
    assert all(f"\n{step} " in told for step in ("@ PLACE", "l [WORD]", "c [TEXT]", "+ N", "o [W", "a", "g", "w", "h", "p k x b"))
    ask(ramify, "grow", "1", "--width", "2", "--depth", "3")
    beams = ask(ramify, "show", "1")
    best = str(beams[0]["id"])
    *_, pinned, off = walk(ramify, best, "p", "p")
    assert (pinned["pinned"], off["pinned"]) == (True, False)
    ramify("facets", "add", "legal")
    steps = walk(ramify, best, "@1", "k", options=("--facet", "legal"))
    assert steps[-1]["kept"] is True
    said_now = json.loads(ramify("completions", "show", "1", "--json").stdout)["preferences"]
    assert [(each["facet"], each["better_id"], each["worse_id"], each["origin"]) for each in said_now] == [
        ("legal", 1, 2, "beams")
    ]
    walk(ramify, "u")
    assert ramify("completions", "list").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "1"], "sample 1 has no beam tree yet; `ramify beams grow 1` begins one"),
        (["grow", "7"], "there is no sample 7"),
        (["grow", "1", "--width", "2", "--token", "b"], "--width and --token were given"),
        (["grow", "1", "--at", "x"], "'x' is no place in a tree"),
        (["grow", "1", "--at", "99"], "there is no beam node 99"),
        (["pin", "99"], "there is no beam node 99"),
        (["rerank", "1"], "sample 1 has no beam tree yet"),
        (["look", "1", "--show", "0"], "--show is 0"),
        (["delete", "9"], "there is no beam tree 9"),
    ],
)
def test_what_cannot_be_is_refused(ramify: Run, arguments: list[str], message: str) -> None:
    result = ramify("beams", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_several_trees_are_told_apart(ramify: Run) -> None:
    ask(ramify, "grow", "1", "--width", "1", "--depth", "1")
    ask(ramify, "grow", "1", "--width", "1", "--depth", "1", "--title", "second", "--prefill", "b")
    result = ramify("beams", "show", "1")
    assert (result.exit_code, "several trees; name one with --tree: 1 (scripted), 2 (scripted, second)" in result.stderr) == (
        2,
        True,
    )
    assert texts(ask(ramify, "show", "1", "--tree", "2")) == ["c"]
    assert "deleted" in said(ramify, "delete", "2")
    assert texts(ask(ramify, "show", "1")) == ["b"]
