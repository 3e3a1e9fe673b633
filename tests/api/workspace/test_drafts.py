"""Drafts and their events, on a real socket: resumed, cancelled, discarded, undone."""

import json
import threading
from typing import Any

import pytest
from tests.api.listening import Live
from tests.api.workspace.speaking import Event, Speaker

from ramify.workbench.drafting import Drafting, Prepared
from ramify.workbench.workspace import Workspace

ENDLESS = {"max_new_tokens": 900, "ignore_eos": True, "temperature": 1.0}


@pytest.fixture
def sample(api: Speaker) -> Any:
    return api.post("/samples", prompt="Once upon a time")


def _start(api: Speaker, sample: Any, **body: Any) -> list[int]:
    return [draft["id"] for draft in api.post(f"/samples/{sample['id']}/drafts", **body)["items"]]


def _text(events: list[Event]) -> str:
    """What a page that hears these events has on its screen."""
    text = ""
    for event in events:
        if event.name == "snapshot":
            text = event.data["text"]
        elif event.name == "tokens":
            text += event.data["text"]
    return text


def test_the_events_of_a_draft_are_its_completion(api: Speaker, sample: Any) -> None:
    (draft,) = _start(api, sample, prefill=", there", config={"max_new_tokens": 8, "temperature": 0.7, "top_k": 5, "seed": 3})
    events = list(api.events(draft=draft))
    assert events[-1].name == "end"
    made = events[-1].data["completion"]
    assert made == api.get(f"/completions/{draft}")
    whole = _text(events)
    assert whole == made["text"]
    ids = [i for e in events if e.name in ("snapshot", "tokens") for i in e.data["tokens"]["ids"]]
    tokens = api.get(f"/completions/{draft}/tokens")
    assert ids[-len(tokens["ids"]) :] == tokens["ids"]
    told = [e.data["tokens"] for e in events if e.name == "tokens"]
    assert all(t["processed"]["logprob"] is not None for t in told)
    # Five tokens are left after top_k, so none is likelier before than after.
    assert all(a >= b - 1e-6 for t in told for a, b in zip(t["processed"]["logprob"], t["logprob"], strict=True))
    numbers = [int(event.id.rpartition("-")[2]) for event in events]
    assert numbers == sorted(numbers)


def test_a_reload_takes_the_stream_up_where_it_was_left(api: Speaker, sample: Any) -> None:
    (draft,) = _start(api, sample, config={"max_new_tokens": 40, "ignore_eos": True})
    first = list[Event]()
    for event in api.events(draft=draft):
        first.append(event)
        if len(first) == 4:
            break
    rest = list(api.events(draft=draft, after=first[-1].id))
    assert not any(event.name == "snapshot" for event in rest)
    assert _text(first + rest) == rest[-1].data["completion"]["text"]
    assert rest[-1].data["completion"]["token_count"] == 40
    again = list(api.events(draft=draft, after=first[-1].id))
    assert _text(first + again) == _text(first + rest)


def test_who_comes_without_a_memory_begins_with_the_draft_as_it_is(api: Speaker, sample: Any) -> None:
    (draft,) = _start(api, sample, config=ENDLESS)
    seen = list[Event]()
    for event in api.events(draft=draft):
        seen.append(event)
        if len(seen) == 5:
            break
    for event in api.events(draft=draft):
        assert event.name == "snapshot"
        assert event.data["text"].startswith(_text(seen))
        assert event.data["tokens"]["start"] == 0
        assert len(event.data["tokens"]["ids"]) == event.data["tokens"]["total"] >= 4
        break
    api.post(f"/drafts/{draft}/cancel")


def test_an_id_of_an_earlier_life_of_the_server_gives_the_drafts_whole(api: Speaker, sample: Any) -> None:
    (draft,) = _start(api, sample, config=ENDLESS)
    assert next(iter(api.events(draft=draft, after="0123abcd-99"))).name == "snapshot"
    api.post(f"/drafts/{draft}/cancel")
    assert api.refusal("GET", "/drafts/events", after="nonsense")[0] == 400


def test_one_that_ended_before_anybody_listened_is_told_as_ended(api: Speaker, sample: Any) -> None:
    (draft,) = _start(api, sample, config={"max_new_tokens": 2})
    list(api.events(draft=draft))
    events = list(api.events(draft=draft))
    assert [(e.name, e.data["completion"]["finish_reason"]) for e in events] == [("end", "length")]


def test_a_cancelled_draft_keeps_its_text(api: Speaker, sample: Any) -> None:
    (draft,) = _start(api, sample, config=ENDLESS)
    seen = list[Event]()
    for event in api.events(draft=draft):
        seen.append(event)
        if len(seen) == 5:
            break
    cancelled = api.post(f"/drafts/{draft}/cancel")
    assert (cancelled["finish_reason"], cancelled["truncated"], cancelled["running"]) == ("cancelled", True, False)
    assert cancelled["text"].startswith(_text(seen))
    assert len(cancelled["text"]) > 0
    tokens = api.get(f"/completions/{draft}/tokens")
    assert "".join(tokens["text"]) == cancelled["text"]
    assert len(tokens["logprob"]) == cancelled["token_count"] < 900
    # Cancelled again, it stays as it is.
    assert api.post(f"/drafts/{draft}/cancel") == cancelled
    saved = api.post(f"/drafts/{draft}/save")
    assert (saved["draft"], saved["text"]) == (False, cancelled["text"])
    assert api.refusal("POST", f"/drafts/{draft}/cancel")[0] == 400


def test_one_stream_carries_all_drafts_of_a_sample_and_each_is_whole(api: Speaker, sample: Any) -> None:
    heard = list[Event]()
    ready, over = threading.Event(), threading.Event()

    def listen() -> None:
        for event in api.events(sample=sample["id"]):
            heard.append(event)
            ready.set()
            if sum(each.name == "end" for each in heard) == 4:
                break
        over.set()

    (first,) = _start(api, sample, config=ENDLESS)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert ready.wait(60)
    config = {"max_new_tokens": 10, "temperature": 1.0, "ignore_eos": True}
    drafts = _start(api, sample, prefill=", there was", n=3, config={**config, "seed": 11})
    api.post(f"/drafts/{first}/cancel")
    assert over.wait(60)
    listener.join()
    for draft in (first, *drafts):
        assert _text([e for e in heard if e.data["draft"] == draft]) == api.get(f"/completions/{draft}")["text"]
    # One that begins while somebody listens tells what it begins with, before its first token.
    for draft in drafts:
        begun, token, *_ = [e for e in heard if e.data["draft"] == draft]
        assert (begun.name, begun.data["text"], token.name) == ("snapshot", ", there was", "tokens")
        assert (begun.data["tokens"]["start"], token.data["start"]) == (0, len(begun.data["tokens"]["ids"]))
    # Drafts made together read as each would alone.
    for at, draft in enumerate(drafts):
        (alone,) = _start(api, sample, prefill=", there was", config={**config, "seed": 11 + at})
        assert api.ended(alone)["text"] == api.get(f"/completions/{draft}")["text"]


def test_a_draft_is_running_from_the_moment_that_it_can_be_seen(
    api: Speaker, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, seen = Drafting.begin, list[Any]()

    def looked_at_before(drafting: Drafting, prepared: Prepared) -> list[int]:
        seen.extend(api.get(f"/samples/{sample['id']}/completions")["items"])
        return begin(drafting, prepared)

    monkeypatch.setattr(Drafting, "begin", looked_at_before)
    (draft,) = _start(api, sample, config={"max_new_tokens": 2, "ignore_eos": True})
    assert [(each["id"], each["running"], each["finish_reason"]) for each in seen] == [(draft, True, None)]
    ended = api.ended(draft)
    assert (ended["running"], ended["finish_reason"]) == (False, "length")


def test_drafts_wait_in_a_list_until_they_are_saved_or_discarded(api: Speaker, sample: Any) -> None:
    first, second = _start(api, sample, n=2, config={"max_new_tokens": 2, "temperature": 1.0})
    for draft in (first, second):
        api.ended(draft)
    assert [d["id"] for d in api.get("/drafts", sample=sample["id"])["items"]] == [first, second]
    assert api.get("/drafts", sample=sample["id"] + 1)["items"] == []
    api.post(f"/drafts/{first}/save")
    api.delete(f"/drafts/{second}")
    assert api.get("/drafts")["items"] == []
    assert api.refusal("GET", f"/completions/{second}")[:2] == (404, "not_found")
    api.post("/undo")
    assert [d["id"] for d in api.get("/drafts")["items"]] == [second]


def test_a_draft_whose_making_is_undone_is_told_as_gone(api: Speaker, sample: Any) -> None:
    (draft,) = _start(api, sample, config=ENDLESS)
    events = api.events(draft=draft)
    next(events)
    assert api.post("/undo")["action"]["name"] == "draft"
    assert list(events)[-1].name == "gone"
    assert api.get("/drafts")["items"] == []


def test_a_draft_that_grows_is_not_saved_scored_or_continued(api: Speaker, sample: Any) -> None:
    (draft,) = _start(api, sample, config=ENDLESS)
    assert api.get(f"/completions/{draft}")["running"] is True
    assert api.refusal("POST", f"/drafts/{draft}/save")[0] == 400
    assert api.refusal("POST", f"/completions/{draft}/score", {})[0] == 400
    assert api.refusal("POST", f"/completions/{draft}/continue", {})[0] == 400
    api.delete(f"/completions/{draft}")
    assert api.get("/drafts")["items"] == []


def test_results_of_one_beam_search_are_drafts_that_come_together(api: Speaker, sample: Any) -> None:
    drafts = _start(api, sample, n=3, config={"num_beams": 3, "max_new_tokens": 4})
    made = [api.ended(draft) for draft in drafts]
    assert len({each["text"] for each in made}) == 3
    assert [each["beam_score"] for each in made] == sorted((each["beam_score"] for each in made), reverse=True)


def test_nothing_is_begun_where_something_is_refused(api: Speaker, sample: Any) -> None:
    at = f"/samples/{sample['id']}/drafts"
    for body, words in (
        ({"config": {"temperature": -1}}, "temperature"),
        ({"config": {"temprature": 1}}, "temperature"),
        ({"models": ["tiny", "no-such-model"]}, "no-such-model"),
        ({"facet": "no such"}, "no such"),
        ({"n": 65}, "n"),
        ({"n": 1, "surplus": 2}, "surplus"),
        ({"config": {"num_beams": 2}, "n": 3}, "num_beams"),
        ({"prefill": "\ud800"}, "surrogate"),
    ):
        answer = api.client.post(f"/api{at}", content=json.dumps(body), headers={"content-type": "application/json"})
        assert answer.status_code in (400, 404), (body, answer.text)
        assert words in answer.json()["error"]["message"], answer.text
    assert api.refusal("POST", "/samples/99/drafts", {})[:2] == (404, "not_found")
    assert api.get("/drafts")["items"] == []
    assert api.get("/history")["items"][0]["name"] == "add sample"


def test_a_draft_that_a_dead_server_left_is_settled_with_its_text(api: Speaker, served: Live, workspace: Workspace) -> None:
    from ramify.store.records import NewCompletion

    record = workspace.samples.add("Once")
    left = workspace.completions.add(record.id, NewCompletion(text=" upon", model="tiny", fingerprint="x", draft=True))
    shown = api.get(f"/completions/{left.id}")
    assert (shown["finish_reason"], shown["running"]) == (None, False)
    saved = api.post(f"/drafts/{left.id}/save")
    assert (saved["text"], saved["finish_reason"], saved["truncated"], saved["draft"]) == (" upon", "cancelled", True, False)


def test_a_server_that_stops_keeps_what_was_written(api: Speaker, served: Live, workspace: Workspace, sample: Any) -> None:
    (draft,) = _start(api, sample, config=ENDLESS)
    events = api.events(draft=draft)
    next(events), next(events)
    served.app.state.desk.close()
    assert list(events)[-1].data["completion"]["finish_reason"] == "cancelled"
    assert workspace.completions.get(draft).finish_reason == "cancelled"
    assert len(workspace.completions.get(draft).token_ids or ()) > 0


def test_continue_and_branch_refuse_what_has_ended(api: Speaker, sample: Any) -> None:
    started = api.post(f"/samples/{sample['id']}/sessions")
    end = started["candidates"]["ids"][started["candidates"]["ends"].index(True)]
    api.post(f"/sessions/{started['key']}/pick", token_id=end)
    whole = api.post(f"/sessions/{started['key']}/save")
    status, _, message = api.refusal("POST", f"/completions/{whole['id']}/continue", {})
    assert (status, "EOS" in message) == (400, True)
    assert api.refusal("POST", f"/completions/{whole['id']}/branch", {"position": 9})[0] == 400
    assert api.refusal("POST", f"/completions/{whole['id']}/branch", {"position": 0, "token_ids": [end]})[0] == 400
    assert api.refusal("POST", f"/completions/{whole['id']}/branch", {"position": 0, "token_ids": [1], "text": "x"})[0] == 400
    assert api.refusal("POST", f"/completions/{whole['id']}/branch", {"position": 0, "token_ids": [10**6]})[0] == 400
