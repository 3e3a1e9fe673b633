"""Samples and completions one by one: read, changed, and kept from overwriting each other."""

from typing import Any

import pytest
from tests.api.workspace.speaking import Speaker

ODD = [
    "<script>alert(1)</script>",
    "a\u202eb\u200b\u2028\u2029c",
    "nul \x00 inside",
    "x" * 20_000,
    "é\n\t\r\n ",
    "🦔" * 50,
    "'; --",
]


@pytest.fixture
def sample(api: Speaker) -> Any:
    return api.post("/samples", prompt="Once upon a time", title="one")


def test_a_change_says_what_it_saw_and_is_refused_when_it_is_late(api: Speaker, sample: Any) -> None:
    at = f"/samples/{sample['id']}"
    changed = api.patch(at, title="two", version=sample["version"])
    assert (changed["title"], changed["version"] != sample["version"]) == ("two", True)
    status, code, message = api.refusal("PATCH", at, {"title": "three", "version": sample["version"]})
    assert (status, code, "version" in message) == (409, "stale", True)
    assert api.get(at) == changed
    assert api.patch(at, notes="n", tags=["x"], images=[{"path": "a.png"}], group=" a / b ")["group"] == "a/b"
    now = api.get(at)
    assert (now["title"], now["notes"], now["tags"], now["images"][0]["path"]) == ("two", "n", ["x"], "a.png")
    assert api.patch(at, tags=["y"])["tags"] == ["y"]
    assert [a["name"] for a in api.get("/history", limit=2)["items"]] == ["edit sample", "edit sample"]


def test_a_prompt_changes_in_place_until_it_has_completions(api: Speaker, sample: Any) -> None:
    at = f"/samples/{sample['id']}"
    same = api.put(f"{at}/prompt", prompt="Twice upon a time", version=sample["version"])
    assert (same["prompt_id"], same["revision"]) == (sample["prompt_id"], 1)
    api.post(f"{at}/completions", text=" there was.")
    chat = [{"role": "user", "content": "Tell.", "name": "Ada"}]
    revised = api.put(f"{at}/prompt", prompt=chat)
    assert (revised["revision"], revised["prompt"]) == (2, chat)
    first, second = api.get(f"{at}/revisions")["items"]
    assert (first["prompt"], second["parent_id"]) == ("Twice upon a time", first["id"])
    assert len(api.get(f"{at}/completions", prompt_id=first["id"])["items"]) == 1
    assert api.get(f"{at}/completions", prompt_id=second["id"])["items"] == []
    assert api.refusal("PUT", f"{at}/prompt", {"prompt": "x", "version": sample["version"]})[:2] == (409, "stale")


@pytest.mark.parametrize("odd", ODD)
def test_any_text_comes_back_as_it_was_given(api: Speaker, odd: str) -> None:
    made = api.post("/samples", prompt=odd, title=odd, notes=odd, tags=[odd])
    assert (made["prompt"], made["title"], made["notes"], made["tags"]) == (odd, odd, odd, [odd])
    written = api.post(f"/samples/{made['id']}/completions", text=odd, model=odd)
    assert (written["text"], written["model"]) == (odd, odd)
    facet = api.post("/facets", name=odd, description=odd)
    assert api.get(f"/facets/{facet['id']}")["name"] == odd
    assert api.put(f"/completions/{written['id']}/rating", facet=odd, rating=3)["ratings"] == {odd: 3}


def test_a_completion_is_labelled_tagged_archived_and_deleted(api: Speaker, sample: Any) -> None:
    made = api.post(f"/samples/{sample['id']}/completions", text="text", truncated=True)
    at = f"/completions/{made['id']}"
    labelled = api.patch(at, labels={"style": "plain", "refusal": "complies"}, tags=["t"], version=made["version"])
    assert (labelled["labels"], labelled["tags"]) == ({"style": "plain", "refusal": "complies"}, ["t"])
    assert api.patch(at, labels={"style": None})["labels"] == {"refusal": "complies"}
    assert api.refusal("PATCH", at, {"hidden": True, "version": made["version"]})[:2] == (409, "stale")
    assert api.refusal("PATCH", at, {"labels": {"colour": "red"}})[0] == 400
    assert api.patch(at, truncated=False)["truncated"] is False
    assert api.patch(at, archived=True, hidden=True)["archived"] is True
    assert api.get(f"/samples/{sample['id']}/completions")["items"] == []
    assert len(api.get(f"/samples/{sample['id']}/completions", archived="any", hidden="any")["items"]) == 1
    api.delete(at)
    assert api.refusal("DELETE", at)[:2] == (404, "not_found")
    assert api.post("/undo")["action"]["name"] == "delete completions"
    assert api.get(at)["labels"] == {"refusal": "complies"}


def test_an_edit_is_a_child_that_keeps_untouched_tokens(api: Speaker, sample: Any) -> None:
    (draft,) = api.post(f"/samples/{sample['id']}/drafts", config={"max_new_tokens": 8})["items"]
    made = api.post(f"/drafts/{api.ended(draft['id'])['id']}/save")
    tokens = api.get(f"/completions/{made['id']}/tokens")
    text = "".join(tokens["text"][:5]) + " cat."
    child = api.post(f"/completions/{made['id']}/edit", text=text)
    assert (child["parent_id"], child["model"], child["branch_position"]) == (made["id"], "tiny", 5)
    assert api.get(f"/completions/{child['id']}/tokens")["ids"][:5] == tokens["ids"][:5]
    assert [c["id"] for c in api.get(f"/completions/{made['id']}/children")["items"]] == [child["id"]]
    assert api.post(f"/completions/{made['id']}/edit", text=text + "!", model="Ada")["model"] == "Ada"
    assert api.refusal("POST", f"/completions/{made['id']}/edit", {"text": made["text"]})[0] == 400


def test_tokens_come_as_columns_in_pieces_that_join(api: Speaker, sample: Any) -> None:
    (draft,) = api.post(
        f"/samples/{sample['id']}/drafts", config={"max_new_tokens": 30, "temperature": 2.0, "seed": 4, "ignore_eos": True}
    )["items"]
    made = api.ended(draft["id"])
    at = f"/completions/{made['id']}/tokens"
    whole = api.get(at)
    assert "".join(whole["text"]) == made["text"]
    assert (whole["total"], whole["start"], whole["model"]) == (30, 0, "tiny")
    parts = [api.get(at, start=start, end=start + 10) for start in (0, 10, 20)]
    for column in ("ids", "text", "logprob", "rank", "entropy", "alternative_ids", "alternative_logprobs"):
        assert [value for part in parts for value in part[column]] == whole[column], column
    assert whole["alternative_offsets"][-1] == len(whole["alternative_ids"]) == 150
    few = api.get(at, alternatives=2)
    assert few["alternative_offsets"] == list(range(0, 61, 2))
    assert few["alternative_ids"][:2] == whole["alternative_ids"][:2]
    assert all(str(i) in whole["vocabulary"] for i in [*whole["ids"], *whole["alternative_ids"]])
    assert api.get(at, start=30)["ids"] == []
    assert api.refusal("GET", at, model="other")[:2] == (404, "not_found")
    # What stood there before and after the processors: at temperature 2 all are nearer to each other.
    could = api.get(f"/completions/{made['id']}/next", position=3, k=4)
    assert whole["ids"][3] in could["ids"]
    place = could["ids"].index(whole["ids"][3])
    assert abs(could["logprob"][place] - whole["logprob"][3]) < 1e-4
    assert could["rank"][place] == whole["rank"][3]
    spread = [max(values) - min(values) for values in (could["logprob"], could["processed_logprob"])]
    assert abs(spread[0] / 2 - spread[1]) < 1e-3
    assert all(could["ends"][i] for i, token in enumerate(could["ids"]) if token in whole["eos"])
    named = api.get(f"/completions/{made['id']}/next", position=0, search="cat", k=3)
    assert all("cat" in text for text in named["text"])
    assert api.refusal("GET", f"/completions/{made['id']}/next", position=31)[0] == 400


def test_any_model_scores_any_text(api: Speaker, sample: Any) -> None:
    written = api.post(f"/samples/{sample['id']}/completions", text=" there was a cat.", model="Ada")
    assert api.refusal("GET", f"/completions/{written['id']}/tokens")[0] == 400
    scored = api.post(f"/completions/{written['id']}/score", model="tiny", alternatives=3)
    assert "".join(scored["text"]) == " there was a cat."
    assert all(value < 0 for value in scored["logprob"])
    assert api.get(f"/completions/{written['id']}/tokens", model="tiny")["logprob"] == scored["logprob"]
    (summary,) = api.get(f"/completions/{written['id']}")["scored"]
    assert (summary["model"], summary["count"]) == ("tiny", len(scored["ids"]))
    assert abs(summary["sum_logprob"] - sum(scored["logprob"])) < 1e-4
    assert api.refusal("POST", f"/completions/{written['id']}/score", {"model": "none"})[:2] == (404, "model_not_found")
