"""From scratch over HTTP: uploaded texts become a vocabulary and a model that answers; what cannot be is refused."""

from pathlib import Path
from typing import Any

from tests.api.workspace import test_training
from tests.api.workspace.speaking import Speaker
from tests.api.workspace.test_exchange import bring
from tests.api.workspace.test_training import until

import ramify
from ramify.models.registry import Registry

home, served = test_training.home, test_training.served

TEXTS = ("The cat sat on the mat. " * 20, "A dog ran to the park with a ball. " * 20)
SMALL: dict[str, Any] = {"shape": {"hidden_size": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate_size": 64}}
QUICK = {"tokens_per_step": 256, "max_length": 64, "learning_rate": 0.01}


def texts(api: Speaker, *contents: str) -> str:
    upload = None
    for number, content in enumerate(contents):
        upload = bring(api, content.encode(), f"{number}.txt", upload)
    assert upload is not None
    return upload


def over(api: Speaker, key: str) -> Any:
    return until(lambda: (run := api.get(f"/training/runs/{key}"))["state"] != "running" and run, f"the end of {key}")


def test_texts_become_a_vocabulary_and_a_model_that_answers(api: Speaker, home: Path) -> None:
    settings = api.get("/training/scratch")
    assert [each["name"] for each in settings["presets"]] == ["small", "tiny", "medium", "large"]
    assert ".txt" in settings["endings"]
    api.post("/training/scratch", method="tokenizer", name="words", upload=texts(api, *TEXTS), vocab_size=420)
    words = over(api, "words")
    assert (words["state"], words["method"], words["model"], words["problem"]) == ("completed", "tokenizer", None, None)
    body = {"method": "pretrain", "name": "fresh", "tokenizer": "words", **SMALL, "train": {**QUICK, "max_steps": 3}}
    api.post("/training/scratch", **body, upload=texts(api, *TEXTS), validation_upload=bring(api, b"The cat ran.", "held.txt"))
    run = over(api, "fresh")
    assert (run["state"], run["step"], run["steps"], run["problem"]) == ("completed", 3, 3, None)
    assert [line["step"] for line in run["log"] if not line["held_out"]] == [1, 2, 3]
    assert str(home) not in str(run)
    given, learned = (home / "trained" / name / "tokenizer.json" for name in ("fresh", "words"))
    assert given.read_bytes() == learned.read_bytes()
    assert "fresh" in [each["name"] for each in api.get("/models")["items"]]
    with ramify.load("fresh", device="cpu") as model:
        assert len(model.complete("The cat", max_new_tokens=4, ignore_eos=True).token_ids) == 4
    assert api.refusal("POST", "/training/runs/fresh/report", {})[1] == "not_ready"
    api.delete("/training/runs/fresh")
    assert [entry.name for entry in Registry().list() if entry.name == "fresh"] == []


def test_a_run_that_was_cancelled_goes_on_with_the_vocabulary_that_it_had_learned(api: Speaker, home: Path) -> None:
    train = {**QUICK, "max_steps": 4000}
    api.post("/training/scratch", method="pretrain", name="long", upload=texts(api, *TEXTS), vocab_size=420, **SMALL, train=train)
    until(lambda: api.get("/training/runs/long")["step"] > 1, "two steps")
    api.post("/training/runs/long/cancel")
    cancelled = over(api, "long")
    assert (cancelled["state"], cancelled["can_go_on"]) == ("cancelled", True)
    vocabulary = home / "trained" / "long" / "tokenizer.json"
    learned = vocabulary.stat().st_mtime_ns
    api.post("/training/runs/long/resume")
    until(lambda: api.get("/training/runs/long")["step"] > cancelled["step"], "a step more")
    assert vocabulary.stat().st_mtime_ns == learned
    api.delete("/training/runs/long")
    assert not (home / "trained" / "long").exists()


def test_what_no_run_from_scratch_can_be_is_refused_and_nothing_begins(api: Speaker, home: Path) -> None:
    good = texts(api, "a text")
    body = {"method": "pretrain", "name": "x", "upload": good}
    for change, status, said in (
        ({"upload": "none"}, 404, "there is no upload 'none'"),
        ({"upload": bring(api, b"\x7fELF", "a.exe")}, 400, "'a.exe' is no file of text"),
        ({"name": "tiny"}, 400, "'tiny' is the name of a model already"),
        ({"tokenizer": "nobody"}, 404, "nobody"),
        ({"validation_upload": good}, 400, "'0.txt' is among the texts that are learned and those that are measured"),
        ({"method": "tokenizer", "tokenizer": "tiny"}, 400, "a tokenizer is learned of texts alone"),
        ({"train": {"learning_rate": -1}}, 400, "train.learning_rate"),
        ({"preset": "huge"}, 400, "preset"),
    ):
        refused = api.refusal("POST", "/training/scratch", {**body, **change})
        assert (refused[0], said in refused[2]) == (status, True), refused
    assert api.get("/training/runs")["items"] == []


def test_texts_that_cannot_be_read_end_the_run_with_the_reason(api: Speaker, home: Path) -> None:
    api.post("/training/scratch", method="tokenizer", name="odd", upload=bring(api, b"\xff\xfe\x00", "odd.txt"))
    run = over(api, "odd")
    assert run["state"] == "failed"
    assert "odd.txt" in run["problem"]
    assert str(home) not in run["problem"]
