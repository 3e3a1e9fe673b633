"""`ramify history`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ramify.cli import listing
from ramify.cli.selecting import Limit, many
from ramify.cli.workspace import AsJson, Where, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.store.records import ActionRecord

__all__ = ["app", "told"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def history(
    action: Annotated[int | None, typer.Argument(metavar="ACTION", help="What this one did, instead of the list.")] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="ID", help="What was done to this sample, oldest first.")
    ] = None,
    completion: Annotated[
        int | None, typer.Option("--completion", metavar="ID", help="What was done to this completion, oldest first.")
    ] = None,
    limit: Limit = 50,
    before: Annotated[int | None, typer.Option("--before", metavar="ACTION", help="Only actions older than this one.")] = None,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """What was done to the workspace, newest first.

    Undone actions stay in the list, and `ramify redo` puts the last one back. After something else was done they are
    "abandoned": undone for good.
    """
    if sum(each is not None for each in (action, sample, completion)) > 1:
        raise InputError("an action, --sample and --completion ask different questions; give one of them")
    with open_workspace(workspace) as database:
        if action is not None:
            if not any(each.id == action for each in database.history.list(limit=1, before=action + 1)):
                raise InputError(f"there is no action {action}; `ramify history` lists them")
            changes = database.history.changes_of(action)
            if as_json:
                for change in changes:
                    listing.print_json(change)
            else:
                rows = [(each.table, each.kind, many("row", each.row_ids)) for each in changes]
                listing.columns(("table", "change", "rows"), rows)
            return
        if sample is not None or completion is not None:
            table = "samples" if sample is not None else "completions"
            found = [each for each, _ in database.history.trail(table, int(sample or completion or 0))]
        else:
            if not 1 <= limit <= 10_000:
                raise InputError(f"limit is {limit}; it must be from 1 to 10,000")
            found = list(database.history.list(limit=limit, before=before))
    if as_json:
        for record in found:
            listing.print_json(record)
    else:
        listing.columns(
            ("action", "when (UTC)", "", "author", "what"),
            [
                (
                    str(each.id),
                    f"{each.created_at:%Y-%m-%d %H:%M:%S}",
                    "" if each.state == "done" else each.state,
                    each.author,
                    told(each),
                )
                for each in found
            ],
        )


def told(record: "ActionRecord") -> str:
    """An action in words."""
    return f"{record.name}: {record.detail}" if record.detail else record.name
