"""A server with a workspace on a real socket. Every test has a workspace of its own; the model is one for all."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.listening import TOKEN, Live, listening
from tests.api.workspace.speaking import Speaker

from ramify.api.app import create_app
from ramify.workbench.workspace import Workspace


class Unclosed:
    """A model that many servers share: none of them closes it."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def close(self) -> None:
        """The next test needs it."""


@pytest.fixture(scope="session")
def tiny(load: Callable[[str], Any]) -> Any:
    return load("tiny")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / "stories.ramify", author="Ada") as opened:
        yield opened


@pytest.fixture(scope="session")
def shared(tiny: Any) -> Iterator[Live]:
    """One server for the session; each test gives it a workspace of its own."""
    with listening(create_app(token=TOKEN, load=lambda _: Unclosed(tiny))) as live:
        yield live


@pytest.fixture
def served(shared: Live, workspace: Workspace) -> Iterator[Live]:
    shared.server.workspace = workspace
    yield shared
    desk = getattr(shared.app.state, "desk", None)
    if desk is not None:
        desk.close()
        del shared.app.state.desk
        shared.server.on_stop.clear()
    shared.server.workspace = None


@pytest.fixture
def api(served: Live) -> Iterator[Speaker]:
    with served.client() as client:
        yield Speaker(client)
