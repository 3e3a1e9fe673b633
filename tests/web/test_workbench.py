"""What the stories leave out: many samples at once, filters, several completions at once, beams ranked anew, blocks."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route, expect
from tests.web.conftest import Studio
from tests.web.test_story import wait_for


def test_many_samples_are_filtered_and_changed_at_once(open_page: Callable[..., Page], studio: Studio) -> None:
    made = [studio.post("/api/samples", prompt=f"Filtered {at}", group=f"many/{at % 2}")["id"] for at in range(210)]
    page = open_page(start=f"{studio.start}")
    page.get_by_role("navigation", name="Groups").get_by_role("button", name=re.compile("^many")).click()
    expect(page.get_by_role("status").filter(has_text="210 samples")).to_be_visible()

    # A filter narrows the list at once, and is kept under a name.
    # The fields come late: a click on "Condition" waits for them.
    held = list[Route]()
    page.route("**/api/filters/fields", lambda route: held.append(route))
    # The name from its beginning: "Delete the filter …" is a button of the sidebar where a filter is kept.
    page.get_by_role("button", name=re.compile("^Filter")).click()
    builder = page.get_by_role("region", name="Filter")
    builder.get_by_role("button", name="Condition").click()
    wait_for(page, lambda: held, "a question for the fields")
    expect(builder.get_by_label("Field")).to_have_count(0)
    held[0].continue_()
    builder.get_by_label("Field").select_option("group")
    builder.get_by_label("Comparison").select_option("under")
    builder.get_by_label("Value").fill("many/1")
    builder.get_by_label("Value").press("Enter")
    expect(page.get_by_role("status").filter(has_text="105 samples")).to_be_visible()
    builder.get_by_role("button", name="Save filter").click()
    page.get_by_role("dialog").get_by_label("Name").fill("odd ones")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    kept = lambda: [each["filter"] for each in studio.get("/api/filters")["items"] if each["name"] == "odd ones"]  # noqa: E731
    assert wait_for(page, kept, "a saved filter") == [{"field": "group", "op": "under", "value": "many/1"}]
    builder.get_by_role("button", name="Remove this condition").click()
    expect(page.get_by_role("status").filter(has_text="210 samples")).to_be_visible()
    builder.get_by_role("button", name="Close the filter").click()

    # Two by hand, then all: those not loaded yet too, and none that the list does not show.
    boxes = page.get_by_role("list", name="Samples").get_by_role("checkbox")
    boxes.nth(0).check()
    boxes.nth(1).check()
    bulk = page.get_by_role("toolbar", name="Selected samples")
    bulk.get_by_role("button", name="Archive").click()
    wait_for(page, lambda: studio.get("/api/samples/count", group="many")["count"] == 208, "two archived")
    expect(bulk).to_have_count(0)  # the page knows it too, and shows the list without them
    expect(page.get_by_role("status").filter(has_text="208 samples")).to_be_visible()
    boxes.nth(0).check()
    bulk.get_by_role("button", name="Select all 208").click()
    expect(bulk).to_contain_text("208 selected")
    bulk.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_role("dialog").get_by_label("Tag").fill("chosen")
    page.get_by_role("dialog").get_by_role("button", name="Add").click()
    tag = wait_for(page, lambda: [t for t in studio.get("/api/tags")["items"] if t["name"] == "chosen"], "a tag")[0]
    assert tag["samples"] == 208
    page.get_by_role("button", name="Undo").first.click()
    # Of this tag: other tests of the workspace may have left others.
    left = lambda: [t for t in studio.get("/api/tags")["items"] if t["name"] == "chosen" and t["samples"]]  # noqa: E731
    wait_for(page, lambda: not left(), "taken back in one step")
    studio.post("/api/samples/bulk", ids=made, action="delete")


def test_several_at_once_and_a_wrong_setting_says_so(open_page: Callable[..., Page], studio: Studio) -> None:
    sample = studio.post("/api/samples", prompt="Once upon a time")["id"]
    page = open_page()
    page.goto(f"{studio.url}/#/samples/{sample}")
    composer = page.get_by_role("region", name="New completion")
    composer.get_by_text("Parameters").click()
    composer.get_by_label("max_new_tokens").fill("8")
    composer.get_by_label("top_p").fill("2")
    expect(composer.get_by_role("alert")).to_contain_text("top_p")
    composer.get_by_label("top_p").fill("0.9")
    composer.get_by_label("temperature").fill("1")
    expect(composer.get_by_role("alert")).to_have_count(0)
    composer.get_by_label("How many").fill("3")
    composer.get_by_role("button", name="Generate").click()
    done = wait_for(
        page,
        lambda: len(found := [each for each in studio.completions(sample) if not each["running"]]) == 3 and found,
        "three drafts",
    )
    assert {each["config"]["top_p"] for each in done} == {0.9}
    expect(page.get_by_role("article")).to_have_count(3)


def test_beams_are_searched_ranked_anew_and_bookmarked(open_page: Callable[..., Page], studio: Studio) -> None:
    sample = studio.post("/api/samples", prompt="Once upon a time")["id"]
    tree = studio.post(f"/api/samples/{sample}/trees")["id"]
    page = open_page()
    page.goto(f"{studio.url}/#/trees/{tree}")
    side = page.get_by_role("complementary", name="Node")
    side.get_by_role("radio", name="Search and re-rank").click()
    side.get_by_label("Beams").fill("3")
    side.get_by_label("Tokens").fill("5")
    side.get_by_role("button", name="Search from here").click()
    results = side.get_by_role("status").locator(".side-item")
    expect(results.first).to_be_visible()
    known = studio.get(f"/api/trees/{tree}")["nodes"]
    assert known > 5
    results.first.click()
    expect(page).to_have_url(re.compile(r"node=\d+"))
    expect(side.get_by_text("What becomes of the chosen beam")).to_be_visible()
    side.get_by_label("Length penalty").fill("2")
    page.wait_for_timeout(400)
    assert studio.get(f"/api/trees/{tree}")["nodes"] == known, "ranking anew asks the model nothing"
    page.get_by_role("button", name="Bookmark").click()
    wait_for(page, lambda: any(flag & 8 for flag in studio.get(f"/api/trees/{tree}/nodes")["flags"]), "a bookmark")
    page.get_by_role("radio", name="Grid").click()
    card = page.locator(".beam-card.selected")
    expect(card).to_contain_text("bookmark")
    page.get_by_role("button", name="Save").click()
    (saved,) = wait_for(page, lambda: studio.completions(sample), "a saved beam")
    assert saved["details"]["beam_tree"] == tree


def test_a_tree_is_gone_through_step_by_step_and_deleted(open_page: Callable[..., Page], studio: Studio) -> None:
    sample = studio.post("/api/samples", prompt="Once upon a time")["id"]
    tree = studio.post(f"/api/samples/{sample}/trees")
    grown = studio.post(f"/api/trees/{tree['id']}/beam-out", node=tree["root"], width=2, depth=3)
    way = studio.get(f"/api/trees/{tree['id']}/nodes/{grown['ends'][0]}/replay")["items"]
    page = open_page()
    page.goto(f"{studio.url}/#/trees/{tree['id']}?node={grown['ends'][0]}")
    side = page.get_by_role("complementary", name="Node")
    side.get_by_text("Step by step").click()
    steps = side.get_by_role("listitem").filter(has_text="there was")
    expect(steps).to_have_count(3)
    steps.first.get_by_role("button").click()
    expect(page).to_have_url(re.compile(rf"node={way[0]['node']}\b"))
    page.get_by_role("button", name="More for this tree").click()
    page.get_by_role("menuitem", name="Delete the tree").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile(rf"#/samples/{sample}\b"))
    wait_for(page, lambda: not studio.get(f"/api/samples/{sample}/trees")["items"], "no tree")


def test_what_surrounds_a_prompt_is_seen_and_changed(open_page: Callable[..., Page], studio: Studio) -> None:
    sample = studio.post("/api/samples", prompt="Once upon a time")["id"]
    studio.post(f"/api/samples/{sample}/completions", text="there was a cat.")
    studio.put(f"/api/samples/{sample}/prompt", prompt="Long ago")
    page = open_page()
    page.goto(f"{studio.url}/#/samples/{sample}")
    prompt = page.get_by_role("region", name="Prompt")
    prompt.get_by_text("Earlier revisions").click()
    expect(prompt.get_by_role("group", name="Revision 1")).to_have_text("Once upon a time")
    prompt.get_by_text("Images").click()
    prompt.get_by_label("Images").fill("maps/one.png\nhttps://example.org/two.png")
    prompt.get_by_label("Images").blur()
    kept = lambda: [each["path"] for each in studio.get(f"/api/samples/{sample}")["images"]]  # noqa: E731
    wait_for(page, lambda: kept() == ["maps/one.png", "https://example.org/two.png"], "two images")
    page.goto(f"{studio.url}/#/facets")
    page.get_by_label("The workspace's target model").select_option("tiny")
    wait_for(page, lambda: studio.get("/api/settings")["target_model"] == "tiny", "a target model")
    page.get_by_label("The workspace's target model").select_option("")
    wait_for(page, lambda: studio.get("/api/settings")["target_model"] is None, "none")


def test_a_text_is_written_block_by_block(open_page: Callable[..., Page], studio: Studio) -> None:
    sample = studio.post("/api/samples", prompt="Once upon a time")["id"]
    page = open_page()
    page.goto(f"{studio.url}/#/samples/{sample}")
    page.get_by_role("button", name="Block by block").click()
    expect(page.get_by_role("heading", name="Block by block")).to_be_visible()
    page.get_by_text("Parameters").click()
    page.get_by_label("max_new_tokens").fill("12")
    page.get_by_label("Proposals").fill("2")
    page.get_by_role("button", name="Propose").click()
    proposals = page.get_by_role("article")
    expect(proposals).to_have_count(2)
    proposals.first.get_by_role("button", name="Edit").click()
    page.get_by_label("Edited block").fill(" there was a lake.")
    page.get_by_role("button", name="Accept the edited one").click()
    expect(page.locator(".block-piece")).to_have_text(" there was a lake.", use_inner_text=False)
    page.get_by_label("Or write the block yourself").fill(" It was deep.")
    page.get_by_role("button", name="Append").click()
    expect(page.locator(".block-piece")).to_have_count(2)
    page.get_by_role("button", name="Take back").click()
    expect(page.locator(".block-piece")).to_have_count(1)
    page.get_by_role("button", name="Save").click()
    (saved,) = wait_for(page, lambda: studio.completions(sample), "a completion of blocks")
    assert saved["text"] == " there was a lake."
