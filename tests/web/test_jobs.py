"""Jobs in the studio: started, watched, ended, tried again, errors read, answers downloaded; in a real browser."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect
from tests.web.conftest import Studio
from tests.web.test_story import wait_for


def jobs_page(open_page: Callable[..., Page]) -> Page:
    page = open_page()
    page.get_by_role("link", name="Jobs").first.click()
    expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    return page


def keys(studio: Studio) -> list[str]:
    return [job["key"] for job in studio.get("/api/jobs")["items"]]


def started(studio: Studio, before: list[str]) -> str:
    """The job that is new since `before`."""
    deadline = time.monotonic() + 60
    while (found := keys(studio)) == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found[0]


def until(studio: Studio, key: str, *states: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while (job := studio.get(f"/api/jobs/{key}"))["state"] not in states:
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    found: dict[str, Any] = job
    return found


def test_a_job_is_started_from_prompts_watched_and_its_answers_downloaded(
    open_page: Callable[..., Page], studio: Studio, tmp_path: Path
) -> None:
    page, before = jobs_page(open_page), keys(studio)
    page.keyboard.press("n")
    page.get_by_label("Prompts, one a line").fill("Once upon a time\nA hedgehog\n\n")
    page.get_by_text("Labels, limits, processes, prices, code, places").click()
    page.get_by_label("Labels", exact=True).fill("team=one")
    page.get_by_label("Every token with its logprob").check()
    page.get_by_label("Processes", exact=True).fill("65")
    page.get_by_label("Price of a million prompt tokens").fill("1000000")
    expect(page.get_by_role("button", name="Start")).to_have_attribute(
        "title", re.compile("65”? is no number of processes: 1 to 64")
    )
    page.get_by_label("Processes", exact=True).fill("1")
    expect(page.get_by_text("start it with --allow-code-evaluator")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    job = until(studio, started(studio, before), "completed")
    assert job["labels"] == {"team": "one"}
    assert (job["rows"], job["done"], job["failed"], job["workers"]["used"]) == (2, 2, 0, 1)
    card = page.get_by_label(f"Job {job['key']}")
    expect(card.get_by_text("completed")).to_be_visible(timeout=20_000)
    expect(card.get_by_text("2 of 2 rows")).to_be_visible()
    assert job["spend"] == job["prompt_tokens"]
    expect(card.get_by_text(f"spent {job['prompt_tokens']}")).to_be_visible()
    rows = studio.get(f"/api/jobs/{job['key']}/rows")["items"]
    texts = [json.loads(row["result"])["text"] for row in rows]
    assert all(json.loads(row["result"])["tokens"] for row in rows)
    expect(card.locator(".answer").first).to_have_text(texts[0].strip())
    with page.expect_download() as download:
        card.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "answers")
    assert [row["text"] for row in json.loads((tmp_path / "answers").read_text())] == texts


def test_a_file_with_bad_rows_shows_what_went_wrong_and_can_be_tried_again(
    open_page: Callable[..., Page], studio: Studio, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "Once"}\n{torn\n{"prompt": "<b>bold</b>"}\n' + json.dumps({"prompt": "word " * 4000}) + "\n")
    page, before = jobs_page(open_page), keys(studio)
    page.get_by_role("button", name="New job").first.click()
    page.get_by_label("Or a file").set_input_files(source)
    page.get_by_role("button", name="Start").click()
    job = until(studio, started(studio, before), "completed")
    assert (job["rows"], job["done"], job["failed"]) == (4, 2, 2)
    card = page.get_by_label(f"Job {job['key']}")
    expect(card.get_by_text("2 failed")).to_be_visible(timeout=20_000)
    expect(card.get_by_text("line 2: it is no JSON")).to_be_visible()
    expect(card.get_by_text("the model's context window holds")).to_be_visible()
    card.get_by_label("Only those that failed").uncheck()
    expect(card.get_by_text("<b>bold</b>")).to_be_visible()  # as text, and never as markup
    card.get_by_role("button", name="Retry").click()

    def attempts() -> list[int]:
        return [row["attempts"] for row in studio.get(f"/api/jobs/{job['key']}/rows")["items"]]

    wait_for(page, lambda: attempts()[3] == 2, "a second attempt")
    until(studio, job["key"], "completed")
    assert attempts() == [1, 1, 1, 2]  # what cannot be read is not asked again


def test_a_job_is_ended_and_gone_on_with_by_keyboard_alone(open_page: Callable[..., Page], studio: Studio) -> None:
    prompts = [f"Tale {i}" for i in range(300)]
    made = studio.post("/api/jobs", prompts=prompts, config={"max_new_tokens": 100, "min_new_tokens": 100})
    page = jobs_page(open_page)
    card = page.get_by_label(f"Job {made['key']}")
    card.get_by_role("button", name="End").focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="End it").press("Enter")
    job = until(studio, made["key"], "cancelled")
    assert job["done"] < 300
    expect(card.get_by_text("cancelled")).to_be_visible(timeout=20_000)
    card.get_by_role("button", name="Retry").focus()
    page.keyboard.press("Enter")
    until(studio, made["key"], "running", "queued")
    studio.post(f"/api/jobs/{made['key']}/cancel")
    until(studio, made["key"], "cancelled")
    card.get_by_label("Forget").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Forget").press("Enter")
    expect(card).to_have_count(0, timeout=20_000)
    assert made["key"] not in [each["key"] for each in studio.get("/api/jobs")["items"]]
