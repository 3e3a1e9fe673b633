"""Undo, redo and the trail; models, settings and configurations."""

from pathlib import Path

import pytest
from tests.api.listening import Live
from tests.api.workspace.speaking import Speaker

from ramify.workbench.workspace import Workspace


def test_undo_takes_only_the_step_that_was_seen(api: Speaker) -> None:
    sample = api.post("/samples", prompt="Once", title="a")
    seen = api.get("/history")["items"][0]
    api.patch(f"/samples/{sample['id']}", title="b")
    status, code, message = api.refusal("POST", "/undo", {"action": seen["id"]})
    assert (status, code, "edit sample" in message) == (409, "stale", True)
    undone = api.post("/undo")["action"]
    assert (undone["name"], undone["state"], undone["author"]) == ("edit sample", "undone", "Ada")
    assert api.refusal("POST", "/redo", {"action": seen["id"]})[:2] == (409, "stale")
    assert api.post("/redo", action=undone["id"])["action"]["state"] == "done"
    api.post("/undo")
    assert api.post("/undo", action=seen["id"])["action"]["name"] == "add sample"
    assert api.post("/undo")["action"] is None
    assert api.get("/samples")["items"] == []


def test_the_history_is_paged_and_says_what_changed(api: Speaker) -> None:
    ids = [api.post("/samples", prompt=f"{i}")["id"] for i in range(5)]
    api.patch(f"/samples/{ids[0]}", title="new")
    names, after = list[str](), None
    while True:
        page = api.get("/history", limit=2, after=after)
        names += [action["name"] for action in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert names == ["edit sample", *["add sample"] * 5]
    newest = api.get("/history")["items"][0]
    (change,) = api.get(f"/history/{newest['id']}/changes")["items"]
    assert (change["table"], change["kind"], change["row_ids"]) == ("samples", "update", [ids[0]])
    assert "title" in change["columns"]
    trail = api.get("/trail", table="samples", row=ids[0])["items"]
    assert [(entry["action"]["name"], entry["kind"]) for entry in trail] == [("add sample", "insert"), ("edit sample", "update")]
    assert api.refusal("GET", "/trail", table="secrets", row=1)[0] == 400


def test_models_say_what_they_can_do(api: Speaker) -> None:
    (tiny,) = [model for model in api.get("/models")["items"] if model["name"] == "tiny"]
    assert (tiny["kind"], tiny["can"]["beams"]) == ("local", True)
    loaded = api.post("/models/load", name="tiny")
    assert loaded["loaded"]
    assert loaded["context_window"] > 100
    assert loaded["eos"]
    assert api.refusal("POST", "/models/load", {"name": "/etc"})[:2] == (404, "model_not_found")


def test_a_remote_model_says_why_it_cannot(api: Speaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    from ramify.models.endpoints import Endpoint
    from ramify.models.registry import Registry

    Registry().add("far", "openai:some-model", endpoint=Endpoint(base_url="http://127.0.0.1:9/v1", dialect="vllm"))
    (far,) = [model for model in api.get("/models")["items"] if model["name"] == "far"]
    assert (far["kind"], far["loaded"]) == ("remote", False)
    assert "endpoint" in far["can"]["beams"]


def test_the_target_model_is_a_setting_of_the_workspace(api: Speaker) -> None:
    assert api.get("/settings") == {"target_model": None}
    assert api.patch("/settings", target_model="tiny") == {"target_model": "tiny"}
    facet = api.post("/facets", name="tone")
    assert facet["effective"]["sources"]["target_model"] == "workspace"
    assert api.refusal("PATCH", "/settings", {"target_model": "none"})[:2] == (404, "model_not_found")
    assert api.refusal("PATCH", "/settings", {})[0] == 400
    assert api.patch("/settings", target_model=None) == {"target_model": None}


def test_a_config_is_described_and_checked(api: Speaker) -> None:
    known = api.get("/config")
    assert {"temperature", "num_beams", "json_schema"} <= {field["name"] for field in known["fields"]}
    assert "conservative" in {preset["name"] for preset in known["presets"]}
    assert known["processors"].index("temperature") < known["processors"].index("top_p")
    sample = api.post("/samples", prompt="Once upon a time")
    checked = api.post("/config/check", config={"temperature": 0.5, "top_k": 3}, sample=sample["id"])
    assert (checked["strategy"], checked["processors"], checked["model"]) == ("sampling", ["temperature", "top_k"], "tiny")
    assert 0 < checked["prompt_tokens"] < checked["context_window"]
    assert checked["error"] is None
    refused = api.post("/config/check", config={"top_p": 2})
    assert (refused["error"]["param"], refused["error"]["code"], refused["config"]) == ("top_p", "invalid_value", None)
    assert "top_p" in refused["error"]["message"]
    assert api.refusal("POST", "/config/check", {"config": {}, "sample": 999})[0] == 404


def test_a_server_without_a_workspace_says_so(served: Live) -> None:
    workspace, served.server.workspace = served.server.workspace, None
    try:
        with served.client() as client:
            assert Speaker(client).refusal("GET", "/samples")[:2] == (404, "no_workspace")
    finally:
        served.server.workspace = workspace


def test_every_route_needs_the_token(served: Live) -> None:
    with served.stranger() as stranger:
        for path, item in served.app.openapi()["paths"].items():
            if path.startswith("/api/"):
                for method in item:
                    at = path.replace("{", "").replace("}", "")
                    assert stranger.request(method, at).status_code == 401, (method, path)


def test_a_workspace_that_is_read_only_is_shown_and_not_changed(api: Speaker, workspace: Workspace) -> None:
    sample = api.post("/samples", prompt="Once")
    workspace.database.read_only = True
    assert api.get(f"/samples/{sample['id']}")["prompt"] == "Once"
    assert api.get("/workspace")["read_only"] is True
    status, code, _ = api.refusal("PATCH", f"/samples/{sample['id']}", {"title": "x"})
    assert (status, code) == (503, "workspace_unavailable")
