"""Models behind an endpoint make drafts too; what they cannot do is refused with the reason."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.workspace.speaking import Speaker
from tests.endpoint_made_here import Server, delta, serving, streams

from ramify.workbench import remote_writing


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as running:
        monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", "a-key-that-nobody-sees")
        remote_writing._silent.clear()
        yield running


@pytest.fixture
def sample(api: Speaker) -> Any:
    return api.post("/samples", prompt=[{"role": "user", "content": "Tell a story."}])


def test_a_remote_draft_streams_its_text(api: Speaker, sample: Any, endpoint: Server) -> None:
    endpoint.script = [streams([delta("Once "), delta("upon"), delta(finish="stop")])]
    (draft,) = api.post(f"/samples/{sample['id']}/drafts", models=["openai:far"], config={"max_new_tokens": 9})["items"]
    events = list(api.events(draft=draft["id"]))
    made = events[-1].data["completion"]
    assert (made["text"], made["model"], made["finish_reason"]) == ("Once upon", "openai:far", "eos")
    assert (made["token_count"], made["spans"]) == (None, [[0, 9, "sampled"]])
    assert "a-key-that-nobody-sees" not in str(events)
    assert api.post(f"/drafts/{draft['id']}/save")["draft"] is False


def test_one_that_never_ends_is_cancelled_and_keeps_its_text(api: Speaker, sample: Any, endpoint: Server) -> None:
    endpoint.script = [streams([delta("Once ")], done=False, then="hold")]
    (draft,) = api.post(f"/samples/{sample['id']}/drafts", models=["openai:far"])["items"]
    for event in api.events(draft=draft["id"]):
        if event.data.get("text"):
            assert event.data["text"] == "Once "
            break
    cancelled = api.post(f"/drafts/{draft['id']}/cancel")
    assert (cancelled["text"], cancelled["finish_reason"], cancelled["running"]) == ("Once ", "cancelled", False)


def test_one_whose_endpoint_breaks_keeps_its_text_and_tells_the_error(api: Speaker, sample: Any, endpoint: Server) -> None:
    endpoint.script = [streams([delta("Once ")], done=False, then="break")]
    (draft,) = api.post(f"/samples/{sample['id']}/drafts", models=["openai:far"])["items"]
    last = list(api.events(draft=draft["id"]))[-1]
    if last.name == "error":  # unless it broke before anybody listened
        assert last.data["error"]["code"] == "upstream_error"
    assert (last.data["completion"]["text"], last.data["completion"]["finish_reason"]) == ("Once ", "error")


def test_what_a_remote_cannot_do_is_refused_with_the_reason(api: Speaker, sample: Any, endpoint: Server) -> None:
    at = f"/samples/{sample['id']}"
    for path, body in (
        (f"{at}/sessions", {"model": "openai:far"}),
        (f"{at}/trees", {"model": "openai:far"}),
        (f"{at}/blocks", {"model": "openai:far"}),
    ):
        status, code, message = api.refusal("POST", path, body)
        assert (status, code, "remote" in message) == (400, "unsupported", True)
    refused = api.refusal("POST", f"{at}/drafts", {"models": ["openai:far"], "config": {"num_beams": 2}})
    assert (refused[0], "num_beams" in refused[2]) == (400, True)
    assert api.get("/drafts")["items"] == []
    assert endpoint.bodies == []


def test_settings_are_checked_as_the_endpoint_would_be_asked_without_asking_it(
    api: Speaker, sample: Any, endpoint: Server
) -> None:
    fine = api.post("/config/check", config={"temperature": 0.5}, model="openai:far", sample=sample["id"])
    assert (fine["error"], fine["model"], fine["prompt_tokens"]) == (None, "openai:far", None)
    wrong = api.post("/config/check", config={"num_beams": 2}, model="openai:far", sample=sample["id"])["error"]
    assert "num_beams" in wrong["message"]
    assert endpoint.asked == []


def test_local_and_remote_drafts_are_one_step_of_the_history(api: Speaker, sample: Any, endpoint: Server) -> None:
    endpoint.script = [streams([delta("Far."), delta(finish="stop")])]
    here, far = api.post(f"/samples/{sample['id']}/drafts", models=["tiny", "openai:far"], config={"max_new_tokens": 3})["items"]
    made = [api.ended(draft["id"]) for draft in (here, far)]
    assert [(each["model"], each["finish_reason"]) for each in made] == [("tiny", "length"), ("openai:far", "eos")]
    assert made[1]["text"] == "Far."
    api.post("/undo")
    assert api.get("/drafts")["items"] == []
