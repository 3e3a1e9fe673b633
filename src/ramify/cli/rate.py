"""`ramify rate`."""

from typing import Annotated

import typer

from ramify.cli import listing
from ramify.cli.selecting import CompletionId, FacetName, one_completion
from ramify.cli.workspace import Where, open_workspace
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def rate(
    completion: CompletionId,
    rating: Annotated[str, typer.Argument(metavar="RATING", help="0 to 10; none takes it back.")],
    facet: FacetName,
    workspace: Where = None,
) -> None:
    """Rate a completion from 0 to 10 under a facet."""
    value = int(rating) if rating.isascii() and rating.isdigit() else None
    if value is None and rating != "none":
        raise InputError(f"the rating is {rating!r}; it must be a whole number from 0 to 10, or none for no rating")
    with open_workspace(workspace) as database:
        one_completion(database, completion)
        database.judgements.rate(completion, facet, value)
        listing.echo(f"completion {completion} is rated {rating} under {facet}")
