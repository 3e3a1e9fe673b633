"""What import, export, readiness and duplicates share on the command line: workspaces that are made, bars, passwords, facets."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import render, workspace
from ramify.errors import InputError
from ramify.settings import Settings, read_key

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["AsOneJson", "Overwrite", "PasswordFile", "bar", "facet_share", "open_or_make", "password_of"]

AsOneJson = Annotated[bool, typer.Option("--json", help="The report as one JSON object on standard output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of that name.")]
PasswordFile = Annotated[
    str | None,
    typer.Option("--password-file", metavar="FILE", help="Its first line is the password; else RAMIFY_PASSWORD has it."),
]


@contextmanager
def open_or_make(given: str | None, *, dry_run: bool) -> "Iterator[Database]":
    """The workspace meant; one that was named and is not there is made, in a dry run for as long as it takes."""
    if given is None or not given.strip() or "://" in given or Path(workspace.place(given)).exists():
        with workspace.open_workspace(given) as database:
            yield database
        return
    from ramify.store.database import Database

    if dry_run:
        with tempfile.TemporaryDirectory() as folder, Database.open(Path(folder) / "dry.ramify") as database:
            yield database
        return
    where = workspace.place(given)
    with Database.open(where) as database:
        workspace.remember(where, Settings.load())
        yield database


def password_of(file: str | None, *, needed: bool = False) -> str | None:
    """Raises InputError for an empty one, and where one is needed and none was given."""
    if file is not None:
        try:
            lines = Path(file).read_text("utf-8").splitlines()
        except OSError as error:
            raise InputError(f"the password file {file} cannot be read: {error.strerror}") from None
        if not lines or not lines[0]:
            raise InputError(f"the first line of {file} is empty; it is to be the password")
        return lines[0]
    key = read_key("RAMIFY_PASSWORD")
    if key is None and needed:
        raise InputError("no password was given; name a file with --password-file, or set RAMIFY_PASSWORD")
    return None if key is None else key.reveal()


def facet_share(text: str, order: str) -> dict[str, Any]:
    """ "legal", "legal=100" or "legal=25%" as a template has it. Raises InputError."""
    name, sign, amount = text.rpartition("=")
    if not sign:
        return {"name": text, "order": order}
    try:
        if amount.endswith("%"):
            return {"name": name, "share": float(amount[:-1]) / 100, "order": order}
        return {"name": name, "count": int(amount), "order": order}
    except ValueError:
        raise InputError(f"--facet {text!r} is not understood; write NAME, NAME=100 or NAME=25%") from None


@contextmanager
def bar(wanted: bool, what: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar on standard error: gives a function that is told what is being done, how many, and of how many.

    On something other than a terminal it says nothing.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    on = render.console(stderr=True)
    if not wanted or not on.is_terminal:
        yield lambda doing, done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=on, transient=True))
        task = progress.add_task(what, total=None)
        yield lambda doing, done, total: progress.update(task, description=doing, completed=done, total=total)
