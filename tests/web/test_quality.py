"""A completion's numbers and a filter's verdict, beside its tokens."""

from collections.abc import Callable

from playwright.sync_api import Page, expect
from tests.web.conftest import Studio

TEXT = "The fox ran home. It was 2 + 2 = 5 <b>damn</b> miles."


def test_a_text_is_measured_and_filtered_and_what_was_chosen_is_remembered(
    open_page: Callable[..., Page], studio: Studio
) -> None:
    sample = studio.post("/api/samples", prompt="The fox")["id"]
    made = studio.post(f"/api/samples/{sample}/completions", text=TEXT)["id"]
    page = open_page(start=studio.start.replace("#", f"#/completions/{made}?"))
    page.get_by_text("Quality and filter").click()
    panel = page.get_by_role("group", name="Quality and filter")
    panel.get_by_label("No rude words").check()
    panel.get_by_label("Sums, dates, sources").check()
    panel.get_by_label("Characters at least").fill("5")
    panel.get_by_role("button", name="Measure").click()
    expect(panel.get_by_role("status")).to_contain_text("It does not pass")
    expect(panel.get_by_text("profanity_filter: 'd***' at character")).to_be_visible()
    expect(panel.get_by_text("factuality_check: '2 + 2 = 5': it is 4")).to_be_visible()
    found = studio.post(f"/api/completions/{made}/quality")["metrics"]
    row = panel.get_by_role("row").filter(has_text="relevance")
    expect(row).to_contain_text(f"{found['relevance']:.3g}")
    expect(panel.get_by_role("row").filter(has_text="bleu")).to_have_count(0)
    page.reload()
    page.get_by_text("Quality and filter").click()
    expect(panel.get_by_label("No rude words")).to_be_checked()
    panel.get_by_label("No rude words").uncheck()
    panel.get_by_label("Sums, dates, sources").uncheck()
    panel.get_by_label("Reference, for BLEU").fill("The fox ran home.")
    panel.get_by_role("button", name="Measure").click()
    expect(panel.get_by_role("status")).to_contain_text("It passes")
    expect(panel.get_by_role("row").filter(has_text="bleu")).to_be_visible()
