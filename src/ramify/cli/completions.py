"""`ramify completions`: making, looking, sorting."""

from typing import Annotated, Any

import typer

from ramify.cli import blocks, listing, making, render
from ramify.cli.selecting import (
    MOST_NAMED,
    Archived,
    Back,
    CompletionId,
    CompletionIds,
    FacetName,
    Filter,
    Hidden,
    Limit,
    Put,
    Take,
    all_completions,
    check_tags,
    conditions,
    many,
    meant,
    one_completion,
)
from ramify.cli.workspace import AsJson, Where, open_workspace
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Completions: generate, write, edit, continue, blocks; list, show, label, tag, approve, archive, delete.",
)
for name, function in making.COMMANDS.items():
    app.command(name)(function)
app.command("blocks")(blocks.blocks)


@app.command("list")
def list_completions(
    sample: Annotated[int | None, typer.Argument(metavar="SAMPLE", help="Only those of this sample.")] = None,
    filter_: Filter = None,
    order: Annotated[
        str, typer.Option("--order", metavar="WORD", help="newest, oldest, mean_logprob, min_logprob or tokens.")
    ] = "newest",
    limit: Limit = 50,
    archived: Archived = False,
    hidden: Hidden = False,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """Completions, newest first."""
    with open_workspace(workspace) as database:
        wanted = conditions(database, filter_)
        if sample is not None:
            wanted.append({"field": "sample", "op": "is", "value": database.samples.get(sample).id})
        found = database.search.completions({"all": wanted}, order=order, limit=limit, archived=archived, hidden=hidden)
    if as_json:
        for each in found:
            listing.print_json(each)
    else:
        listing.completions(found)


@app.command()
def show(
    completion: CompletionId,
    logprobs: Annotated[
        int | None,
        typer.Option("--logprobs", metavar="K", help="Show every token's probability; K > 0 adds a table with alternatives."),
    ] = None,
    under: Annotated[
        str | None, typer.Option("--under", metavar="NAME", help="Logprobs under this model; unset: under its own.")
    ] = None,
    numbers: Annotated[bool, typer.Option("--numbers", help="Probabilities as numbers too.")] = False,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """A completion: its text, where each part came from, how it was made, and what is thought of it."""
    if logprobs is not None and logprobs < 0:
        raise InputError(f"logprobs is {logprobs}; it must be a whole number >= 0 (how many alternatives)")
    with open_workspace(workspace) as database:
        record = one_completion(database, completion)
        scored = database.logprobs.of(completion)
        shown = None
        if under is not None or logprobs is not None:
            shown = database.logprobs.get(completion, under or record.model)
        about = {
            "ratings": database.judgements.ratings_of(completion),
            "preferences": [
                each
                for each in database.judgements.preferences(sample_id=record.sample_id)
                if completion in (each.better_id, each.worse_id)
            ],
            "approved": [
                facet.name
                for facet in database.facets.list()
                if database.judgements.approved(record.sample_id, facet.name) == completion
            ],
            "children": [each.id for each in database.completions.children(completion)],
        }
        revision = next(each.number for each in database.samples.revisions(record.sample_id) if each.id == record.prompt_id)
    if as_json:
        kept = [listing.plain(each) | ({} if each is shown or each == shown else {"tokens": None}) for each in scored]
        listing.print_json(record, revision=revision, logprobs=kept, **about)
        return
    _facts(record, revision, scored, about)
    typer.echo()
    if shown is None:
        listing.echo(record.text)
        return
    out = render.console()
    colour, width = render.has_colour(out), out.width if out.is_terminal else None
    tokens = listing.measured(shown.tokens)
    ended = {tokens[-1].token_id: "<eos>"} if tokens and record.finish_reason == "eos" and not tokens[-1].token_bytes else {}
    out.print(render.heatmap(tokens, ended, colour=colour, numbers=numbers, width=width), end="")
    out.print(render.legend(colour=colour, numbers=numbers))
    if logprobs:
        out.print(render.table(listing.fewer(tokens, logprobs), ended, width), end="")


def _facts(record: Any, revision: int, scored: Any, about: dict[str, Any]) -> None:
    measures = [
        f"{each.model}: mean {listing.number(each.mean_logprob, 3)}, min {listing.number(each.min_logprob, 3)}, "
        f"sum {each.sum_logprob:.3f} over {len(each.tokens)} token{'' if len(each.tokens) == 1 else 's'}"
        for each in scored
    ]
    unit = "tokens" if record.token_ids is not None else "characters"
    spans = ", ".join(f"{span.start}–{span.end} {span.origin}" for span in record.spans)
    parent = record.parent_id and f"{record.parent_id}" + (
        "" if record.branch_position is None else f", from its token {record.branch_position} on"
    )
    listing.facts(
        {
            "completion": record.id,
            "sample": f"{record.sample_id}" + (f", revision {revision}" if revision > 1 else ""),
            "model": record.model + (f" ({record.fingerprint})" if record.fingerprint else ""),
            "ended": listing.state(record),
            "stop string": record.stop_string,
            "parent": parent,
            "children": ", ".join(map(str, about["children"])),
            "tokens": record.token_count,
            "origin": spans and f"{unit} {spans}",
            "settings": ", ".join(f"{name}={value}" for name, value in record.config.items()),
            "processors": ", ".join(record.processors),
            "seed": record.seed,
            "beam score": record.beam_score,
            "labels": ", ".join(f"{name} {value}" for name, value in record.labels.items()),
            "tags": ", ".join(record.tags),
            "ratings": ", ".join(f"{each.rating} under {each.facet}" for each in about["ratings"]),
            "compared": ", ".join(_compared(record.id, each) for each in about["preferences"]),
            "approved": about["approved"] and "under " + ", ".join(about["approved"]),
            "logprobs": "; ".join(measures),
            "made": f"{record.created_at:%Y-%m-%d %H:%M} UTC",
        }
    )


def _compared(completion_id: int, said: Any) -> str:
    other = said.worse_id if said.better_id == completion_id else said.better_id
    word = "like" if said.tie else "better than" if said.better_id == completion_id else "worse than"
    return f"{word} {other} under {said.facet}"


@app.command()
def label(
    completions: CompletionIds = None,
    filter_: Filter = None,
    style: Annotated[str | None, typer.Option("--style", metavar="TEXT", help="Such as formal; empty takes it off.")] = None,
    length: Annotated[str | None, typer.Option("--length", metavar="TEXT", help="Such as short.")] = None,
    reasoning: Annotated[str | None, typer.Option("--reasoning", metavar="TEXT", help="Such as step by step.")] = None,
    refusal: Annotated[str | None, typer.Option("--refusal", metavar="TEXT", help="Such as refused, or complied.")] = None,
    formatting: Annotated[str | None, typer.Option("--formatting", metavar="TEXT", help="Such as JSON.")] = None,
    workspace: Where = None,
) -> None:
    """Put labels on completions; an empty one is taken off."""
    given = {"style": style, "length": length, "reasoning": reasoning, "refusal": refusal, "formatting": formatting}
    labels = {name: value or None for name, value in given.items() if value is not None}
    if not labels:
        raise InputError(f"no label was given; give {', '.join('--' + name for name in given)}")
    with open_workspace(workspace) as database:
        ids = meant(database, "completion", completions, filter_)
        database.completions.label(ids, **labels)
        if len(ids) > MOST_NAMED or not ids:
            listing.echo(f"{many('completion', ids)} labelled")
            return
        for each in all_completions(database, ids):
            told = ", ".join(f"{name} {value}" for name, value in each.labels.items())
            listing.echo(f"completion {each.id}: {told or 'no labels'}")


@app.command()
def tag(
    completions: CompletionIds = None, filter_: Filter = None, put: Put = None, take: Take = None, workspace: Where = None
) -> None:
    """Put tags on completions, or take them off."""
    check_tags(put, take)
    with open_workspace(workspace) as database:
        ids = meant(database, "completion", completions, filter_)
        with database.action("tag completions", ", ".join(map(str, ids[:MOST_NAMED]))):
            database.tags.take(take or (), completions=ids)
            database.tags.put(put or (), completions=ids)
        if len(ids) > MOST_NAMED or not ids:
            listing.echo(f"{many('completion', ids)} tagged")
            return
        for each in all_completions(database, ids):
            listing.echo(f"completion {each.id}: {', '.join(each.tags) or 'no tags'}")


@app.command()
def approve(
    completion: CompletionId,
    facet: FacetName,
    back: Annotated[bool, typer.Option("--back", help="The other way: take the approval back.")] = False,
    workspace: Where = None,
) -> None:
    """Make it the answer to its sample under a facet, in place of an earlier one."""
    with open_workspace(workspace) as database:
        record = one_completion(database, completion)
        if not back:
            database.judgements.approve(completion, facet)
        elif database.judgements.approved(record.sample_id, facet) == completion:
            database.judgements.disapprove(record.sample_id, facet)
        else:
            raise InputError(f"completion {completion} is not approved under {facet!r}")
        listing.echo(f"completion {completion} is {'no longer ' if back else ''}approved under {facet}")


@app.command()
def archive(completions: CompletionIds = None, filter_: Filter = None, back: Back = False, workspace: Where = None) -> None:
    """Put completions away: kept, but out of lists, rankings and exports."""
    with open_workspace(workspace) as database:
        ids = meant(database, "completion", completions, filter_, archived=back)
        database.completions.archive(ids, not back)
        listing.echo(f"{many('completion', ids)} {'out of' if back else 'in'} the archive")


@app.command()
def hide(completions: CompletionIds = None, filter_: Filter = None, back: Back = False, workspace: Where = None) -> None:
    """Remove completions from view only: rankings and exports still have them."""
    with open_workspace(workspace) as database:
        ids = meant(database, "completion", completions, filter_, hidden=back)
        database.completions.hide(ids, not back)
        listing.echo(f"{many('completion', ids)} {'shown again' if back else 'out of view'}")


@app.command()
def delete(completions: CompletionIds = None, filter_: Filter = None, workspace: Where = None) -> None:
    """Remove completions with their judgements; only `ramify undo` brings them back."""
    with open_workspace(workspace) as database:
        ids = meant(database, "completion", completions, filter_)
        database.completions.delete(ids)
        listing.echo(f"{many('completion', ids)} deleted; `ramify undo` brings back")
