"""`ramify completions generate` and `ramify score` over many, and with models behind an endpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run
from tests.endpoint_made_here import Server, delta, says, serving, silent, streams

pytestmark = pytest.mark.usefixtures("stories")

FEW = ("--max-new-tokens", "3")
X = says({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
        yield running


def texts(ramify: Run) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for line in ramify("completions", "list", "--json", "--order", "oldest").stdout.splitlines():
        record = json.loads(line)
        found.setdefault(record["sample_id"], []).append(record["text"])
    return found


def test_many_are_completed_and_the_same_command_goes_on(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    ramify("samples", "add", "ab", "--group", "x")
    ramify("samples", "add", "ac", "--group", "x/y")
    assert ramify("completions", "generate", "--group", "x").stdout == "2 done of 2\n"
    assert ramify("completions", "generate", "--all").stdout == "1 done, 2 before of 3\n"
    assert texts(ramify) == {1: ["bc"], 2: ["c"], 3: ["a"]}
    assert ramify("completions", "generate", "--all").stdout == "0 done, 3 before of 3\n"
    lines = ramify("completions", "generate", "1", "3", "--run", "more", "--json").stdout.splitlines()
    steps = [json.loads(line) for line in lines]  # in the order in which they ended
    assert sorted(step.pop("sample") for step in steps) == [1, 3]
    assert sorted(step.pop("completions") for step in steps) == [[4], [5]]
    assert steps == [{"model": "scripted", "error": None}] * 2
    wanted = '{"field": "title", "op": "is", "value": "Letters"}'
    assert ramify("completions", "generate", "--filter", wanted, "-m", "one", "-n", "2").stdout == "1 done of 1\n"
    assert len(texts(ramify)[1]) == 4


def test_many_are_measured_and_the_same_command_goes_on(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    for text in ("bc", "c", "ca"):
        ramify("completions", "write", "1", text)
    by_hand = '{"field": "finish_reason", "op": "is", "value": "written"}'
    ramify("score", "2")
    lines = ramify("score", "--filter", by_hand, "--json").stdout.splitlines()
    steps = sorted((json.loads(line) for line in lines), key=lambda step: step["completion"])
    assert steps == [{"completion": i, "model": "scripted", "measured": True, "error": None} for i in (1, 3)]
    assert ramify("score", "--all").stdout == "0 done, 3 before of 3\n"


def test_one_that_fails_is_told_and_the_exit_code_says_so(ramify: Run, server: Server) -> None:
    ramify("samples", "add", "b")
    server.script = [X, says({"error": {"message": "not this one"}}, 400)]
    result = ramify("completions", "generate", "--all", "-m", "openai:small", "--max-new-tokens", "3")
    assert (result.exit_code, result.stdout) == (1, "1 done, 1 failed of 2\n")
    assert "not this one" in result.stderr


def test_where_one_of_several_models_fails_the_others_are_printed_and_the_exit_code_says_so(ramify: Run, server: Server) -> None:
    server.script = [X, says({"error": {"message": "not this one"}}, 400), X]
    models = [word for name in ("one", "two", "three") for word in ("-m", f"openai:{name}")]
    result = ramify("completions", "generate", "1", *models, *FEW)
    assert (result.exit_code, result.stdout) == (1, "x\nx\n")
    assert "not this one" in result.stderr
    assert result.stderr.rstrip().endswith("[1 of 3 models failed]")
    assert texts(ramify) == {1: ["x", "x"]}
    server.script = [says({"error": {"message": "not this one"}}, 400)]
    alone = ramify("completions", "generate", "1", "-m", "openai:two", *FEW)
    assert (alone.exit_code, alone.stdout, alone.stderr.startswith("ramify: ")) == (1, "", True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["completions", "generate"], "no sample was named; give ids, --filter, --group, or --all"),
        (["completions", "generate", "1", "--all"], "ids and --all were given; give one of them"),
        (["completions", "generate", "1", "9", "--all"], "ids and --all were given"),
        (["completions", "generate", "1", "9"], "there is no sample 9"),
        (["completions", "generate", "--all", "--draft"], "a draft is of one sample"),
        (["completions", "generate", "--all", "-m", "openai:x", *FEW, "--num-beams", "2"], "num_beams is 2, which 'x' at"),
        (["completions", "generate", "1", "-m", "openai:x", *FEW, "--top-k", "2"], "top_k is 2, which 'x' at"),
        (["completions", "generate", "1", "-m", "openai:x", *FEW, "--draft", "--top-k", "2"], "top_k is 2, which 'x' at"),
        (["completions", "generate", "1", "-m", "openai:x", "--device", "cpu"], "--device is about loading a model"),
        (["score"], "no completion was named"),
        (["score", "--all", "--logprobs", "1"], "--logprobs shows tokens of completions named by id"),
        (["score", "1", "-m", "openai:x"], "cannot score a given text"),
        (["tokens", "1", "-m", "openai:x"], "is a remote model"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_done(
    ramify: Run, server: Server, arguments: list[str], message: str
) -> None:
    ramify("completions", "write", "1", "b")
    before = ramify("history", "--json").stdout
    result = ramify(*arguments, stdin="")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert (ramify("history", "--json").stdout, server.asked) == (before, [])


def test_a_remote_model_completes_streams_and_continues(ramify: Run, server: Server, scripted: list[dict[str, Any]]) -> None:
    piece = [{"choices": [{"index": 0, "text": text}]} for text in ("one", " two")]
    end = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
    server.script = [X, streams([*piece, end]), X]
    made = ramify("completions", "generate", "1", "-m", "openai:small", "-m", "tiny", *FEW)
    assert made.stdout == "x\nbc\n"
    assert made.stderr.splitlines()[0] == "[completion 1 by openai:small: eos]"
    assert [each["name"] for each in scripted] == ["tiny"]
    assert ramify("completions", "generate", "1", "-m", "openai:small", "--draft", *FEW).stdout == "one two\n"
    ramify("completions", "save", "3")
    assert ramify("completions", "continue", "3", *FEW).stdout == "one twox\n"
    assert server.bodies[-1]["prompt"] == "aone two"
    shown = json.loads(ramify("completions", "show", "4", "--json").stdout)
    assert (shown["parent_id"], shown["model"], shown["token_ids"]) == (3, "openai:small", None)
    assert shown["details"]["remote"]["endpoint"] == server.url


def test_chat_messages_go_as_they_are(ramify: Run, server: Server) -> None:
    ramify("samples", "add", "Hello", "--chat")
    server.script = [streams([delta("Hi"), delta(finish="stop")])]
    assert ramify("completions", "generate", "2", "-m", "openai:small", "--draft").stdout == "Hi\n"
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "Hello"}]


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(ramify: Run, server: Server, stories: Path, home: Path) -> None:
    for _ in range(11):
        ramify("samples", "add", "b")
    server.script, server.always = [X, X, X], silent
    command = [sys.executable, "-m", "ramify", "completions", "generate", "--all", "-m", "openai:small", "--max-new-tokens", "3"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    deadline = time.monotonic() + 60
    while (len(server.asked) < 11 or len(texts(ramify)) < 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (130, ""), err
    assert "[stopped: 3 done, 9 left of 12; the same command goes on from here]" in err
    assert server.left.wait(30)
    server.always = X
    again = ramify(*command[3:])
    assert again.stdout == "9 done, 3 before of 12\n"
    assert {len(each) for each in texts(ramify).values()} == {1}
    assert len(texts(ramify)) == 12
