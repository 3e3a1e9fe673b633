"""Deciding upon the branches of a beam tree: pinned, kept, pruned, brought back, saved as completions."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from ramify.api.workspace.completions import CompletionShape, completion_shape
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.judging import PreferenceShape, preference_shape
from ramify.api.workspace.shapes import Body, Id, RowId, Shape
from ramify.api.workspace.tree_shapes import NodesShape, nodes_shape
from ramify.errors import InputError
from ramify.store.records import BeamNodeRecord
from ramify.workbench.beam_tree_deciding import Deciding
from ramify.workbench.beam_tree_reading import Reading
from ramify.workbench.beam_tree_records import Implied

__all__ = ["router"]

router = APIRouter(tags=["beam trees"])

Nodes = Annotated[list[RowId], Field(min_length=1, max_length=10_000)]


class Mark(Body):
    nodes: Nodes
    pinned: bool | None = None
    bookmarked: bool | None = None


class Decide(Body):
    nodes: Nodes
    facet: str | None = Field(
        None, description="Write the preferences that this implies under it; both sides are saved as completions."
    )


class Resume(Body):
    nodes: Nodes


class SaveNode(Body):
    node: RowId


class DecidedShape(Shape):
    nodes: NodesShape
    preferences: list[PreferenceShape]


@router.post("/trees/{tree_id}/mark")
def mark(desk: DeskState, tree_id: Id, body: Mark) -> NodesShape:
    """Pin or bookmark nodes, or take that back."""
    if body.pinned is None and body.bookmarked is None:
        raise InputError("give pinned or bookmarked, true or false")
    with Deciding(desk.database, tree_id) as tree, desk.database.action("mark beams", f"{len(body.nodes)}"):
        if body.pinned is not None:
            tree.pin(*body.nodes, on=body.pinned)
        if body.bookmarked is not None:
            tree.bookmark(*body.nodes, on=body.bookmarked)
        return _now(desk, tree, body.nodes)


@router.post("/trees/{tree_id}/keep")
def keep(desk: DeskState, tree_id: Id, body: Decide) -> DecidedShape:
    """Decide for branches at their forks; with a facet, each is better than its siblings that are not kept."""
    _check_facet(desk, body.facet)
    with Deciding(desk.database, tree_id) as tree, desk.database.action("keep beams", f"{len(body.nodes)}"):
        for at in body.nodes:  # all of them first: those that are kept together are not compared
            tree.keep(at)
        implied = [each for at in body.nodes for each in tree.keep(at, prefer=True)] if body.facet is not None else []
        return _decided(desk, tree, body, implied)


@router.post("/trees/{tree_id}/prune")
def prune(desk: DeskState, tree_id: Id, body: Decide) -> DecidedShape:
    """Take branches, with all below them, out of view; with a facet, kept and pinned siblings are better than they are."""
    _check_facet(desk, body.facet)
    with Deciding(desk.database, tree_id) as tree, desk.database.action("prune beams", f"{len(body.nodes)}"):
        return _decided(desk, tree, body, tree.prune(*body.nodes, prefer=body.facet is not None))


def _check_facet(desk: Desk, name: str | None) -> None:
    if name is not None:
        desk.database.facets.get(name)


@router.post("/trees/{tree_id}/resume")
def resume(desk: DeskState, tree_id: Id, body: Resume) -> NodesShape:
    """Bring branches back: neither they nor the way to them are pruned or given up."""
    with Deciding(desk.database, tree_id) as tree:
        tree.resume(*body.nodes)
        return _now(desk, tree, body.nodes)


@router.post("/trees/{tree_id}/save", status_code=201)
def save(desk: DeskState, tree_id: Id, body: SaveNode) -> CompletionShape:
    """The path to a node as a completion; one that was saved before gives that completion again."""
    with Deciding(desk.database, tree_id) as tree:
        return completion_shape(desk, tree.save(body.node))


def _now(desk: Desk, tree: Reading, ids: Sequence[int]) -> NodesShape:
    found: Sequence[BeamNodeRecord] = desk.database.beams.nodes_by_id(list(dict.fromkeys(ids)))
    return nodes_shape(desk, tree.record, found)


def _decided(desk: Desk, tree: Reading, body: Decide, implied: Sequence[Implied]) -> DecidedShape:
    written = [
        desk.database.judgements.prefer(each.better_id, each.worse_id, body.facet, origin="beams")
        for each in implied
        if body.facet is not None
    ]
    return DecidedShape(nodes=_now(desk, tree, body.nodes), preferences=[preference_shape(record) for record in written])
