"""`ramify duplicates`."""

from typing import Annotated

import typer

from ramify.cli import exchange, listing
from ramify.cli.workspace import Quiet, Where, open_workspace

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def duplicates(
    kind: Annotated[
        str,
        typer.Option("--kind", metavar="KIND", help="exact; normalised: but for case, space and punctuation; near."),
    ] = "normalised",
    near: Annotated[float, typer.Option("--near", metavar="SHARE", help="How alike is nearly: 0 to 1.")] = 0.85,
    of: Annotated[
        str, typer.Option("--of", metavar="WHAT", help="samples, by their prompts; or completions, within each sample.")
    ] = "samples",
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Clusters shown at most; --json shows all.")] = 50,
    as_json: exchange.AsOneJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
) -> None:
    """List what is there more than once, in clusters, the largest first."""
    from ramify.exchange.duplicates import find_duplicates

    with open_workspace(workspace) as database, exchange.bar(not quiet and not as_json, "looking") as bar:
        report = find_duplicates(database, measure=kind, near=near, of=of, told=lambda done, total: bar("looking", done, total))
    if as_json:
        listing.print_json(report, spare=report.spare)
        return
    listing.columns(
        (of, "alike", "text"),
        [(", ".join(map(str, each.ids)), f"{each.likeness:.2f}", each.text) for each in report.clusters[:limit]],
    )
    more = f"; {len(report.clusters) - limit} not shown" if len(report.clusters) > limit else ""
    listing.echo(f"{report.looked_at} {of}, {len(report.clusters)} clusters, {report.spare} could go{more}")
