"""The loop in the studio, as a person goes round it: judged pairs, a run, its report, the facet's next target model."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.web.conftest import Studio, serving
from tests.web.test_story import wait_for

from forked_ramify import Zygote

LONG_MS = 120_000
"""A process loads its libraries, trains and measures behind what is waited for."""
ANSWERS = {"Say hi": ("Hello <b>you</b>!", "No."), "Say bye": ("Good bye, you!", "No no."), "Say yes": ("Yes, you!", "Never.")}


@pytest.fixture(scope="module")
def studio(studio_modules: None, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with serving(zygote, tmp_path_factory.mktemp("studio")) as running:
        yield running


@pytest.mark.slow
def test_judged_completions_become_a_model_that_writes_for_the_facet(open_page: Callable[..., Page], studio: Studio) -> None:
    studio.post("/api/facets", name="kind")
    for prompt, texts in ANSWERS.items():
        sample = studio.post("/api/samples", prompt=[{"role": "user", "content": prompt}], title=prompt)["id"]
        for text in texts:
            studio.post(f"/api/samples/{sample}/completions", text=text)

    # Three duels, by keys: the kind answer is better.
    page = open_page(start=studio.start.replace("#", "#/judge?"), refused=400)
    duel = page.get_by_role("region", name="Blind duel")
    asked = duel.get_by_role("group", name="Prompt")
    for count in range(1, 4):
        left, prompt = duel.locator(".contender .reading").first, asked.inner_text()
        page.keyboard.press("1" if "!" in left.inner_text() else "2")
        wait_for(page, lambda count=count: len(studio.get("/api/preferences", facet="kind")["items"]) == count, "a judgement")
        if count < 3:
            expect(asked).not_to_have_text(prompt, use_inner_text=True)
    for each in studio.get("/api/preferences", facet="kind")["items"]:
        assert "!" in studio.get(f"/api/completions/{each['better_id']}")["text"]

    # The form: DPO with an adapter; the gate says what the trainer will see while it is filled in.
    page.get_by_role("link", name="Training").first.click()
    form = page.get_by_role("region", name="What is trained, and how")
    form.get_by_role("radio", name="DPO").click()
    view = page.get_by_role("region", name="The trainer's view")
    expect(view.get_by_text("Every row can be trained on, as tiny spells it.")).to_be_visible()
    expect(page.get_by_role("region", name="Readiness").get_by_text("of 3 samples can go in")).to_be_visible()
    form.get_by_label("Share held out").fill("0.34")
    form.get_by_label("Learning rate", exact=True).fill("-1")
    expect(view.get_by_text("train.learning_rate")).to_be_visible()
    form.get_by_label("Learning rate", exact=True).fill("0.005")
    form.get_by_text("More settings").click()
    form.get_by_label("Steps at most").fill("8")
    form.get_by_label("Steps between validations").fill("4")
    expect(view.locator("dd").nth(2)).to_have_text("8")
    view.get_by_text("Every row, token by token").click()
    row = view.get_by_role("group", name=re.compile("^chosen of row 1: .* tokens, .* learned$"))
    expect(row.locator(".learned").last).to_have_text("<|im_end|>")
    assert "".join(row.locator(".learned").all_inner_texts()) == "Hello·<b>you</b>!<|im_end|>"
    expect(view.get_by_text("EOS 2 learned")).to_have_count(6)
    # What is filled in survives a reload; then it begins, by a key.
    page.reload()
    expect(form.get_by_label("Steps at most")).to_have_value("8")
    expect(view.get_by_role("button", name=re.compile("^Train kind-dpo"))).not_to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Control+Enter")

    # It is seen as it goes, and the page may be closed meanwhile.
    expect(page.get_by_role("heading", name="kind-dpo")).to_be_visible()
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_text("completed", exact=True)).to_be_visible(timeout=LONG_MS)
    run = studio.get("/api/training/runs/kind-dpo")
    assert (run["state"], run["step"], run["problem"]) == ("completed", 8, None)
    assert [line["step"] for line in run["log"] if line["held_out"]] == [4, 8]
    expect(page.get_by_role("region", name="The run").get_by_text("8 of 8")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(r"^Loss\. training: .* at step 1, .* at step 8; held out: "))).to_be_visible()

    # Before and after, token by token, as text and never as markup.
    report = page.get_by_role("region", name="Before and after")
    pairs = {each["part"]: each for each in studio.get("/api/training/runs/kind-dpo/report")["pairs"]}
    assert pairs["training"]["margin_after"] > pairs["training"]["margin_before"] + 1
    numbers = report.get_by_role("row").filter(has_text="By so many nats, training rows")
    expect(numbers).to_contain_text(f"{pairs['training']['margin_after']:.2f}".replace("-", "−"))
    changed = report.get_by_role("group", name=re.compile("^(chosen|rejected), [+−].* nats a token$"))
    expect(changed).to_have_count(6)
    assert "<b>" in "".join(changed.all_inner_texts())

    # Side by side, then the facet's target; an alarm asks once more.
    both = page.get_by_role("region", name="Side by side")
    both.get_by_label("New tokens at most").fill("12")
    both.get_by_role("button", name="Complete with both").click()
    for name in ("tiny", "kind-dpo"):
        expect(both.get_by_role("article", name=f"What {name} says").locator(".reading")).not_to_be_empty(timeout=LONG_MS)
    expect(both.get_by_role("button", name="Complete with both")).to_be_visible(timeout=LONG_MS)
    page.get_by_role("button", name="Make it the target model").click()
    if studio.get("/api/training/runs/kind-dpo/report")["unrelated"]["alarm"]:
        page.get_by_role("dialog").get_by_role("button", name="Make it the target").click()
    expect(page.get_by_text("It is the target model of kind.")).to_be_visible()
    assert studio.get("/api/facets")["items"][0]["effective"]["target_model"] == "kind-dpo"

    # The loop is closed: the next completion comes from it.
    page.goto(f"{studio.url}/#/samples/1")
    composer = page.get_by_role("region", name="New completion")
    composer.get_by_role("button", name="Generate").click()
    made = wait_for(page, lambda: [each for each in studio.completions(1) if each["model"] == "kind-dpo"], "a completion")[0]
    assert made["fingerprint"] not in ("", studio.get("/api/models")["items"][0]["fingerprint"])

    # A run's row is in the list, and another like it begins from what it was.
    page.get_by_role("link", name="Training").first.click()
    runs = page.get_by_role("region", name="Runs")
    expect(runs.get_by_role("listitem")).to_have_count(1)
    runs.get_by_role("link", name="kind-dpo").click()
    page.get_by_role("button", name="Report as a file, and more").click()
    page.get_by_role("menuitem", name="A new run like this one").click()
    expect(form.get_by_label("Learning rate", exact=True)).to_have_value("0.005")
    expect(view.get_by_role("button", name=re.compile("^Train kind-dpo-2"))).to_be_visible()


def test_a_saved_filter_chooses_the_rows_and_muon_has_its_own_rate(open_page: Callable[..., Page], studio: Studio) -> None:
    for prompt in ("A fox", "A bear", "A cat"):
        sample = studio.post("/api/samples", prompt=prompt, title=prompt)["id"]
        studio.post(f"/api/samples/{sample}/completions", text=" went home.")
    studio.put("/api/filters", name="the fox alone", filter={"field": "title", "op": "is", "value": "A fox"})
    page = open_page(start=studio.start.replace("#", "#/training?"))
    form = page.get_by_role("region", name="What is trained, and how")
    view = page.get_by_role("region", name="The trainer's view")
    while form.get_by_role("button", name="Remove facet 1").count():
        form.get_by_role("button", name="Remove facet 1").click()
    form.get_by_role("radio", name="SFT").click()
    rows = view.locator("dd").first
    before = studio.post("/api/training/checks", method="sft", name="x", wait=True)["report"]["rows"]
    expect(rows).to_have_text(str(before))
    form.get_by_label("A saved filter").select_option("the fox alone")
    expect(form.get_by_text("title is A fox")).to_be_visible()
    expect(rows).to_have_text("1")
    form.get_by_text("More settings").click()
    expect(form.get_by_label("Learning rate of matrices")).to_have_count(0)
    form.get_by_label("Optimizer").select_option("muon")
    expect(form.get_by_label("Learning rate of matrices")).to_be_visible()
    expect(form.get_by_label("Warm-up steps")).to_have_attribute("placeholder", "50")
    form.get_by_label("Tokens a step").fill("500")
    expect(view.get_by_text("Every row can be trained on, as tiny spells it.")).to_be_visible()
    form.get_by_label("Rows in a pass").fill("4")
    expect(view.get_by_text("batch_size and tokens_per_step are given; count rows or tokens")).to_be_visible()


@pytest.mark.slow
def test_a_run_is_cancelled_gone_on_with_and_deleted_by_keys(open_page: Callable[..., Page], studio: Studio) -> None:
    studio.post("/api/facets", name="patient")
    sample = studio.post("/api/samples", prompt="Once upon a time")["id"]
    good = studio.post(f"/api/samples/{sample}/completions", text=" there was a lake.")["id"]
    studio.put(f"/api/completions/{good}/rating", facet="patient", rating=9)
    studio.post(
        "/api/training/runs",
        method="sft",
        name="long",
        facets=[{"name": "patient"}],
        train={"max_steps": 5000, "learning_rate": 1e-6},
    )
    page = open_page(start=studio.start.replace("#", "#/training/long?"))
    expect(page.get_by_role("img", name=re.compile(r"^Loss\. training: "))).to_be_visible(timeout=LONG_MS)
    page.keyboard.press("c")
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible(timeout=LONG_MS)
    stopped = studio.get("/api/training/runs/long")
    assert (stopped["state"], 0 < stopped["step"] < 5000) == ("cancelled", True)
    page.keyboard.press("r")
    expect(page.get_by_text("running", exact=True)).to_be_visible(timeout=LONG_MS)
    wait_for(page, lambda: studio.get("/api/training/runs/long")["step"] > stopped["step"], "a further step")
    page.get_by_role("button", name="Cancel").press("Enter")
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible(timeout=LONG_MS)
    page.get_by_role("button", name="Report as a file, and more").press("Enter")
    page.get_by_role("menuitem", name="Delete…").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
    expect(page.get_by_role("heading", name="Training", level=1)).to_be_visible()
    assert [run["key"] for run in studio.get("/api/training/runs")["items"]] == ["kind-dpo"]


@pytest.mark.slow
def test_texts_become_a_model_from_scratch_by_the_page_alone(
    open_page: Callable[..., Page], studio: Studio, tmp_path: Path
) -> None:
    (tmp_path / "cats.txt").write_text("The cat sat on the mat. " * 40)
    (tmp_path / "dogs.txt").write_text("A dog ran to the park. " * 5)
    page = open_page(start=studio.start.replace("#", "#/training?"))
    page.get_by_role("radio", name="From scratch").click()
    form = page.get_by_role("region", name="From scratch")
    begin = form.get_by_role("button", name=re.compile("^Train new-model"))
    expect(begin).to_have_attribute("title", "Choose the files of text that it learns from")
    form.get_by_label("Texts", exact=True).set_input_files([tmp_path / "cats.txt"])
    form.get_by_label("Texts to measure, never learned").set_input_files([tmp_path / "dogs.txt"])
    form.get_by_label("Tokens in the vocabulary").fill("420")
    form.get_by_text("More settings").click()
    for label, value in (("Width", "32"), ("Layers", "1"), ("Heads", "2"), ("Heads of keys", "1"), ("Width within", "64")):
        form.get_by_label(label, exact=True).fill(value)
    form.get_by_label("Steps at most").fill("4")
    form.get_by_label("Tokens a step").fill("256")
    begin.click()
    expect(page.get_by_role("heading", name="new-model")).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_text("completed", exact=True)).to_be_visible(timeout=LONG_MS)
    run = studio.get("/api/training/runs/new-model")
    assert (run["state"], run["step"], run["plan"]["preset"]) == ("completed", 4, "small")
    assert "new-model" in [each["name"] for each in studio.get("/api/models")["items"]]
    expect(page.get_by_text("A model from scratch")).to_be_visible()
    expect(page.get_by_role("region", name="Before and after")).to_have_count(0)

    # A vocabulary alone; the next model can be given it.
    page.get_by_role("link", name="Training").first.click()
    form.get_by_role("radio", name="A vocabulary").click()
    form.get_by_label("Texts", exact=True).set_input_files([tmp_path / "cats.txt"])
    form.get_by_role("button", name=re.compile("^Learn words-vocabulary")).click()
    expect(page.get_by_text("The vocabulary is there")).to_be_visible(timeout=LONG_MS)
    page.get_by_role("link", name="Training").first.click()
    form.get_by_role("radio", name="A model").click()
    form.get_by_label("Vocabulary", exact=True).select_option("words-vocabulary")
    expect(form.get_by_label("Tokens in the vocabulary")).to_have_count(0)
