"""`ramify complete`: prompts in, completions out, remarks beside them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("scripted")


def test_standard_output_is_the_completion_alone(ramify: Run) -> None:
    result = ramify("complete", "a")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "bc\n", "[eos after 3 tokens]\n")


def test_a_truncated_completion_says_so_beside_the_text(ramify: Run) -> None:
    result = ramify("complete", "a", "--max-new-tokens", "1")
    assert result.stdout == "b\n"
    assert result.stderr == "[length after 1 token, truncated: the model would have gone on]\n"
    assert ramify("complete", "a", "--max-new-tokens", "1", "--quiet").stderr == ""


@pytest.mark.parametrize("text", ["a", "a\n", "a\r\n"])
def test_a_file_and_standard_input_lose_the_line_end_that_closes_them(ramify: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "prompt.txt").write_text(text, "utf-8", newline="")
    assert ramify("complete", "--file", str(tmp_path / "prompt.txt")).stdout == "bc\n"
    assert ramify("complete", "-", stdin=text).stdout == "bc\n"
    assert ramify("complete", "--file", "-", stdin=text).stdout == "bc\n"
    assert ramify("complete", stdin=text).stdout == "bc\n"


def test_exact_keeps_that_line_end(ramify: Run) -> None:
    result = ramify("complete", "-", "--exact", stdin="a\n")
    assert result.exit_code == 2
    assert "'\\n'" in result.stderr  # The scripted vocabulary has no such word.


def test_a_prefill_begins_the_completion_and_is_part_of_the_text(ramify: Run) -> None:
    assert ramify("complete", "a", "--prefill", "c").stdout == "ca\n"
    assert ramify("complete", "a", "--prefill", "c", "--stream").stdout == "ca\n"


def test_a_stream_joined_equals_the_whole(ramify: Run) -> None:
    assert ramify("complete", "a", "--stream").stdout == ramify("complete", "a").stdout
    whole = json.loads(ramify("complete", "a", "--json").stdout)
    events = [json.loads(line) for line in ramify("complete", "a", "--json", "--stream").stdout.splitlines()]
    assert "".join(event["text"] for event in events) == whole["generated_text"] == "bc"
    assert [i for event in events for i in event["token_ids"]] == whole["token_ids"] == [1, 2, 3]
    assert events[-1]["finish_reason"] == "eos"
    assert {**events[-1]["result"], "seed": 0, "cached_tokens": 0} == {**whole, "seed": 0, "cached_tokens": 0}


def test_json_says_how_the_completion_was_made(ramify: Run) -> None:
    result = ramify("complete", "a", "--json", "--seed", "5", "--logprobs", "1", "--top-k", "1")
    found = json.loads(result.stdout)
    tokens = found.pop("logprobs")
    assert found == {
        "index": 0,
        "text": "bc",
        "generated_text": "bc",
        "finish_reason": "eos",
        "stop_string": None,
        "truncated": False,
        "token_ids": [1, 2, 3],
        "generated_token_ids": [1, 2, 3],
        "prompt_tokens": 1,
        "cached_tokens": 0,
        "seed": 5,
        "beam_score": None,
        "config": {"top_k": 1, "seed": 5},
        "strategy": "sampling",
        "processors": ["top_k"],
        "model": "scripted",
        "fingerprint": "scripted",
        "spans": [{"start": 0, "end": 3, "origin": "sampled"}],
    }
    first = tokens[0]
    assert (first["token_id"], first["text"], first["bytes"], first["rank"]) == (1, "b", [98], 1)
    assert first["logprob"] == pytest.approx(math.log(0.5))
    assert first["entropy"] == pytest.approx(-(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2)))
    assert first["processed"]["logprob"] == pytest.approx(0.0)
    assert [other["text"] for other in first["alternatives"]] == ["b"]


def test_several_completions_are_lines_with_their_own_seeds(ramify: Run) -> None:
    result = ramify("complete", "a", "-n", "3", "--do-sample", "--seed", "7")
    alone = [ramify("complete", "a", "--do-sample", "--seed", str(seed)).stdout for seed in (7, 8, 9)]
    assert result.stdout == "".join(alone)
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [f"[completion {i} of 3" for i in (1, 2, 3)]
    assert [line.rsplit(" ", 1)[1] for line in result.stderr.splitlines()] == ["7]", "8]", "9]"]
    lines = ramify("complete", "a", "-n", "2", "--num-beams", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1]


def test_probabilities_are_numbers_where_there_is_no_colour(ramify: Run) -> None:
    result = ramify("complete", "a", "--logprobs", "0")
    tokens, told = result.stdout.splitlines()
    assert tokens == "b⁵⁰c⁹⁰<eos>⁹⁹"
    assert "99 is 99 or more" in told
    assert "\x1b" not in result.stdout


def test_alternatives_come_as_a_table(ramify: Run) -> None:
    assert ramify("complete", "a", "--logprobs", "2").stdout.splitlines()[2:] == [
        "     token  prob %   rank   nats  alternatives",
        "   1 b       50.00      1  1.030  b 50.00  c 30.00",
        "   2 c       90.00      1  0.325  c 90.00  <eos> 10.00",
        "   3 <eos>  100.00      1  0.000  <eos> 100.00",
    ]


def test_a_stream_can_show_probabilities_too(ramify: Run) -> None:
    streamed = ramify("complete", "a", "--logprobs", "2", "--stream").stdout
    assert streamed == ramify("complete", "a", "--logprobs", "2").stdout


def test_a_prefill_has_no_probability(ramify: Run) -> None:
    for way in ([], ["--stream"]):
        tokens, _ = ramify("complete", "a", "--prefill", "c", "--logprobs", "0", *way).stdout.splitlines()
        assert tokens == "ca⁶⁰<eos>⁹⁹"


def test_a_preset_lies_under_the_options(ramify: Run) -> None:
    found = json.loads(ramify("complete", "a", "--json", "--preset", "more_coherent", "--top-k", "3").stdout)
    assert found["config"] == {"temperature": 0.6, "top_k": 3, "top_p": 0.8, "max_new_tokens": 100}


def test_where_the_model_comes_from_is_passed_on(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    ramify("complete", "a", "-m", "other", "--precision", "bfloat16", "--adapter", "lora", "--allow-pickle")
    assert scripted == [{"name": "other", "precision": "bfloat16", "adapter": "lora", "allow_pickle": True}]


REFUSED = {
    "no such setting": (["a", "--temprature", "1"], "No such option"),
    "a temperature below 0": (["a", "--temperature", "-1"], "temperature is -1; it must be a number >= 0"),
    "a word for a number": (["a", "--top-k", "many"], "top_k is 'many'; it must be a whole number"),
    "settings that contradict": (["a", "--no-do-sample", "--top-p", "0.5"], "do_sample is False, so top_p=0.5 cannot act"),
    "an unknown preset": (["a", "--preset", "wild"], "there is no preset 'wild'; choose one of conservative"),
    "a broken schema": (["a", "--json-schema", "{"], "json_schema is '{'; it must be a JSON Schema"),
    "a schema that is no JSON": (["a", "--logit-bias", "{"], "logit_bias is '{', which is not JSON"),
    "an overlong prompt": (["a" * 1024], "the prompt has 1024 tokens; the model's context window holds 1024"),
    "an empty prompt without BOS": ([""], "the prompt is empty, and scripted has no BOS token"),
    "two prompts": (["a", "--file", "b"], "a prompt and --file were given; give one of them"),
    "a file that is not there": (["--file", "nowhere.txt"], "'nowhere.txt' cannot be read: No such file or directory"),
    "chat without a template": (["a", "--chat"], "scripted has no chat template"),
    "messages that are none": (["--messages", "-"], "'-' is not JSON"),
    "a stream of several": (["a", "--stream", "-n", "2", "--do-sample"], "--stream shows one completion at a time"),
    "logprobs below 0": (["a", "--logprobs", "-2"], "logprobs is -2; it must be None or a whole number >= 0"),
    "a broken regular expression": (["a", "--regex", "["], "regex"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused_with_code_2(ramify: Run, arguments: list[str], message: str) -> None:
    result = ramify("complete", *arguments, stdin="")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
