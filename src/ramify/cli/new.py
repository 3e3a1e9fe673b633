"""`ramify new`."""

from pathlib import Path
from typing import Annotated

import typer

from ramify.cli import listing, workspace
from ramify.errors import InputError, WorkspaceError

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def new(
    where: Annotated[
        str,
        typer.Argument(
            metavar="PATH|URL", help="A file that is not there yet, or an empty database: postgresql://user@host/name."
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Completes where neither a command nor a facet names one.")
    ] = None,
) -> None:
    """Make a workspace. Commands that name none use it from then on."""
    from ramify.store.database import Database
    from ramify.store.secrets import without_password

    where = workspace.place(where)
    if "://" not in where and Path(where).exists():
        raise InputError(f"there is something at {where} already; choose another name, or use it with --workspace {where}")
    if "://" in where and _is_there(where):
        raise InputError(f"there is a workspace at {without_password(where)} already; use it with --workspace")
    with Database.open(where) as database:
        if model is not None:
            database.settings.set("target_model", model)
        workspace.remember(where)
        listing.echo(f"made {database.where}")


def _is_there(url: str) -> bool:
    from ramify.store.database import Database

    try:
        Database.open(url, create=False).close()
    except WorkspaceError:
        return False
    return True
