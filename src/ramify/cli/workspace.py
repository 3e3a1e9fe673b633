"""Which workspace a command works on: the one named, else RAMIFY_WORKSPACE, else the last one used."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import options
from ramify.errors import InputError
from ramify.settings import Settings

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.store.database import Database
    from ramify.store.records import CompletionRecord
    from ramify.workbench.asking import AnyModel

__all__ = [
    "AsJson",
    "Quiet",
    "Where",
    "meant_or",
    "model_for",
    "open_any",
    "open_models",
    "open_workspace",
    "place",
    "place_meant",
    "remember",
]

LAST = "last-workspace"
"""The file of the data folder that names the last workspace used."""

Where = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="PATH|URL",
        help="The workspace: a file, or postgresql://…; unset: RAMIFY_WORKSPACE, else the last one used.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="A JSON object for each, one a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No remarks on standard error.")]


@contextmanager
def open_workspace(given: str | None) -> "Iterator[Database]":
    """Open the workspace meant, which must be there, and remember it. Raises InputError, WorkspaceError."""
    settings = Settings.load()
    where, source = _meant(given, settings)
    if "://" not in where and not Path(where).exists():
        raise InputError(f"there is no workspace at {where}{source}; `ramify new {where}` makes one")
    from ramify.store.database import Database

    with Database.open(where, create=False) as database:
        remember(where, settings)
        yield database


def place_meant(given: str | None = None) -> str:
    """The path or URL of the workspace meant, without opening it. Raises InputError where none is."""
    return _meant(given, Settings.load())[0]


def _meant(given: str | None, settings: Settings) -> tuple[str, str]:
    """The path or URL, and where it was said, for a refusal."""
    if given is not None:
        if not given.strip():
            raise InputError("--workspace is empty; give a file, or postgresql://user@host/name")
        return place(given), ""
    if settings.workspace is not None:
        return place(settings.workspace), " (RAMIFY_WORKSPACE)"
    try:
        last = (settings.home / LAST).read_text("utf-8").strip()
    except FileNotFoundError:
        last = ""
    if not last:
        raise InputError(
            "no workspace was named and none was used before; `ramify new stories.ramify` makes one, "
            "--workspace or RAMIFY_WORKSPACE names one"
        )
    return last, " (the last one used)"


def meant_or(given: str | None, settings: Settings, otherwise: Path) -> str:
    """The path or URL of the workspace meant; where none was named or used before, or that is gone, another."""
    try:
        where, _ = _meant(given, settings)
    except InputError:
        return str(otherwise)
    named = given is not None or settings.workspace is not None
    return where if named or "://" in where or Path(where).exists() else str(otherwise)


def place(given: str) -> str:
    """A server's URL as it is; a file, however it was named, as its whole path."""
    if given.startswith("sqlite:///"):
        given = given.removeprefix("sqlite:///")
    return given if "://" in given else str(Path(given).expanduser().absolute())


def remember(where: str, settings: Settings | None = None) -> None:
    """Make it the last one used. A password is left out; a data folder that cannot be written is no reason to fail."""
    from ramify.store.secrets import without_password

    home = (settings or Settings.load()).home
    kept = without_password(where) if "://" in where else where
    with contextlib.suppress(OSError):
        if (home / LAST).exists() and (home / LAST).read_text("utf-8") == kept + "\n":
            return
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=home, prefix=LAST, delete=False) as file:
            file.write(kept + "\n")
        os.replace(file.name, home / LAST)


# Models.


def model_for(
    database: "Database", name: str | None, *, facet: str | None = None, maker: "CompletionRecord | None" = None
) -> str:
    """The model named, else the facet's target, else the one that made a completion, else the workspace's."""
    from ramify.store.facets import DEFAULTS

    target = None if facet is None else database.facets.effective(facet).target_model
    made = maker.model if maker is not None and maker.fingerprint else None
    return str(name or target or made or database.settings.get("target_model") or DEFAULTS["target_model"])


@contextmanager
def open_models(names: Sequence[str], how: dict[str, Any]) -> "Iterator[list[Model]]":
    """Load models, each once, and give their memory back at the end. Raises UnsupportedError for a remote one."""
    with contextlib.ExitStack() as stack:
        loaded = {name: stack.enter_context(options.open_model(name, **how)) for name in dict.fromkeys(names)}
        yield [loaded[name] for name in names]


@contextmanager
def open_any(names: Sequence[str], how: dict[str, Any]) -> "Iterator[list[AnyModel]]":
    """The same for models that may be remote: those are connected to. Raises InputError where loading options have no model."""
    from ramify.models.registry import is_remote
    from ramify.models.remote import connect

    remote = [name for name in dict.fromkeys(names) if is_remote(name)]
    if remote and len(remote) == len(dict.fromkeys(names)):
        options.refuse_loading(remote[0], how)
    with contextlib.ExitStack() as stack:
        found: dict[str, AnyModel] = {name: stack.enter_context(connect(name)) for name in remote}
        for name in dict.fromkeys(names):
            if name not in found:
                found[name] = stack.enter_context(options.open_model(name, **how))
        yield [found[name] for name in names]
