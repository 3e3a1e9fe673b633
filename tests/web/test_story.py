"""The author's whole story, by mouse and keys as a person would; every step is verified by reading the API."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.web.conftest import Studio, serving

from forked_ramify import Zygote


@pytest.fixture(scope="module")
def studio(studio_modules: None, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with serving(zygote, tmp_path_factory.mktemp("studio")) as running:
        yield running


def wait_for(page: Page, there: Callable[[], Any], what: str) -> Any:
    """Until the API says so."""
    for _ in range(600):
        found = there()
        if found:
            return found
        page.wait_for_timeout(100)
    raise AssertionError(f"waited in vain: {what}")


def make_facet(page: Page, name: str) -> None:
    page.get_by_role("button", name="New facet").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_the_authors_story_by_mouse(open_page: Callable[..., Page], studio: Studio) -> None:
    page = open_page()

    # A new workspace, two facets, a new sample.
    expect(page.get_by_role("heading", name="An empty workspace")).to_be_visible()
    page.get_by_role("link", name="Facets").first.click()
    make_facet(page, "brainstorming")
    make_facet(page, "bedtime")
    assert [each["name"] for each in studio.get("/api/facets")["items"]] == ["bedtime", "brainstorming"]
    page.get_by_role("link", name="Library", exact=True).first.click()
    page.get_by_role("button", name="New sample").first.click()
    dialog = page.get_by_role("dialog", name="New sample")
    dialog.get_by_role("radio", name="Raw text").click()
    dialog.get_by_label("Prompt", exact=True).fill("Once upon a time")
    dialog.get_by_label("Title", exact=True).fill("A beginning")
    dialog.get_by_label("Group").fill("stories/short")
    dialog.get_by_role("button", name="Save").click()
    (sample,) = wait_for(page, lambda: studio.get("/api/samples")["items"], "a sample")
    expect(dialog).to_have_count(0)
    expect(page.get_by_label("Title", exact=True)).to_have_value("A beginning")
    assert (sample["title"], sample["group"]) == ("A beginning", "stories/short")
    here = sample["id"]

    # Generate with a prefill, greedy by default; it streams; it is a draft until Save.
    composer = page.get_by_role("region", name="New completion")
    composer.get_by_label("Prefill: the reply begins with").fill(" there was a")
    composer.get_by_text("Parameters").click()
    composer.get_by_label("max_new_tokens").fill("24")
    composer.get_by_role("button", name="Generate").click()
    first = wait_for(page, lambda: [each for each in studio.completions(here) if each["finish_reason"]], "a draft that ended")[0]
    assert (first["draft"], first["truncated"], first["finish_reason"]) == (True, True, "length")
    assert first["text"].startswith(" there was a")
    assert first["spans"][0][2] == "prefill"
    card = page.get_by_role("article", name=f"Completion {first['id']}")
    expect(card.locator(".reading")).to_have_text(first["text"], use_inner_text=True)
    expect(card.get_by_text("truncated", exact=True)).to_be_visible()
    card.get_by_role("button", name="Save").click()
    wait_for(page, lambda: not studio.completions(here)[0]["draft"], "a saved completion")

    # Continue the truncated one; cancel a long one while it is written, and its text is kept.
    card.get_by_role("button", name="Continue").click()
    second = wait_for(page, lambda: [each for each in studio.completions(here) if each["parent_id"] == first["id"]], "a child")[0]
    wait_for(page, lambda: not studio.get(f"/api/completions/{second['id']}")["running"], "its end")
    second = studio.get(f"/api/completions/{second['id']}")
    assert second["text"].startswith(first["text"])
    page.get_by_role("article", name=f"Completion {second['id']}").get_by_role("button", name="Save").click()
    wait_for(page, lambda: not studio.get(f"/api/completions/{second['id']}")["draft"], "it is saved")
    composer.get_by_label("max_new_tokens").fill("900")
    composer.get_by_label("Another setting").select_option("ignore_eos")
    expect(composer.get_by_label("ignore_eos")).to_have_value("true")
    composer.get_by_role("button", name="Generate").click()
    page.get_by_role("button", name="Cancel").click()
    cancelled = wait_for(
        page, lambda: [each for each in studio.completions(here) if each["finish_reason"] == "cancelled"], "a cancelled draft"
    )[0]
    assert cancelled["draft"]
    assert cancelled["text"].startswith(" there was a")
    page.get_by_role("article", name=f"Completion {cancelled['id']}").get_by_role("button", name="Discard this draft").click()
    wait_for(page, lambda: all(each["id"] != cancelled["id"] for each in studio.completions(here)), "it is gone")

    # By hand.
    composer.get_by_role("button", name="Edit").click()
    hand = page.get_by_role("region", name="Edit")
    hand.get_by_label("Completion").fill(" there was a lake.")
    expect(hand.get_by_label("Model name")).to_have_value("manual")
    hand.get_by_role("button", name="Save").click()
    written = wait_for(page, lambda: [each for each in studio.completions(here) if each["model"] == "manual"], "a written one")[0]
    assert (written["text"], written["truncated"], written["finish_reason"]) == (" there was a lake.", False, "written")

    # Token by token, to EOS.
    composer.get_by_role("button", name="Token by Token").click()
    expect(page.get_by_role("heading", name="Token by Token")).to_be_visible()
    for _ in range(3):
        before = page.locator(".reader-bar .number").inner_text()
        page.get_by_role("list", name="Candidates").get_by_role("button").first.click()
        expect(page.locator(".reader-bar .number")).not_to_have_text(before)
    page.get_by_role("list", name="Candidates").get_by_role("button", name=re.compile("ends the text")).first.click()
    expect(page.get_by_text("ended with EOS")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    picked = wait_for(
        page, lambda: [each for each in studio.completions(here) if any(span[2] == "picked" for span in each["spans"])], "picked"
    )[0]
    assert (picked["truncated"], picked["finish_reason"], picked["draft"]) == (False, "eos", False)
    assert [span[2] for span in picked["spans"]] == ["prefill", "picked"]

    # From a token of the heat map: branch there, the old text stays; then beam out, pin, prune, save.
    page.get_by_role("article", name=f"Completion {first['id']}").get_by_role("link", name="Tokens").click()
    page.locator('.token[data-i="6"]').click()
    inspector = page.get_by_role("complementary", name="Token")
    expect(inspector.locator("dt", has_text="position").locator("+ dd")).to_have_text("6")
    candidates = inspector.get_by_role("list", name="Candidates").get_by_role("button")
    others = candidates.filter(has_not_text=re.compile("here|ends the text"))
    expect(others.first).to_be_visible()
    page.locator('.token[data-i="9"]').hover()
    expect(page.get_by_role("tooltip")).to_contain_text("position")
    expect(inspector.locator("dt", has_text="position").locator("+ dd")).to_have_text("6")
    known = {each["id"] for each in studio.completions(here)}
    others.first.click()
    branch = wait_for(page, lambda: [each for each in studio.completions(here) if each["id"] not in known], "a branch")[0]
    assert (branch["parent_id"], branch["branch_position"]) == (first["id"], 6)
    assert studio.get(f"/api/completions/{first['id']}")["text"] == first["text"]
    wait_for(page, lambda: not studio.get(f"/api/completions/{branch['id']}")["running"], "its end")
    page.get_by_role("button", name="Beam out").click()
    expect(page.get_by_role("heading", name="Beam tree")).to_be_visible()
    (tree,) = studio.get(f"/api/samples/{here}/trees")["items"]
    nodes_before = tree["nodes"]
    side = page.get_by_role("complementary", name="Node")
    side.get_by_label("Width").fill("3")
    side.get_by_label("Depth").fill("3")
    side.get_by_role("button", name="Beam out").click()
    wait_for(page, lambda: studio.get(f"/api/trees/{tree['id']}")["nodes"] > nodes_before + 5, "new nodes")
    page.get_by_role("radio", name="List").click()
    beams = page.get_by_role("list", name="Beams").get_by_role("button")
    expect(beams.nth(2)).to_be_visible()
    beams.nth(0).click()
    page.get_by_role("button", name="Pin").click()
    wait_for(page, lambda: any(flag & 1 for flag in studio.get(f"/api/trees/{tree['id']}/nodes", pruned=True)["flags"]), "a pin")
    beams.nth(2).click()
    page.get_by_role("button", name="Prune").click()
    wait_for(page, lambda: any(flag & 4 for flag in studio.get(f"/api/trees/{tree['id']}/nodes", pruned=True)["flags"]), "pruned")
    beams.nth(0).click()
    known = {each["id"] for each in studio.completions(here)}
    page.get_by_role("button", name="Save").click()
    beam = wait_for(page, lambda: [each for each in studio.completions(here) if each["id"] not in known], "a saved beam")[0]
    assert beam["details"]["beam_tree"] == tree["id"]

    # Judge under two facets with opposite preferences; duel; undo.
    page.get_by_role("link", name="Back to the sample").click()
    rating = page.get_by_role("article", name=f"Completion {written['id']}")
    page.get_by_title("Facet: what completions are judged for").click()
    page.get_by_role("menuitemradio", name="brainstorming").click()
    rating.get_by_role("button", name="Rate 9 of 10").click()
    wait_for(page, lambda: studio.get(f"/api/completions/{written['id']}")["ratings"] == {"brainstorming": 9}, "a rating")
    for name, better in (("brainstorming", "left"), ("bedtime", "right")):
        page.get_by_title("Facet: what completions are judged for").click()
        page.get_by_role("menuitemradio", name=name).click()
        page.get_by_label(f"Compare completion {first['id']}").check()
        page.get_by_label(f"Compare completion {written['id']}").check()
        page.get_by_role("button", name=re.compile("^Compare \\d+ and")).click()
        page.get_by_role("button", name="This one is better").nth(0 if better == "left" else 1).click()
        said = wait_for(page, lambda name=name: studio.get("/api/preferences", facet=name)["items"], "a preference")[0]
        expected = (first["id"], written["id"]) if better == "left" else (written["id"], first["id"])
        assert (said["better_id"], said["worse_id"]) == expected
        page.get_by_role("link", name="Back to the sample").click()
    page.get_by_role("button", name="Duel").click()
    expect(page.get_by_role("button", name=re.compile("the left one is better"))).to_be_visible()
    page.get_by_role("button", name=re.compile("the left one is better")).click()
    wait_for(page, lambda: len(studio.get("/api/preferences", facet="bedtime")["items"]) == 2, "the duel's answer")
    page.get_by_role("button", name="Undo", exact=True).first.click()
    wait_for(page, lambda: len(studio.get("/api/preferences", facet="bedtime")["items"]) == 1, "it is taken back")

    # After a reload all is there; the search finds it.
    page.reload()
    page.get_by_role("link", name="Library", exact=True).first.click()
    page.get_by_label("Search samples and completions").fill("lake")
    expect(page.get_by_role("list", name="Samples").get_by_text("A beginning")).to_be_visible()
    page.get_by_role("radio", name="Matches").click()
    page.get_by_role("list", name="Matches").get_by_text("there was a lake").click()
    expect(page.locator(".tokens").first).to_have_text(" there was a lake.", use_inner_text=False)
