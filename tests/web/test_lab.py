"""The lab's page, by mouse and by keys: a plan runs, its report grows, votes change the table, a reload finds all of it."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.web.conftest import Studio, serving
from tests.web.test_story import wait_for

from forked_ramify import Zygote


@pytest.fixture(scope="module")
def studio(studio_modules: None, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with serving(zygote, tmp_path_factory.mktemp("studio")) as running:
        yield running


@pytest.fixture(autouse=True)
def _patient() -> Iterator[None]:
    """A model is loaded, and texts are made, behind what is expected here."""
    expect.set_options(timeout=60_000)
    yield
    expect.set_options(timeout=5_000)


def test_a_plan_runs_before_ones_eyes_and_is_judged_blind(open_page: Callable[..., Page], studio: Studio) -> None:
    page = open_page(start=studio.start.replace("#", "#/lab?"))
    keys = page.keyboard

    # Document 004's plan is there, whole; a small one is made of it.
    form = page.get_by_role("region", name="New run")
    expect(form.get_by_role("button", name="Run 88 completions")).to_be_visible()
    form.get_by_role("button", name="None", exact=True).click()
    for title in ("greedy", "temperature 0.5"):
        form.get_by_label(title, exact=True).check()
    form.get_by_text("An experiment of your own").click()
    form.get_by_label("Title", exact=True).fill("mine")
    form.get_by_role("button", name="Add it").click()
    form.get_by_label("New tokens at most").fill("16")
    form.get_by_role("button", name="Without prompt 2").click()
    form.get_by_label("Prompt 1", exact=True).fill("Once upon a time")
    form.get_by_label("Name", exact=True).fill("small")
    expect(form.get_by_role("button", name="Run 5 completions")).to_be_visible()
    # What is filled in survives a reload.
    page.reload()
    expect(form.get_by_label("Name", exact=True)).to_have_value("small")
    keys.press("Control+Enter")

    # The report grows: it is on the page before the run is over, and then whole.
    expect(page.get_by_role("heading", name="small")).to_be_visible()
    run = wait_for(page, lambda: studio.get("/api/lab/runs")["items"], "a run")[0]["id"]
    table = page.get_by_role("region", name="Experiments").get_by_role("table")
    expect(page.get_by_text("completed", exact=True)).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="5 of 5")).to_be_visible()
    report = studio.get(f"/api/lab/runs/{run}")
    assert [(row["experiment"], row["runs"]) for row in report["groups"][0]["rows"]] == [
        ("greedy", 3),
        ("temperature 0.5", 1),
        ("mine", 1),
    ]
    expect(table.get_by_role("row")).to_have_count(4)
    checks = page.get_by_role("region", name="What must hold")
    expect(checks.get_by_role("listitem").filter(has_text="holds: greedy, 3 times: the same: identical")).to_have_count(1)
    expect(checks.get_by_text("laws hold")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Entropy along the text: .*greedy"))).to_be_visible()

    # Differences are marked, tokens tell what removed others, and any token can be asked about.
    texts = page.get_by_role("region", name="Texts")
    texts.get_by_text("temperature 0.5", exact=True).last.click()
    warm = next(text for text in report["groups"][0]["texts"] if text["title"] == "temperature 0.5")
    shown = texts.get_by_role("document", name="Text of temperature 0.5")
    expect(shown).to_be_visible()
    assert (
        shown.evaluate("it => [...it.childNodes].filter(x => x.nodeName !== 'DEL').map(x => x.textContent).join('')")
        == warm["text"]
    )
    texts.get_by_role("radio", name="Probability").click()
    tokens = texts.get_by_role("group", name="Tokens of temperature 0.5: arrow keys choose one")
    tokens.focus()
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    why = page.get_by_role("complementary", name="Token 1")
    expect(why.get_by_role("row")).to_have_count(7)
    why.get_by_label(re.compile("^Why not this token")).fill(" dragon")
    keys.press("Enter")
    expect(why.get_by_role("status")).to_contain_text("No processor removed it")

    # Blind votes, under a facet made for them.
    keys.press("Escape")
    keys.press("v")
    page.get_by_role("button", name="For a facet named “lab”").click()
    texts_of = {text["text"].strip(): text["experiment"] for text in report["groups"][0]["texts"]}
    standing = page.get_by_role("region", name="Comparison: Story")
    duel = page.get_by_role("region", name="Blind votes")

    def votes(least: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = studio.get("/api/preferences", facet="lab")["items"]
        return found if len(found) >= least else []

    for count, key in enumerate(("1", "2", "3"), 1):
        expect(duel.get_by_role("group", name="What A says")).to_be_visible()
        pair = [duel.get_by_role("group", name=f"What {letter} says").inner_text().strip() for letter in "AB"]
        assert len({texts_of[text] for text in pair}) == 2
        # Nothing on the page says who wrote them.
        assert [name for name in ("greedy", "temperature 0.5", "mine") if name in duel.inner_text()] == []
        keys.press(key)
        expect(standing.get_by_text(re.compile(f"^{count} votes?$"))).to_be_visible()
        last = votes(count)[-1]
        assert last["tie"] == (key == "3")
        sides = [studio.get(f"/api/completions/{last[side]}")["text"].strip() for side in ("better_id", "worse_id")]
        assert sorted(sides) == sorted(pair)
        if key != "3":
            assert sides == (pair if key == "1" else pair[::-1])
    contestants = studio.get(f"/api/lab/runs/{run}/comparison", facet="lab")["items"][0]["contestants"]
    assert sum(each["won"]["count"] for each in contestants if each["won"]) == 6
    for each in contestants:
        if each["won"]:
            row = standing.get_by_role("row").filter(has=page.get_by_role("rowheader", name=each["experiment"], exact=True))
            expect(row).to_contain_text(f"{each['won']['count']}")

    # A reload, and the way back: all of it is there.
    page.reload()
    expect(page.get_by_role("region", name="Comparison: Story").get_by_text("3 votes")).to_be_visible()
    keys.press("v")
    expect(table.get_by_role("row")).to_have_count(4)
    expect(table.locator("td", has_text="of 2").or_(table.locator("td", has_text="of 3")).first).to_be_visible()
    # One undo takes a vote back, as in all of the workspace.
    keys.press("z")
    wait_for(page, lambda: len(votes(1)) == 2, "a vote taken back")
    keys.press("Escape")
    expect(page.get_by_role("region", name="Runs").get_by_role("link", name="small")).to_be_visible()


def test_a_long_run_is_watched_and_stopped(open_page: Callable[..., Page], studio: Studio) -> None:
    plan = {"name": "long", "max_new_tokens": 1500, "prompts": [{"title": "one", "prompt": "Once upon a time"}], "experiments": [
        {"title": "quick", "settings": {"do_sample": False, "max_new_tokens": 2}},
        {"title": "endless", "settings": {"temperature": 1.0, "ignore_eos": True}, "repeats": 20},
    ]}  # fmt: skip
    run = studio.post("/api/lab/runs", plan=plan)["id"]
    page = open_page(start=studio.start.replace("#", f"#/lab/{run}?"))
    # The quick one is measured, shown and counted while the others are being made.
    expect(page.get_by_role("region", name="Experiments").get_by_role("rowheader", name="quick")).to_be_visible()
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    stopped = studio.get(f"/api/lab/runs/{run}")
    assert (stopped["run"]["state"], 1 <= stopped["run"]["done"] < 21) == ("cancelled", True)
    assert page.get_by_role("region", name="Texts").locator("details").count() == stopped["run"]["done"]


def test_the_text_that_others_are_compared_with_is_the_open_one_whichever_came_first(
    open_page: Callable[..., Page], studio: Studio
) -> None:
    plan = {"name": "late", "prompts": [{"title": "one", "prompt": "Once upon a time"}], "experiments": [
        {"title": "warm", "settings": {"temperature": 1.0, "max_new_tokens": 2}},
        {"title": "greedy", "settings": {"do_sample": False, "ignore_eos": True, "max_new_tokens": 400}},
    ]}  # fmt: skip
    run = studio.post("/api/lab/runs", plan=plan)["id"]
    page = open_page(start=studio.start.replace("#", f"#/lab/{run}?"))
    expect(page.get_by_text("completed", exact=True)).to_be_visible()
    texts = page.get_by_role("region", name="Texts")
    expect(texts.get_by_role("document", name="Text of greedy")).to_be_visible()
    expect(texts.get_by_role("document", name="Text of warm")).to_have_count(0)
