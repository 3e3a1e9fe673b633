"""Training over HTTP: rows as the trainer sees them, a run in a process of its own as it goes, its report, its model at work."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.api.listening import TOKEN, Live, listening
from tests.api.workspace.conftest import Unclosed
from tests.api.workspace.speaking import Event, Speaker, events_of

import ramify
from forked_ramify import ForkedRamify, Zygote
from ramify.api.app import create_app
from ramify.api.workspace import training_work
from ramify.models.registry import Registry
from ramify.training.gathering import from_workspace
from ramify.training.plans import plan_from
from ramify.training.records import read_record, write_record
from ramify.training.spelling import Spelling
from ramify.workbench.workspace import Workspace

ANSWERS = {"Say hi": ("Hello <b>you</b>.", "No."), "Say bye": ("Good bye, you.", "No no."), "Say yes": ("Yes, you.", "Never.")}
PLAN: dict[str, Any] = {
    "method": "dpo",
    "name": "tuned",
    "facets": [{"name": "kind"}],
    "select": {"validation": 0.34},
    "lora": {"rank": 4},
    "train": {"max_steps": 6, "learning_rate": 0.005},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zygote: Zygote) -> Path:
    """A data folder of its own; processes are forks that have loaded the libraries already."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("RAMIFY_HOME", str(folder))
    monkeypatch.setattr(
        training_work,
        "start_process",
        lambda arguments, environment, said: ForkedRamify(zygote, arguments, environment=environment, log=said),
    )
    return folder


@pytest.fixture
def served(home: Path, workspace: Workspace, tiny: Any) -> Iterator[Live]:
    load = lambda name: Unclosed(tiny) if name == "tiny" else ramify.load(name, device="cpu", precision="float32")  # noqa: E731
    with listening(create_app(token=TOKEN, workspace=workspace, load=load, registry=Registry())) as live:
        yield live


class Lingering(ForkedRamify):
    """A process that takes its time to end after its last word, as one with much memory does."""

    def poll(self) -> int | None:
        code = super().poll()
        if code is not None and not hasattr(self, "ends"):
            self.ends = time.monotonic() + 1
        return code if code is not None and time.monotonic() > self.ends else None


@pytest.fixture
def judged(workspace: Workspace) -> Workspace:
    """Three chats, of each a better and a worse answer under the facet "kind"."""
    database = workspace.database
    database.facets.add("kind")
    database.facets.add("empty")
    for prompt, texts in ANSWERS.items():
        sample = database.samples.add([{"role": "user", "content": prompt}])
        good, bad = (database.completions.add(sample, written(text)) for text in texts)
        database.judgements.prefer(good, bad, "kind")
    return workspace


def written(text: str) -> Any:
    from ramify.store.records import NewCompletion

    return NewCompletion(text=text, finish_reason="written")


def heard(api: Speaker, key: str) -> Iterator[Event]:
    with api.client.stream("GET", f"/api/training/runs/{key}/events") as answer:
        assert answer.status_code == 200, answer.read()
        yield from events_of(answer.iter_lines())


def until(there: Callable[[], Any], what: str) -> Any:
    for _ in range(600):
        if found := there():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited in vain: {what}")


def test_the_gate_shows_every_row_as_the_trainer_will_see_it(api: Speaker, judged: Workspace) -> None:
    check = api.post("/training/checks", **PLAN, wait=True)
    found = check["report"]
    assert (check["state"], found["passes"], found["refusal"], found["bad"]) == ("done", True, None, [])
    assert (found["model"], found["rows"], found["validation_rows"], found["steps"]) == ("tiny", 3, 1, 6)
    assert found["settings"]["learning_rate"] == 0.005
    assert found["settings"]["batch_size"] == 8
    plan = plan_from({**PLAN, "facets": ["kind"], "workspace": str(judged.database.where), "out": "x"})
    rows = from_workspace(judged.database, plan.template(), Spelling.of("tiny")).rows
    page = api.get(f"/training/checks/{check['key']}/rows", limit=2)
    shown = [*page["items"], *api.get(f"/training/checks/{check['key']}/rows", after=page["next"])["items"]]
    for seen, row in zip(shown, rows, strict=True):
        sides = [(s["token_ids"], s["learned"], s["eos"]) for s in seen["sides"]]
        assert sides == [(list(e.token_ids), [label != -100 for label in e.labels], True) for e in row.examples]
        assert "".join(seen["sides"][0]["texts"]).endswith(f"{ANSWERS[prompt_of(api, seen)][0]}<|im_end|>")
        assert (seen["validation"], seen["problems"]) == (row.validation, [])
    assert api.get(f"/training/checks/{check['key']}/rows", bad=True)["items"] == []
    taken = api.post("/training/checks", **{**PLAN, "name": "tiny"}, wait=True)["report"]
    assert (taken["rows"], taken["steps"], taken["refusal"]) == (3, 6, "'tiny' is the name of a model already; choose another")
    # A window that is too small: the gate says which rows, and a run does not begin.
    small = {**PLAN, "train": {**PLAN["train"], "max_length": 15}}
    failed = api.post("/training/checks", **small, wait=True)
    assert (failed["report"]["passes"], failed["report"]["bad_rows"], failed["report"]["steps"]) == (False, 3, None)
    assert "3 of 3 rows cannot be trained on" in failed["report"]["refusal"]
    bad = api.get(f"/training/checks/{failed['key']}/rows", bad=True)["items"]
    assert [row["number"] for row in bad] == [1, 2, 3]
    assert "the window holds 15" in bad[0]["problems"][0]
    cut = api.post("/training/checks", **{**small, "overlong": "cut-prompt"}, wait=True)["report"]
    assert (cut["refusal"], cut["passes"]) == (None, False)
    assert "were cut (cut-prompt)" in cut["chosen"][0]


def test_a_plan_says_all_that_the_command_lines_can(api: Speaker, judged: Workspace) -> None:
    train = {
        "max_steps": 6,
        "optimizer": "muon",
        "tokens_per_step": 500,
        "packing": True,
        "together": True,
        "checkpointing": True,
    }
    one = {"filter": {"field": "sample", "op": "is", "value": 1}, "validation": 0.0}
    asked = {**PLAN, "train": train, "select": one, "keep": {"texts": 2, "weight": 1.0, "model": "tiny"}}
    found = api.post("/training/checks", **asked, wait=True)["report"]
    assert (found["refusal"], found["rows"]) == (None, 1)
    assert {name: found["settings"][name] for name in (*train, "warmup_steps")} == {**train, "warmup_steps": 50}


def test_a_plan_without_rows_is_no_error_of_the_gate_but_what_it_says(api: Speaker, judged: Workspace) -> None:
    check = api.post("/training/checks", **{**PLAN, "facets": [{"name": "empty"}]}, wait=True)
    assert (check["state"], check["report"]["rows"], check["report"]["passes"]) == ("done", 0, False)
    assert check["report"]["refusal"].startswith("there is nothing to train on as dpo (")
    assert api.get(f"/training/checks/{check['key']}/rows") == {"items": [], "next": None}
    assert api.refusal("POST", "/training/checks", {**PLAN, "facets": [{"name": "nobody"}], "wait": True})[0] == 404


def prompt_of(api: Speaker, row: Any) -> str:
    found: str = api.get(f"/samples/{row['sample']}")["prompt"][0]["content"]
    return found


def test_judged_completions_become_the_facets_next_target_model(
    api: Speaker, served: Live, judged: Workspace, home: Path
) -> None:
    begun = api.post("/training/runs", **PLAN)
    assert (begun["key"], begun["state"], begun["model"], begun["facets"]) == ("tuned", "running", "tiny", ["kind"])
    assert api.refusal("POST", "/training/runs", {**PLAN, "name": "other"})[:2] == (409, "busy")
    events = list(heard(api, "tuned"))
    assert (events[0].name, events[-1].name) == ("run", "end")
    last = events[-1].data["run"]
    assert (last["state"], last["problem"], last["step"], last["steps"]) == ("completed", None, 6, 6)
    assert (last["has_report"], last["can_go_on"], last["left_s"]) == (True, False, None)
    # Who began with the run and added every line has the whole log.
    lines = [*events[0].data["run"]["log"], *(line for event in events for line in event.data.get("lines", []))]
    assert lines == last["log"][: len(lines)]
    learned = [line for line in last["log"] if not line["held_out"]]
    assert [line["step"] for line in learned] == [1, 2, 3, 4, 5, 6]
    assert all(line["loss"] > 0 and line["tokens_per_s"] > 0 for line in learned)
    assert [line["step"] for line in last["log"] if line["held_out"]] == [6]
    assert {"out", "workspace"} & last["plan"].keys() == set()
    assert str(home) not in json.dumps(last)

    # Before and after: the report was made by the same process, and is the library's.
    report = api.get("/training/runs/tuned/report")
    assert (report["base"], report["tuned"], report["method"], report["completions"]) == ("tiny", "tuned", "dpo", 6)
    pairs = {each["part"]: each for each in report["pairs"]}
    assert pairs["training"]["margin_after"] > pairs["training"]["margin_before"] + 1
    assert report["unrelated"]["alarm"] == (report["unrelated"]["worse"] > report["unrelated"]["bound"])
    changes = api.get("/training/runs/tuned/report/completions", order="gained", limit=100)["items"]
    assert [each["change"] for each in changes] == sorted((each["change"] for each in changes), reverse=True)
    first = changes[0]
    total = sum(first["after"]) - sum(first["before"])
    assert first["change"] == pytest.approx(total / len(first["tokens"]))
    assert "".join(first["tokens"]).removesuffix("<|im_end|>") == api.get(f"/completions/{first['completion']}")["text"]
    page = api.client.get("/api/training/runs/tuned/report/page")
    assert (page.headers["content-type"], page.text.count('<p class="tokens">')) == ("text/html; charset=utf-8", 6)

    # The model is there at once, and as the facet's target it says what comes next.
    assert "tuned" in [each["name"] for each in api.get("/models")["items"]]
    facet = next(each for each in api.get("/facets")["items"] if each["name"] == "kind")
    api.patch(f"/facets/{facet['id']}", target_model="tuned")
    sample = api.get("/samples")["items"][0]["id"]
    (draft,) = api.post(f"/samples/{sample}/drafts", facet="kind", config={"max_new_tokens": 4})["items"]
    made = api.ended(draft["id"])
    assert made["model"] == "tuned"
    assert made["fingerprint"] == json.loads((home / "trained" / "tuned" / "training.json").read_text())["result"]["fingerprint"]

    # A server that begins anew finds the run; its name is taken; what is needed is not deleted.
    served.app.state.desk.close()
    del served.app.state.desk
    assert api.get("/training/runs/tuned") == last
    assert [run["key"] for run in api.get("/training/runs")["items"]] == ["tuned"]
    assert api.refusal("POST", "/training/runs", PLAN)[0] == 400
    assert api.refusal("POST", "/training/runs/tuned/resume")[:2] == (409, "completed")
    status, code, message = api.refusal("DELETE", "/training/runs/tuned")
    assert (status, code, "the facet kind" in message) == (409, "in_use", True)
    api.patch(f"/facets/{facet['id']}", target_model=None)
    api.delete("/training/runs/tuned")
    assert api.refusal("GET", "/training/runs/tuned")[0] == 404
    assert "tuned" not in [each["name"] for each in api.get("/models")["items"]]
    assert not (home / "trained" / "tuned").exists()


def test_a_killed_run_is_shown_as_such_goes_on_and_is_cancelled_cleanly(api: Speaker, judged: Workspace, home: Path) -> None:
    long = {**PLAN, "lora": None, "method": "sft", "train": {"max_steps": 5000, "save_every": 1, "learning_rate": 1e-6}}
    api.post("/training/runs", **long)

    def reaches(step: int) -> Event:
        for event in heard(api, "tuned"):
            state = event.data.get("state") or event.data["run"]
            if state["step"] >= step or event.name == "end":
                return event
        raise AssertionError("the stream ended")

    event = reaches(3)
    assert event.data["state"]["left_s"] > 0
    assert event.data["state"]["doing"] == "training"
    record = json.loads((home / "trained" / "tuned" / "run.json").read_text())
    listening_on = heard(api, "tuned")
    next(listening_on)
    os.kill(record["process"][1], signal.SIGKILL)
    *_, end = listening_on
    killed = end.data["run"]
    assert (end.name, killed["state"], killed["can_go_on"], killed["steps"]) == ("end", "killed", True, 5000)
    assert api.refusal("POST", "/training/runs/tuned/report", {})[:2] == (409, "not_ready")
    assert api.get("/training/runs")["items"][0]["state"] == "killed"
    # What went wrong is told without the server's folders.
    folder = home / "trained" / "tuned"
    write_record(folder, replace(read_record(folder), state="failed", problem=f"the checkpoint in {folder}/checkpoint is torn"))
    assert api.get("/training/runs/tuned")["problem"] == "the checkpoint in tuned/checkpoint is torn"

    # With other rows it does not go on; with the same ones it does, from its checkpoint.
    preference = api.get("/preferences", facet="kind")["items"][0]["id"]
    api.delete(f"/preferences/{preference}")
    status, code, message = api.refusal("POST", "/training/runs/tuned/resume")
    assert (status, code, "take back what was judged since" in message) == (409, "changed", True)
    api.post("/undo")
    resumed = api.post("/training/runs/tuned/resume")
    assert (resumed["state"], resumed["steps"]) == ("running", 5000)
    checkpoint = killed["step"] - 1
    assert reaches(killed["step"] + 3).name != "end"
    api.post("/training/runs/tuned/cancel")
    *_, end = heard(api, "tuned")
    cancelled = end.data["run"]
    assert (cancelled["state"], cancelled["problem"], cancelled["can_go_on"]) == ("cancelled", None, True)
    steps = [line["step"] for line in cancelled["log"] if not line["held_out"]]
    assert steps == list(range(1, cancelled["step"] + 1))
    assert cancelled["step"] > checkpoint
    kept = json.loads((home / "trained" / "tuned" / "checkpoint" / "progress.json").read_text())
    assert kept["step"] == cancelled["step"]
    # What was done before it was killed was not done again.
    before = {line["step"]: line["seconds"] for line in killed["log"] if not line["held_out"] and line["step"] <= checkpoint}
    assert {
        line["step"]: line["seconds"] for line in cancelled["log"] if line["step"] in before and not line["held_out"]
    } == before
    assert "tuned" not in [each["name"] for each in api.get("/models")["items"]]
    api.delete("/training/runs/tuned")
    assert list((home / "trained").iterdir()) == []


def test_the_end_of_a_cancelled_process_is_not_taken_for_that_of_the_one_that_went_on(
    api: Speaker, judged: Workspace, home: Path, monkeypatch: pytest.MonkeyPatch, zygote: Zygote
) -> None:
    said: list[list[str]] = []

    def dead(arguments: list[str], environment: dict[str, str], log: Path) -> Lingering:
        """The first is told to end and lingers; the second never says that it is there."""
        said.append(arguments)
        asked = ["train", "nothing"] if len(said) == 1 else ["models", "list"]
        return Lingering(zygote, asked, environment=environment, log=log)

    monkeypatch.setattr(training_work, "start_process", dead)
    api.post("/training/runs", **PLAN)
    folder = home / "trained" / "tuned"
    write_record(folder, replace(read_record(folder), state="cancelled"))
    begun = api.post("/training/runs/tuned/resume")
    *_, end = heard(api, "tuned")
    assert end.data["run"]["started_at"] == begun["started_at"]
    assert end.data["run"]["problem"].startswith("its process ended with code 0 before it began; it said: ")


def test_a_process_that_dies_before_it_begins_is_told_with_its_last_words(
    api: Speaker, judged: Workspace, home: Path, monkeypatch: pytest.MonkeyPatch, zygote: Zygote
) -> None:
    monkeypatch.setattr(
        training_work,
        "start_process",
        lambda arguments, environment, said: ForkedRamify(zygote, ["train", "nothing"], environment=environment, log=said),
    )
    api.post("/training/runs", **PLAN)
    *_, end = heard(api, "tuned")
    assert (end.data["run"]["state"], end.data["run"]["can_go_on"]) == ("failed", True)
    assert end.data["run"]["problem"].startswith("its process ended with code 2 before it began; it said: ")


REFUSALS: list[tuple[dict[str, Any], int, str]] = [
    ({"method": "ppo"}, 400, "method"),
    ({"name": "../up"}, 400, "cannot be a model's name"),
    ({"name": "a/b"}, 400, "cannot be a model's name"),
    ({"name": "tiny"}, 400, "'tiny' is the name of a model already"),
    ({"model": "other"}, 404, "not served here"),
    ({"model": "/etc"}, 404, "not served here"),
    ({"facets": [{"name": "nobody"}]}, 404, "nobody"),
    ({"facets": [{"name": "kind", "count": 1, "share": 0.5}]}, 400, ""),
    ({"out": "/tmp/x"}, 400, "unknown field 'out'"),
    ({"rows": ["/etc/passwd"]}, 400, "unknown field 'rows'"),
    ({"workspace": "/etc/passwd"}, 400, "unknown field 'workspace'"),
    ({"train": {"speed": 9}}, 400, "unknown field 'train.speed'"),
    ({"train": {"learning_rate": -1.0}}, 400, "train.learning_rate"),
    ({"train": {"epochs": 1e9}}, 400, "train.epochs"),
    ({"train": {"max_steps": 1, "batch_size": 1, "tokens_per_step": 9}}, 400, "count rows or tokens"),
    ({"train": {"matrix_learning_rate": 0.1}}, 400, "Muon"),
    ({"train": {"together": True}}, 400, "give packing too"),
    ({"keep": {"model": "/etc"}}, 404, "not served here"),
    ({"train": {"patience": 2}, "select": {}}, 400, "patience watches validation rows"),
    ({"method": "sft", "preference": {"beta": 0.5}}, 400, "sft does not read it"),
    ({"facets": [{"name": "empty"}]}, 400, "nothing to train on as dpo"),
    ({"select": {"filter": {"field": "no", "op": "is", "value": 1}}}, 400, "no"),
    ({"merge": True, "lora": None}, 400, "merge is of an adapter"),
    ({"target_of": "nobody"}, 404, "nobody"),
]


def test_what_cannot_be_trained_is_refused_before_anything_begins(api: Speaker, judged: Workspace, home: Path) -> None:
    found = [api.refusal("POST", "/training/runs", {**PLAN, **change}) for change, _, _ in REFUSALS]
    told = [
        (status, says if says in message else message) for (status, _, message), (_, _, says) in zip(found, REFUSALS, strict=True)
    ]
    assert told == [(status, says) for _, status, says in REFUSALS]
    assert not (home / "trained").exists()


def test_runs_of_other_workspaces_and_what_is_no_run_are_not_shown(api: Speaker, judged: Workspace, home: Path) -> None:
    from ramify.training.records import at_work

    with at_work(plan_from({"method": "sft", "rows": ["rows.jsonl"], "out": str(home / "trained" / "theirs")})):
        pass
    assert api.get("/training/runs") == {"items": [], "next": None}
    for method, path in (
        ("GET", "theirs"),
        ("DELETE", "theirs"),
        ("POST", "theirs/cancel"),
        ("GET", "..%2fmodels.json"),
        ("GET", "none"),
    ):
        assert api.refusal(method, f"/training/runs/{path}")[0] == 404
    assert api.refusal("GET", "/training/runs/theirs/events")[0] == 404


def test_the_methods_defaults_are_the_command_lines(api: Speaker) -> None:
    methods = {each["name"]: each for each in api.get("/training/settings")["methods"]}
    assert list(methods) == ["sft", "dpo", "kto"]
    assert (methods["sft"]["train"]["learning_rate"], methods["sft"]["train"]["epochs"]) == (1e-4, 3)
    assert (methods["dpo"]["train"]["learning_rate"], methods["dpo"]["lora_learning_rate"]) == (1e-5, 1e-4)
    assert (methods["sft"]["train"]["warmup_steps"], methods["sft"]["muon"]["warmup_steps"]) == (0, 50)
    assert methods["dpo"]["preference"] == ["beta", "loss", "sft", "reference"]
    assert methods["kto"]["preference"] == ["beta", "desirable_weight", "undesirable_weight"]
