"""Facets, ratings, preferences, rankings, duels, and requests without an answer."""

from typing import Any

import pytest
from tests.api.workspace.speaking import Speaker

from ramify.workbench.workspace import Workspace


@pytest.fixture
def sample(api: Speaker) -> Any:
    return api.post("/samples", prompt="Once upon a time")


@pytest.fixture
def three(api: Speaker, sample: Any) -> list[int]:
    api.post("/facets", name="tone")
    return [api.post(f"/samples/{sample['id']}/completions", text=text)["id"] for text in ("one", "two", "three")]


def test_a_facet_inherits_what_it_leaves_open(api: Speaker) -> None:
    parent = api.post("/facets", name="letters", good_rating=9, mean_logprob=-2.5, target_model="tiny")
    child = api.post("/facets", name="legal letters", parent="letters", bad_rating=3)
    assert child["effective"] == {
        "good_rating": 9,
        "bad_rating": 3,
        "min_logprob": None,
        "mean_logprob": -2.5,
        "target_model": "tiny",
        "chain": ["legal letters", "letters"],
        "sources": {
            "good_rating": "letters",
            "bad_rating": "legal letters",
            "min_logprob": "default",
            "mean_logprob": "letters",
            "target_model": "letters",
        },
    }
    changed = api.patch(f"/facets/{child['id']}", bad_rating=None, description="for the court", version=child["version"])
    assert (changed["bad_rating"], changed["effective"]["bad_rating"], changed["description"]) == (None, 5, "for the court")
    assert api.refusal("PATCH", f"/facets/{child['id']}", {"name": "x", "version": child["version"]})[:2] == (409, "stale")
    assert api.refusal("PATCH", f"/facets/{parent['id']}", {"parent": "legal letters"})[0] == 400
    assert api.refusal("PATCH", f"/facets/{parent['id']}", {"good_rating": 1})[0] == 400
    assert api.refusal("POST", "/facets", {"name": "letters"})[0] == 400
    assert api.refusal("POST", "/facets", {"name": "n", "mean_logprob": 1})[0] == 400
    assert [f["name"] for f in api.get("/facets")["items"]] == ["legal letters", "letters"]
    api.delete(f"/facets/{parent['id']}")
    assert api.get(f"/facets/{child['id']}")["parent"] is None
    assert api.refusal("GET", f"/facets/{parent['id']}")[:2] == (404, "not_found")
    api.post("/undo")
    assert api.get(f"/facets/{child['id']}")["parent"] == "letters"


def test_ratings_are_given_and_taken_back(api: Speaker, three: list[int]) -> None:
    at = f"/completions/{three[0]}/rating"
    assert api.put(at, facet="tone", rating=7)["ratings"] == {"tone": 7}
    assert api.put(at, facet="tone", rating=None)["ratings"] == {}
    assert api.refusal("PUT", at, {"facet": "tone", "rating": 11})[0] == 400
    assert api.refusal("PUT", at, {"facet": "none", "rating": 1})[:2] == (404, "not_found")
    assert api.refusal("PUT", "/completions/99/rating", {"facet": "tone", "rating": 1})[:2] == (404, "not_found")
    assert api.refusal("PUT", at, {"facet": "tone"})[0] == 400


def test_a_ranking_tells_its_uncertainty_and_the_next_pair(api: Speaker, sample: Any, three: list[int]) -> None:
    first, second, third = three
    at = f"/samples/{sample['id']}/ranking"
    fresh = api.get(at, facet="tone")
    assert (fresh["compared"], fresh["pairs"]) == (0, 3)
    assert [item["strength"] for item in fresh["items"]] == [0, 0, 0]
    made = api.post("/preferences", better_id=second, worse_id=first, facet="tone")
    api.post("/preferences", better_id=second, worse_id=third, facet="tone")
    api.put(f"/completions/{third}/rating", facet="tone", rating=4)
    found = api.get(at, facet="tone")
    assert (found["items"][0]["completion_id"], found["items"][0]["place"], found["compared"]) == (second, 1, 2)
    assert found["items"][0]["error"] < fresh["items"][0]["error"]
    assert set(found["next_pair"]) == {first, third}
    assert {item["completion_id"]: item["rating"] for item in found["items"]}[third] == 4
    # Only inherited: a child facet counts its parent's word.
    api.post("/facets", name="child", parent="tone")
    assert api.get(at, facet="child")["items"][0]["completion_id"] == second
    api.delete(f"/preferences/{made['id']}")
    assert [p["better_id"] for p in api.get("/preferences", sample=sample["id"])["items"]] == [second]
    assert api.refusal("DELETE", f"/preferences/{made['id']}")[:2] == (404, "not_found")
    assert api.refusal("GET", "/preferences")[0] == 400
    assert api.refusal("GET", at, facet="none")[:2] == (404, "not_found")


def test_what_cannot_be_compared_is_refused(api: Speaker, three: list[int]) -> None:
    other = api.post("/samples", prompt="Another")
    stranger = api.post(f"/samples/{other['id']}/completions", text="x")["id"]
    for better, worse in ((three[0], three[0]), (three[0], stranger)):
        assert api.refusal("POST", "/preferences", {"better_id": better, "worse_id": worse, "facet": "tone"})[0] == 400


def test_duels_are_blind_and_swap_their_sides(api: Speaker, sample: Any, three: list[int]) -> None:
    seen = set[tuple[int, int]]()
    for _ in range(40):
        duel = api.get("/duel", facet="tone", sample=sample["id"])
        seen.add((duel["left"]["id"], duel["right"]["id"]))
        assert set(duel["left"]) == {"id", "text", "generated_start"}
    assert len(seen) == 2
    assert {frozenset(pair) for pair in seen} == {frozenset(next(iter(seen)))}
    asked = 0
    while (duel := api.get("/duel", facet="tone")) is not None:
        api.post("/preferences", better_id=duel["left"]["id"], worse_id=duel["right"]["id"], facet="tone")
        asked += 1
    assert asked == 3
    assert api.get("/duel", facet="tone", sample=sample["id"]) is None
    assert api.refusal("GET", "/duel", facet="none")[:2] == (404, "not_found")


def test_conflicts_and_circles_are_reported(api: Speaker, workspace: Workspace, sample: Any, three: list[int]) -> None:
    first, second, third = three
    for better, worse in ((first, second), (second, third), (third, first)):
        api.post("/preferences", better_id=better, worse_id=worse, facet="tone")
    workspace.judgements.prefer(second, first, "tone", origin="a model")
    api.put(f"/completions/{first}/rating", facet="tone", rating=2)
    api.put(f"/completions/{second}/rating", facet="tone", rating=8)
    facet = api.get("/facets")["items"][0]
    report = api.get(f"/facets/{facet['id']}/report", sample=sample["id"])
    assert [conflict["pair"] for conflict in report["conflicts"]] == [[first, second]]
    assert report["cycles"] == [[first, second, third]]
    assert (report["agreement"]["agree"], report["agreement"]["disagree"]) == (1, 1)


def test_one_completion_is_approved_at_a_time(api: Speaker, sample: Any, three: list[int]) -> None:
    first, second, _ = three
    assert api.put(f"/completions/{first}/approval", facet="tone", approved=True)["approved"] == ["tone"]
    assert api.put(f"/completions/{second}/approval", facet="tone", approved=True)["approved"] == ["tone"]
    assert api.get(f"/completions/{first}")["approved"] == []
    # To disapprove what is not approved changes nothing of what is.
    assert api.put(f"/completions/{first}/approval", facet="tone", approved=False)["approved"] == []
    assert api.get(f"/completions/{second}")["approved"] == ["tone"]
    assert api.put(f"/completions/{second}/approval", facet="tone", approved=False)["approved"] == []
    api.patch(f"/completions/{first}", archived=True)
    assert api.refusal("PUT", f"/completions/{first}/approval", {"facet": "tone", "approved": True})[0] == 400


def test_requests_without_an_answer_wait_and_are_settled(api: Speaker, workspace: Workspace) -> None:
    api.post("/facets", name="tone")
    for prompt in ("one?", "two?", "three?", "one?"):
        workspace.database.unanswered.add("tone", prompt)
    first = api.get("/unanswered", limit=2)
    assert [(r["prompt"], r["asked"]) for r in first["items"]] == [("one?", 2), ("two?", 1)]
    (last,) = api.get("/unanswered", limit=2, after=first["next"])["items"]
    assert last["prompt"] == "three?"
    answered = api.post(f"/unanswered/{last['id']}/answer")
    assert (answered["state"], api.get(f"/samples/{answered['sample_id']}")["prompt"]) == ("answered", "three?")
    assert api.post("/undo")["action"]["name"] == "answer request"
    assert api.get("/samples")["items"] == []
    assert api.post(f"/unanswered/{last['id']}/dismiss")["state"] == "dismissed"
    assert [r["id"] for r in api.get("/unanswered", state="dismissed", facet="tone")["items"]] == [last["id"]]
    assert api.refusal("POST", "/unanswered/99/dismiss")[:2] == (404, "not_found")
    assert api.get("/counts")["items"][0]["waiting"] == 2
