"""`ramify prefer`."""

from typing import Annotated

import typer

from ramify.cli import listing
from ramify.cli.selecting import FacetName, all_completions
from ramify.cli.workspace import AsJson, Where, open_workspace
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def prefer(
    better: Annotated[int, typer.Argument(metavar="BETTER", help="The better completion's id.")],
    worse: Annotated[int, typer.Argument(metavar="WORSE", help="The worse one's, of the same sample.")],
    facet: FacetName,
    tie: Annotated[bool, typer.Option("--tie", help="Neither is better.")] = False,
    back: Annotated[bool, typer.Option("--back", help="The other way: take back what was said of this pair by hand.")] = False,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """Say that one completion is better than another under a facet, or that neither is."""
    if tie and back:
        raise InputError("--tie and --back were given; give one of them")
    with open_workspace(workspace) as database:
        first, _ = all_completions(database, [better, worse]) if better != worse else (None, None)
        if back and first is not None:
            said = database.judgements.preferences(facet=facet, sample_id=first.sample_id)
            mine = [each.id for each in said if {each.better_id, each.worse_id} == {better, worse} and each.origin == "hand"]
            if not mine:
                raise InputError(f"nothing was said by hand of completions {better} and {worse} under {facet!r}")
            database.judgements.withdraw(mine[0])
            listing.echo(f"completions {better} and {worse} are not compared under {facet}")
            return
        record = database.judgements.prefer(better, worse, facet, tie=tie)
    if as_json:
        listing.print_json(record)
    else:
        listing.echo(f"completion {better} is {'like' if tie else 'better than'} {worse} under {facet}")
