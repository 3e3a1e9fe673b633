"""`ramify filters`: conditions by name."""

import json
from typing import Annotated

import typer

from ramify.cli import listing
from ramify.cli.selecting import read_filter
from ramify.cli.workspace import AsJson, Where, open_workspace
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Conditions by name, for lists: add, list, show, delete.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A filter's name.")]


@app.command()
def add(
    name: Name,
    expression: Annotated[
        str,
        typer.Argument(metavar="JSON|@FILE", help='Such as {"field": "rating", "facet": "legal", "op": ">=", "value": 8}.'),
    ],
    description: Annotated[str, typer.Option("--description", metavar="TEXT", help="What it is for.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Even if the name is taken.")] = False,
    workspace: Where = None,
) -> None:
    """Keep a filter under a name: `ramify completions list --filter NAME` uses it.

    {"all": […]}, {"any": […]} and {"not": …} join conditions.
    """
    rules = read_filter(expression)
    with open_workspace(workspace) as database:
        if not replace and name in database.filters.list():
            raise InputError(f"there is a filter {name!r} already; choose another name, or give --replace")
        database.filters.save(name, rules, description=description)
        listing.echo(f"filter {name} is kept")


@app.command("list")
def list_filters(as_json: AsJson = False, workspace: Where = None) -> None:
    """The filters, by name."""
    from ramify.store.filters import to_data

    with open_workspace(workspace) as database:
        found = {name: to_data(each) for name, each in database.filters.list().items()}
    for name, data in found.items():
        if as_json:
            listing.print_json({"name": name, "filter": data})
    if not as_json:
        listing.columns(
            ("filter", "conditions"),
            [(name, json.dumps(data, ensure_ascii=False)) for name, data in found.items()],
            preview=100_000,
        )


@app.command()
def show(name: Name, workspace: Where = None) -> None:
    """A filter, as JSON."""
    from ramify.store.filters import to_data

    with open_workspace(workspace) as database:
        typer.echo(json.dumps(to_data(database.filters.get(name)), ensure_ascii=False))


@app.command()
def delete(name: Name, workspace: Where = None) -> None:
    """Forget a filter; what it matched stays."""
    with open_workspace(workspace) as database:
        database.filters.delete(name)
        listing.echo(f"filter {name} deleted; `ramify undo` brings back")
