"""The lab over HTTP: a run's report as it grows, why a token was not taken, and blind votes that feed the comparison."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.api.listening import Live
from tests.api.workspace.speaking import Event, Speaker, events_of

from ramify.quality.comparison import compare
from ramify.quality.lab import run_plan
from ramify.quality.plans import Plan, document_004

PLAN: dict[str, Any] = {
    "name": "small",
    "max_new_tokens": 12,
    "prompts": [
        {"title": "story", "prompt": "Once upon a time"},
        {"title": "chat", "prompt": [{"role": "user", "content": "Say <b>hello</b>"}], "json_schema": {"type": "object"}},
    ],
    "experiments": [
        {"title": "greedy", "settings": {"do_sample": False}, "repeats": 2},
        {"title": "hot", "settings": {"temperature": 1.5, "top_k": 50}, "repeats": 2},
        {"title": "two beams", "settings": {"num_beams": 2}, "prompts": ["story"]},
    ],
}


def heard(api: Speaker, run: int) -> Iterator[Event]:
    with api.client.stream("GET", f"/api/lab/runs/{run}/events") as answer:
        assert answer.status_code == 200, answer.read()
        yield from events_of(answer.iter_lines())


def ended(api: Speaker, **body: Any) -> Any:
    """The report of a run that is over."""
    run = api.post("/lab/runs", **body)
    *_, last = heard(api, run["id"])
    assert last.name == "end"
    return last.data["report"]


@pytest.fixture
def report(api: Speaker) -> Any:
    return ended(api, plan=PLAN)


def test_plans_by_name_are_whole_and_make_the_same_plan_again(api: Speaker) -> None:
    (found,) = api.get("/lab/plans")["items"]
    assert found["name"] == "document-004"
    assert Plan.from_dict(found["plan"]) == document_004()


def test_a_run_tells_each_text_as_it_comes_and_its_report_is_the_librarys(api: Speaker, tiny: Any) -> None:
    run = api.post("/lab/runs", plan=PLAN)
    assert (run["name"], run["models"], run["asked"], run["state"]) == ("small", ["tiny"], 9, "running")
    events = list(heard(api, run["id"]))
    assert (events[0].name, events[-1].name) == ("report", "end")
    last = events[-1].data["report"]
    # Who began with the report and put every later text in its place has the whole.
    texts = {(t["place"], t["number"]): t for g in events[0].data["report"]["groups"] for t in g["texts"]}
    heads = {g["place"]: g for g in events[0].data["report"]["groups"]}
    for event in events[1:-1]:
        if event.name == "text":
            texts[event.data["text"]["place"], event.data["text"]["number"]] = event.data["text"]
        else:
            place = event.data["head"]["place"]
            heads[place] = event.data["head"]
            for number, shared in event.data["shared"]:
                texts[place, number]["shared"] = shared
    assert texts == {(t["place"], t["number"]): t for g in last["groups"] for t in g["texts"]}
    assert [g["checks"] for g in heads.values()] == [g["checks"] for g in last["groups"]]
    assert (last["run"]["state"], last["run"]["done"]) == ("completed", 9)
    # And it is what the library finds.
    found = run_plan([tiny], Plan.from_dict(PLAN))
    for group, ours in zip(last["groups"], found.groups, strict=True):
        assert [(t["title"], tuple(t["ids"]), t["text"], t["shared"]) for t in group["texts"]] == [
            (r.title, r.token_ids, r.text, r.shared) for r in ours.runs
        ]
        assert [(c["title"], c["holds"]) for c in group["checks"]] == [(c.title, c.holds) for c in ours.checks]
        assert [(row["experiment"], row["runs"]) for row in group["rows"]] == [(r.experiment, r.runs) for r in ours.rows]
    assert api.get(f"/lab/runs/{run['id']}") == last


def test_a_run_is_there_after_the_server_began_anew(api: Speaker, served: Live, report: Any) -> None:
    served.app.state.desk.close()
    del served.app.state.desk
    assert api.get(f"/lab/runs/{report['run']['id']}") == report
    assert [run["id"] for run in api.get("/lab/runs")["items"]] == [report["run"]["id"]]


def test_a_run_that_is_stopped_keeps_what_is_measured(api: Speaker) -> None:
    long = {**PLAN, "max_new_tokens": 900, "experiments": [
        {"title": "quick", "settings": {"do_sample": False, "max_new_tokens": 2}},
        {"title": "endless", "settings": {"temperature": 1.0, "ignore_eos": True}, "repeats": 12},
    ]}  # fmt: skip
    run = api.post("/lab/runs", plan=long)
    for event in heard(api, run["id"]):
        if event.name == "text":
            break
    stopped = api.post(f"/lab/runs/{run['id']}/cancel")
    assert (stopped["state"], stopped["ended_at"] is not None) == ("cancelled", True)
    assert 1 <= stopped["done"] < stopped["asked"] == 26
    kept = api.get(f"/lab/runs/{run['id']}")
    assert sum(len(group["texts"]) for group in kept["groups"]) == stopped["done"]
    assert kept["groups"][0]["left_out"] == []
    api.delete(f"/lab/runs/{run['id']}")
    assert api.refusal("GET", f"/lab/runs/{run['id']}")[0] == 404


def test_tokens_and_why_not_any_other(api: Speaker, report: Any, tiny: Any) -> None:
    run, text = report["run"]["id"], next(t for t in report["groups"][0]["texts"] if t["title"] == "hot")
    where = f"/lab/runs/{run}/texts/0/{text['number']}"
    tokens = api.get(where)
    assert tokens["ids"] == text["ids"]
    size = len(tokens["ids"])
    assert {len(tokens[name]) for name in ("text", "probability", "rank", "entropy", "alternatives")} == {size}
    assert "".join(t for i, t in zip(tokens["ids"], tokens["text"], strict=True) if i not in tokens["special"]) == text["text"]
    assert set(tokens["kept"]) == {"top_k"}
    # The token itself was taken; the likeliest unlikely one was removed by the one filter there is.
    spelt = tokens["text"][3]
    taken = api.get(f"{where}/why", position=3, token=spelt)
    assert (taken["chosen"], taken["removed_by"], taken["token_id"]) == (True, None, tokens["ids"][3])
    assert taken["says"].startswith("It was taken: the model gave it ")
    far = api.get(f"{where}/why", position=3, token="7")
    assert (far["removed_by"], far["left"], far["chosen"]) == ("top_k", 0.0, False)
    assert far["says"].startswith("top_k removed it: the model gave it ")
    assert "12 tokens" in api.refusal("GET", f"{where}/why", position=12, token="7")[2]
    assert "tokens of tiny" in api.refusal("GET", f"{where}/why", position=0, token="hedgehogs and lakes")[2]
    assert api.refusal("GET", f"/lab/runs/{run}/texts/0/99")[0] == 400
    assert api.refusal("GET", f"/lab/runs/{run}/texts/9/0")[0] == 400


def test_the_report_is_a_page_and_markdown(api: Speaker, served: Live, report: Any) -> None:
    with served.client() as client:
        page = client.get(f"/api/lab/runs/{report['run']['id']}/page")
        text = client.get(f"/api/lab/runs/{report['run']['id']}/page", params={"form": "markdown"})
    assert (page.headers["content-type"], text.headers["content-type"]) == (
        "text/html; charset=utf-8",
        "text/markdown; charset=utf-8",
    )
    assert page.headers["content-disposition"] == f'attachment; filename="lab-{report["run"]["id"]}.html"'
    packed = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.text, re.DOTALL)
    assert packed
    texts = [run["text"] for group in json.loads(packed[1])["groups"] for run in group["runs"]]
    assert texts == [t["text"] for g in report["groups"] for t in g["texts"]]
    assert "✓ greedy, 2 times: the same: identical" in text.text
    assert all(f"#### {t['title']}\n" in text.text for g in report["groups"] for t in g["texts"])


def test_blind_votes_are_preferences_and_feed_the_comparison(api: Speaker, report: Any) -> None:
    run = report["run"]["id"]
    api.post("/facets", name="vivid")
    before = api.get(f"/lab/runs/{run}/comparison", facet="vivid")["items"]
    assert [(each["title"], each["votes"]) for each in before] == [("story", 0), ("chat", 0)]
    assert all(c["won"] is None for c in before[0]["contestants"])
    titles = {(t["place"], t["number"]): t["experiment"] for g in report["groups"] for t in g["texts"]}
    texts = {(t["place"], t["number"]): t["text"] for g in report["groups"] for t in g["texts"]}
    said, wins, duels = 0, dict.fromkeys(titles.values(), 0.0), dict.fromkeys(titles.values(), 0)
    while said < 4:
        pair = api.get(f"/lab/runs/{run}/pair", facet="vivid", prompt="story")
        left, right = ((pair[side]["place"], pair[side]["number"]) for side in ("left", "right"))
        assert (pair["votes"], pair["title"], pair["prompt"]) == (said, "story", report["groups"][0]["prompt"])
        # Nothing of its origin but the text, and never two of one kind.
        assert set(pair["left"]) == {"place", "number", "text"}
        assert titles[left] != titles[right]
        assert (pair["left"]["text"], pair["right"]["text"]) == (texts[left], texts[right])
        better = ("left", "right", "tie", "left")[said]
        keys = {side: {"place": pair[side]["place"], "number": pair[side]["number"]} for side in ("left", "right")}
        made = api.post(f"/lab/runs/{run}/votes", facet="vivid", better=better, **keys)
        assert (made["facet"], made["origin"], made["tie"]) == ("vivid", "lab", better == "tie")
        for key, share in ((left, {"left": 1.0, "right": 0.0, "tie": 0.5}[better]),
                           (right, {"left": 0.0, "right": 1.0, "tie": 0.5}[better])):  # fmt: skip
            wins[titles[key]] += share
            duels[titles[key]] += 1
        said += 1
    after = api.get(f"/lab/runs/{run}/comparison", facet="vivid")["items"]
    assert (after[0]["votes"], after[1]["votes"]) == (4, 0)
    for each in after[0]["contestants"]:
        won = each["won"]
        if duels[each["experiment"]]:
            assert (won["mean"], won["count"]) == (
                wins[each["experiment"]] / duels[each["experiment"]],
                duels[each["experiment"]],
            )
            assert 0 <= won["low"] <= won["mean"] <= won["high"] <= 1
        else:
            assert won is None
    assert "votes" in after[0]["report"]
    # They are the workspace's: completions with their settings, one preference a pair, and undo takes the last one back.
    (sample,) = api.get("/samples")["items"]
    assert (sample["title"], sample["group"]) == ("story", "Lab")
    kept = api.get(f"/samples/{sample['id']}/completions")["items"]
    assert {c["details"]["lab"]["experiment"].split(" #")[0] for c in kept} <= {"greedy", "hot", "two beams"}
    assert {c["text"] for c in kept} <= set(texts.values())
    assert all(c["config"]["max_new_tokens"] == 12 and not c["draft"] for c in kept)
    now = api.get(f"/lab/runs/{run}")
    assert {t["completion_id"] for g in now["groups"] for t in g["texts"]} - {None} == {c["id"] for c in kept}
    assert len(api.get("/preferences", facet="vivid")["items"]) == 4
    api.post("/undo")
    assert api.get(f"/lab/runs/{run}/comparison", facet="vivid")["items"][0]["votes"] == 3


def test_a_comparison_without_votes_is_what_compare_generations_says(api: Speaker, report: Any, tiny: Any) -> None:
    from ramify.decoding.config import GenerationConfig

    config = GenerationConfig(temperature=1.5, top_k=50, max_new_tokens=12)
    (ours,) = compare([(tiny, config)], "Once upon a time", scoring_model=tiny, num_samples=2, seed=1)
    items = api.get(f"/lab/runs/{report['run']['id']}/comparison")["items"]
    theirs = next(c for c in items[0]["contestants"] if c["experiment"] == "hot")
    assert (theirs["samples"], theirs["model"]) == (2, "tiny")
    assert theirs["quality"]["mean"] == pytest.approx(ours.avg_quality, abs=1e-3)
    assert theirs["diversity"]["mean"] == pytest.approx(ours.avg_diversity, abs=1e-9)
    assert next(c for c in items[0]["contestants"] if c["experiment"] == "two beams")["diversity"] is None


def test_a_text_is_kept_once_and_in_the_sample_that_has_its_prompt(api: Speaker, report: Any) -> None:
    mine = api.post("/samples", prompt=PLAN["prompts"][1]["prompt"], title="mine")
    run = report["run"]["id"]
    first = api.post(f"/lab/runs/{run}/texts/1/0/keep")
    assert (first["sample_id"], first["details"]["lab"]["run"]) == (mine["id"], run)
    assert api.post(f"/lab/runs/{run}/texts/1/0/keep")["id"] == first["id"]
    # A sample whose prompt was changed since does not get it.
    api.put(f"/samples/{mine['id']}/prompt", prompt="another")
    assert api.post(f"/lab/runs/{run}/texts/1/2/keep")["sample_id"] != mine["id"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"plan": "no such"}, "there is no plan 'no such'"),
        ({"plan": {**PLAN, "sede": 1}}, "did you mean 'seed'"),
        ({"plan": {**PLAN, "experiments": [{"title": "x", "settings": {"top_p": 3}}]}}, "experiment 'x': top_p is 3"),
        ({"plan": PLAN, "prompts": [{"prompt": "a " * 3000}]}, "nothing of this plan can be run: the prompt has 300"),
        ({"plan": {**PLAN, "experiments": [{"title": "x", "settings": {}, "repeats": 1001}]}}, "it may have 2000"),
        ({"plan": PLAN, "models": ["nobody"]}, "nobody"),
        ({"plan": PLAN, "samples": 3}, "samples is of a named plan"),
        ({"plan": PLAN, "prompts": [{"prompt": "a"}], "samples": 0}, "samples"),
    ],
)
def test_what_cannot_be_run_is_refused_before_there_is_a_run(api: Speaker, body: Any, says: str) -> None:
    status, _, message = api.refusal("POST", "/lab/runs", body)
    assert status in (400, 404)
    assert says in message
    assert api.get("/lab/runs")["items"] == []


def test_votes_that_make_no_sense_are_refused(api: Speaker, report: Any) -> None:
    run = report["run"]["id"]
    api.post("/facets", name="vivid")
    one, other = {"place": 0, "number": 0}, {"place": 1, "number": 0}
    for body, says in (
        ({"facet": "vivid", "left": one, "right": one, "better": "left"}, "with itself"),
        ({"facet": "vivid", "left": one, "right": other, "better": "left"}, "only texts of one prompt"),
        ({"facet": "nobody", "left": one, "right": {"place": 0, "number": 2}, "better": "left"}, "nobody"),
        ({"facet": "vivid", "left": one, "right": {"place": 0, "number": 77}, "better": "left"}, "no text 77"),
    ):
        status, _, message = api.refusal("POST", f"/lab/runs/{run}/votes", body)
        assert status in (400, 404)
        assert says in message
    assert api.get("/samples")["items"] == []
