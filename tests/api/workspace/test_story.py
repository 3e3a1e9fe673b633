"""An author's whole day, over HTTP alone."""

from typing import Any

from tests.api.workspace.speaking import Speaker


def test_a_whole_authors_story(api: Speaker) -> None:
    assert api.get("/workspace")["samples"] == 0
    sample = api.post("/samples", prompt="Once upon a time", title="A beginning", group="stories/short", tags=["first"])
    assert (sample["title"], sample["tags"], sample["revision"]) == ("A beginning", ["first"], 1)
    api.post("/facets", name="for children", good_rating=8)
    legal = api.post("/facets", name="for lawyers", parent="for children")
    assert legal["effective"]["good_rating"] == 8
    assert legal["effective"]["sources"]["good_rating"] == "for children"

    # Generate two with a prefill, and watch them.
    drafts = api.post(
        f"/samples/{sample['id']}/drafts", prefill=", there", n=2, config={"temperature": 0.9, "seed": 5, "max_new_tokens": 12}
    )["items"]
    assert [(d["draft"], d["seed"]) for d in drafts] == [(True, 5), (True, 6)]
    made = [api.ended(d["id"]) for d in drafts]
    assert [(m["finish_reason"], m["truncated"], m["draft"]) for m in made] == [("length", True, True)] * 2
    assert all(m["text"].startswith(", there") and m["generated_start"] == 7 for m in made)
    first, second = (api.post(f"/drafts/{m['id']}/save") for m in made)

    # Look at its tokens, and at what else could have stood at one of them.
    tokens = api.get(f"/completions/{first['id']}/tokens")
    assert "".join(tokens["text"]) == first["text"]
    assert len(tokens["ids"]) == first["token_count"] == 14
    assert tokens["logprob"][:2] == [None, None]
    assert all(value < 0 for value in tokens["logprob"][2:])
    could = api.get(f"/completions/{first['id']}/next", position=5, k=10)
    taken = next(i for i in could["ids"] if i != tokens["ids"][5])

    # Take another token there and go on; the old one stays.
    (branch,) = api.post(f"/completions/{first['id']}/branch", position=5, token_ids=[taken], config={"max_new_tokens": 4})[
        "items"
    ]
    branched = api.post(f"/drafts/{api.ended(branch['id'])['id']}/save")
    assert (branched["parent_id"], branched["branch_position"]) == (first["id"], 5)
    assert branched["spans"] == [[0, 2, "prefill"], [2, 5, "sampled"], [5, 6, "picked"], [6, 10, "sampled"]]
    mine = api.get(f"/completions/{branched['id']}/tokens")
    assert mine["ids"][:5] == tokens["ids"][:5]
    assert mine["logprob"][2:5] == tokens["logprob"][2:5]
    assert abs(mine["logprob"][5] - could["logprob"][could["ids"].index(taken)]) < 1e-4

    # Continue a truncated one; token by token to the end of another.
    (longer,) = api.post(f"/completions/{second['id']}/continue", config={"max_new_tokens": 3})["items"]
    longer = api.post(f"/drafts/{api.ended(longer['id'])['id']}/save")
    assert longer["text"].startswith(second["text"])
    assert longer["token_count"] == second["token_count"] + 3
    session = api.post(f"/samples/{sample['id']}/sessions", k=5)
    for _ in range(3):
        session = api.post(f"/sessions/{session['key']}/pick", token_id=session["candidates"]["ids"][0], length=session["length"])
    end = session["candidates"]["ids"][session["candidates"]["ends"].index(True)]
    session = api.post(f"/sessions/{session['key']}/pick", token_id=end)
    assert (session["ended"], session["candidates"]) == (True, None)
    picked = api.post(f"/sessions/{session['key']}/save")
    assert (picked["finish_reason"], picked["truncated"], picked["spans"]) == ("eos", False, [[0, 4, "picked"]])
    api.delete(f"/sessions/{session['key']}")

    # Edit, write by hand.
    edited = api.post(f"/completions/{picked['id']}/edit", text=picked["text"] + " indeed.")
    assert (edited["parent_id"], edited["finish_reason"]) == (picked["id"], "written")
    written = api.post(f"/samples/{sample['id']}/completions", text=" there lived a hedgehog.", model="Ada")
    assert (written["model"], written["finish_reason"], written["truncated"]) == ("Ada", "written", False)

    # Judge under two facets with opposite preferences; a duel; approval.
    api.put(f"/completions/{written['id']}/rating", facet="for children", rating=9)
    api.post("/preferences", better_id=written["id"], worse_id=first["id"], facet="for children")
    api.post("/preferences", better_id=first["id"], worse_id=written["id"], facet="for lawyers")
    best = {f: api.get(f"/samples/{sample['id']}/ranking", facet=f)["items"] for f in ("for children", "for lawyers")}
    places = {f: [item["completion_id"] for item in items] for f, items in best.items()}
    assert places["for children"].index(written["id"]) < places["for children"].index(first["id"])
    assert places["for lawyers"].index(first["id"]) < places["for lawyers"].index(written["id"])
    duel = api.get("/duel", facet="for children")
    assert {duel["left"]["id"], duel["right"]["id"]} != {written["id"], first["id"]}
    api.post("/preferences", better_id=duel["left"]["id"], worse_id=duel["right"]["id"], facet="for children", tie=True)
    approved = api.put(f"/completions/{written['id']}/approval", facet="for children", approved=True)
    assert (approved["approved"], approved["ratings"]) == (["for children"], {"for children": 9})

    # Undo what was last, and find it all again.
    assert api.post("/undo")["action"]["name"] == "approve"
    assert api.get(f"/completions/{written['id']}")["approved"] == []
    assert api.post("/redo")["action"]["name"] == "approve"
    (row,) = api.get("/samples", text="hedgehog")["items"]
    assert (row["id"], row["approved"], row["drafts"], row["completions"]) == (sample["id"], ["for children"], 0, 7)
    (hit,) = api.get("/search", text="hedgehog")["items"]
    assert (hit["kind"], hit["id"], hit["sample_id"]) == ("completion", written["id"], sample["id"])
    counts: Any = {item["facet"]: item for item in api.get("/counts")["items"]}
    assert (counts["for children"]["rated"], counts["for children"]["good"], counts["for children"]["preferences"]) == (1, 1, 2)
