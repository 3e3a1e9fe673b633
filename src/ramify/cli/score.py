"""`ramify score`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import bulk, listing, options, render
from ramify.cli.selecting import Filter, all_completions
from ramify.cli.workspace import AsJson, Quiet, Where, model_for, open_any, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.workbench.bulk import BulkStep

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
@options.takes_model
def score(
    completions: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="[COMPLETION]...", help="Completions' ids, as `ramify completions list` prints them.", show_default=False
        ),
    ] = None,
    every: bulk.Every = False,
    filter_: Filter = None,
    group: bulk.Group = None,
    model: Annotated[str | None, options.model_option("Unset: the facet's target, else the workspace's.")] = None,
    facet: Annotated[
        str | None,
        typer.Option("--facet", metavar="NAME", help="Take this facet's target model, and say if its thresholds are reached."),
    ] = None,
    logprobs: Annotated[
        int | None,
        typer.Option("--logprobs", metavar="K", help="Show every token's probability; K > 0 adds a table with K alternatives."),
    ] = None,
    numbers: Annotated[bool, typer.Option("--numbers", help="Probabilities as numbers too.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
    *,
    how: dict[str, Any],
) -> None:
    """Measure completions under any model, and keep the measures.

    Logprobs are nats, at temperature 1, with EOS. With --filter, --group or --all those that the model has not measured yet are
    measured, each kept as it is done: Ctrl-C keeps what is there, and the same command goes on.
    """
    if logprobs is not None and logprobs < 0:
        raise InputError(f"logprobs is {logprobs}; it must be a whole number >= 0 (how many alternatives)")
    with open_workspace(workspace) as database:
        wanted = bulk.chosen(database, completions, every=every, filters=filter_, group=group, kind="completion")
        thresholds = None if facet is None else database.facets.effective(facet)
        if not isinstance(wanted, list):
            if logprobs is not None:
                raise InputError("--logprobs shows tokens of completions named by id; leave it out for many at once")
            with open_any([model_for(database, model, facet=facet)], how) as loaded_:
                from ramify.workbench.bulk_lanes import bulk_score
                from ramify.workbench.generation import ALTERNATIVES

                bulk.drive(bulk_score(database, loaded_, wanted, top=ALTERNATIVES), _step, as_json=as_json, quiet=quiet)
            return
        records = all_completions(database, wanted)
        with open_any([model_for(database, model, facet=facet)], how) as (loaded,):
            from ramify.models.remote import Remote
            from ramify.workbench import generation

            names = {} if isinstance(loaded, Remote) else render.names_of(loaded)
            rows = []
            for record in records:
                found = generation.score(database, loaded, record, top=max(generation.ALTERNATIVES, logprobs or 0))
                passes = None if thresholds is None else thresholds.passes(found.mean_logprob, found.min_logprob)
                if as_json:
                    more = {} if passes is None else {"facet": facet, "passes": passes}
                    listing.print_json(found, **({} if logprobs is not None else {"tokens": len(found.tokens)}), **more)
                    continue
                if logprobs is not None:
                    _show(listing.measured(found.tokens), names, logprobs, numbers)
                rows.append((record.id, found, passes))
    if rows:
        heads = ("completion", "mean", "min", "sum", "tokens", "model", *(() if facet is None else ("passes",)))
        listing.columns(heads, [_row(*row) for row in rows])


def _step(step: "BulkStep") -> dict[str, Any]:
    error = None if step.error is None else str(step.error)
    return {"completion": step.id, "model": step.model, "measured": bool(step.made), "error": error}


def _row(completion_id: int, found: Any, passes: bool | None) -> tuple[str, ...]:
    measures = (listing.number(each, 3) for each in (found.mean_logprob, found.min_logprob, found.sum_logprob))
    told = () if passes is None else ("yes" if passes else "no",)
    return (str(completion_id), *measures, str(len(found.tokens)), found.model, *told)


def _show(tokens: Any, names: Any, alternatives: int, numbers: bool) -> None:
    out = render.console()
    colour, width = render.has_colour(out), out.width if out.is_terminal else None
    out.print(render.heatmap(tokens, names, colour=colour, numbers=numbers, width=width), end="")
    out.print(render.legend(colour=colour, numbers=numbers))
    if alternatives:
        out.print(render.table(listing.fewer(tokens, alternatives), names, width), end="")
