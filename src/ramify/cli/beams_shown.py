"""Beam trees on the command line: which tree is meant, and how trees, beams and steps are shown."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from ramify.cli import listing, render
from ramify.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from ramify.store.database import Database
    from ramify.store.records import BeamNodeRecord, BeamTreeRecord
    from ramify.workbench.beam_tree_deciding import Deciding
    from ramify.workbench.beam_tree_reading import Reading
    from ramify.workbench.beam_tree_records import Ranked, Scene

__all__ = ["Nodes", "Tree", "TreeOf", "leaves", "node_of", "open_tree", "read_tree", "tell", "told", "tree_of", "trunk", "word"]

Nodes = Annotated[list[int], typer.Argument(metavar="NODE...", help="Beams, by the numbers that `ramify beams show` prints.")]
Tree = Annotated[
    int | None,
    typer.Option("--tree", metavar="TREE", help="Which tree of the sample, where it has several (`ramify beams list`)."),
]


# Which tree is meant.


@dataclass(frozen=True)
class TreeOf:
    """What the command line says of a tree: its sample, its number, or a node of it."""

    sample: int | None
    tree: int | None
    at: str | None


def tree_of(database: "Database", said: TreeOf) -> "BeamTreeRecord":
    """The one tree that is meant. Raises NotFoundError, and InputError where there are several."""
    if said.at is not None:
        node = _node(database, _place(said.at)[0])
        record = database.beams.get(node.tree_id)
        if said.sample is not None and record.sample_id != said.sample:
            raise InputError(f"node {node.id} is of sample {record.sample_id}, not of sample {said.sample}")
        if said.tree is not None and record.id != said.tree:
            raise InputError(f"node {node.id} is of tree {record.id}, not of tree {said.tree}")
        return record
    assert said.sample is not None, "a command without a node names a sample"
    sample = database.samples.get(said.sample)
    if said.tree is not None:
        record = database.beams.get(said.tree)
        if record.sample_id != sample.id:
            raise InputError(f"tree {record.id} is of sample {record.sample_id}, not of sample {sample.id}")
        return record
    found = [each for each in database.beams.of(sample) if each.prompt_id == sample.prompt_id] or list(database.beams.of(sample))
    if not found:
        raise NotFoundError(f"sample {sample.id} has no beam tree yet; `ramify beams grow {sample.id}` begins one")
    if len(found) > 1:
        several = ", ".join(f"{each.id} ({each.model}{each.title and ', ' + each.title})" for each in found)
        raise InputError(f"sample {sample.id} has several trees; name one with --tree: {several}")
    return found[0]


def _place(at: str) -> tuple[int, int | None]:
    node, colon, place = at.partition(":")
    if not (node.isascii() and node.isdigit()) or (colon and not (place.isascii() and place.isdigit())):
        raise InputError(f"{at!r} is no place in a tree; give NODE, or NODE:PLACE for after that many tokens of its beam")
    return int(node), int(place) if colon else None


def _node(database: "Database", node_id: int) -> "BeamNodeRecord":
    found = database.beams.nodes_by_id([node_id])
    if not found:
        raise NotFoundError(f"there is no beam node {node_id}")
    return found[0]


def node_of(tree: "Reading", at: str | None) -> "BeamNodeRecord":
    """The node at NODE, or after the first PLACE tokens of its beam; the root where nothing is said."""
    if at is None:
        return tree.root
    node_id, place = _place(at)
    node = tree.node(node_id)
    if place is None:
        return node
    way = [tree.root, *tree.database.beams.path(node)]
    if place >= len(way):
        raise InputError(f"beam {node_id} has {len(way) - 1} tokens; the place {place} is beyond its end")
    return way[place]


def read_tree(database: "Database", record: "BeamTreeRecord") -> "Deciding":
    """A tree without its model: to look at, to mark and to save."""
    from ramify.workbench.beam_tree_deciding import Deciding

    return Deciding(database, record)


def open_tree(database: "Database", nodes: Sequence[int]) -> "Iterator[tuple[Deciding, list[int]]]":
    """The trees of these nodes, each with its own. Raises NotFoundError before anything is changed."""
    found: dict[int, list[int]] = {}
    for node_id in dict.fromkeys(nodes):
        found.setdefault(_node(database, node_id).tree_id, []).append(node_id)
    for tree_id, ids in found.items():
        yield read_tree(database, database.beams.get(tree_id)), ids


# How it is shown.


def word(tree: "Reading", node: "BeamNodeRecord") -> str:
    """A node's token on one line, whitespace visible."""
    return piece(tree.pieces[node.token_id], node.ended)


def piece(literal: bytes, ended: bool = False) -> str:
    if ended and not literal:
        return "<eos>"
    try:
        return render.spelled(literal.decode("utf-8")) or "∅"
    except UnicodeDecodeError:
        return f"<{literal.hex(' ').upper()}>"


def told(tree: "Reading", node: "BeamNodeRecord", **more: Any) -> dict[str, Any]:
    """A node as JSON has it; the next tokens that it keeps are counted, not listed."""
    fields = listing.plain(node)
    fields["candidates"] = None if node.candidates is None else len(node.candidates)
    return {**fields, "mean_logprob": node.mean_logprob, "token": word(tree, node) if node.parent_id else "", **more}


def state(node: "BeamNodeRecord") -> str:
    words = [name for name in ("pinned", "kept", "bookmarked", "pruned", "ended") if getattr(node, name)]
    words += ["given up"] if node.dead_reason is not None else []
    words += [f"completion {node.completion_id}"] if node.completion_id is not None else []
    return ", ".join(words)


def leaves(tree: "Reading", found: "Sequence[Ranked]", by: str, *, as_json: bool) -> None:
    """Beams, in the order given."""
    if as_json:
        for place, each in enumerate(found, start=1):
            ids = list(tree.path(each.node))
            listing.print_json(told(tree, each.node, place=place, by=by, value=each.value, text=each.text, token_ids=ids))
        return
    rows = [
        (
            str(each.node.id),
            str(each.node.depth),
            listing.number(each.node.sum_logprob),
            listing.number(each.node.mean_logprob),
            listing.number(each.node.min_logprob),
            state(each.node),
            each.text,
        )
        for each in found
    ]
    listing.columns(("beam", "tokens", "sum", "mean", "min", "", "text"), rows)


def trunk(tree: "Reading", start: "BeamNodeRecord | None", *, pruned: bool, as_json: bool) -> None:
    """A tree, branch by branch: tokens that do not part stand on one line."""
    nodes = tree.nodes(pruned=pruned)
    children: dict[int | None, list[BeamNodeRecord]] = {}
    for node in sorted(nodes, key=lambda each: -(each.logprob if each.logprob is not None else math.inf)):
        children.setdefault(node.parent_id, []).append(node)
    top = start or tree.root
    if as_json:
        below = {top.id}
        for node in nodes:
            if node.id == top.id or node.parent_id in below:
                below.add(node.id)
                listing.print_json(told(tree, node, token_id=None if node.parent_id is None else node.token_id))
        return
    out = render.console()
    colour = render.has_colour(out)

    def line(node: "BeamNodeRecord", before: str, bough: str) -> None:
        run = [node]
        while len(children.get(run[-1].id, ())) == 1:
            run += children[run[-1].id]
        made = Text(f"{before}{bough}{run[-1].id:>4}  ", style="")
        for each in run:
            if each.parent_id is not None:
                made.append_text(render.shaded(word(tree, each), math.exp(each.logprob or 0.0), colour=colour))
        last = run[-1]
        made.append(f"  {listing.number(last.sum_logprob)}" if last.parent_id is not None else "(the beginning)", style="dim")
        made.append(f"  {state(last)}" if state(last) else "", style="dim")
        out.print(made)
        below = children.get(last.id, [])
        deeper = before + {"": "", "├ ": "│ ", "└ ": "  "}[bough]
        for i, each in enumerate(below):
            line(each, deeper, "└ " if i == len(below) - 1 else "├ ")

    line(top, "", "")


def tell(tree: "Reading", scenes: "Sequence[Scene]", alternatives: int, *, as_json: bool) -> None:
    """A path, a line a step."""
    if as_json:
        for place, scene in enumerate(scenes, start=1):
            alternative = [
                {"token_id": i, "token": piece(tree.pieces[i]), "logprob": value} for i, value in scene.candidates[:alternatives]
            ]
            siblings = [each.id for each in scene.siblings]
            made = told(tree, scene.node, place=place, standing=scene.place, text=scene.text, siblings=siblings)
            listing.print_json({**made, "alternatives": alternative})
        return
    rows = []
    for place, scene in enumerate(scenes, start=1):
        others = [(i, value) for i, value in scene.candidates if i != scene.node.token_id][:alternatives]
        rows.append(
            (
                str(place),
                str(scene.node.id),
                word(tree, scene.node),
                f"{100 * math.exp(scene.node.logprob):.2f}" if scene.node.logprob is not None else "",
                str(scene.node.rank or ""),
                str(scene.place),
                "  ".join(f"{piece(tree.pieces[i])} {100 * math.exp(value):.2f}" for i, value in others),
            )
        )
    listing.columns(("place", "node", "token", "%", "rank", "standing", "what else there was (%)"), rows, preview=120)
