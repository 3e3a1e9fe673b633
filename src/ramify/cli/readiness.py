"""`ramify readiness`."""

from pathlib import Path
from typing import Annotated

import typer

from ramify.cli import exchange, listing
from ramify.cli.workspace import Quiet, Where, open_workspace
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def readiness(
    facet: Annotated[str, typer.Option("--facet", metavar="NAME", help="The facet whose training sets are meant.")],
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="FILE", help="A page with plots (.html), or Markdown (.md); unset: Markdown, here."),
    ] = None,
    target_model: Annotated[
        str | None, typer.Option("--target-model", metavar="NAME", help="Whose logprobs; unset: the facet's target.")
    ] = None,
    overwrite: exchange.Overwrite = False,
    as_json: exchange.AsOneJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
) -> None:
    """Say what could go out under a facet, what could not and why, with lengths, ratings, logprobs and loss."""
    from ramify.exchange.outputs import Outputs
    from ramify.exchange.readiness import readiness as look
    from ramify.exchange.readiness_page import as_html, as_markdown

    if out is not None and Path(out).suffix not in (".html", ".md"):
        raise InputError(f"{out!r} must end in .html or .md")
    with open_workspace(workspace) as database, exchange.bar(not quiet and not as_json, "looking") as bar:
        report = look(database, facet, target_model=target_model, told=lambda done, total: bar("looking", done, total))
    if as_json:
        listing.print_json(report.to_data())
    if out is not None:
        text = as_html(report) if Path(out).suffix == ".html" else as_markdown(report)
        with Outputs(overwrite=overwrite) as outputs:
            outputs.add(Path(out)).write(text.encode())
    elif not as_json:
        listing.echo(as_markdown(report).rstrip("\n"))
