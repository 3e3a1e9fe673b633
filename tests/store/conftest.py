"""Each test that asks for `db` runs twice: on a SQLite file and on a PostgreSQL."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ramify.store import Database
from store import postgres


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with postgres.running() as url:
        yield url


@pytest.fixture(scope="session")
def empty_workspaces(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Migrated once a run, copied for each test."""
    made: dict[str, str] = {}

    def make(kind: str) -> str:
        if kind not in made:
            if kind == "sqlite":
                where = str(tmp_path_factory.mktemp("empty") / "empty.ramify")
            else:
                where = postgres.fresh(request.getfixturevalue("server"))
            Database.open(where).close()
            made[kind] = where
        return made[kind]

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path, empty_workspaces: Callable[[str], str]) -> str:
    """The path or URL of an empty workspace."""
    empty = empty_workspaces(request.param)
    if request.param == "postgresql":
        return postgres.fresh(request.getfixturevalue("server"), like=empty)
    return shutil.copy(empty, tmp_path / "w.ramify")


@pytest.fixture
def db(where: str) -> Iterator[Database]:
    with Database.open(where) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path, empty_workspaces: Callable[[str], str]) -> Path:
    """An empty workspace in a SQLite file."""
    return Path(shutil.copy(empty_workspaces("sqlite"), tmp_path / "w.ramify"))
