"""Beam trees: begun, read, decided upon. `tree_growing.py` is where the model is asked."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from ramify.api.workspace.completions import CompletionShape, completion_shape
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.judging import PreferenceShape, preference_shape
from ramify.api.workspace.shapes import After, Body, Id, Items, Nats, RowId, Shape, cursor_of, place_of
from ramify.api.workspace.tokens import CandidatesShape, K, Search
from ramify.api.workspace.tree_shapes import Measure, NodesShape, TreeShape, next_shape, nodes_shape, spelt, tree_shape
from ramify.errors import InputError
from ramify.store.records import BeamNodeRecord
from ramify.workbench.beam_tree import BeamTree
from ramify.workbench.beam_tree_deciding import Deciding
from ramify.workbench.beam_tree_planting import planted
from ramify.workbench.beam_tree_reading import Reading
from ramify.workbench.beam_tree_records import Implied

__all__ = ["router"]

router = APIRouter(tags=["beam trees"])

Nodes = Annotated[list[RowId], Field(min_length=1, max_length=10_000)]


class NewTree(Body):
    model: str | None = None
    facet: str | None = None
    prefill: str | None = None
    title: str = ""


class Plant(Body):
    position: RowId | None = Field(default=None, description="The first token that is left out; null: none.")
    model: str | None = None
    title: str = ""


class PlantedShape(Shape):
    tree: TreeShape
    node: int = Field(description="The end of the completion's path.")


class NodeShape(Shape):
    node: NodesShape
    text: str = Field(description="From the root on, without the prefill.")
    path: list[int] = Field(description="Node ids from the first token on.")


class LeafShape(Shape):
    node: int
    value: Nats = Field(description="By the measure asked for.")
    text: str


class LeavesShape(Shape):
    items: list[LeafShape]
    same_text: list[list[int]] = Field(description="Leaves that read alike though their tokens differ.")


class SceneShape(Shape):
    node: int
    text: str = Field(description="The path up to and with this token.")
    place: int = Field(description="1: the likeliest path of this length.")
    siblings: list[int]
    candidate_ids: list[int] = Field(description="What the model could have said, as far as the tree keeps it.")
    candidate_text: list[str]
    candidate_logprob: list[Nats]


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


# ------------------------------------------------------------ trees


@router.get("/samples/{sample_id}/trees")
def trees_of_sample(desk: DeskState, sample_id: Id) -> Items[TreeShape]:
    """A sample's trees, of every revision of its prompt, oldest first."""
    desk.database.samples.get(sample_id)
    return Items(items=[tree_shape(desk.database, record) for record in desk.database.beams.of(sample_id)])


@router.post("/samples/{sample_id}/trees", status_code=201)
async def start_tree(desk: DeskState, sample_id: Id, body: NewTree) -> TreeShape:
    """The sample's tree under a model and title, made when there is none yet."""

    def started() -> TreeShape:
        model = desk.model(body.model, body.facet)
        with BeamTree.start(desk.database, model, sample_id, prefill=body.prefill, title=body.title) as tree:
            return tree_shape(desk.database, tree.record)

    return await desk.waiting(started)


@router.post("/completions/{completion_id}/tree", status_code=201)
async def plant(desk: DeskState, completion_id: Id, body: Plant) -> PlantedShape:
    """A completion's tokens as a path of its prompt's tree: to look at any of them, and to beam out there."""

    def made() -> PlantedShape:
        record = desk.database.completions.get(completion_id)
        model = desk.model_for(record, body.model)
        tree, node = planted(desk.database, model, record, body.position, title=body.title)
        with tree:
            return PlantedShape(tree=tree_shape(desk.database, tree.record), node=node.id)

    return await desk.waiting(made)


@router.get("/trees/{tree_id}")
def get_tree(desk: DeskState, tree_id: Id) -> TreeShape:
    """A tree, without its nodes."""
    return tree_shape(desk.database, desk.database.beams.get(tree_id))


@router.delete("/trees/{tree_id}", status_code=204)
def delete_tree(desk: DeskState, tree_id: Id) -> Response:
    """Remove a tree; completions saved from it stay. An undo brings it back."""
    desk.database.beams.delete(tree_id)
    return Response(status_code=204)


# ------------------------------------------------------------ reading


@router.get("/trees/{tree_id}/nodes")
def nodes(
    desk: DeskState,
    tree_id: Id,
    pruned: Annotated[bool, Query(description="With what was pruned, and all below it.")] = False,
    limit: Annotated[int, Query(ge=1, le=50_000)] = 20_000,
    after: After = None,
) -> NodesShape:
    """The tree as columns, whole or in pages, parents before children."""
    place = place_of(after)
    start = 0 if place is None else place[1]
    with Reading(desk.database, tree_id) as tree:
        found = tree.nodes(pruned=pruned)
        end = start + limit
        return nodes_shape(desk, tree.record, found[start:end], cursor_of((end, end)) if end < len(found) else None)


@router.get("/trees/{tree_id}/nodes/{node_id}")
def node(desk: DeskState, tree_id: Id, node_id: Id) -> NodeShape:
    """One node, the text up to it, and the way to it."""
    with Reading(desk.database, tree_id) as tree:
        record = tree.node(node_id)
        path = [step.id for step in desk.database.beams.path(record)]
        return NodeShape(node=nodes_shape(desk, tree.record, [record]), text=tree.text(record), path=path)


@router.get("/trees/{tree_id}/nodes/{node_id}/next")
async def next_tokens(desk: DeskState, tree_id: Id, node_id: Id, k: K = 20, search: Search = None) -> CandidatesShape:
    """What the model could say after a node; it is asked only about what the tree does not keep."""

    def looked() -> CandidatesShape:
        with desk.tree(tree_id) as tree:
            record = tree.node(node_id)
            return next_shape(record.depth, tree.candidates(record, k, search=search))

    return await desk.waiting(looked)


@router.get("/trees/{tree_id}/nodes/{node_id}/replay")
def replay(desk: DeskState, tree_id: Id, node_id: Id) -> Items[SceneShape]:
    """A path step by step: what was taken, what else there was, and its standing among its rivals."""
    with Reading(desk.database, tree_id) as tree:
        scenes = tree.replay(node_id)
        known = spelt(desk, tree.record, {i for scene in scenes for i, _ in scene.candidates})
        return Items(
            items=[
                SceneShape(
                    node=scene.node.id,
                    text=scene.text,
                    place=scene.place,
                    siblings=[other.id for other in scene.siblings],
                    candidate_ids=[i for i, _ in scene.candidates],
                    candidate_text=[known[i] for i, _ in scene.candidates],
                    candidate_logprob=[value for _, value in scene.candidates],
                )
                for scene in scenes
            ]
        )


@router.get("/trees/{tree_id}/leaves")
def leaves(
    desk: DeskState,
    tree_id: Id,
    by: Annotated[Measure, Query(description="entropy ranks the lowest first, the others the highest.")] = "cumulative",
    pruned: bool = False,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 500,
) -> LeavesShape:
    """The ends of all branches, best first, pinned ones before the others."""
    with Reading(desk.database, tree_id) as tree:
        ranked = tree.ranked(by, pruned=pruned)[:limit]
        return LeavesShape(
            items=[LeafShape(node=each.node.id, value=each.value, text=each.text) for each in ranked],
            same_text=[list(ids) for ids in tree.same_text()],
        )


# ------------------------------------------------------------ deciding


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
