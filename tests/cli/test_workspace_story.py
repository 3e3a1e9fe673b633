"""The README's story of a workspace: every step is a `ramify` of its own, and the workspace is closed after each.

Two prompts; completions made in every way but import; one beamed out at a chosen token; one better than another under one facet
and worse under another; a truncated one continued; something undone. At the end everything is there, with where it came from.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.forking import Ramify, environment

from ramify.prompts import HEDGEHOG, PAYMENT

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
STORY = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)[1].splitlines()
KEYS = {"tokens": "1\n/ upon\n1\nt  a\nu\ns\n", "blocks": "1\n1\ns\n"}
"""What is typed into the interactive commands."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ramify, dict[str, str]]]:
    """The story run as the README has it: what each command printed; and `ramify` for more."""
    folder = tmp_path_factory.mktemp("story")
    printed: dict[str, str] = {}
    with Ramify(folder, environment(folder / "home")) as ramify:
        for line in STORY:
            program, *arguments = shlex.split(line, comments=True)
            assert program == "ramify"
            keys = next((keys for name, keys in KEYS.items() if name in arguments[:2]), "")
            printed[" ".join(arguments)] = ramify(*arguments, stdin=keys)
        assert len(set(ramify.processes)) == len(STORY)
        yield ramify, printed


def shown(ramify: Ramify, completion: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ramify("completions", "show", str(completion), "--json"))
    return found


def origins(completion: dict[str, Any]) -> list[str]:
    return [span["origin"] for span in completion["spans"]]


def test_every_way_of_making_a_completion_is_there_with_where_it_came_from(told: tuple[Ramify, dict[str, str]]) -> None:
    ramify, _ = told
    prompts = [json.loads(ramify("samples", "show", sample, "--json"))["prompt"] for sample in ("1", "2")]
    assert prompts == [HEDGEHOG, PAYMENT]
    whole, second, typed, edited, picked, beam, blocks, grown = (shown(ramify, number) for number in range(1, 9))

    for each in (whole, second):
        assert (each["model"], each["finish_reason"], each["truncated"], each["archived"]) == ("tiny", "length", True, False)
        assert (each["config"]["num_beams"], len(each["token_ids"]), origins(each)) == (2, 12, ["sampled"])
    assert whole["beam_score"] >= second["beam_score"]
    assert (typed["model"], typed["text"], typed["token_ids"], origins(typed)) == (
        "Maria", '{"contractor": "Mike"}', None, ["typed"],
    )  # fmt: skip
    assert (typed["sample_id"], typed["finish_reason"], typed["truncated"]) == (2, "written", False)
    assert edited["text"] == whole["text"].replace("hedgehog", "hedgepig")
    assert (origins(edited), edited["parent_id"]) == (["sampled", "typed", "sampled"], 1)
    assert (picked["text"], picked["finish_reason"], origins(picked)) == ("Once upon", "user", ["picked"])
    assert (grown["parent_id"], grown["branch_position"], len(grown["token_ids"])) == (1, 12, 18)
    assert (grown["token_ids"][:12], grown["text"].startswith(whole["text"])) == (whole["token_ids"], True)

    # The beam parts from completion 1 after its fifth token, and its logprobs are the model's.
    assert (beam["token_ids"][:5], len(beam["token_ids"]), beam["details"]["beam_node"]) == (whole["token_ids"][:5], 11, 22)
    ramify("score", "6")
    assert shown(ramify, 6)["mean_logprob"] == pytest.approx(beam["mean_logprob"], abs=1e-5)

    # Two blocks of at most twelve tokens, each with its seed.
    assert blocks["details"]["blocks"][0]["start"] == 0
    assert {each["seed"] for each in blocks["details"]["blocks"]} <= {3, 4}
    assert (blocks["model"], set(origins(blocks))) == ("tiny", {"sampled"})
    assert all(each["fingerprint"] == whole["fingerprint"] != "" for each in (second, edited, picked, beam, blocks, grown))


def test_one_is_better_under_one_facet_and_worse_under_another(told: tuple[Ramify, dict[str, str]]) -> None:
    ramify, _ = told
    whole = shown(ramify, 1)
    assert [(each["facet"], each["better_id"], each["worse_id"], each["origin"]) for each in whole["preferences"]] == [
        ("bedtime", 1, 4, "hand"),
        ("comedy", 4, 1, "hand"),
    ]
    first = [json.loads(ramify("facets", "rank", facet, "1", "--json").splitlines()[0]) for facet in ("bedtime", "comedy")]
    assert [each["completion_id"] for each in first] == [1, 4]
    assert sorted(whole["children"]) == [4, 8]


def test_what_was_undone_is_undone_and_the_rest_is_listed(told: tuple[Ramify, dict[str, str]]) -> None:
    ramify, printed = told
    assert printed["undo"] == "undone: archive completions: 1\n"
    listed = [json.loads(line)["id"] for line in ramify("completions", "list", "--json").splitlines()]
    assert listed == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [line.split()[0] for line in printed["completions list"].splitlines()[1:]] == [str(i) for i in listed]
    history = [json.loads(line) for line in ramify("history", "--json").splitlines()]
    # Once something else was done, such as a score, what was undone is called abandoned.
    assert [each["name"] for each in history if each["state"] in ("undone", "abandoned")] == ["archive completions"]
    assert "why it died" in printed["beams rerank 1 --repetition-penalty 1.3"].splitlines()[0]
    beams = [json.loads(line) for line in ramify("beams", "show", "1", "--by", "mean", "--json").splitlines()]
    assert 22 in [each["id"] for each in beams]
    assert [each["value"] for each in beams] == sorted((each["value"] for each in beams), reverse=True)


def test_a_process_that_starts_afresh_elsewhere_finds_it_all(told: tuple[Ramify, dict[str, str]], tmp_path: Path) -> None:
    ramify, _ = told
    where = str(ramify.folder / "stories.ramify")
    asked = [sys.executable, "-m", "ramify", "completions", "list", "--json", "--workspace", where]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ramify("completions", "list", "--json")
