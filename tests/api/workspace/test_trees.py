"""Beam trees over HTTP: grown, ranked again, decided upon; what they say equals the library."""

from typing import Any

import pytest
from tests.api.workspace.speaking import Speaker


@pytest.fixture
def tree(api: Speaker) -> Any:
    sample = api.post("/samples", prompt="Once upon a time")
    return api.post(f"/samples/{sample['id']}/trees", prefill=", there")


def _node(nodes: Any, node_id: int) -> dict[str, Any]:
    """One row of columns."""
    at = nodes["id"].index(node_id)
    return {name: values[at] for name, values in nodes.items() if isinstance(values, list)}


def test_a_tree_begins_with_its_root_and_is_the_same_tree_the_next_time(api: Speaker, tree: Any) -> None:
    again = api.post(f"/samples/{tree['sample_id']}/trees", prefill=", there")
    assert again == tree
    assert (tree["model"], tree["prefill"], tree["nodes"]) == ("tiny", ", there", 1)
    assert api.get(f"/samples/{tree['sample_id']}/trees")["items"] == [tree]
    nodes = api.get(f"/trees/{tree['id']}/nodes")
    assert (nodes["id"], nodes["parent"], nodes["next"]) == ([tree["root"]], [None], None)


def test_beaming_out_gives_the_new_nodes_and_a_look_says_which_there_are(api: Speaker, tree: Any) -> None:
    grown = api.post(f"/trees/{tree['id']}/beam-out", node=tree["root"], width=3, depth=2)
    assert len(grown["ends"]) == 3
    assert set(grown["added"]["id"]) >= set(grown["ends"])
    assert api.get(f"/trees/{tree['id']}")["nodes"] == 7
    looked = api.get(f"/trees/{tree['id']}/nodes/{tree['root']}/next", k=5)
    assert looked["node"][:3] == [_node(grown["added"], end)["parent"] for end in grown["ends"]]
    assert looked["node"][3:] == [None] * 2
    assert looked["logprob"] == sorted(looked["logprob"], reverse=True)
    assert abs(sum(looked["probability"]) + looked["others"] - 1) < 1e-6
    end = api.get(f"/trees/{tree['id']}/nodes/{grown['ends'][0]}")
    assert len(end["path"]) == 2
    assert end["path"][-1] == grown["ends"][0]
    assert end["text"] == "".join(grown["added"]["vocabulary"][str(_node(grown["added"], i)["token"])] for i in end["path"])


def test_pages_of_nodes_joined_are_the_whole(api: Speaker, tree: Any) -> None:
    api.post(f"/trees/{tree['id']}/beam-out", node=tree["root"], width=4, depth=3)
    whole = api.get(f"/trees/{tree['id']}/nodes")
    ids, after = list[int](), None
    while True:
        page = api.get(f"/trees/{tree['id']}/nodes", limit=5, after=after)
        ids += page["id"]
        after = page["next"]
        if after is None:
            break
    assert ids == whole["id"]
    assert len(ids) == 13


def test_a_search_is_the_engines_and_ranks_again_without_the_model(api: Speaker, tree: Any) -> None:
    config = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 4}
    outcome = api.post(f"/trees/{tree['id']}/search", node=tree["root"], config=config)
    drafts = api.post(
        f"/samples/{tree['sample_id']}/drafts", prefill=", there", n=3, config={**config, "num_return_sequences": 3}
    )
    texts = [api.ended(draft["id"])["text"] for draft in drafts["items"]]
    assert [", there" + result["text"] for result in outcome["results"]] == texts
    again = api.post(f"/trees/{tree['id']}/rerank", node=tree["root"], config=config)
    assert again["decided"]
    assert again["results"] == outcome["results"]
    assert again["asked"] == 0
    state = dict(zip(again["verdicts"]["node"], again["verdicts"]["state"], strict=True))
    assert [state[result["node"]] for result in again["results"]] == ["best"] * 3
    # Under a ban of the best one's first token it dies, and the processor is named.
    first = again["results"][0]["token_ids"][0]
    banned = api.post(f"/trees/{tree['id']}/rerank", node=tree["root"], config={**config, "suppress_tokens": [first]}, cover=True)
    assert banned["decided"]
    verdicts = {
        node: (state, processor)
        for node, state, processor in zip(*(banned["verdicts"][k] for k in ("node", "state", "processor")), strict=True)
    }
    assert verdicts[again["results"][0]["node"]] == ("removed", "suppress_tokens")
    assert all(result["token_ids"][0] != first for result in banned["results"])


def test_decisions_are_marks_that_an_undo_takes_back(api: Speaker, tree: Any) -> None:
    grown = api.post(f"/trees/{tree['id']}/beam-out", node=tree["root"], width=3, depth=2)
    best, middle, worst = grown["ends"]
    marked = api.post(f"/trees/{tree['id']}/mark", nodes=[best], pinned=True, bookmarked=True)
    assert [flag & 15 for flag in marked["flags"]] == [1 + 8]
    assert api.get(f"/trees/{tree['id']}/leaves", by="mean")["items"][0]["node"] == best
    pruned = api.post(f"/trees/{tree['id']}/prune", nodes=[worst])
    assert (pruned["preferences"], pruned["nodes"]["flags"][0] & 4) == ([], 4)
    assert worst not in api.get(f"/trees/{tree['id']}/nodes")["id"]
    assert worst in api.get(f"/trees/{tree['id']}/nodes", pruned=True)["id"]
    api.post(f"/trees/{tree['id']}/resume", nodes=[worst])
    assert worst in api.get(f"/trees/{tree['id']}/nodes")["id"]
    api.post("/undo")
    assert worst not in api.get(f"/trees/{tree['id']}/nodes")["id"]
    saved = api.post(f"/trees/{tree['id']}/save", node=middle)
    assert (saved["text"][:7], saved["finish_reason"], saved["truncated"]) == (", there", "user", True)
    assert api.post(f"/trees/{tree['id']}/save", node=middle)["id"] == saved["id"]
    assert api.get(f"/trees/{tree['id']}/nodes/{middle}")["node"]["completion"] == {str(middle): saved["id"]}


def test_keeping_a_branch_under_a_facet_writes_the_preferences_it_implies(api: Speaker, tree: Any) -> None:
    api.post("/facets", name="for children")
    grown = api.post(f"/trees/{tree['id']}/beam-out", node=tree["root"], width=3, depth=1)
    kept = api.post(f"/trees/{tree['id']}/keep", nodes=grown["ends"][:1], facet="for children")
    assert len(kept["preferences"]) == 2
    assert len({p["better_id"] for p in kept["preferences"]}) == 1
    assert {p["origin"] for p in kept["preferences"]} == {"beams"}
    assert len(api.get("/preferences", facet="for children")["items"]) == 2


def test_branches_that_sampling_cannot_reach_are_found(api: Speaker, tree: Any) -> None:
    api.post(f"/trees/{tree['id']}/beam-out", node=tree["root"], width=2, depth=3)
    found = api.post(f"/trees/{tree['id']}/unlikely", config={"top_k": 1, "do_sample": True}, explore=2, depth=2)["items"]
    assert found
    assert all(each["removed"][0]["processor"] == "top_k" for each in found)
    under = api.post(f"/trees/{tree['id']}/under", config={"top_k": 1, "do_sample": True})
    unreachable = dict(zip(under["node"], under["unreachable"], strict=True))
    assert all(unreachable[each["node"]] for each in found)


def test_a_replay_tells_each_step_and_what_else_there_was(api: Speaker, tree: Any) -> None:
    grown = api.post(f"/trees/{tree['id']}/beam-out", node=tree["root"], width=2, depth=3)
    scenes = api.get(f"/trees/{tree['id']}/nodes/{grown['ends'][0]}/replay")["items"]
    assert [len(scene["candidate_ids"]) > 2 for scene in scenes] == [True] * 3
    assert scenes[0]["siblings"] == [api.get(f"/trees/{tree['id']}/nodes/{grown['ends'][1]}")["path"][0]]
    assert [scene["place"] for scene in scenes] == sorted(scene["place"] for scene in scenes)
    assert scenes[-1]["text"] == api.get(f"/trees/{tree['id']}/nodes/{grown['ends'][0]}")["text"]


def test_a_completion_is_planted_and_grows_branches_at_any_token(api: Speaker) -> None:
    sample = api.post("/samples", prompt="Once upon a time")
    (draft,) = api.post(f"/samples/{sample['id']}/drafts", config={"max_new_tokens": 6})["items"]
    made = api.post(f"/drafts/{api.ended(draft['id'])['id']}/save")
    planted = api.post(f"/completions/{made['id']}/tree", position=3)
    path = api.get(f"/trees/{planted['tree']['id']}/nodes/{planted['node']}")
    assert path["text"] == "".join(api.get(f"/completions/{made['id']}/tokens")["text"][:3])
    whole = api.post(f"/completions/{made['id']}/tree")
    assert whole["tree"]["id"] == planted["tree"]["id"]
    assert whole["tree"]["nodes"] == 7
    grown = api.post(f"/trees/{whole['tree']['id']}/beam-out", node=planted["node"], width=2, depth=2)
    assert len(grown["ends"]) == 2
    on = api.post(f"/trees/{whole['tree']['id']}/continue", node=grown["ends"][1], config={"max_new_tokens": 3})
    assert len(on["ends"]) == 1


def test_what_a_tree_cannot_do_is_refused(api: Speaker, tree: Any) -> None:
    at, root = f"/trees/{tree['id']}", tree["root"]
    assert api.refusal("GET", "/trees/999")[:2] == (404, "not_found")
    assert api.refusal("GET", f"{at}/nodes/999999")[0] == 404
    assert api.refusal("POST", f"{at}/beam-out", {"node": root})[0] == 400
    assert api.refusal("POST", f"{at}/beam-out", {"node": root, "width": 4000, "depth": 50})[0] == 400
    status, _, message = api.refusal("POST", f"{at}/search", {"node": root, "config": {}})
    assert (status, "num_beams" in message) == (400, True)
    assert api.refusal("POST", f"{at}/prune", {"nodes": [root]})[0] == 400
    assert api.refusal("POST", f"{at}/mark", {"nodes": [root]})[0] == 400
    assert api.refusal("POST", f"{at}/keep", {"nodes": [root], "facet": "no such"})[0] in (400, 404)
    assert api.refusal("POST", f"/samples/{tree['sample_id']}/trees", {"prefill": "other"})[0] == 400
    assert api.get(at)["nodes"] == 1


def test_a_tree_is_deleted_and_an_undo_brings_it_back(api: Speaker, tree: Any) -> None:
    api.post(f"/trees/{tree['id']}/beam-out", node=tree["root"], width=2, depth=1)
    api.delete(f"/trees/{tree['id']}")
    assert api.refusal("GET", f"/trees/{tree['id']}/nodes")[0] == 404
    api.post("/undo")
    assert api.get(f"/trees/{tree['id']}")["nodes"] == 3
