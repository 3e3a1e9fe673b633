"""The page of routes, in a real browser: it needs nothing from anywhere else, and shows nothing without the token."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.api.listening import Live


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_the_page_shows_every_route_to_who_has_the_token_and_none_to_others(live: Live, page: Any) -> None:
    problems: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{live.url}/docs#token={live.token}")
    page.wait_for_selector("details")
    expected = live.client().get("/openapi.json").json()["paths"]
    assert page.locator("details").count() == sum(len(methods) for methods in expected.values())
    assert page.locator("summary", has_text=re.compile("^POST/v1/completions$")).count() == 1
    assert "token=" not in page.url
    assert all(url.startswith(live.url) for url in asked)
    assert [problem for problem in problems if "favicon" not in problem and "404" not in problem] == []
    page.fill("input", "wrong")
    page.click("button")
    page.locator("[role=status]", has_text="token is missing or wrong").wait_for()
    assert page.locator("details").count() == 0
