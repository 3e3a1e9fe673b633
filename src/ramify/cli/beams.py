"""`ramify beams`: trees of what a model could say, grown and judged in the terminal."""

from typing import Annotated, Any

import typer

from ramify.cli import beams_growing, beams_open, beams_ranking, listing
from ramify.cli.beams_shown import Nodes, Tree, TreeOf, leaves, node_of, open_tree, read_tree, tell, tree_of, trunk
from ramify.cli.making import show as show_completion
from ramify.cli.selecting import Limit, SampleId, many
from ramify.cli.workspace import AsJson, Quiet, Where, open_workspace
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Trees of what a model could say: grow, look, search, finish; show, replay, rerank; pin, keep, prune, save; open.",
)
app.command("open")(beams_open.open_)
for name, function in (beams_growing.COMMANDS | beams_ranking.COMMANDS).items():
    app.command(name)(function)

Back = Annotated[bool, typer.Option("--back", help="The other way: take the mark off.")]
Implied = Annotated[
    str | None,
    typer.Option("--facet", metavar="NAME", help="Write the preferences that this implies under this facet, as completions."),
]


@app.command("list")
def list_trees(
    sample: Annotated[int | None, typer.Argument(metavar="SAMPLE", help="Only those of this sample.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """The trees, and how large they are."""
    with open_workspace(workspace) as database:
        found = database.beams.list(limit=limit) if sample is None else database.beams.of(database.samples.get(sample))
        rows = [(each, read_tree(database, each)) for each in found]
        sizes = {each.id: (len(tree.nodes()), len(tree.leaves())) for each, tree in rows}
    if as_json:
        for each in found:
            listing.print_json(each, nodes=sizes[each.id][0], beams=sizes[each.id][1])
        return
    listing.columns(
        ("tree", "sample", "model", "tokens", "beams", "begun (UTC)", "title"),
        [
            (
                *(str(each.id), str(each.sample_id), each.model),
                *(str(sizes[each.id][0] - 1), str(sizes[each.id][1])),
                *(f"{each.created_at:%Y-%m-%d %H:%M}", each.title),
            )
            for each in found
        ],
    )


@app.command()
def show(
    sample: SampleId,
    tree: Tree = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="NODE[:PLACE]", help="Only what is below this node of the tree.")
    ] = None,
    by: Annotated[
        str, typer.Option("--by", metavar="WORD", help="Order beams by cumulative, mean, minimum (logprob) or entropy.")
    ] = "cumulative",
    as_tree: Annotated[bool, typer.Option("--as-tree", help="The whole tree, branch by branch, instead of a list.")] = False,
    pruned: Annotated[bool, typer.Option("--pruned", help="Pruned branches too.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """A tree's beams, best first, pinned ones before the others; or the tree itself. No model is loaded.

    A beam has the number of its last token's node. With --as-tree, --json prints every node.
    """
    with open_workspace(workspace) as database:
        opened = read_tree(database, tree_of(database, TreeOf(sample, tree, at)))
        start = None if at is None else node_of(opened, at)
        if as_tree:
            trunk(opened, start, pruned=pruned, as_json=as_json)
            return
        found = opened.ranked(by, pruned=pruned)  # type: ignore[arg-type]
        if start is not None:
            below = {each.id for each in opened.below(start)}
            found = [each for each in found if each.node.id in below]
        leaves(opened, found[:limit], by, as_json=as_json)


def _mark(nodes: list[int], workspace: str | None, word: str, do: Any) -> None:
    with open_workspace(workspace) as database:
        with database.action(f"{word} beams", ", ".join(map(str, nodes))):
            changed = sum(do(tree, ids) for tree, ids in open_tree(database, nodes))
        listing.echo(f"{word}: {many('beam', nodes)}" + ("" if changed else " (so already)"))


@app.command()
def pin(nodes: Nodes, back: Back = False, workspace: Where = None) -> None:
    """Put beams first in every list."""
    _mark(nodes, workspace, "unpinned" if back else "pinned", lambda tree, ids: tree.pin(*ids, on=not back))


@app.command()
def bookmark(nodes: Nodes, back: Back = False, workspace: Where = None) -> None:
    """Mark places to come back to."""
    _mark(nodes, workspace, "bookmark off" if back else "bookmarked", lambda tree, ids: tree.bookmark(*ids, on=not back))


@app.command()
def resume(nodes: Nodes, workspace: Where = None) -> None:
    """Bring pruned or given-up branches back, with the way to them."""
    _mark(nodes, workspace, "resumed", lambda tree, ids: tree.resume(*ids))


@app.command()
def keep(nodes: Nodes, facet: Implied = None, workspace: Where = None) -> None:
    """Decide for branches at their forks. With --facet, each is better than its siblings there."""
    _decide(nodes, facet, workspace, "kept", lambda tree, ids, prefer: [i for at in ids for i in tree.keep(at, prefer=prefer)])


@app.command()
def prune(nodes: Nodes, facet: Implied = None, workspace: Where = None) -> None:
    """Take branches, with all below them, out of lists and rankings; `resume` brings them back.

    With --facet, each kept or pinned sibling is better than what was pruned.
    """
    _decide(nodes, facet, workspace, "pruned", lambda tree, ids, prefer: tree.prune(*ids, prefer=prefer))


def _decide(nodes: list[int], facet: str | None, workspace: str | None, word: str, do: Any) -> None:
    with open_workspace(workspace) as database:
        if facet is not None:
            database.facets.get(facet)
        with database.action(f"{word} beams", ", ".join(map(str, nodes))):
            said = [each for tree, ids in open_tree(database, nodes) for each in do(tree, ids, facet is not None)]
            for each in said:
                database.judgements.prefer(each.better_id, each.worse_id, str(facet), origin="beams")
        listing.echo(f"{word}: {many('beam', nodes)}")
        for each in said:
            listing.echo(f"completion {each.better_id} is better than {each.worse_id} under {facet}")


@app.command()
def save(nodes: Nodes, as_json: AsJson = False, quiet: Quiet = False, workspace: Where = None) -> None:
    """Keep beams as completions: their exact tokens, where each came from, and their probabilities."""
    with open_workspace(workspace) as database:
        with database.action("save beams", ", ".join(map(str, nodes))):
            made = [tree.save(node) for tree, ids in open_tree(database, nodes) for node in ids]
        for record in made:
            show_completion(record, as_json=as_json, quiet=quiet)


@app.command()
def replay(
    node: Annotated[str, typer.Argument(metavar="NODE[:PLACE]", help="A beam, or its first PLACE tokens.")],
    alternatives: Annotated[int, typer.Option("--alternatives", metavar="K", help="What else there was: so many.")] = 3,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """A beam token by token: what was taken, how likely it was, and what else there was. No model is loaded.

    PLACE is what --at NODE:PLACE takes to branch there.
    """
    if alternatives < 0:
        raise InputError(f"--alternatives is {alternatives}; it must be at least 0")
    with open_workspace(workspace) as database:
        opened = read_tree(database, tree_of(database, TreeOf(None, None, node)))
        tell(opened, opened.replay(node_of(opened, node)), alternatives, as_json=as_json)


@app.command()
def remove(nodes: Nodes, workspace: Where = None) -> None:
    """Delete branches with all below them; `prune` only puts them away. `ramify undo` brings them back."""
    with open_workspace(workspace) as database:
        with database.action("remove beams", ", ".join(map(str, nodes))):
            for _, ids in open_tree(database, nodes):
                database.beams.remove(ids)
        listing.echo(f"removed: {many('beam', nodes)}; `ramify undo` brings back")


@app.command()
def delete(
    tree: Annotated[int, typer.Argument(metavar="TREE", help="A tree's number, as `ramify beams list` prints it.")],
    workspace: Where = None,
) -> None:
    """Delete a whole tree; completions saved from it stay. `ramify undo` brings it back."""
    with open_workspace(workspace) as database:
        database.beams.delete(tree)
        listing.echo(f"tree {tree} deleted; `ramify undo` brings back")
