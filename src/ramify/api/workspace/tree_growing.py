"""Beam trees: where they grow, and what other rules would make of what they know."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.shapes import Body, Config, Id, Items, Nats, RowId, Shape, finite
from ramify.api.workspace.tree_shapes import Measure, NodesShape, nodes_shape
from ramify.decoding.config import GenerationConfig
from ramify.workbench.beam_tree import BeamTree
from ramify.workbench.beam_tree_search import Outcome

__all__ = ["router"]

router = APIRouter(tags=["beam trees"])

COVERED = 64
"""Rounds of looking at most, before an outcome is left undecided."""

Count = Annotated[int, Field(ge=1, le=4096)]


class BeamOut(Body):
    node: RowId
    width: Count | None = Field(default=None, description="So many of the likeliest next tokens.")
    token_ids: Annotated[list[RowId], Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="These very ones."
    )
    depth: Count = Field(default=1, description="Tokens of each branch.")
    spread: Count = Field(default=1, description="Continuations of each token after the first.")


class Grow(Body):
    node: RowId
    config: Config = Field(default_factory=dict)


class Rerank(Body):
    node: RowId
    config: Config
    cover: bool = Field(
        default=False, description="Ask the model about what leaves the search undecided; else it is never asked."
    )


class Under(Body):
    node: RowId | None = None
    config: Config


class FindUnlikely(Body):
    config: Config
    by: Measure = "mean"
    at_least: Annotated[float, Field(allow_inf_nan=False)] | None = None
    explore: Annotated[int, Field(ge=0, le=100)] = 0
    depth: Annotated[int, Field(ge=1, le=256)] = 8


class GrownShape(Shape):
    ends: list[int] = Field(description="Node ids of the branches' ends.")
    added: NodesShape = Field(description="New nodes, and those that changed.")


class ResultShape(Shape):
    node: int | None = Field(description="null where the tree does not hold its path.")
    token_ids: list[int] = Field(description="From the start on.")
    text: str
    score: float | None
    finish_reason: str


class VerdictsShape(Shape):
    """What became of every node below the start, as columns."""

    node: list[int]
    state: list[Literal["best", "finished", "alive", "removed", "crowded", "stopped", "unknown"]]
    step: list[int] = Field(description="Tokens of the path that lived, the deciding one included.")
    score: list[Nats]
    processor: list[str | None]
    reason: list[str] = Field(description="One sentence, with the numbers.")


class OutcomeShape(GrownShape):
    start: int
    seed: int
    decided: bool
    results: list[ResultShape] = Field(description="Best first; empty where the tree does not decide.")
    verdicts: VerdictsShape
    unknown: int = Field(description="Paths that would have to be looked at.")
    asked: int = Field(description="Nodes that the model was asked about.")


class UnderShape(Shape):
    """Every node below one under other settings, as columns; a number that the tree does not decide is two bounds."""

    node: list[int]
    token_low: list[Nats]
    token_high: list[Nats]
    total_low: list[Nats]
    total_high: list[Nats]
    removed_by: list[str | None] = Field(description="null: the token may stay.")
    unreachable: list[bool]


class RemovedShape(Shape):
    position: int = Field(description="In the path.")
    processor: str
    logprob: Nats


class UnlikelyShape(Shape):
    node: int
    value: Nats
    text: str
    removed: list[RemovedShape]
    beats: float = Field(description="The share of the reachable leaves that rank lower.")


@router.post("/trees/{tree_id}/beam-out")
async def beam_out(desk: DeskState, tree_id: Id, body: BeamOut) -> GrownShape:
    """Grow branches from a node: its likeliest next tokens, or picked ones, each to a depth."""

    def grown() -> GrownShape:
        with desk.tree(tree_id) as tree:
            before = _newest(desk, tree)
            ends = tree.beam_out(body.node, width=body.width, tokens=body.token_ids, depth=body.depth, spread=body.spread)
            return _grown(desk, tree, before, body.node, [end.id for end in ends])

    return await desk.waiting(grown)


@router.post("/trees/{tree_id}/continue")
async def continue_branch(desk: DeskState, tree_id: Id, body: Grow) -> GrownShape:
    """Let the model go on from a node to an end of its own."""

    def grown() -> GrownShape:
        with desk.tree(tree_id) as tree:
            before = _newest(desk, tree)
            ends = tree.continue_(body.node, GenerationConfig.from_dict(body.config))
            return _grown(desk, tree, before, body.node, [end.id for end in ends])

    return await desk.waiting(grown)


@router.post("/trees/{tree_id}/search")
async def search(desk: DeskState, tree_id: Id, body: Grow) -> OutcomeShape:
    """Automatic beam search from a node; every beam that was kept becomes a path, the others say why they died."""

    def searched() -> OutcomeShape:
        with desk.tree(tree_id) as tree:
            before = _newest(desk, tree)
            outcome = tree.search(GenerationConfig.from_dict(body.config), at=body.node)
            return _outcome(desk, tree, outcome, before, 0)

    return await desk.waiting(searched)


@router.post("/trees/{tree_id}/rerank")
async def rerank(desk: DeskState, tree_id: Id, body: Rerank) -> OutcomeShape:
    """The same search on what the tree knows, under any settings, with what became of every node and why."""

    def ranked() -> OutcomeShape:
        config = GenerationConfig.from_dict(body.config)
        with desk.tree(tree_id) as tree:
            before, asked = _newest(desk, tree), 0
            outcome = tree.rerank(config, at=body.node)
            for _ in range(COVERED if body.cover else 0):
                if outcome.decided:
                    break
                asked += tree.cover(outcome)
                outcome = tree.rerank(outcome.config.replace(seed=outcome.seed), at=body.node)
            return _outcome(desk, tree, outcome, before, asked)

    return await desk.waiting(ranked)


@router.post("/trees/{tree_id}/under")
async def under(desk: DeskState, tree_id: Id, body: Under) -> UnderShape:
    """Every node below one under any settings: what a search adds up, or with sampling the logprob of drawing it."""

    def rescored() -> UnderShape:
        with desk.tree(tree_id) as tree:
            found = list(tree.under(GenerationConfig.from_dict(body.config), at=body.node).values())
        return UnderShape(
            node=[each.node.id for each in found],
            token_low=finite(each.token.low for each in found),
            token_high=finite(each.token.high for each in found),
            total_low=finite(each.total.low for each in found),
            total_high=finite(each.total.high for each in found),
            removed_by=[each.removed_by for each in found],
            unreachable=[each.unreachable for each in found],
        )

    return await desk.waiting(rescored)


@router.post("/trees/{tree_id}/unlikely")
async def unlikely(desk: DeskState, tree_id: Id, body: FindUnlikely) -> Items[UnlikelyShape]:
    """Branches that sampling under these settings cannot reach, the best first by their raw logprobs."""

    def found() -> Items[UnlikelyShape]:
        config = GenerationConfig.from_dict(body.config)
        with desk.tree(tree_id) as tree:
            branches = tree.find_unlikely(config, by=body.by, at_least=body.at_least, explore=body.explore, depth=body.depth)
        return Items(
            items=[
                UnlikelyShape(
                    node=each.node.id,
                    value=each.value,
                    text=each.text,
                    removed=[RemovedShape(position=at, processor=name, logprob=value) for at, name, value in each.removed],
                    beats=each.beats,
                )
                for each in branches
            ]
        )

    return await desk.waiting(found)


def _newest(desk: Desk, tree: BeamTree) -> set[int]:
    return {node.id for node in desk.database.beams.nodes(tree.id)}


def _grown(desk: Desk, tree: BeamTree, before: set[int], start: int, ends: Sequence[int]) -> GrownShape:
    """What there is now and was not before, with the start, which was looked at."""
    added = [node for node in desk.database.beams.nodes(tree.id) if node.id not in before or node.id == start]
    return GrownShape(ends=list(ends), added=nodes_shape(desk, tree.record, added))


def _outcome(desk: Desk, tree: BeamTree, outcome: Outcome, before: set[int], asked: int) -> OutcomeShape:
    verdicts = tree.verdicts(outcome)
    found = list(verdicts.items())
    ends = [outcome.nodes.get(path) for path in outcome.paths]
    # A search says of old nodes too why they died, and brings others back: all that it touched is told.
    touched = set(verdicts) | {outcome.start}
    added = [node for node in desk.database.beams.nodes(tree.id) if node.id not in before or node.id in touched]
    return OutcomeShape(
        start=outcome.start,
        seed=outcome.seed,
        decided=outcome.decided,
        results=[
            ResultShape(
                node=node,
                token_ids=list(result.generated_token_ids),
                text=result.generated_text,
                score=_number(result.beam_score),
                finish_reason=result.finish_reason,
            )
            for node, result in zip(ends, outcome.results, strict=True)
        ],
        verdicts=VerdictsShape(
            node=[node for node, _ in found],
            state=[verdict.state for _, verdict in found],
            step=[verdict.step for _, verdict in found],
            score=finite(verdict.score for _, verdict in found),
            processor=[verdict.processor for _, verdict in found],
            reason=[verdict.reason for _, verdict in found],
        ),
        unknown=len(outcome.unknown),
        asked=asked,
        ends=[node for node in ends if node is not None],
        added=nodes_shape(desk, tree.record, added),
    )


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
