"""Whatever a text is, it is shown as that text: no markup, no script, no request elsewhere (the page's watch asserts that)."""

import json
import random
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from tests.web.conftest import Studio

SCRIPTS = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<svg/onload=document.title='owned'>",
    "javascript:document.title='owned'",
    "<a href=\"javascript:document.title='owned'\">x</a>",
    "<iframe srcdoc=\"<script>top.document.title='owned'</script>\">",
    "</textarea><script>document.title='owned'</script>",
    "${document.title='owned'}",
    "{{constructor.constructor('document.title=1')()}}",
    "<style>*{display:none}</style>",
    "<base href=//example.invalid>",
    "<meta http-equiv=refresh content='0;url=//example.invalid'>",
    "![x](http://example.invalid/x.png)",
    "<link rel=stylesheet href=//example.invalid/x.css>",
    "&lt;b&gt; &amp; &#x41;",
    "'\"`--><!--",
    "<math><mtext></mtext></math>",
]
ODD = [
    "\u202egnp.exe\u202c",
    "\u200bzero\u200dwidth\ufeff",
    "e\u0301\u0301\u0301\u0301",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "עברית and English",
    "\x01\x07\x1b[31mred",
    "tab\there",
    "a" * 3000,
    "%s%n%00",
    "__proto__",
    "constructor",
]
NAMES = [each for each in SCRIPTS + ODD if "\x1b" not in each and len(each) < 200]


def strings(count: int) -> list[str]:
    """The ones above, then mixtures of them; the same in every run."""
    draw = random.Random(7)
    found = SCRIPTS + ODD
    while len(found) < count:
        found.append("".join(draw.choice(SCRIPTS + ODD[:7]) for _ in range(draw.randint(2, 3))) + f" {len(found)}")
    return found[:count]


@pytest.mark.parametrize("many", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_hostile_strings_are_shown_as_they_are(open_page: Callable[..., Page], studio: Studio, many: int) -> None:
    texts = strings(many)
    sample = studio.post(
        "/api/samples",
        prompt="\n".join(texts[:24]),
        title=NAMES[0],
        group=NAMES[5].replace("/", "_"),
        tags=[NAMES[1].replace(",", "")],
        notes=NAMES[6],
    )["id"]
    studio.post("/api/facets", name=f"{NAMES[1]} {many}", description=NAMES[2])
    made = [
        studio.post(f"/api/samples/{sample}/completions", text=texts[at], model=NAMES[at % len(NAMES)])["id"]
        for at in range(min(40, many // 2))
    ]
    for at in range(len(made), many, 46):
        made.append(studio.post(f"/api/samples/{sample}/completions", text="\n".join(texts[at : at + 46]))["id"])
    page = open_page()
    page.goto(f"{studio.url}/#/samples/{sample}")
    for each in made:
        kept = studio.get(f"/api/completions/{each}")["text"]
        shown = page.locator(f"#completion-{each} .text .reading")
        shown.wait_for(state="attached")
        assert shown.evaluate("it => it.textContent") == kept
    prompt = page.locator(".prompt-body .reading")
    assert prompt.evaluate("it => it.textContent") == studio.get(f"/api/samples/{sample}")["prompt"]
    expect(page.get_by_label("Title", exact=True)).to_have_value(NAMES[0])
    assert page.locator(".app script, .app iframe, .app img, .app style, .app base, .app meta, .app link").count() == 0
    # As tokens too.
    for each in made[:3]:
        studio.post(f"/api/completions/{each}/score", model="tiny")
        page.goto(f"{studio.url}/#/completions/{each}")
        page.locator(".tokens .token").first.wait_for()
        assert page.locator(".tokens").evaluate("it => it.textContent") == studio.get(f"/api/completions/{each}")["text"]
    page.goto(f"{studio.url}/#/facets")
    expect(page.get_by_role("navigation", name="Facets").get_by_text(f"{NAMES[1]} {many}")).to_be_visible()
    page.goto(f"{studio.url}/#/")
    expect(page.get_by_role("list", name="Samples").get_by_text(NAMES[0]).first).to_be_visible()
    assert "owned" not in page.title()
    assert json.loads(page.evaluate("JSON.stringify(window.owned ?? null)")) is None


def test_a_prompt_with_a_zero_character_is_refused_or_kept_never_changed(open_page: Callable[..., Page], studio: Studio) -> None:
    answer = studio.api.post("/api/samples", json={"prompt": "a\x00b"})
    assert answer.status_code in (201, 400)
    if answer.status_code == 201:
        page = open_page()
        page.goto(f"{studio.url}/#/samples/{answer.json()['id']}")
        assert page.locator(".prompt-body .reading").evaluate("it => it.textContent") == "a\x00b"


def test_the_policy_allows_this_servers_scripts_alone(studio: Studio) -> None:
    for path in ("/", "/studio/js/main.js", "/studio/vendor/preact.js"):
        policy = studio.api.get(path).headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
    page = studio.api.get("/").text
    assert "<script>" not in page
    assert "style=" not in page
    # The page's own addresses change with the files, and may be kept for ever; the plain ones are asked for each time.
    (version,) = set(re.findall(r'"/studio/(v-[0-9a-f]+)/', page))
    module = studio.api.get(f"/studio/{version}/js/main.js")
    assert (module.text, module.headers["cache-control"]) == (
        studio.api.get("/studio/js/main.js").text,
        "public, max-age=31536000, immutable",
    )
    assert "script-src 'self'" in module.headers["content-security-policy"]
    assert studio.api.get("/studio/js/main.js").headers["cache-control"] == "no-cache"
    assert studio.api.get("/studio/v-0/js/main.js").headers["cache-control"] == "no-cache"
    for path in (f"/studio/{version}/__init__.py", f"/studio/{version}/../../errors.py", f"/studio/{version}/"):
        assert studio.api.get(path).status_code == 404
    for path in ("/studio/__init__.py", "/studio/../errors.py", "/studio/%2e%2e/errors.py", "/studio/js/", "/studio/nothing.js"):
        assert studio.api.get(path).status_code == 404
