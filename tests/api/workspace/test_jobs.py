"""Jobs over HTTP, as the studio asks for them: rows, places, a tool, and what is refused."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.api.listening import Live
from tests.api.workspace.speaking import Speaker

NOTHING: dict[str, Any] = {"config": {"temperature": 0, "max_new_tokens": 2}}


def ended(api: Speaker, key: str) -> Any:
    for _ in range(600):
        job = api.get(f"/jobs/{key}")
        if job["state"] in ("completed", "failed", "cancelled"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"waited in vain: {job}")


def test_rows_are_read_and_answers_written_where_a_root_allows_it(
    api: Speaker, served: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "in.jsonl").write_text('{"question": "Once upon"}\n')
    asked = {"input_path": str(place / "in.jsonl"), "output_path": str(place / "out.jsonl"), "prompt_column": "question"}
    asked |= {**NOTHING, "logprobs": True, "labels": {"team": "one"}, "max_runtime_sec": 60}
    assert api.get("/jobs/allowed")["roots"] == []
    assert api.refusal("POST", "/jobs", asked)[0] == 403
    monkeypatch.setattr(served.server, "batch_roots", (str(place),))
    assert api.get("/jobs/allowed")["roots"] == [str(place)]
    job = ended(api, api.post("/jobs", **asked)["key"])
    assert (job["state"], job["done"], job["labels"], job["output_file"]) == ("completed", 1, {"team": "one"}, None)
    assert job["output"] == str(place / "out.jsonl")
    (row,) = map(json.loads, (place / "out.jsonl").read_text().splitlines())
    assert (row["question"], len(row["output"]["tokens"])) == ("Once upon", 2)
    # What is there is replaced only where that was said.
    status, _, message = api.refusal("POST", "/jobs", asked)
    assert (status, "out.jsonl" in message) == (400, True)
    assert ended(api, api.post("/jobs", **asked, overwrite=True)["key"])["state"] == "completed"


def test_prices_tell_what_was_spent(api: Speaker) -> None:
    job = ended(api, api.post("/jobs", **NOTHING, prompts=["Once upon"], prices=[1e6, 2e6])["key"])
    assert job["spend"] == job["prompt_tokens"] + 2 * job["completion_tokens"] > 2
    assert (job["workers"]["asked"], job["workers"]["used"]) == (1, 1)


@pytest.mark.slow
def test_a_job_asked_for_in_processes_has_them_and_their_answers_are_the_servers(api: Speaker) -> None:
    prompts = [f"{word} upon a time" for word in ("Once", "Twice", "Never", "Often")]
    alone, apart = (
        ended(api, api.post("/jobs", config={"temperature": 0, "max_new_tokens": 4}, prompts=prompts, processes=n)["key"])
        for n in (1, 2)
    )
    processors = api.get("/jobs/allowed")["processors"]
    assert (apart["state"], apart["workers"]["asked"], apart["workers"]["used"]) == ("completed", 2, min(2, processors))
    rows = [[json.loads(row["result"]) for row in api.get(f"/jobs/{job['key']}/rows")["items"]] for job in (alone, apart)]
    assert [each["text"] for each in rows[0]] == [each["text"] for each in rows[1]]


def test_a_cluster_that_is_not_there_is_refused(api: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ramify.batch.workers.importlib.util.find_spec", lambda name: None)
    assert "pip install 'ramify[ray]'" in api.get("/jobs/allowed")["ray"]
    assert "pip install 'ramify[ray]'" in api.refusal("POST", "/jobs", {**NOTHING, "prompts": ["a"], "runner": "ray"})[2]
    assert api.get("/jobs")["items"] == []


def test_what_no_job_can_be_is_refused_and_nothing_is_made(api: Speaker, tmp_path: Path) -> None:
    told = [
        api.refusal("POST", "/jobs", {**NOTHING, **body})[::2]
        for body in (
            {},
            {"prompts": ["a"], "input_path": "/x"},
            {"prompts": ["a"], "output_path": str(tmp_path / "out.jsonl")},
            {"prompts": ["a"], "checkpoint_path": "/etc"},
            {"prompts": ["a"], "tool_config": {"name": "code_evaluator"}},
            {"prompts": ["a"], "tool_config": {"name": "shell"}},
            {"prompts": ["a"], "processes": 65},
            {"prompts": ["a"], "prices": [1]},
        )
    ]
    says = (
        "given: none of them",
        "given: prompts and input_path",
        "--batch-root",
        "--batch-root",
        "--allow-code-evaluator",
        "name",
        "processes",
        "prices",
    )
    for (status, message), wanted, said in zip(told, (400, 400, 403, 403, 403, 400, 400, 400), says, strict=True):
        assert (status, said in message) == (wanted, True), message
    assert api.get("/jobs")["items"] == []
    assert "--allow-code-evaluator" in api.get("/jobs/allowed")["code_evaluator"]
