"""`ramify train` from rows to a model that transformers loads."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ramify.cli.train import app

ROWS = [{"messages": [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "hi"}]}, {"text": "hi there"}]
SMALL = ["--hidden-size", "8", "--layers", "1", "--heads", "2", "--kv-heads", "1", "--intermediate-size", "16"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two rows in a file."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def run(*arguments: object) -> str:
    """The output of a command that must succeed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_tokenizer_then_pretrain_then_sft_give_a_model_folder(tmp_path: Path, rows: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words, first, second = tmp_path / "words", tmp_path / "first", tmp_path / "second"
    assert "tokens in" in run("tokenizer", "--rows", rows, "--out", words, "--vocab-size", 400)
    run("pretrain", "--rows", rows, "--tokenizer", words, "--out", first, "--max-steps", 2, *SMALL)
    output = run("sft", "--rows", rows, "--model", first, "--out", second, "--max-steps", 2, "--validation", rows)
    assert "validation {'rows':" in output
    model = AutoModelForCausalLM.from_pretrained(second)
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(second))
    assert model.config.max_position_embeddings == 2048


def test_what_cannot_be_done_is_said_and_exits_with_2(tmp_path: Path, rows: Path) -> None:
    result = CliRunner().invoke(app, ["sft", "--rows", str(rows), "--model", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "neither max_steps nor max_seconds is given" in result.output
    missing = CliRunner().invoke(app, ["tokenizer", "--rows", "none.jsonl", "--out", str(tmp_path)])
    assert missing.exit_code == 2
    assert "none.jsonl does not exist" in missing.output
