"""`ramify complete` with a model behind an endpoint, which answers by script."""

import json
from collections.abc import Iterator

import pytest
from tests.cli.conftest import Run
from tests.endpoint_made_here import Server, chat, delta, says, serving, streams

from ramify.models.endpoints import Endpoint
from ramify.models.registry import Registry


@pytest.fixture
def far(home: object) -> Iterator[Server]:
    with serving() as server:
        Registry().add("far", "openai:small", endpoint=Endpoint(base_url=server.url, prefill="continue_final_message"))
        yield server


def test_a_text_is_completed_and_what_was_billed_is_said(ramify: Run, far: Server) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    far.script = [says({"choices": [{"index": 0, "text": " a time", "finish_reason": "length"}], "usage": usage})]
    result = ramify("complete", "Once upon", "--model", "far", "--max-new-tokens", "2", "--prefill", " in")
    assert (result.exit_code, result.stdout) == (0, " in a time\n"), result.stderr
    assert result.stderr == "[length, truncated: the model would have gone on; 3 + 2 tokens billed]\n"
    (asked,) = far.bodies
    assert (asked["prompt"], asked["max_tokens"], asked["temperature"]) == ("Once upon in", 2, 0.0)


def test_json_has_the_names_of_a_local_one_and_the_endpoint_s_words(ramify: Run, far: Server) -> None:
    far.script = [says(chat("Yes.", "No."))]
    result = ramify("complete", "Really?", "--chat", "--model", "far", "-n", "2", "--temperature", "0.5", "--seed", "7", "--json")
    first, second = [json.loads(line) for line in result.stdout.splitlines()]
    assert (first["index"], first["text"], second["text"], first["finish_reason"]) == (0, "Yes.", "No.", "eos")
    assert (first["model"], first["seed"], first["config"]["temperature"]) == ("far", 7, 0.5)
    assert first["remote"]["endpoint"] == far.url


def test_pieces_come_as_they_are_made_and_a_repeated_prefill_once(ramify: Run, far: Server) -> None:
    far.script = [streams([delta("The "), delta("cat sat"), delta(" down."), delta(finish="stop")])]
    result = ramify("complete", "Go on", "--chat", "--model", "far", "--stream", "--prefill", "The cat")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "The cat sat down.\n", "[eos]\n")


def test_logprobs_are_painted_where_the_endpoint_gives_them(ramify: Run, far: Server) -> None:
    content = [
        {
            "token": "Yes",
            "bytes": list(b"Yes"),
            "logprob": -0.1,
            "top_logprobs": [{"token": "No", "bytes": None, "logprob": -2.5}],
        }
    ]
    answer = chat("Yes")
    answer["choices"][0]["logprobs"] = {"content": content}
    far.script = [says(answer), says(chat("Yes"))]
    painted = ramify("complete", "Really?", "--chat", "--model", "far", "--logprobs", "1")
    assert "alternatives" in painted.stdout
    assert "No" in painted.stdout
    silent = ramify("complete", "Really?", "--chat", "--model", "far", "--logprobs", "1")
    assert (silent.stdout, "far gave no logprobs" in silent.stderr) == ("Yes\n", True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--min-p", "0.1"), "min_p is 0.1, which 'small' at"),
        (("--device", "cpu"), "--device is about loading a model, and far is remote"),
        (("--model-defaults",), "--model-defaults is about loading a model, and far is remote"),
        (("--stream", "--logprobs", "2"), "leave one out, or add --json"),
    ],
)
def test_what_it_cannot_be_asked_for_is_refused_and_nothing_is_sent(
    ramify: Run, far: Server, options: tuple[str, ...], why: str
) -> None:
    result = ramify("complete", "Once", "--model", "far", "--max-new-tokens", "3", *options)
    assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
    assert far.asked == []
