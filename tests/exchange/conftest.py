"""A workspace in a file, and the real files that others wrote."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ramify.exchange.importing import ImportOptions, ImportReport, import_files
from ramify.store import Database

DATA = Path(__file__).parents[3] / "shared" / "data"

Bring = Callable[..., ImportReport]


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("empty") / "empty.ramify"
    Database.open(where).close()
    return where


@pytest.fixture
def make(tmp_path: Path, empty: Path) -> Iterator[Callable[[str], Database]]:
    """New workspaces by name."""
    made: list[Database] = []

    def new(name: str) -> Database:
        made.append(Database.open(shutil.copy(empty, tmp_path / f"{name}.ramify")))
        return made[-1]

    yield new
    for each in made:
        each.close()


@pytest.fixture
def db(make: Callable[[str], Database]) -> Database:
    return make("w")


@pytest.fixture
def bring(db: Database) -> Bring:
    """Import into `db`: files, or options by name."""

    def run(*paths: Any, into: Database | None = None, **options: Any) -> ImportReport:
        return import_files(into or db, [str(path) for path in paths], ImportOptions(**options))

    return run


@pytest.fixture(scope="session")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip("the real files are not here (../shared/data)")
    return DATA
