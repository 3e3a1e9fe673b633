"""The same work with the keyboard alone: no click anywhere."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect
from tests.web.conftest import Studio, serving
from tests.web.test_story import wait_for

from forked_ramify import Zygote


@pytest.fixture(scope="module")
def studio(studio_modules: None, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with serving(zygote, tmp_path_factory.mktemp("studio")) as running:
        yield running


def test_a_sample_is_made_answered_judged_and_undone_by_keys_alone(open_page: Callable[..., Page], studio: Studio) -> None:
    page = open_page()
    keys = page.keyboard
    expect(page.get_by_role("heading", name="An empty workspace")).to_be_visible()

    # A facet.
    keys.press("Alt+3")
    expect(page.get_by_role("heading", name="Facets", exact=True)).to_be_visible()
    page.get_by_label("Name", exact=True).focus()
    keys.type("bedtime")
    keys.press("Enter")
    wait_for(page, lambda: studio.get("/api/facets")["items"], "a facet")

    # A sample.
    keys.press("Escape")
    keys.press("Escape")
    keys.press("Alt+1")
    expect(page.get_by_role("heading", name="An empty workspace")).to_be_visible()
    keys.press("n")
    expect(page.get_by_label("Message 1", exact=True)).to_be_focused()
    keys.type("Tell me a story")
    keys.press("Control+Enter")
    sample = wait_for(page, lambda: studio.get("/api/samples")["items"], "a sample")[0]["id"]
    expect(page.get_by_role("region", name="New completion")).to_be_visible()

    # Generated, saved; written by hand.
    keys.press("g")
    wait_for(page, lambda: [each for each in studio.completions(sample) if not each["running"]], "a draft that ended")
    expect(page.get_by_text("draft", exact=True)).to_be_visible()
    keys.press("s")
    wait_for(page, lambda: not studio.completions(sample)[0]["draft"], "it is saved")
    keys.press("e")
    expect(page.get_by_label("Completion", exact=True)).to_be_focused()
    keys.type("There was a lake.")
    keys.press("Control+Enter")
    wait_for(page, lambda: any(each["model"] == "manual" for each in studio.completions(sample)), "a written one")

    # Token by token: first candidate, second, one back, saved.
    expect(page.get_by_role("region", name="New completion")).to_be_visible()
    keys.press("t")
    expect(page.get_by_role("list", name="Candidates").get_by_role("button").first).to_be_visible()
    counter = page.locator(".reader-bar .number")
    for key, length in (("Enter", "1"), ("2", "2"), ("Backspace", "1"), ("ArrowDown", "1"), ("Enter", "2")):
        keys.press(key)
        expect(counter).to_have_text(length)
    keys.press("s")
    picked = wait_for(page, lambda: [each for each in studio.completions(sample) if each["finish_reason"] == "user"], "picked")[0]
    assert (picked["token_count"], picked["truncated"]) == (2, True)

    # Rated, dueled, undone.
    expect(page.locator(".completion.selected")).to_have_count(1)
    keys.press("8")
    rated = wait_for(page, lambda: [each for each in studio.completions(sample) if each["ratings"] == {"bedtime": 8}], "a rating")
    assert len(rated) == 1
    keys.press("d")
    expect(page.get_by_role("region", name="Blind duel")).to_be_visible()
    expect(page.locator(".contender")).to_have_count(2)
    keys.press("ArrowLeft")
    wait_for(page, lambda: studio.get("/api/preferences", facet="bedtime")["items"], "a preference")
    keys.press("q")
    expect(page.locator(".topbar")).to_be_hidden()
    keys.press("Escape")
    keys.press("z")
    wait_for(page, lambda: not studio.get("/api/preferences", facet="bedtime")["items"], "it is taken back")
    keys.press("Shift+Z")
    wait_for(page, lambda: studio.get("/api/preferences", facet="bedtime")["items"], "it is there again")

    # A list of all keys; the search.
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)
    keys.press("/")
    expect(page.get_by_label("Search samples and completions")).to_be_focused()
    keys.type("lake")
    expect(page.get_by_role("list", name="Samples").get_by_text("Tell me a story")).to_be_visible()
    keys.press("Enter")
    expect(page.locator(".sample-row.current")).to_have_count(1)
    keys.press("Enter")
    expect(page.get_by_role("region", name="New completion")).to_be_visible()
