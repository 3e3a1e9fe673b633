"""The library's lists, filters, words, tags and bulk actions."""

import json
from typing import Any

import pytest
from tests.api.workspace.speaking import Speaker

from ramify.api.workspace import library
from ramify.store import Database


@pytest.fixture
def five(api: Speaker) -> list[int]:
    """Samples in groups; the first two with a completion."""
    groups = ("letters/legal", "letters/private", "letters", "stories", "")
    ids = [api.post("/samples", prompt=f"prompt {i}", title=f"title {i}", group=g)["id"] for i, g in enumerate(groups)]
    api.post(f"/samples/{ids[0]}/completions", text="about a hedgehog")
    api.post(f"/samples/{ids[1]}/completions", text="about a whale", truncated=True)
    return ids


def _ids(page: Any) -> list[int]:
    return [item["id"] for item in page["items"]]


def test_pages_joined_are_the_whole_list(api: Speaker, five: list[int]) -> None:
    found, after = list[int](), None
    while True:
        page = api.get("/samples", limit=2, after=after)
        found += _ids(page)
        after = page["next"]
        if after is None:
            break
    assert found == five[::-1] == api.get("/samples/ids")["ids"]
    assert api.get("/samples/ids", order="oldest")["ids"] == five
    assert _ids(api.post("/samples/rows", ids=[five[2], 999, five[0]])) == [five[2], five[0]]


def test_a_list_is_narrowed_by_group_words_and_filters(api: Speaker, five: list[int]) -> None:
    assert _ids(api.get("/samples", group="letters")) == [five[2], five[1], five[0]]
    assert _ids(api.get("/samples", text="hedgehog")) == [five[0]]
    assert _ids(api.get("/samples", text="prompt", group="stories")) == [five[3]]
    wanted = {"field": "truncated", "op": "is", "value": True}
    assert _ids(api.get("/samples", filter=json.dumps(wanted))) == [five[1]]
    saved = api.put("/filters", name="cut / off", filter=wanted, description="what ends early")
    assert saved["filter"] == wanted
    assert _ids(api.get("/samples", filter_name="cut / off")) == [five[1]]
    assert api.get("/samples/count", filter_name="cut / off") == {"count": 1}
    assert _ids(api.get("/completions", filter_name="cut / off")) == _ids(api.get(f"/samples/{five[1]}/completions"))
    assert api.get("/filters")["items"] == [saved]
    api.delete(f"/filters/{saved['id']}")
    assert api.get("/filters")["items"] == []
    assert api.refusal("DELETE", f"/filters/{saved['id']}")[:2] == (404, "not_found")
    assert api.refusal("GET", "/samples", filter_name="cut / off")[0] == 404


def test_a_row_tells_what_a_list_shows(api: Speaker, five: list[int]) -> None:
    row = api.get("/samples", group="letters/private")["items"][0]
    assert (row["title"], row["preview"], row["messages"]) == ("title 1", "prompt 1", False)
    assert (row["completions"], row["drafts"], row["truncated"], row["approved"]) == (1, 0, 1, [])
    chat = api.post("/samples", prompt=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    row = api.post("/samples/rows", ids=[chat["id"]])["items"][0]
    assert (row["preview"], row["messages"]) == ("Be kind.\nHi", True)


def test_groups_are_a_tree_with_counts(api: Speaker, five: list[int]) -> None:
    found = [(g["path"], g["name"], g["depth"], g["samples"], g["below"]) for g in api.get("/groups")["items"]]
    assert found == [
        ("letters", "letters", 0, 1, 3),
        ("letters/legal", "legal", 1, 1, 1),
        ("letters/private", "private", 1, 1, 1),
        ("stories", "stories", 0, 1, 1),
    ]


def test_bulk_actions_are_one_step_each(api: Speaker, five: list[int]) -> None:
    bulk = "/samples/bulk"
    assert api.post(bulk, ids=five[:2], action="tag", tags=["a", "b"]) == {"matched": 2, "changed": 2}
    assert api.post(bulk, ids=five[:3], action="tag", tags=["a"]) == {"matched": 3, "changed": 1}
    assert api.get(f"/samples/{five[0]}")["tags"] == ["a", "b"]
    assert api.post(bulk, ids=five[:3], action="untag", tags=["b"]) == {"matched": 3, "changed": 2}
    api.post("/undo")
    assert api.get(f"/samples/{five[1]}")["tags"] == ["a", "b"]
    in_letters = {"field": "group", "op": "under", "value": "letters"}
    assert api.post(bulk, filter=in_letters, action="group", group="mail") == {"matched": 3, "changed": 3}
    assert _ids(api.get("/samples", group="mail")) == [five[2], five[1], five[0]]
    assert api.post(bulk, ids=five, action="archive") == {"matched": 5, "changed": 5}
    assert api.get("/samples")["items"] == []
    assert len(api.get("/samples", archived="true")["items"]) == 5
    assert api.post(bulk, ids=five[:1], action="restore") == {"matched": 1, "changed": 1}
    assert api.post(bulk, ids=five[:1], action="hide") == {"matched": 1, "changed": 1}
    assert _ids(api.get("/samples", hidden="any")) == [five[0]]
    assert api.post(bulk, ids=five[:1], action="show") == {"matched": 1, "changed": 1}
    assert api.post(bulk, ids=[five[4], 999], action="delete") == {"matched": 2, "changed": 1}
    assert api.refusal("GET", f"/samples/{five[4]}")[:2] == (404, "not_found")
    assert api.post("/undo")["action"]["name"] == "delete samples"
    assert api.get(f"/samples/{five[4]}")["archived"] is True


def test_bulk_actions_on_completions(api: Speaker, five: list[int]) -> None:
    api.post("/facets", name="tone")
    ids = _ids(api.get("/completions"))
    bulk = "/completions/bulk"
    assert api.post(bulk, ids=ids, action="rate", facet="tone", rating=8) == {"matched": 2, "changed": 2}
    assert [c["ratings"] for c in api.get("/completions")["items"]] == [{"tone": 8}] * 2
    assert api.post(bulk, ids=ids, action="rate", facet="tone") == {"matched": 2, "changed": 2}
    assert [c["ratings"] for c in api.get("/completions")["items"]] == [{}] * 2
    assert api.post(bulk, ids=ids, action="label", labels={"style": "plain"})["changed"] == 2
    assert api.post(bulk, ids=ids, action="truncated", truncated=True)["changed"] == 1
    assert api.post(bulk, ids=ids, action="tag", tags=["x"])["changed"] == 2
    assert api.post(bulk, filter={"field": "style", "op": "is", "value": "plain"}, action="archive")["changed"] == 2
    assert api.get("/completions")["items"] == []
    assert api.post(bulk, ids=ids, action="restore")["changed"] == 2
    assert api.post(bulk, ids=ids[:1], action="delete") == {"matched": 1, "changed": 1}
    assert _ids(api.get("/completions")) == ids[1:]


def test_what_bulk_actions_lack_or_do_not_take_is_refused(api: Speaker, five: list[int]) -> None:
    for path, body in (
        ("/samples/bulk", {"action": "archive"}),
        ("/samples/bulk", {"action": "archive", "ids": [1], "filter": {"all": []}}),
        ("/samples/bulk", {"action": "group", "ids": [1]}),
        ("/samples/bulk", {"action": "archive", "ids": [1], "tags": ["a"]}),
        ("/samples/bulk", {"action": "explode", "ids": [1]}),
        ("/samples/bulk", {"action": "archive", "filter": {"field": "no such"}}),
        ("/completions/bulk", {"action": "rate", "ids": [1]}),
        ("/completions/bulk", {"action": "label", "ids": [1]}),
        ("/completions/bulk", {"action": "delete", "ids": [1], "rating": 3}),
        ("/completions/bulk", {"action": "rate", "ids": [1], "facet": "tone", "rating": 11}),
        ("/completions/bulk", {"action": "archive", "ids": ["1"]}),
    ):
        assert api.refusal("POST", path, body)[0] == 400, body
    assert len(api.get("/samples")["items"]) == 5


def test_tags_are_made_renamed_counted_and_removed(api: Speaker, five: list[int]) -> None:
    made = api.post("/tags", name="a/b ?#", description="odd", scope="samples")
    assert made == {"id": made["id"], "name": "a/b ?#", "description": "odd", "scope": "samples", "samples": 0, "completions": 0}
    api.post("/samples/bulk", ids=five[:2], action="tag", tags=["a/b ?#"])
    renamed = api.patch(f"/tags/{made['id']}", name="new")
    assert (renamed["name"], renamed["samples"]) == ("new", 2)
    assert api.get("/tags")["items"] == [renamed]
    assert api.refusal("POST", "/tags", {"name": "new"})[0] == 400
    completion = _ids(api.get("/completions"))[0]
    assert api.refusal("PATCH", f"/completions/{completion}", {"tags": ["new"]})[0] == 400
    api.delete(f"/tags/{made['id']}")
    assert api.get(f"/samples/{five[0]}")["tags"] == []
    assert api.refusal("PATCH", f"/tags/{made['id']}", {"name": "x"})[0] == 404


def test_a_tag_that_comes_between_the_counting_and_the_list_is_on_nothing(api: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = library.tag_counts

    def interrupted(database: Database) -> Any:
        before = counted(database)
        database.tags.add("late")
        return before

    monkeypatch.setattr(library, "tag_counts", interrupted)
    assert [(tag["name"], tag["samples"], tag["completions"]) for tag in api.get("/tags")["items"]] == [("late", 0, 0)]


def test_words_are_found_with_the_piece_where_they_stand(api: Speaker, five: list[int]) -> None:
    hits = api.get("/search", text="hedgehog")["items"]
    assert [(h["kind"], h["sample_id"], h["title"]) for h in hits] == [("completion", five[0], "title 0")]
    ((start, end),) = hits[0]["spans"]
    assert hits[0]["snippet"][start:end] == "hedgehog"
    assert [h["id"] for h in api.get("/search", text='"title 3"')["items"]] == [five[3]]
    assert api.refusal("GET", "/search", text="")[0] == 400


def test_what_a_filter_can_ask_is_told(api: Speaker) -> None:
    fields = {f["field"]: f for f in api.get("/filters/fields")["items"]}
    assert fields["rating"]["needs_facet"]
    assert fields["mean_logprob"]["may_name_model"]
    assert "eos" in fields["finish_reason"]["values"]
    assert (fields["group"]["of"], fields["group"]["ops"]) == ("sample", ["under", "is"])


def test_what_no_list_has_is_refused(api: Speaker) -> None:
    for query in ({"limit": 0}, {"limit": 501}, {"after": "zzz"}, {"filter": "{"}, {"order": "best"}, {"archived": "maybe"}):
        assert api.refusal("GET", "/samples", **query)[0] == 400, query
    assert api.refusal("GET", "/samples/99999999999999999999")[0] == 400
    assert api.refusal("GET", "/completions", order="strength")[0] == 400
