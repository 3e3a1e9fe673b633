"""Data in, mended, and out again, by mouse and keys alone; what happened is read from the API and from the downloaded file."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.web.conftest import Studio, serving
from tests.web.test_story import wait_for

from forked_ramify import Zygote

ROWS: list[str] = [
    *(json.dumps({"Question": f"What is {n} and {n}?", "Answer": f"{2 * n}."}) for n in range(1, 5)),
    '{"Question": "What is 5 and 5?", "Answer": "ten.',
    json.dumps({"Question": "What is 6 and 6?", "Answer": "12."}),
    '{"Question": "What is 7 and 7?"}',
]


@pytest.fixture(scope="module")
def studio(studio_modules: None, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with serving(zygote, tmp_path_factory.mktemp("studio")) as running:
        yield running


def samples(studio: Studio) -> dict[str, int]:
    return {row["preview"]: row["id"] for row in studio.get("/api/samples", limit=100)["items"]}


def downloaded(page: Page, click: Callable[[], None]) -> dict[str, bytes]:
    with page.expect_download() as waited:
        click()
    with zipfile.ZipFile(io.BytesIO(Path(waited.value.path()).read_bytes())) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def questions(rows: list[Any]) -> list[str]:
    return [row["prompt"][0]["content"] for row in rows]


def continued(page: Page, studio: Studio, sample: int, number: int) -> dict[str, Any]:
    """What a completion became when its Continue was pressed, saved."""
    page.get_by_role("article", name=f"Completion {number}").get_by_role("button", name="Continue").click()
    made = wait_for(page, lambda: [c for c in studio.completions(sample) if c["id"] > number and not c["running"]], "its end")[-1]
    page.get_by_role("article", name=f"Completion {made['id']}").get_by_role("button", name="Save").click()
    return wait_for(page, lambda: [c for c in studio.completions(sample) if c["id"] == made["id"] and not c["draft"]], "saved")[0]


def test_a_file_comes_in_is_mended_and_goes_out_by_mouse_and_keys(
    open_page: Callable[..., Page], studio: Studio, tmp_path: Path
) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text("\n".join(ROWS) + "\n")
    page = open_page()
    keys = page.keyboard
    expect(page.get_by_role("heading", name="An empty workspace")).to_be_visible()

    # Import: the file is chosen, its columns are understood from their names, its bad records are seen.
    keys.press("Alt+5")
    expect(page.get_by_role("heading", name="Import", exact=True)).to_be_visible()
    with page.expect_file_chooser() as choosing:
        page.get_by_text("Choose files").click()
    choosing.value.set_files(file)
    about = page.get_by_role("region", name="What it is")
    expect(about.get_by_label("What Question is")).to_have_value("user")
    expect(about.get_by_label("What Answer is")).to_have_value("completion")
    expect(about.get_by_role("group", name="The first records as samples").get_by_text("What is 1 and 1?")).to_be_visible()
    expect(about.get_by_role("heading", name="2 bad records among them")).to_be_visible()
    how = page.get_by_role("region", name="How it comes in")
    how.get_by_label("Keep judgements under the facet").fill("sums")
    how.get_by_label("Group", exact=True).fill("maths")

    # As it is, the first bad record stops everything.
    page.get_by_role("button", name="Import Ctrl+↵").click()
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_role("heading", name="Nothing was imported")).to_be_visible()
    expect(result.get_by_text("line 5", exact=True)).to_be_visible()
    assert studio.get("/api/workspace")["samples"] == 0

    # Line 5 is mended where it stands; line 7 is left out.
    result.get_by_role("button", name="Mend").click()
    line = result.get_by_label("Line 5 of sums.jsonl")
    expect(line).to_be_focused()
    expect(line).to_have_value(ROWS[4])
    line.fill(json.dumps({"Question": "What is 5 and 5?", "Answer": "10."}))
    keys.press("Control+Enter")
    expect(result.get_by_text("mended", exact=True)).to_be_visible()
    expect(about.get_by_role("heading", name="1 bad record among them")).to_be_visible()
    result.get_by_role("button", name="Import without bad records").click()
    expect(result.get_by_role("heading", name="Imported", exact=True)).to_be_visible()
    done = studio.get("/api/imports")["items"][0]["report"]
    assert (done["samples_added"], done["ratings_added"], done["bad_records"]) == (6, 6, 1)
    there = samples(studio)
    assert sorted(there) == [f"What is {n} and {n}?" for n in range(1, 7)]
    assert file.read_text().count('"ten.') == 1

    # One more is written by hand and stops in the middle; another has no rating.
    page.get_by_role("link", name="Open the samples").click()
    expect(page.get_by_role("list", name="Samples").get_by_text("What is 3 and 3?")).to_be_visible()
    keys.press("n")
    page.get_by_label("Message 1", exact=True).fill("Tell me a story")
    keys.press("Control+Enter")
    composer = page.get_by_role("region", name="New completion")
    expect(composer).to_be_visible()
    story = samples(studio)["Tell me a story"]
    composer.get_by_role("button", name="Edit").click()
    hand = page.get_by_role("region", name="Edit")
    hand.get_by_label("Completion").fill("Once upon a time there was a little")
    hand.get_by_label("It stops in the middle (truncated)").check()
    hand.get_by_role("button", name="Save").click()
    first = wait_for(page, lambda: studio.completions(story), "the beginning of a story")[0]
    assert first["truncated"]
    page.get_by_role("article").get_by_role("button", name="Rate 9 of 10").click()
    wait_for(page, lambda: studio.completions(story)[0]["ratings"] == {"sums": 9}, "a rating")

    # Readiness says what is missing, and leads to it.
    keys.press("Alt+5")
    page.get_by_role("navigation", name="Data in and out").get_by_role("link", name="Readiness").click()
    sft = page.get_by_role("region", name="SFT: completions to imitate")
    expect(sft.get_by_text("of 7 samples could go out, in 6 rows")).to_be_visible()
    expect(page.get_by_role("img", name="Ratings: 7 completions")).to_be_visible()
    with page.expect_download() as kept:
        page.get_by_role("button", name="Keep it").click()
        page.get_by_role("menuitem", name="A page with plots (HTML)").click()
    assert "<svg" in Path(kept.value.path()).read_text("utf-8")
    sft.get_by_role("listitem").filter(has_text="truncated").get_by_role("button", name="Mend 1 sample").click()
    bar = page.get_by_role("complementary", name="To be mended")
    expect(bar.get_by_text("truncated")).to_be_visible()

    # It is continued by the model until it ends, saved and rated.
    whole = first
    for _ in range(8):
        whole = continued(page, studio, story, whole["id"])
        if not whole["truncated"]:
            break
    last = page.get_by_role("article", name=f"Completion {whole['id']}")
    assert whole["text"].startswith(first["text"])
    assert not whole["truncated"], "the model never ended its story"
    last.get_by_role("button", name="Rate 9 of 10").click()
    wait_for(page, lambda: studio.get(f"/api/completions/{whole['id']}")["ratings"] == {"sums": 9}, "a rating")
    bar.get_by_role("link", name="Back to the readiness").click()
    expect(sft.get_by_text("of 7 samples could go out, in 7 rows")).to_be_visible()

    # Export: counted while it is chosen, written, downloaded.
    page.get_by_role("link", name="To the export").click()
    goes = page.get_by_role("region", name="What goes out")
    expect(goes.get_by_text("7 rows")).to_be_visible()
    made_of = page.get_by_role("region", name="What it is made of")
    made_of.get_by_label("Good from rating").fill("9")
    expect(goes.get_by_text("1 row", exact=True)).to_be_visible()
    stays = goes.get_by_role("listitem").filter(has_text="rated below 9")
    expect(stays.get_by_role("button", name="Mend 6 samples")).to_be_visible()
    stays.get_by_role("button", name="Mend 6 samples").click()
    expect(bar.get_by_text("(1 of 6)")).to_be_visible()
    page.get_by_role("article").first.get_by_role("button", name="Rate 10 of 10").click()
    (asked,) = studio.completions(there["What is 1 and 1?"])
    wait_for(page, lambda: studio.get(f"/api/completions/{asked['id']}")["ratings"] == {"sums": 10}, "a better rating")
    bar.get_by_role("button", name="Next sample").click()
    expect(bar.get_by_text("(2 of 6)")).to_be_visible()
    bar.get_by_role("link", name="Back to the export").click()
    expect(goes.get_by_text("2 rows")).to_be_visible()
    page.get_by_label("Name of the file").fill("sums")
    files = downloaded(page, lambda: keys.press("Control+Enter"))
    assert sorted(files) == ["sums.jsonl", "sums.manifest.json"]
    rows = [json.loads(line) for line in files["sums.jsonl"].splitlines()]
    assert questions(rows) == ["What is 1 and 1?", "Tell me a story"]
    assert rows[1]["completion"][0]["content"] == studio.get(f"/api/completions/{whole['id']}")["text"]
    manifest = json.loads(files["sums.manifest.json"])
    assert [(row["sample"], row["completion"]) for row in manifest["rows"]] == [
        (there["What is 1 and 1?"], asked["id"]),
        (story, whole["id"]),
    ]

    # Without the bound all seven go out, in another form; the workspace is as it was.
    made_of.get_by_label("Good from rating").fill("")
    expect(goes.get_by_text("7 rows")).to_be_visible()
    made_of.get_by_label("Form").select_option("alpaca")
    expect(goes.locator(".spinner")).to_have_count(0)
    files = downloaded(page, lambda: page.get_by_role("button", name="Export and download").click())
    rows = [json.loads(line) for line in files["sums.jsonl"].splitlines()]
    assert {row["instruction"] for row in rows} == {*there, "Tell me a story"}

    # What is there is not brought in again; one undo takes the whole import back.
    before = studio.get("/api/workspace")["samples"]
    page.get_by_role("navigation", name="Data in and out").get_by_role("link", name="Import").click()
    page.get_by_role("button", name="Import Ctrl+↵").click()
    expect(result.get_by_text("Nothing was imported")).to_be_visible()
    how.get_by_label("Leave bad records out").check()
    page.get_by_role("button", name="Import Ctrl+↵").click()
    expect(result.get_by_role("heading", name="Imported", exact=True)).to_be_visible()
    assert studio.get("/api/workspace")["samples"] == before
    assert studio.get("/api/imports")["items"][0]["report"]["samples_matched"] == 6


def test_a_trial_lists_every_bad_record_and_a_duplicate_is_put_away(
    open_page: Callable[..., Page], studio: Studio, tmp_path: Path
) -> None:
    file = tmp_path / "twice.csv"
    file.write_text('instruction,output\nSay yes.,yes\n"SAY, yes!",yes\nSay no.,no,and more\nSay maybe.,maybe\n')
    page = open_page()
    page.wait_for_selector(".library")
    page.goto(f"{studio.url}/#/import")
    before = studio.get("/api/workspace")["samples"]
    expect(page.get_by_role("heading", name="Import", exact=True)).to_be_visible()
    choosers: list[Any] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(80):  # a page listens to keys a frame after it is seen, and a frame of a busy machine can be long
        page.keyboard.press("o")
        page.wait_for_timeout(250)
        if choosers:
            break
    choosers[0].set_files(file)
    about = page.get_by_role("region", name="What it is")
    expect(about.get_by_text("alpaca").first).to_be_visible()
    page.get_by_role("button", name="Try first").click()
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_role("heading", name="What would happen")).to_be_visible()
    expect(result.get_by_text("it has 3 fields; the header has 2")).to_be_visible()
    assert studio.get("/api/workspace")["samples"] == before
    result.get_by_role("button", name="Import without bad records").click()
    expect(result.get_by_role("heading", name="Imported", exact=True)).to_be_visible()
    assert studio.get("/api/workspace")["samples"] == before + 3

    page.get_by_role("navigation", name="Data in and out").get_by_role("link", name="Duplicates").click()
    page.get_by_role("button", name="Find duplicates").click()
    clusters = page.get_by_role("list", name="Clusters").get_by_role("listitem")
    expect(clusters).to_have_count(1)
    clusters.get_by_role("button", name="Archive the spare").click()
    page.get_by_role("dialog").get_by_role("button", name="Archive").click()
    expect(page.get_by_role("list", name="Clusters")).to_have_count(0, timeout=20_000)
    assert studio.get("/api/samples", archived="true")["items"][0]["preview"] == "SAY, yes!"
