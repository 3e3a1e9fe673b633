"""`ramify train` from rows to a model that transformers and the registry know."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ramify.cli.main import app

ROWS = [{"messages": [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "hi"}]}, {"text": "hi there"}]
SMALL = ["--hidden-size", "8", "--layers", "1", "--heads", "2", "--kv-heads", "1", "--intermediate-size", "16"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own."""
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two rows in a file."""
    return written(tmp_path / "rows.jsonl", ROWS)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments: object, code: int = 0) -> str:
    """What a command says, on both channels; it must exit with `code`."""
    result = CliRunner().invoke(app, ["train", *(str(argument) for argument in arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_tokenizer_then_pretrain_then_sft_give_a_model_folder(tmp_path: Path, rows: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words, first, second = tmp_path / "words", tmp_path / "first", tmp_path / "second"
    assert "tokens in" in run("tokenizer", "--rows", rows, "--out", words, "--vocab-size", 400)
    run("pretrain", "--rows", rows, "--tokenizer", words, "--out", first, "--max-steps", 2, *SMALL)
    output = run("sft", "--rows", rows, "--model", first, "--out", second, "--max-steps", 2, "--validation-rows", rows)
    assert "validation {'held_out':" in output
    model = AutoModelForCausalLM.from_pretrained(second)
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(second))
    assert model.config.max_position_embeddings == 2048


def test_a_plan_in_yaml_with_a_flag_over_it_gives_an_adapter_in_the_registry(tmp_path: Path, rows: Path) -> None:
    from ramify.models.registry import Registry, fingerprint

    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"method: sft\nmodel: tiny\nrows: [{rows}]\nname: tuned\nlora: {{rank: 2}}\n"
        "train: {max_steps: 5, learning_rate: 0.01, seed: 3}\n"
    )
    output = run("sft", plan, "--max-steps", 2, "--set", "train.clip_norm=0.5")
    assert "sft of tiny: 2 rows, " in output
    entry = Registry().show("tuned")
    assert entry.adapter is not None
    manifest = json.loads((Path(entry.adapter) / "training.json").read_text())
    train = manifest["plan"]["train"]
    assert (train["max_steps"], train["clip_norm"], train["seed"], train["learning_rate"]) == (2, 0.5, 3, 0.01)
    assert manifest["base"]["fingerprint"] == fingerprint(Registry().resolve("tiny")).id
    assert manifest["result"]["fingerprint"] == fingerprint(Registry().resolve("tuned")).id
    assert [row["line"] for row in manifest["rows"]] == [1, 2]
    import ramify

    before, after = (ramify.load(name) for name in ("tiny", "tuned"))
    assert (before.complete("Say hi", max_new_tokens=4).text, before.info.fingerprint) != (
        after.complete("Say hi", max_new_tokens=4).text,
        after.info.fingerprint,
    )
    assert "'tuned' is taken by" in run("sft", plan, "--out", tmp_path / "other", code=2)


def test_pairs_are_compared_by_gain_or_without_a_reference_by_likelihood(tmp_path: Path) -> None:
    pairs = written(
        tmp_path / "pairs.jsonl", [{"prompt": "Say hi", "chosen": "hi", "rejected": "What a long way to say nothing."}]
    )
    first = {}
    for flag in ("--reference", "--no-reference"):
        out = tmp_path / flag
        run("dpo", "--rows", pairs, "--model", "tiny", "--lora", 2, "--max-steps", 1, flag, "--out", out)
        first[flag] = json.loads((out / "log.jsonl").read_text().splitlines()[0])["loss"]
        assert json.loads((out / "training.json").read_text())["plan"]["preference"]["reference"] is (flag == "--reference")
    assert first["--reference"] == pytest.approx(0.6931, abs=1e-3)  # ln 2: nothing is gained before the first step
    assert first["--no-reference"] < 0.5  # the shorter one is likelier anyhow


def test_what_cannot_be_done_is_said_and_exits_with_2(tmp_path: Path, rows: Path) -> None:
    out = tmp_path / "out"
    assert "no model is named 'no-such'" in run("sft", "--rows", rows, "--model", "no-such", "--out", out, code=2)
    assert "none.jsonl does not exist" in run("tokenizer", "--rows", "none.jsonl", "--out", tmp_path, code=2)
    assert "training has no setting 'speed'" in run("sft", "--rows", rows, "--out", out, "--set", "train.speed=9", code=2)
    assert "rows.jsonl has no rows for dpo" in run("dpo", "--rows", rows, "--out", out, code=2)
    assert "give --out" in run("sft", "--rows", rows, code=2)
    assert "rows and a workspace are given" in run("sft", "--rows", rows, "--out", out, "--facet", "x", code=2)
    said = run("sft", "--rows", rows, "--out", out, "--validation", 0.5, code=2)
    assert "select (validation) is of a workspace's completions" in said
    assert "patience watches validation rows" in run("sft", "--rows", rows, "--out", out, "--patience", 2, code=2)
    assert "matrix_learning_rate is Muon's" in run("sft", "--rows", rows, "--out", out, "--matrix-learning-rate", 0.1, code=2)
    unread = run("sft", "--rows", rows, "--out", out, "--set", "preference.beta=0.5", code=2)
    assert "preference.beta is 0.5, and sft does not read it" in unread
    assert not out.exists()


def test_rows_are_chosen_by_saved_filters_and_by_json(tmp_path: Path, rows: Path) -> None:
    from ramify.store import Database, NewCompletion
    from ramify.store.filters import parse

    with Database.open(tmp_path / "w.ramify") as database:
        for title in ("fox", "bear", "cat"):
            sample = database.samples.add(f"A {title}", title=title)
            database.completions.add(sample, NewCompletion(text=" ran.", finish_reason="written"))
        database.filters.save("no cat", parse({"not": {"field": "title", "op": "is", "value": "cat"}}))
    asked = ["check", "--workspace", tmp_path / "w.ramify", "-m", "tiny", "--json"]
    assert json.loads(run(*asked))["rows"] == 3
    assert json.loads(run(*asked, "--filter", "no cat"))["rows"] == 2
    fox = '{"field": "title", "op": "is", "value": "fox"}'
    assert json.loads(run(*asked, "--filter", "no cat", "--filter", fox))["rows"] == 1
    assert "there is no filter 'nobody'" in run(*asked, "--filter", "nobody", code=2)
    assert "--filter is of a workspace's completions" in run("check", "--rows", rows, "--filter", "no cat", code=2)
    for wrong, says in (("train=5", "train is 5; it must be an object"), ("train.seed=[", "cannot be read as YAML")):
        assert says in run("check", "--rows", rows, "--set", wrong, code=2)


def test_check_is_a_gate_with_an_exit_code(tmp_path: Path, rows: Path) -> None:
    output = run("check", "--rows", rows, "--row", 1)
    assert "every row can be trained on" in output
    assert "<|im_end|>" in output
    assert "ends with EOS 2" in output
    bad = written(tmp_path / "bad.jsonl", [{"prompt_token_ids": [1], "completion_token_ids": [9999]}])
    assert "row 1, bad.jsonl, line 1: token id 9999 is outside the vocabulary of 4096" in run("check", "--rows", bad, code=1)
    seen = json.loads(run("check", "--rows", bad, "--json", code=1))
    assert (seen["rows"], seen["passes"], seen["problems"]) == (1, False, {"an id outside the vocabulary": 1})
    assert "it has 14 tokens, the window holds 4" in run("check", "--rows", rows, "--window", 4, code=1)
