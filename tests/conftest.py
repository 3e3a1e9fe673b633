"""Fixtures that more than one folder of tests uses."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Helper modules of the tests (`models_made_here`) are found whatever the import mode.
sys.path.insert(0, str(Path(__file__).parent))

# How long an example takes says something of the machine, not of the code: the first one imports torch, or makes a model.
settings.register_profile("ramify", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ramify")


RUN = asyncio.run
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def run_beside(coroutine: Coroutine[Any, Any, Any], **how: Any) -> Any:
    """`asyncio.run`, on another thread: playwright's loop stays on the one that started it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(RUN, coroutine, **how).result()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser a process: playwright starts only once in each. Later tests of the process may run asyncio all the same."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started, pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "run", run_beside)
        if CHROMIUM is None and not Path(started.chromium.executable_path).exists():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a real PostgreSQL, started for this run."""
    from store import postgres

    with postgres.running() as url:
        yield url


@pytest.fixture(scope="session")
def empty_workspaces(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Migrated once a run, copied for each test."""
    from ramify.store import Database
    from store import postgres

    made: dict[str, str] = {}

    def make(kind: str) -> str:
        if kind not in made:
            if kind == "sqlite":
                where = str(tmp_path_factory.mktemp("empty") / "empty.ramify")
            else:
                where = postgres.fresh(request.getfixturevalue("postgresql"))
            Database.open(where).close()
            made[kind] = where
        return made[kind]

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path, empty_workspaces: Callable[[str], str]) -> str:
    """The path or URL of an empty workspace; each test that asks for it runs on both databases."""
    from store import postgres

    empty = empty_workspaces(request.param)
    if request.param == "postgresql":
        return postgres.fresh(request.getfixturevalue("postgresql"), like=empty)
    return shutil.copy(empty, tmp_path / "w.ramify")


@pytest.fixture(scope="session")
def ramify_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose registry has another name for `tiny`, document 002's."""
    from ramify.models.registry import Registry

    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAMIFY_HOME", str(folder))
        Registry().add("llama-2-7b", "tiny")
    return folder


@pytest.fixture(scope="session")
def zygote() -> Iterator[Any]:
    """Forks `ramify` commands whose libraries are loaded already."""
    from forked_ramify import Zygote

    with Zygote() as found:
        yield found


@pytest.fixture(scope="session")
def server_process(zygote: Any, ramify_home: Path) -> Iterator[Any]:
    """`ramify serve` as a process, on `ramify_home`: one for all tests that only ask."""
    from tests.api.serving_process import serving

    with serving(zygote, ramify_home) as found:
        yield found


@pytest.fixture(scope="session")
def load() -> Callable[[str], Any]:
    """`load(name)` gives the ramify model made here under that name (or "tiny"), in float32, loaded once a run."""
    import models_made_here
    import ramify

    @cache
    def loaded(name: str) -> Any:
        where = str(models_made_here.folder(name)) if name in models_made_here.CONFIGS else name
        return ramify.load(where, device="cpu", precision="float32")

    return loaded
