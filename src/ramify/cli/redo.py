"""`ramify redo`."""

import typer

from ramify.cli import listing
from ramify.cli.history import told
from ramify.cli.workspace import AsJson, Where, open_workspace
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def redo(as_json: AsJson = False, workspace: Where = None) -> None:
    """Put back what was undone last."""
    with open_workspace(workspace) as database:
        record = database.history.redo()
    if record is None:
        raise InputError("there is nothing to redo; a new action after an undo ends it")
    if as_json:
        listing.print_json(record)
    else:
        listing.echo(f"done again: {told(record)}")
