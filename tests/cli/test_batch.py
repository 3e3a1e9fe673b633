"""`ramify batch`, on a model whose every probability is written down."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("stories", "scripted")

GREEDY = ("--temperature", "0", "--max-new-tokens", "5")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    where = tmp_path / "in.jsonl"
    where.write_text('{"prompt": "a", "id": 1}\n{"prompt": "ab"}\n{torn\n{"prompt": "xyz"}\n')
    return where


def key_of(result: Any) -> str:
    return str(result.stdout.split()[0])


def test_a_batch_is_run_listed_and_shown(ramify: Run, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = ramify("batch", "run", str(source), "-o", str(out), *GREEDY, "--label", "team=one", "--price", "1,2")
    key = key_of(result)
    assert (result.exit_code, result.stdout) == (1, f"{key} completed: 2 done, 2 failed of 4\n")
    assert result.stderr == f"[{key}]\n"
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0] == {
        "prompt": "a",
        "id": 1,
        "output": {"text": "bc", "num_prompt_tokens": 1, "num_completion_tokens": 3, "finish_reason": "eos"},
    }
    assert [row.get("output", {}).get("text") for row in rows] == ["bc", "c", None, None]
    assert ramify("batch", "list").stdout == f"{key}  completed  2 done, 2 failed of 4  tiny\n"
    assert json.loads(ramify("batch", "list", "--json").stdout)["job_id"] == key
    shown = json.loads(ramify("batch", "show", key, "--json").stdout)
    assert {name: shown[name] for name in ("state", "rows", "done", "failed", "left", "labels", "prompt_tokens", "spend")} == {
        "state": "completed",
        "rows": 4,
        "done": 2,
        "failed": 2,
        "left": 0,
        "labels": {"team": "one"},
        "prompt_tokens": 3,
        "spend": 0.000013,
    }
    errors = ramify("batch", "show", key, "--errors").stdout.splitlines()[-2:]
    assert errors[0].startswith("row 2: line 3: it is no JSON")
    assert errors[1].startswith("row 3: 'xyz' does not begin with any word")


def test_retry_runs_what_failed_and_can_be_read(ramify: Run, source: Path, tmp_path: Path) -> None:
    key = key_of(ramify("batch", "run", str(source), "-o", str(tmp_path / "o.jsonl"), *GREEDY))
    again = ramify("batch", "retry", key)
    assert (again.exit_code, again.stdout) == (1, f"{key} completed: 2 done, 2 failed of 4\n")
    assert ramify("batch", "cancel", key).stdout == "completed\n"


def test_openai_requests_and_document_002s_object_are_inputs_too(ramify: Run, tmp_path: Path) -> None:
    (tmp_path / "requests").write_text(
        json.dumps([{"prompt": "a", "max_tokens": 5, "temperature": 0}, {"prompt": "a", "n": "x"}])
    )
    assert ramify("batch", "run", str(tmp_path / "requests"), "-o", str(tmp_path / "o.json")).exit_code == 1
    first, second = json.loads((tmp_path / "o.json").read_text())
    assert (first["object"], first["choices"][0]["text"]) == ("text_completion", "bc")
    assert "n is 'x'" in second["error"]["message"]
    (tmp_path / "content").write_text(json.dumps({"prompts": ["a", "ab"], "max_new_tokens": 5, "temperature": 0.0}))
    assert ramify("batch", "run", str(tmp_path / "content"), "-o", str(tmp_path / "c.json")).exit_code == 0
    assert [row["text"] for row in json.loads((tmp_path / "c.json").read_text())] == ["bc", "c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a batch has an input and an output; give INPUT and --output, or --job to go on with one"),
        (["in.jsonl", "--job", "x"], "--job names a job that says all of this already; leave INPUT out"),
        (["--job", "x", "-m", "tiny"], "leave --model out, or begin another without --job"),
        (["--job", "x", "-j", "4"], "leave --data-parallelism out"),
        (["--job", "x", "--max-runtime-sec", "9"], "leave --max-runtime-sec out"),
        (["--job", "x", "--device", "cpu"], "leave --device out"),
        (["--job", "x", "--temperature", "0"], "leave --temperature out"),
        (["in.jsonl", "-o", "o.jsonl", "-m", "openai:gpt", "--device", "cpu"], "--device is about loading a model"),
        (["nowhere.jsonl", "-o", "o.jsonl"], "cannot be read: No such file or directory"),
        (["in.jsonl", "-o", "o.jsonl", "--label", "x"], "--label x has no value; give NAME=VALUE"),
        (["in.jsonl", "-o", "o.jsonl", "--price", "x"], "--price is 'x'; give two numbers, such as 0.15,0.60"),
        (["in.jsonl", "-o", "o.jsonl", "-j", "65"], "data_parallelism is 65; it must be a whole number from 1 to 64"),
        (["in.jsonl", "-o", "o.jsonl", "--temperature", "-1"], "temperature is -1"),
        (["in.jsonl", "-o", "o.jsonl", "--tool", "calculator"], "name is 'calculator'"),
        (["in.jsonl", "-o", "o.csv"], "a job writes .json, .jsonl or .parquet"),
        (["--job", "job-none"], "there is no job 'job-none'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_made(
    ramify: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ramify("batch", "run", *arguments)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert ramify("batch", "list").stdout == ""


def test_a_server_that_could_not_run_code_safely_does_not_start(ramify: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from ramify.batch import sandbox

    monkeypatch.setattr(sandbox, "why_not", lambda: "bubblewrap is missing; install it (apt-get install bubblewrap)")
    for command in (("serve",), ("studio", "none.ramify", "--no-browser")):
        refused = ramify(*command, "--port", "0", "--allow-code-evaluator")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "code cannot be run here: bubblewrap is missing; install it (apt-get install bubblewrap)" in refused.stderr
    assert not Path("none.ramify").exists()


def test_a_job_on_ray_says_so_and_is_refused_without_ray(
    ramify: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ramify.batch import workers

    monkeypatch.setattr(workers.importlib.util, "find_spec", lambda name: None)
    refused = ramify("batch", "run", str(source), "-o", str(tmp_path / "o.jsonl"), "--runner", "ray")
    assert (refused.exit_code, "pip install 'ramify[ray]'" in refused.stderr) == (2, True)
    unknown = ramify("batch", "run", str(source), "-o", str(tmp_path / "o.jsonl"), "--runner", "slurm")
    assert "runner is 'slurm'; it must be one of local, ray" in unknown.stderr
    assert ramify("batch", "list").stdout == ""
