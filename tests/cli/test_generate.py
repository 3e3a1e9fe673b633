"""`ramify generate text`, on a model whose every probability is written down."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run


def test_the_completion_alone_is_on_standard_output(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    result = ramify("generate", "text", "--prompt", "a")
    assert (result.exit_code, result.stdout) == (0, "bc\n")
    assert result.stderr == "[eos after 3 tokens]\n"
    assert scripted == [{"name": "tiny"}]


def test_the_documents_flags_act(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    assert ramify("generate", "text", "-p", "a", "--max-tokens", "1", "-q").stdout == "b\n"
    assert ramify("generate", "text", "-p", "a", "--temperature", "0", "--device", "cpu", "-q").stdout == "bc\n"
    assert scripted[-1] == {"name": "tiny", "device": "cpu"}
    drawn = {ramify("generate", "text", "-p", "a", "--temperature", "1", "--seed", str(seed), "-q").stdout for seed in range(12)}
    assert len(drawn) > 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give either --prompt TEXT or --interactive, or --setup first"),
        (("-p", "a", "-i"), "not both"),
        (("-p", "a", "--max-tokens", "3", "--max-new-tokens", "3"), "are the same setting"),
        (("-p", "a", "-n", "2", "--temperature", "1"), "num_return_sequences is 2"),
        (("-p", "a", "--temperature", "-1"), "temperature is -1"),
        (("-i",), "no chat template"),
    ],
)
def test_what_cannot_be_done_is_refused(
    ramify: Run, scripted: list[dict[str, Any]], arguments: tuple[str, ...], says: str
) -> None:
    result = ramify("generate", "text", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_another_tokenizer_is_refused(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    result = ramify("generate", "text", "-p", "a", "--tokenizer", "tiny")
    assert result.exit_code == 2
    assert "is not that of scripted (4 ids): id 0 is" in result.stderr


def test_setup_asks_and_keeps_and_what_is_given_goes_before_it(ramify: Run, scripted: list[dict[str, Any]], home: Path) -> None:
    result = ramify("generate", "text", "--setup", stdin="tiny\n\n1\n0\n\n\n\n")
    assert result.exit_code == 0
    assert f"kept in {home / 'generate.json'}" in result.stdout
    assert json.loads((home / "generate.json").read_text("utf-8")) == {"model": "tiny", "max_new_tokens": 1, "temperature": 0}
    assert ramify("generate", "text", "-p", "a", "-q").stdout == "b\n"
    assert ramify("generate", "text", "-p", "a", "-q", "--max-tokens", "5").stdout == "bc\n"


def test_answers_that_cannot_be_used_keep_nothing(ramify: Run, home: Path) -> None:
    result = ramify("generate", "text", "--setup", stdin="nothing-of-the-kind\n\n1\n0.5\n0\n1.0\n\n")
    assert result.exit_code == 2
    assert "no model is named 'nothing-of-the-kind'" in result.stderr
    assert ramify("generate", "text", "--setup", stdin="tiny\n\n1\n-3\n0\n1.0\n\n").exit_code == 2
    assert not (home / "generate.json").exists()


def test_saved_sampling_gives_way_to_greedy_and_to_beams(ramify: Run, scripted: list[dict[str, Any]]) -> None:
    ramify("generate", "text", "--setup", stdin="tiny\n\n9\n0.8\n40\n0.9\n\n")
    for arguments in (("--no-do-sample",), ("--temperature", "0"), ("--num-beams", "2")):
        result = ramify("generate", "text", "-p", "a", "-q", *arguments)
        assert (result.exit_code, result.stdout) == (0, "bc\n")
