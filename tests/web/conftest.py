"""A real server in a process of its own, and a real browser in front of it."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from forked_ramify import ForkedRamify, Zygote
from ramify.web import modules

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-tests-only"


@pytest.fixture(scope="session")
def studio_modules() -> None:
    """The modules are there, as a build would have put them."""
    if modules.missing():
        if shutil.which("npm") is None:
            pytest.skip("the studio's modules are not in this checkout, and npm is not installed")
        modules.install(ROOT)


@dataclass
class Studio:
    """A running studio: where it is, and its API for reading what a person's clicks did."""

    url: str
    api: httpx2.Client
    home: Path
    """Its data folder."""

    @property
    def start(self) -> str:
        return f"{self.url}/#token={TOKEN}"

    def get(self, path: str, **query: Any) -> Any:
        answer = self.api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        """Only to prepare what a test begins with."""
        answer = self.api.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def put(self, path: str, **body: Any) -> Any:
        answer = self.api.put(path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def completions(self, sample: int) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(f"/api/samples/{sample}/completions", draft="any")["items"]
        return items


@contextmanager
def serving(zygote: Zygote, folder: Path) -> Iterator[Studio]:
    """A studio on a new workspace in the folder."""
    environment = {**os.environ, "RAMIFY_API_KEY": TOKEN, "RAMIFY_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    said = folder / "said"
    said.touch()
    command = ["studio", str(folder / "new.ramify"), "--port", "0", "--no-browser"]
    process = ForkedRamify(zygote, command, environment=environment, log=said)
    try:
        while (found := re.search(r"(http://127\.0\.0\.1:\d+)/#token=" + TOKEN, said.read_text())) is None:
            assert process.poll() is None, said.read_text()
            time.sleep(0.05)
        # verify: nothing here is TLS, and reading the certificates takes long.
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx2.Client(base_url=found[1], headers=headers, timeout=180, verify=False) as api:
            yield Studio(found[1], api, folder / "home")
    finally:
        process.end()


@pytest.fixture(scope="session")
def studio(studio_modules: None, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """One for all tests but the stories, which begin with an empty workspace."""
    with serving(zygote, tmp_path_factory.mktemp("studio")) as running:
        yield running


@dataclass
class Watch:
    """What a page complained of, and where it wanted to go."""

    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(chromium: Any, studio: Studio) -> Iterator[Callable[..., Any]]:
    """Opens a page of the studio; at the end, the console has no complaint and no request left the origin."""
    from playwright.sync_api import expect

    expect.set_options(timeout=20_000)  # as long as an action may take; the usual five seconds are little on a busy machine
    contexts, watch = [], Watch()

    def opened(width: int = 1280, height: int = 860, theme: str = "light", start: str | None = None, refused: int = 0) -> Any:
        """refused: a status that the story provokes, so that it is no complaint."""

        def complain(text: str) -> None:
            if not (refused and re.search(rf"\b{refused}\b", text)):
                watch.complaints.append(text)

        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda it: complain(it.text) if it.type in ("error", "warning") else None)
        page.on("pageerror", lambda it: complain(str(it)))
        page.on("response", lambda it: complain(f"{it.status} {it.url}") if it.status >= 400 else None)
        page.on("request", lambda it: None if it.url.startswith(studio.url) else watch.elsewhere.append(it.url))
        page.goto(studio.start if start is None else start)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert watch.complaints == []
    assert watch.elsewhere == []
