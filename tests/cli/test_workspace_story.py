"""The README's story of a workspace: every step is a `ramify` of its own, and the workspace is closed after each.

Two prompts; completions generated, streamed, typed, edited, picked token by token and continued; one better than another under
one facet and worse under another; something undone. At the end everything is there, with where it came from.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ramify.prompts import HEDGEHOG, PAYMENT

Step = Callable[..., str]


@pytest.fixture
def step(tmp_path: Path) -> Step:
    """`ramify` with these arguments, in a process and a folder of its own."""
    settings = os.environ | {"RAMIFY_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    settings.pop("RAMIFY_WORKSPACE", None)

    def run(*arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ramify", *arguments], input=stdin, capture_output=True, text=True, cwd=tmp_path, env=settings
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def record(printed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def origins(completion: dict[str, Any]) -> list[str]:
    return [span["origin"] for span in completion["spans"]]


def test_a_workspace_from_its_making_to_its_reopening(step: Step, tmp_path: Path) -> None:
    # Two prompts.
    assert step("new", "stories.ramify").endswith("stories.ramify\n")
    assert step("samples", "add", "--example", "hedgehog", "--title", "Sonic", "--group", "tales") == "1\n"
    (tmp_path / "payment.txt").write_text(PAYMENT, "utf-8")
    assert step("samples", "add", "--file", "payment.txt", "--exact", "--title", "Payment") == "2\n"

    # Completions: generated whole, by hand, edited, token by token, continued.
    beams = step("completions", "generate", "1", "--num-beams", "2", "-n", "2", "--max-new-tokens", "12", "--json")
    whole, second = (json.loads(line) for line in beams.splitlines())
    draft = record(step("completions", "generate", "2", "--draft", "--prefill", '{"', "--max-new-tokens", "6", "--json"))
    step("completions", "save", str(draft["id"]))
    typed = record(step("completions", "write", "2", '{"contractor": "Mike"}', "--json"))
    edited = record(step("completions", "edit", str(whole["id"]), "--replace", "hedgehog", "hedgepig", "--json"))
    picked = record(step("tokens", "1", "--json", stdin="1\n/ upon\n1\nt  a\nu\ns\n"))
    grown = record(step("completions", "continue", str(whole["id"]), "--max-new-tokens", "6", "--json"))

    # Judged: A better than B under one facet, B better than A under another.
    a, b = str(whole["id"]), str(edited["id"])
    step("facets", "add", "bedtime", "--description", "Calm and clear.")
    step("facets", "add", "comedy", "--parent", "bedtime")
    step("prefer", a, b, "--facet", "bedtime")
    step("prefer", b, a, "--facet", "comedy")
    step("rate", a, "8", "--facet", "bedtime")
    step("completions", "tag", a, b, "--add", "pair")
    step("completions", "approve", a, "--facet", "bedtime")

    # Undone.
    step("completions", "archive", a)
    assert step("undo") == "undone: archive completions: 1\n"

    # All of it is there, from another folder, too.
    def shown(completion: dict[str, Any]) -> dict[str, Any]:
        return record(
            step("completions", "show", str(completion["id"]), "--json", "--workspace", str(tmp_path / "stories.ramify"))
        )

    prompts = [record(step("samples", "show", sample, "--json"))["prompt"] for sample in ("1", "2")]
    assert prompts == [HEDGEHOG, PAYMENT]
    listed = [json.loads(line) for line in step("completions", "list", "--json").splitlines()]
    assert sorted(each["id"] for each in listed) == sorted(
        each["id"] for each in (whole, second, draft, typed, edited, picked, grown)
    )

    there = shown(whole)
    assert {name: there[name] for name in whole} == whole | {"tags": ["pair"]}
    assert (there["model"], there["finish_reason"], there["truncated"], there["archived"]) == ("tiny", "length", True, False)
    assert [(each["facet"], each["better_id"], each["worse_id"]) for each in there["preferences"]] == [
        ("bedtime", whole["id"], edited["id"]),
        ("comedy", edited["id"], whole["id"]),
    ]
    assert [(each["facet"], each["rating"]) for each in there["ratings"]] == [("bedtime", 8)]
    assert there["approved"] == ["bedtime"]
    assert sorted(there["children"]) == sorted([edited["id"], grown["id"]])

    assert whole["beam_score"] >= second["beam_score"]
    assert (draft["generated_start"], origins(draft)) == (2, ["prefill", "sampled"])
    assert shown(draft)["draft"] is False
    assert (typed["model"], typed["token_ids"], origins(typed)) == ("manual", None, ["typed"])
    assert edited["text"] == whole["text"].replace("hedgehog", "hedgepig")
    assert origins(edited) == ["sampled", "typed", "sampled"]
    assert (picked["text"], picked["finish_reason"], origins(picked)) == ("Once upon", "user", ["picked"])
    assert grown["token_ids"][:12] == whole["token_ids"]
    assert (grown["parent_id"], grown["branch_position"]) == (whole["id"], 12)
    assert grown["text"].startswith(whole["text"])
