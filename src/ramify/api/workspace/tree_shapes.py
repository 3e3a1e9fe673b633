"""Beam trees as columns: thousands of nodes without an object for each."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from ramify.api.workspace.desk import Desk
from ramify.api.workspace.shapes import Nats, Shape, finite
from ramify.api.workspace.tokens import CandidatesShape
from ramify.store.database import Database
from ramify.store.records import BeamNodeRecord, BeamTreeRecord
from ramify.workbench.beam_tree_reading import Reading
from ramify.workbench.beam_tree_records import NextTokens

__all__ = ["NodesShape", "TreeShape", "next_shape", "nodes_shape", "tree_shape"]

PINNED, KEPT, PRUNED, BOOKMARKED, LOOKED = 1, 2, 4, 8, 16


class TreeShape(Shape):
    """What a model could say after a sample's prompt, grown so far."""

    id: int
    sample_id: int
    prompt_id: int
    model: str
    fingerprint: str
    title: str
    prefill: str
    root: int = Field(description="The root's node id.")
    nodes: int = Field(description="With the root and what is pruned.")
    created_at: datetime


class NodesShape(Shape):
    """Nodes as columns, parents before children."""

    id: list[int]
    parent: list[int | None] = Field(description="null: the root, which has no token.")
    token: list[int]
    depth: list[int]
    logprob: list[Nats]
    entropy: list[float | None]
    rank: list[int | None]
    sum_logprob: list[Nats]
    min_logprob: list[Nats]
    origin: list[str]
    ended: list[bool]
    flags: list[int] = Field(description="1 pinned, 2 kept, 4 pruned, 8 bookmarked, 16 looked at.")
    dead: dict[str, str] = Field(description="By node id: why a search gave it up.")
    completion: dict[str, int] = Field(description="By node id: the completion that its path was saved as.")
    vocabulary: dict[str, str] = Field(description="Every token here, spelt out.")
    next: str | None


def tree_shape(database: Database, record: BeamTreeRecord) -> TreeShape:
    with Reading(database, record) as tree:
        prefill = tree.prefill_text
    return TreeShape(
        id=record.id,
        sample_id=record.sample_id,
        prompt_id=record.prompt_id,
        model=record.model,
        fingerprint=record.fingerprint,
        title=record.title,
        prefill=prefill,
        root=record.root_id,
        nodes=database.beams.size(record),
        created_at=record.created_at,
    )


def nodes_shape(desk: Desk, tree: BeamTreeRecord, nodes: Sequence[BeamNodeRecord], following: str | None = None) -> NodesShape:
    tokens = sorted({node.token_id for node in nodes if node.parent_id is not None})
    return NodesShape(
        id=[node.id for node in nodes],
        parent=[node.parent_id for node in nodes],
        token=[node.token_id for node in nodes],
        depth=[node.depth for node in nodes],
        logprob=finite(node.logprob for node in nodes),
        entropy=[node.entropy for node in nodes],
        rank=[node.rank for node in nodes],
        sum_logprob=finite(node.sum_logprob for node in nodes),
        min_logprob=finite(node.min_logprob for node in nodes),
        origin=[node.origin for node in nodes],
        ended=[node.ended for node in nodes],
        flags=[_flags(node) for node in nodes],
        dead={str(node.id): node.dead_reason for node in nodes if node.dead_reason is not None},
        completion={str(node.id): node.completion_id for node in nodes if node.completion_id is not None},
        vocabulary={str(i): text for i, text in spelt(desk, tree, tokens).items()},
        next=following,
    )


def spelt(desk: Desk, tree: BeamTreeRecord, tokens: Iterable[int]) -> dict[int, str]:
    """Tokens spelt out: by the model where it is loaded, else by what the workspace knows, where special ones are empty."""
    model = desk.models.loaded().get(tree.model)
    pieces: Mapping[int, bytes]
    if model is not None and model.info.fingerprint == tree.fingerprint:
        pieces = {i: model.codec.literal_bytes[i] for i in tokens}
    else:
        known = desk.database.beams.pieces(tree)
        pieces = {i: known.get(i, b"") for i in tokens}
    return {i: piece.decode("utf-8", errors="replace") for i, piece in pieces.items()}


def next_shape(position: int, found: NextTokens) -> CandidatesShape:
    return CandidatesShape(
        position=position,
        ids=[token.token_id for token in found.shown],
        text=[token.text for token in found.shown],
        logprob=finite(token.logprob for token in found.shown),
        probability=[token.probability for token in found.shown],
        rank=[token.rank for token in found.shown],
        ends=[token.ends for token in found.shown],
        node=[token.node_id for token in found.shown],
        processed_logprob=None,
        others=found.others,
        entropy=found.entropy,
    )


def _flags(node: BeamNodeRecord) -> int:
    return (
        PINNED * node.pinned
        + KEPT * node.kept
        + PRUNED * node.pruned
        + BOOKMARKED * node.bookmarked
        + LOOKED * (node.candidates is not None)
    )


Measure = Literal["cumulative", "mean", "minimum", "entropy"]
