"""A workspace's database without anything over it: `db` runs each test twice, on a SQLite file and on a PostgreSQL."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ramify.store import Database


@pytest.fixture
def db(where: str) -> Iterator[Database]:
    with Database.open(where) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path, empty_workspaces: Callable[[str], str]) -> Path:
    """An empty workspace in a SQLite file."""
    return Path(shutil.copy(empty_workspaces("sqlite"), tmp_path / "w.ramify"))
