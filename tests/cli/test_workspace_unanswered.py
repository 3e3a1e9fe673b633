"""`ramify unanswered`: the queue of what a facet could not answer."""

import json
from typing import Any

import pytest
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("stories")


def queue(ramify: Run, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ramify("unanswered", "list", *arguments, "--json").stdout.splitlines()]


def test_a_request_waits_is_taken_and_is_answered_by_an_approval(ramify: Run) -> None:
    ramify("facets", "add", "legal")
    assert ramify("unanswered", "add", "Who is liable?", "--chat", "--facet", "legal").stdout == "1\n"
    assert ramify("unanswered", "add", "Who is liable?", "--chat", "--facet", "legal").stdout == "1\n"
    assert ramify("unanswered", "add", "a", "--facet", "legal").stdout == "2\n"
    assert [(each["id"], each["asked"], each["prompt"]) for each in queue(ramify, "--facet", "legal")] == [
        (1, 2, [{"role": "user", "content": "Who is liable?"}]),
        (2, 1, "a"),
    ]
    assert ramify("unanswered", "list").stdout.splitlines()[1].split()[:3] == ["1", "legal", "2"]
    assert "user: Who is liable?" in ramify("unanswered", "show", "1").stdout
    assert ramify("unanswered", "take", "2").stdout == "1\n"  # that sample is there
    assert ramify("unanswered", "take", "1").stdout == "2\n"
    made = json.loads(ramify("completions", "write", "2", "The keeper.", "--json").stdout)
    assert ramify("completions", "approve", str(made["id"]), "--facet", "legal").exit_code == 0
    assert [each["id"] for each in queue(ramify)] == [2]
    assert [(each["id"], each["sample_id"]) for each in queue(ramify, "--state", "answered")] == [(1, 2)]
    assert ramify("unanswered", "dismiss", "2").stdout == "request 2 dismissed\n"
    assert queue(ramify) == []
    ramify("undo")
    ramify("undo")  # the approval, and what it settled
    assert [each["id"] for each in queue(ramify)] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--state", "open"], "the state is 'open'; it must be one of waiting, answered, dismissed"),
        (["list", "--facet", "none"], "there is no facet 'none'"),
        (["take", "9"], "there is no queued request 9"),
        (["dismiss", "9"], "there is no queued request 9"),
        (["add", "a", "--facet", "none"], "there is no facet 'none'"),
    ],
)
def test_what_cannot_be_is_refused(ramify: Run, arguments: list[str], message: str) -> None:
    result = ramify("unanswered", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
