"""Token by token over HTTP: each pick one forward pass of one token."""

import json
from typing import Any

import pytest
from tests.api.workspace.speaking import Speaker


@pytest.fixture
def session(api: Speaker) -> Any:
    sample = api.post("/samples", prompt="Once upon a time")
    return api.post(f"/samples/{sample['id']}/sessions", prefill=", there", k=5)


def test_candidates_have_probabilities_an_others_row_and_eos(api: Speaker, session: Any) -> None:
    could = session["candidates"]
    assert could["position"] == session["length"] == 2
    assert len(could["ids"]) in (5, 6)
    assert any(could["ends"])
    assert could["probability"] == sorted(could["probability"], reverse=True)
    assert abs(sum(could["probability"]) + could["others"] - 1) < 1e-6
    assert could["others"] > 0
    named = api.get(f"/sessions/{session['key']}/candidates", search="the", k=3)
    assert all("the" in text for text in named["text"])
    shaped = api.get(f"/sessions/{session['key']}/candidates", k=5, config=json.dumps({"top_k": 2, "do_sample": True}))
    assert [value is None for value in shaped["processed_logprob"][:3]] == [False, False, True]


def test_each_pick_is_one_forward_pass_of_one_token(api: Speaker, session: Any, tiny: Any) -> None:
    at = f"/sessions/{session['key']}/pick"
    session = api.post(at, token_id=session["candidates"]["ids"][0])
    before = tiny.engine.computed_tokens, tiny.engine.forward_passes
    session = api.post(at, token_id=session["candidates"]["ids"][1])
    assert (tiny.engine.computed_tokens - before[0], tiny.engine.forward_passes - before[1]) == (1, 1)
    api.get(f"/sessions/{session['key']}")
    assert tiny.engine.forward_passes - before[1] == 1


def test_picks_typing_undo_and_finish(api: Speaker, session: Any) -> None:
    at = f"/sessions/{session['key']}"
    first = session["candidates"]["ids"][0]
    picked = api.post(f"{at}/pick", token_id=first, length=2)
    assert (picked["length"], picked["tokens"]["ids"][-1]) == (3, first)
    assert api.refusal("POST", f"{at}/pick", {"token_id": first, "length": 2})[:2] == (409, "stale")
    typed = api.post(f"{at}/type", text=" was a cat")
    assert typed["text"] == ", there" + picked["tokens"]["text"][-1] + " was a cat"
    assert "".join(typed["tokens"]["text"]) == typed["text"]
    assert typed["origins"] == [[0, 2, "prefill"], [2, 3, "picked"], [3, typed["length"], "typed"]]
    assert typed["tokens"]["logprob"][:2] == [None, None]
    assert all(value < 0 for value in typed["tokens"]["logprob"][2:])
    undone = api.post(f"{at}/undo")
    assert undone["length"] == typed["length"] - 1
    finished = api.post(f"{at}/finish", config={"max_new_tokens": 4})
    assert (finished["length"], finished["finished"], finished["candidates"]) == (undone["length"] + 4, "length", None)
    assert finished["origins"][-1] == [undone["length"], undone["length"] + 4, "sampled"]
    assert api.refusal("POST", f"{at}/pick", {"token_id": first})[0] == 400
    saved = api.post(f"{at}/save")
    assert (saved["text"], saved["finish_reason"], saved["truncated"]) == (finished["text"], "length", True)
    assert saved["spans"] == finished["origins"]
    assert api.post(f"{at}/undo")["length"] == undone["length"]
    assert api.get(at)["text"] == undone["text"]


def test_the_rest_streams_as_drafts_and_the_session_stays(api: Speaker, session: Any) -> None:
    at = f"/sessions/{session['key']}"
    picked = api.post(f"{at}/pick", token_id=session["candidates"]["ids"][0])
    drafts = api.post(f"{at}/drafts", n=2, config={"max_new_tokens": 3, "temperature": 1.0, "seed": 1})["items"]
    for draft in drafts:
        made = api.ended(draft["id"])
        assert made["text"].startswith(picked["text"])
        assert made["spans"] == [[0, 2, "prefill"], [2, 3, "picked"], [3, 6, "sampled"]]
        assert len(api.get(f"/completions/{made['id']}/tokens")["logprob"]) == 6
    assert api.get(at)["length"] == 3


def test_a_session_begins_inside_a_completion_and_saves_a_child(api: Speaker, session: Any) -> None:
    (draft,) = api.post(f"/samples/{session['sample_id']}/drafts", config={"max_new_tokens": 6})["items"]
    made = api.post(f"/drafts/{api.ended(draft['id'])['id']}/save")
    tokens = api.get(f"/completions/{made['id']}/tokens")
    inside = api.post(f"/completions/{made['id']}/sessions", position=4)
    assert inside["tokens"]["ids"] == tokens["ids"][:4]
    assert inside["tokens"]["logprob"] == tokens["logprob"][:4]
    taken = next(i for i in inside["candidates"]["ids"] if i != tokens["ids"][4])
    api.post(f"/sessions/{inside['key']}/pick", token_id=taken)
    child = api.post(f"/sessions/{inside['key']}/save")
    assert (child["parent_id"], child["branch_position"], child["spans"]) == (
        made["id"],
        4,
        [[0, 4, "sampled"], [4, 5, "picked"]],
    )
    assert api.refusal("POST", f"/completions/{made['id']}/sessions", {"position": 7})[0] == 400


def test_sessions_are_listed_and_left(api: Speaker, session: Any) -> None:
    assert [held["key"] for held in api.get("/sessions")["items"]] == [session["key"]]
    api.delete(f"/sessions/{session['key']}")
    assert api.get("/sessions")["items"] == []
    status, code, message = api.refusal("GET", f"/sessions/{session['key']}")
    assert (status, code, "Start another" in message) == (404, "not_found", True)


def test_what_a_session_cannot_take_is_refused_and_leaves_it_as_it_was(api: Speaker, session: Any) -> None:
    at = f"/sessions/{session['key']}"
    assert api.refusal("POST", f"{at}/pick", {"token_id": 10**6})[0] == 400
    assert api.refusal("POST", f"{at}/type", {"text": ""})[0] == 400
    assert api.refusal("POST", f"{at}/undo", {})[0] == 400
    assert api.refusal("POST", f"{at}/finish", {"config": {"top_p": 3}})[0] == 400
    assert api.refusal("GET", f"{at}/candidates", config="[]")[0] == 400
    assert api.refusal("GET", f"{at}/candidates", k=0)[0] == 400
    assert api.get(at, k=5) == session
