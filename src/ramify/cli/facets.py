"""`ramify facets`: the purposes under which completions are judged."""

from typing import Annotated, Any

import typer

from ramify.cli import listing
from ramify.cli.selecting import SampleId
from ramify.cli.workspace import AsJson, Where, open_workspace
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Purposes under which completions are judged: add, list, show, edit, delete, judgements, rank, next, check.",
)

Name = Annotated[str, typer.Argument(metavar="FACET", help="A facet's name.")]
Description = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")]
Parent = Annotated[
    str | None, typer.Option("--parent", metavar="FACET", help="The facet from which it inherits what it leaves open.")
]
Good = Annotated[int | None, typer.Option("--good-rating", metavar="N", help="Ratings from here on are good; 7 unless set.")]
Bad = Annotated[int | None, typer.Option("--bad-rating", metavar="N", help="Ratings up to here are bad; 5 unless set.")]
Least = Annotated[float | None, typer.Option("--min-logprob", metavar="NATS", help="No token may be less likely than this.")]
Mean = Annotated[float | None, typer.Option("--mean-logprob", metavar="NATS", help="The tokens' mean may not be below this.")]
Target = Annotated[str | None, typer.Option("--target-model", metavar="NAME", help="The model that is to answer so.")]
INHERITED = ("parent", "good-rating", "bad-rating", "min-logprob", "mean-logprob", "target-model")


@app.command()
def add(
    name: Name,
    description: Description = None,
    parent: Parent = None,
    good_rating: Good = None,
    bad_rating: Bad = None,
    min_logprob: Least = None,
    mean_logprob: Mean = None,
    target_model: Target = None,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """Add a facet; what is not given is inherited."""
    with open_workspace(workspace) as database:
        record = database.facets.add(
            name,
            description=description or "",
            parent=parent,
            good_rating=good_rating,
            bad_rating=bad_rating,
            min_logprob=min_logprob,
            mean_logprob=mean_logprob,
            target_model=target_model,
        )
    if as_json:
        listing.print_json(record)
    else:
        listing.echo(f"facet {record.name} is added")


@app.command("list")
def list_facets(as_json: AsJson = False, workspace: Where = None) -> None:
    """Every facet, by name; what it inherits is left empty."""
    with open_workspace(workspace) as database:
        found = database.facets.list()
    if as_json:
        for each in found:
            listing.print_json(each)
        return
    listing.columns(
        ("facet", "parent", "good", "bad", "mean", "min", "model", "description"),
        [
            (
                each.name,
                each.parent or "",
                "" if each.good_rating is None else str(each.good_rating),
                "" if each.bad_rating is None else str(each.bad_rating),
                listing.number(each.mean_logprob),
                listing.number(each.min_logprob),
                each.target_model or "",
                each.description,
            )
            for each in found
        ],
    )


@app.command()
def show(name: Name, as_json: AsJson = False, workspace: Where = None) -> None:
    """A facet with what it inherits and from where, and how consistent its judgements are."""
    with open_workspace(workspace) as database:
        record, effective = database.facets.get(name), database.facets.effective(name)
        report = database.judgements.report(name)
    if as_json:
        values = {key: {"value": getattr(effective, key), "from": source} for key, source in effective.sources.items()}
        listing.print_json(record, chain=effective.chain, effective=values, report=report)
        return
    told: dict[str, Any] = {"facet": record.name, "description": record.description, "inherits": " → ".join(effective.chain[1:])}
    for key, source in effective.sources.items():
        value = getattr(effective, key)
        if value is not None:
            told[key.replace("_", " ")] = f"{value}" + ("" if source == name else f" (from {source})")
    agreement = report.agreement
    if agreement.agree or agreement.disagree or agreement.undecided:
        told["preferences"] = (
            f"{agreement.agree} as the ratings say, {agreement.disagree} against them, {agreement.undecided} undecided by them"
        )
    told["conflicts"] = "; ".join(f"{a} and {b} judged in different ways" for a, b in (each.pair for each in report.conflicts))
    told["circles"] = "; ".join(" > ".join(map(str, [*cycle, cycle[0]])) for cycle in report.cycles)
    listing.facts(told)


@app.command()
def edit(
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="A new name.")] = None,
    description: Description = None,
    parent: Parent = None,
    good_rating: Good = None,
    bad_rating: Bad = None,
    min_logprob: Least = None,
    mean_logprob: Mean = None,
    target_model: Target = None,
    inherit: Annotated[
        list[str] | None,
        typer.Option("--inherit", metavar="WORD", help=f"Leave open again: {', '.join(INHERITED)}; may be repeated."),
    ] = None,
    workspace: Where = None,
) -> None:
    """Change a facet."""
    given: dict[str, Any] = {
        "name": new_name,
        "description": description,
        "parent": parent,
        "good_rating": good_rating,
        "bad_rating": bad_rating,
        "min_logprob": min_logprob,
        "mean_logprob": mean_logprob,
        "target_model": target_model,
    }
    values = {key: value for key, value in given.items() if value is not None}
    for word in inherit or ():
        if word not in INHERITED:
            raise InputError(f"{word!r} cannot be inherited; it must be one of {', '.join(INHERITED)}")
        if word.replace("-", "_") in values:
            raise InputError(f"--{word} and --inherit {word} were given; give one of them")
        values[word.replace("-", "_")] = None
    if not values:
        raise InputError("nothing was given to change; `ramify facets edit --help` lists what can be")
    with open_workspace(workspace) as database:
        record = database.facets.edit(name, **values)
        listing.echo(f"facet {record.name} is changed")


@app.command()
def delete(name: Name, workspace: Where = None) -> None:
    """Remove a facet with its judgements; only `ramify undo` brings it back."""
    with open_workspace(workspace) as database:
        database.facets.delete(name)
        listing.echo(f"facet {name} deleted; `ramify undo` brings back")


@app.command()
def judgements(name: Name, sample: SampleId, as_json: AsJson = False, workspace: Where = None) -> None:
    """What counts under a facet of a sample's completions: its own ratings and preferences, else its parents'."""
    with open_workspace(workspace) as database:
        found = database.judgements.effective(database.samples.get(sample).id, name)
    if as_json:
        for rating in found.ratings.values():
            listing.print_json(rating, kind="rating")
        for preference in found.preferences:
            listing.print_json(preference, kind="preference")
        return
    rows = [(f"{each.completion_id}", f"{each.rating}", each.facet, each.origin) for each in found.ratings.values()]
    rows += [
        (f"{each.better_id} {'=' if each.tie else '>'} {each.worse_id}", "", each.facet, each.origin)
        for each in found.preferences
    ]
    listing.columns(("completion", "rating", "facet", "origin"), rows)


@app.command()
def rank(name: Name, sample: SampleId, as_json: AsJson = False, workspace: Where = None) -> None:
    """A sample's completions, best first: Bradley–Terry over preferences and ratings, with its uncertainty."""
    with open_workspace(workspace) as database:
        strengths = database.judgements.ranking(database.samples.get(sample).id, name).strengths
        texts = {each.id: each.text for each in database.completions.get_many([each.item for each in strengths])}
    if as_json:
        for place, each in enumerate(strengths, start=1):
            record = {"place": place, "completion_id": each.item, "strength": each.strength, "error": each.error}
            listing.print_json(record, comparisons=each.comparisons)
        return
    listing.columns(
        ("place", "completion", "strength", "±", "compared", "text"),
        [
            (str(place), str(each.item), f"{each.strength:.2f}", f"{each.error:.2f}", str(each.comparisons), texts[each.item])
            for place, each in enumerate(strengths, start=1)
        ],
    )


@app.command()
def check(
    name: Name,
    sample: Annotated[int | None, typer.Option("--sample", metavar="ID", help="Only of this sample's completions.")] = None,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """Say where the judgements of a facet contradict each other: pairs judged both ways, circles, ratings that say otherwise."""
    with open_workspace(workspace) as database:
        of = None if sample is None else database.samples.get(sample)
        found = database.judgements.report(name, sample_id=of)
    agreed = found.agreement
    if as_json:
        for conflict in found.conflicts:
            listing.print_json(conflict, kind="conflict")
        for circle in found.cycles:
            listing.print_json({"completions": circle}, kind="circle")
        listing.print_json(agreed, kind="agreement", share=agreed.share)
        return
    for conflict in found.conflicts:
        listing.echo(f"judged in different ways: {conflict.pair[0]} and {conflict.pair[1]}")
    for circle in found.cycles:
        listing.echo(f"a circle: {' > '.join(map(str, (*circle, circle[0])))}")
    many = agreed.agree + agreed.disagree
    listing.echo(
        f"{len(found.conflicts)} pairs judged in different ways, {len(found.cycles)} circles; "
        f"ratings agree with {agreed.agree} of {many} preferences"
        + (f", {agreed.undecided} undecided" if agreed.undecided else "")
    )


@app.command("next")
def next_pair(name: Name, sample: SampleId, as_json: AsJson = False, workspace: Where = None) -> None:
    """The two completions of a sample whose comparison would say most. Nothing is printed where every pair was compared."""
    with open_workspace(workspace) as database:
        pair = database.judgements.next_pair(database.samples.get(sample).id, name)
        records = database.completions.get_many(pair or ())
    for each in records:
        if as_json:
            listing.print_json(each)
    if not as_json:
        listing.columns(("completion", "model", "text"), [(str(each.id), each.model, each.text) for each in records])
