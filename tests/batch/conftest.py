"""A workspace for each test of a job."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ramify.store import Database


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("empty") / "w.ramify"
    Database.open(where).close()
    return where


@pytest.fixture
def file(tmp_path: Path, empty: Path) -> Path:
    where = tmp_path / "w.ramify"
    where.write_bytes(empty.read_bytes())
    return where


@pytest.fixture
def db(file: Path) -> Iterator[Database]:
    with Database.open(file) as opened:
        yield opened
