"""Several models at once, one behind an endpoint that can do less, two windows on one workspace, and requests that wait."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.endpoint_made_here import Server, delta, streams
from tests.endpoint_made_here import serving as endpoint_serving
from tests.web.conftest import Studio, serving
from tests.web.test_story import wait_for

import models_made_here
from forked_ramify import Zygote
from ramify.models.registry import Registry


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Server]:
    with endpoint_serving() as running:
        yield running


@pytest.fixture(scope="module")
def studio(
    studio_modules: None,
    zygote: Zygote,
    endpoint: Server,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAMIFY_HOME", str(folder / "home"))
        patch.setenv("OPENAI_BASE_URL", endpoint.url)
        patch.setenv("OPENAI_API_KEY", "a-key-that-nobody-sees")
        Registry().add("second", str(models_made_here.folder("llama")), note="random weights")
        Registry().add("far", "openai:far", note="behind an endpoint")
        with serving(zygote, folder) as running:
            yield running


def test_different_models_answer_at_once_each_with_its_own_tokens(
    open_page: Callable[..., Page], studio: Studio, endpoint: Server
) -> None:
    endpoint.always = streams([delta("It was "), delta("far away."), delta(finish="stop")])
    sample = studio.post("/api/samples", prompt="Once upon a time")["id"]
    page = open_page()
    page.goto(f"{studio.url}/#/samples/{sample}")
    composer = page.get_by_role("region", name="New completion")
    composer.get_by_text("Parameters").click()
    composer.get_by_label("max_new_tokens").fill("6")
    composer.get_by_role("button", name="Another model at once").click()
    composer.get_by_label("Model 2", exact=True).select_option("second")
    composer.get_by_role("button", name="Generate").click()
    made = wait_for(
        page, lambda: len(found := [each for each in studio.completions(sample) if not each["running"]]) == 2 and found, "two"
    )
    assert {each["model"] for each in made} == {"tiny", "second"}
    assert len({each["fingerprint"] for each in made}) == 2
    for each in made:
        card = page.get_by_role("article", name=f"Completion {each['id']}")
        expect(card.locator(".who")).to_have_text(each["model"])
        expect(card.locator(".reading")).to_have_text(each["text"], use_inner_text=False)

    # The second one's text under the first model: another cut, another measure.
    (second,) = [each for each in made if each["model"] == "second"]
    page.get_by_role("article", name=f"Completion {second['id']}").get_by_role("button", name="Save").click()
    page.get_by_role("article", name=f"Completion {second['id']}").get_by_role("link", name="Tokens").click()
    page.get_by_title("Measured under").click()
    page.get_by_role("menuitemradio", name="Measure under tiny").click()
    wait_for(page, lambda: len(studio.get(f"/api/completions/{second['id']}")["scored"]) == 2, "two measures")
    page.get_by_title("Measured under").click()
    page.get_by_role("menuitemradio", name="tiny", exact=True).click()
    tokens = studio.get(f"/api/completions/{second['id']}/tokens", model="tiny")
    expect(page.locator(".tokens [data-i]")).to_have_count(len(tokens["ids"]))


def test_what_a_remote_model_cannot_do_is_greyed_with_the_reason(
    open_page: Callable[..., Page], studio: Studio, endpoint: Server
) -> None:
    endpoint.always = streams([delta("It was "), delta("far away."), delta(finish="stop")])
    sample = studio.post("/api/samples", prompt=[{"role": "user", "content": "Where?"}])["id"]
    page = open_page()
    page.goto(f"{studio.url}/#/samples/{sample}")
    composer = page.get_by_role("region", name="New completion")
    composer.get_by_label("Model", exact=True).select_option("far")
    hidden = "shows no distribution"
    for name in ("Token by Token", "Beam search", "Block by block"):
        button = composer.get_by_role("button", name=name)
        expect(button).to_have_attribute("aria-disabled", "true")
        expect(button).to_have_attribute("title", re.compile(hidden))
        button.click(force=True)  # as a person does who did not notice
        expect(page.locator(".toast").filter(has_text=hidden).first).to_be_visible()
    # The endpoint takes these settings, says the server, which asked it nothing.
    composer.get_by_text("Parameters").click()
    composer.get_by_label("num_beams").fill("2")
    expect(composer.get_by_role("alert")).to_contain_text("num_beams")
    composer.get_by_label("num_beams").fill("")
    expect(composer.get_by_role("alert")).to_have_count(0)
    assert endpoint.asked == []
    composer.get_by_role("button", name="Generate").click()
    (made,) = wait_for(page, lambda: [each for each in studio.completions(sample) if not each["running"]], "a remote draft")
    assert (made["text"], made["model"], made["token_count"]) == ("It was far away.", "far", None)
    card = page.get_by_role("article", name=f"Completion {made['id']}")
    expect(card.locator(".reading")).to_have_text("It was far away.")
    card.get_by_role("button", name="Save").click()
    wait_for(page, lambda: not studio.completions(sample)[0]["draft"], "it is saved")

    # Its tokens are nobody's; measured under a model that can, they are.
    card.get_by_role("link", name="Tokens").click()
    expect(page.get_by_role("heading", name="This text has no tokens yet")).to_be_visible()
    greyed = page.get_by_role("button", name="Measure under far")
    expect(greyed).to_have_attribute("title", re.compile("repeat a prompt"))
    page.get_by_role("button", name="Measure under tiny").click()
    expect(page.locator(".tokens [data-i]").first).to_be_visible()
    assert "a-key-that-nobody-sees" not in page.content()


def test_two_windows_do_not_overwrite_each_other(open_page: Callable[..., Page], studio: Studio) -> None:
    sample = studio.post("/api/samples", prompt="Once", title="first")["id"]
    here, there = open_page(refused=409), open_page()
    for page in (here, there):
        page.goto(f"{studio.url}/#/samples/{sample}")
        expect(page.get_by_label("Title", exact=True)).to_have_value("first")
    there.get_by_label("Title", exact=True).fill("theirs")
    there.get_by_label("Title", exact=True).press("Enter")
    wait_for(there, lambda: studio.get(f"/api/samples/{sample}")["title"] == "theirs", "their title")
    here.get_by_label("Title", exact=True).fill("mine")
    here.get_by_label("Title", exact=True).press("Enter")
    toast = here.locator(".toast").filter(has_text="Somebody changed this meanwhile")
    expect(toast).to_be_visible()
    expect(here.get_by_label("Title", exact=True)).to_have_value("theirs")
    assert studio.get(f"/api/samples/{sample}")["title"] == "theirs"
    toast.get_by_role("button", name="Make my change").click()
    wait_for(here, lambda: studio.get(f"/api/samples/{sample}")["title"] == "mine", "my title after all")


def test_a_request_without_an_answer_becomes_a_sample_or_is_dismissed(open_page: Callable[..., Page], studio: Studio) -> None:
    studio.post("/api/facets", name="letters")
    for prompt in ("Dear madam", "Dear sir"):
        answer: Any = studio.post("/v1/completions", model="tiny@letters", prompt=prompt, max_tokens=2)
        assert answer["choices"]
    page = open_page()
    page.goto(f"{studio.url}/#/facets")
    waiting = page.get_by_role("region", name="Unanswered requests")
    rows = waiting.get_by_role("listitem")
    expect(rows).to_have_count(2)
    rows.filter(has_text="Dear sir").get_by_role("button", name="Dismiss").click()
    expect(rows).to_have_count(1)
    rows.filter(has_text="Dear madam").get_by_role("button", name="Make a sample").click()
    expect(page.get_by_role("region", name="New completion")).to_be_visible()
    expect(page.locator(".prompt-body .reading")).to_have_text("Dear madam")
    assert [each["state"] for each in studio.get("/api/unanswered", state="answered")["items"]] == ["answered"]
    assert studio.get("/api/unanswered", state="waiting")["items"] == []
