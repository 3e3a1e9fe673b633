"""Beam trees: begun and read. `tree_growing.py` is where the model is asked, `tree_deciding.py` where one decides."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from ramify.api.workspace.desk import DeskState
from ramify.api.workspace.shapes import After, Body, Id, Items, Nats, RowId, Shape, cursor_of, place_of
from ramify.api.workspace.tokens import CandidatesShape, K, Search
from ramify.api.workspace.tree_shapes import Measure, NodesShape, TreeShape, next_shape, nodes_shape, spelt, tree_shape
from ramify.workbench.beam_tree import BeamTree
from ramify.workbench.beam_tree_planting import planted
from ramify.workbench.beam_tree_reading import Reading

__all__ = ["router"]

router = APIRouter(tags=["beam trees"])


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
