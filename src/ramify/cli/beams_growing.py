"""`ramify beams`: grow, look, search, finish."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import listing, making, options, render
from ramify.cli.beams_shown import Tree, TreeOf, leaves, node_of, piece, tree_of
from ramify.cli.selecting import SampleId, place_in
from ramify.cli.workspace import AsJson, Quiet, Where, model_for, open_models, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.store.database import Database
    from ramify.store.records import BeamNodeRecord
    from ramify.workbench.beam_tree import BeamTree

__all__ = ["COMMANDS", "At", "Model", "Title", "at_token", "named_tokens", "open_beam_tree", "show_ends"]

At = Annotated[
    str | None,
    typer.Option("--at", metavar="NODE[:PLACE]", help="From this node; with PLACE from after so many tokens of its beam."),
]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Begin another tree beside the sample's first.")]
Model = Annotated[
    str | None,
    options.model_option("Unset: the tree's own; for the first tree the facet's target, else the workspace's."),
]


@contextmanager
def open_beam_tree(
    database: "Database",
    said: TreeOf,
    how: dict[str, Any],
    *,
    model: str | None = None,
    facet: str | None = None,
    prefill: str | None = None,
    title: str | None = None,
    begin: bool = True,
) -> "Iterator[BeamTree]":
    """The tree that is meant, with its model; begun where there is none and `begin` says so."""
    new = {"--model": model, "--facet": facet, "--prefill": prefill, "--title": title}
    given = [name for name, value in new.items() if value is not None]
    if given and (said.at is not None or said.tree is not None):
        raise InputError(f"{given[0]} is for a tree that begins; {'--at' if said.at else '--tree'} names one that is there")
    if facet is not None:
        database.facets.get(facet)
    sample = None if said.sample is None else database.samples.get(said.sample)
    there = said.at is not None or said.tree is not None or not begin
    if not given and not there and sample is not None:
        there = any(each.prompt_id == sample.prompt_id for each in database.beams.of(sample))
    record = tree_of(database, said) if there else None
    name = record.model if record is not None else model_for(database, model, facet=facet)
    with open_models([name], how) as (loaded,):
        from ramify.workbench.beam_tree import BeamTree

        if record is not None:
            opened = BeamTree(database, loaded, record)
        else:
            assert sample is not None, "a tree begins at a sample"
            opened = BeamTree.start(database, loaded, sample, prefill=prefill, title=title or "")
        with opened:
            yield opened


@options.takes_model
def grow(
    sample: SampleId,
    at: At = None,
    completion: Annotated[
        str | None,
        typer.Option(
            "--completion",
            metavar="ID[:PLACE]",
            help="From a completion of the sample, or its first PLACE tokens; it joins the tree.",
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option("--width", metavar="N", help="So many of the likeliest tokens; 4 unless set.")
    ] = None,
    token: Annotated[
        list[str] | None,
        typer.Option("--token", metavar="TEXT|ID", help="These very tokens instead, by text or as id=NUMBER; may be repeated."),
    ] = None,
    depth: Annotated[int, typer.Option("--depth", metavar="N", help="Each branch goes on until it is so many tokens long.")] = 8,
    spread: Annotated[int, typer.Option("--spread", metavar="N", help="So many branches at every later token too.")] = 1,
    tree: Tree = None,
    prefill: making.Prefill = None,
    title: Title = None,
    facet: making.Facet = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
    model: Model = None,
    *,
    how: dict[str, Any],
) -> None:
    """Beam out: branches with the likeliest next tokens, or with picked ones, each so many tokens long.

    Without --at or --completion it begins where the prompt ends. The new beams are printed; every token stays in the tree.
    """
    if at is not None and completion is not None:
        raise InputError("--at and --completion were given; give one of them")
    if token and width is not None:
        raise InputError("--width and --token were given; give one of them")
    with open_workspace(workspace) as database:
        said = TreeOf(sample, tree, at)
        with open_beam_tree(database, said, how, model=model, facet=facet, prefill=prefill, title=title) as opened:
            node = at_token(opened, completion) if completion is not None else node_of(opened, at)
            picked = named_tokens(opened, token) if token else None
            ends = opened.beam_out(node, width=None if picked else width or 4, tokens=picked, depth=depth, spread=spread)
            show_ends(opened, ends, as_json=as_json, quiet=quiet)


def at_token(tree: "BeamTree", said: str) -> "BeamNodeRecord":
    """Take a completion, or its first tokens, into the tree. Raises InputError for one of another prompt or prefill."""
    record, place = place_in(tree.database, said)
    if record.prompt_id != tree.record.prompt_id:
        raise InputError(f"completion {record.id} answers another prompt than tree {tree.id}")
    from ramify.workbench import scoring

    ids = scoring.own_ids(tree.database, tree.model, record)
    end = len(ids) if place is None else place
    filled = tree.record.prefill
    if end > len(ids) or end < len(filled) or ids[: len(filled)] != filled:
        raise InputError(
            f"completion {record.id} has {len(ids)} tokens and {'its end' if place is None else place} was asked for"
            + (f"; the tree's beams begin with a prefill of {len(filled)} tokens, and so must it" if filled else "")
        )
    own = ids == record.token_ids
    origins = [span.origin for span in record.spans for _ in range(span.start, span.end)] if own else ["typed"] * len(ids)
    return tree.follow(ids[len(filled) : end], origins=origins[len(filled) : end])


def named_tokens(tree: "BeamTree", said: Sequence[str]) -> list[int]:
    """Token ids from texts, each of exactly one token, or from id=NUMBER."""
    spelt, found = tree.model.codec.literal_bytes, []
    for text in said:
        if text.startswith("id=") and text[3:].isdigit():
            found.append(int(text[3:]))
            continue
        ids = [i for i, literal in enumerate(spelt) if literal == text.encode() and tree.model.codec.exists[i]]
        if len(ids) != 1:
            many = f"tokens {', '.join(map(str, ids))} are spelt so; name one with id=NUMBER" if ids else "it is no single token"
            raise InputError(f"--token {text!r}: {many}. `ramify beams look` lists what there is, a leading space included")
        found += ids
    return found


def show_ends(tree: "BeamTree", ends: "Sequence[BeamNodeRecord]", *, as_json: bool, quiet: bool) -> None:
    from ramify.workbench.beam_tree_records import Ranked

    leaves(tree, [Ranked(end, end.sum_logprob or 0.0, tree.text(end)) for end in ends], "cumulative", as_json=as_json)
    if not as_json:
        count = len(tree.nodes()) - 1
        render.note(f"[tree {tree.id} of sample {tree.record.sample_id} under {tree.record.model}: {count} tokens]", quiet)


@options.takes_model
def look(
    sample: SampleId,
    at: At = None,
    count: Annotated[int, typer.Option("--show", metavar="N", help="So many of the likeliest tokens.")] = 12,
    search: Annotated[str | None, typer.Option("--search", metavar="TEXT", help="Only tokens that contain this text.")] = None,
    tree: Tree = None,
    as_json: AsJson = False,
    workspace: Where = None,
    *,
    how: dict[str, Any],
) -> None:
    """What the model could say next at a place of the tree, and which of it is a branch already. It changes nothing."""
    if count < 1:
        raise InputError(f"--show is {count}; it must be at least 1")
    with open_workspace(workspace) as database, open_beam_tree(database, TreeOf(sample, tree, at), how) as opened:
        found = opened.candidates(node_of(opened, at), count, search=search)
    if as_json:
        for each in found:
            listing.print_json(each, token=piece(each.token_bytes), probability=each.probability)
        return
    rows = [
        (
            str(each.token_id),
            piece(each.token_bytes) + (" (ends it)" if each.ends else ""),
            f"{100 * each.probability:.2f}",
            str(each.rank),
            "" if each.node_id is None else str(each.node_id),
        )
        for each in found
    ]
    rows.append(("", "others", f"{100 * found.others:.2f}", "", ""))
    listing.columns(("id", "token", "%", "rank", "node"), rows)


@options.takes_settings
@options.takes_model
def search(
    sample: SampleId,
    at: At = None,
    tree: Tree = None,
    prefill: making.Prefill = None,
    title: Title = None,
    facet: making.Facet = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
    model: Model = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Automatic beam search in the tree (4 beams unless --num-beams says otherwise); what it gave up says why.

    Its results are those of `ramify complete` with the same settings.
    """
    config = options.settings_from({"num_beams": 4, **settings}, preset)
    with open_workspace(workspace) as database:
        said = TreeOf(sample, tree, at)
        with open_beam_tree(database, said, how, model=model, facet=facet, prefill=prefill, title=title) as opened:
            outcome = opened.search(config, at=node_of(opened, at))
            ends = [opened.node(outcome.nodes[path]) for path in outcome.paths]
            show_ends(opened, ends, as_json=as_json, quiet=quiet)


@options.takes_settings
@options.takes_model
def finish(
    sample: SampleId,
    at: At = None,
    tree: Tree = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Let the model go on from a place of the tree to an end of its own, under any settings."""
    config = options.settings_from(settings, preset)
    with open_workspace(workspace) as database, open_beam_tree(database, TreeOf(sample, tree, at), how) as opened:
        show_ends(opened, opened.continue_(node_of(opened, at), config), as_json=as_json, quiet=quiet)


COMMANDS: dict[str, Callable[..., None]] = {"grow": grow, "look": look, "search": search, "finish": finish}
