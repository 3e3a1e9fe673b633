"""A beam tree as it is: its nodes, their texts, and which of its leaves stand first. No model is needed for it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

from ramify.errors import InputError, NotFoundError
from ramify.models.detokenizer import StreamDecoder
from ramify.store.database import Database
from ramify.store.records import BeamNodeRecord, BeamTreeRecord
from ramify.workbench.beam_tree_records import Measure, Ranked, Scene

__all__ = ["At", "Ids", "Reading", "check_measure", "way_to"]

Ids = tuple[int, ...]

At = BeamNodeRecord | int | None
"""A node, its id, or None for the root."""


class Reading:
    """An open tree. Use it as a context, or `close` it."""

    def __init__(self, database: Database, tree: BeamTreeRecord | int) -> None:
        """Open a tree. Raises NotFoundError."""
        self.database = database
        self.record = database.beams.get(tree)
        config = self.record.config
        self.prompt_ids: Ids = tuple(config["prompt_token_ids"])
        """The prompt and the prefill as the model is given them."""
        self.cached = int(config["cached"])

    @cached_property
    def pieces(self) -> Mapping[int, bytes]:
        """The bytes of each token; b"" for those that write nothing."""
        return defaultdict(bytes, self.database.beams.pieces(self.record))

    def close(self) -> None:
        """Nothing is held without a model."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def id(self) -> int:
        return self.record.id

    @property
    def root(self) -> BeamNodeRecord:
        return self.node(None)

    def node(self, at: At) -> BeamNodeRecord:
        """A node as it is now. Raises NotFoundError where this tree has none of that id."""
        node_id = self.record.root_id if at is None else at if isinstance(at, int) else at.id
        found = self.database.beams.nodes_by_id([node_id])
        if not found or found[0].tree_id != self.id:
            raise NotFoundError(f"tree {self.id} has no node {node_id}")
        return found[0]

    def path(self, at: At) -> Ids:
        """The token ids from the root to a node."""
        return tuple(node.token_id for node in self.database.beams.path(self.node(at).id))

    def text(self, at: At) -> str:
        """The text from the root to a node, without the prefill."""
        return self._text(self.path(at))[1]

    @property
    def prefill_text(self) -> str:
        """What stands between the prompt and the root."""
        return self._text(())[0]

    def text_of(self, token_ids: Sequence[int]) -> str:
        """The text of any tokens after the root, in the tree or not."""
        return self._text(tuple(token_ids))[1]

    def find(self, token_ids: Sequence[int]) -> BeamNodeRecord | None:
        return self.database.beams.find(self.id, token_ids)

    def children(self, at: At) -> Sequence[BeamNodeRecord]:
        """Likeliest first."""
        return self.database.beams.children(self.node(at).id)

    def nodes(self, *, pruned: bool = False) -> list[BeamNodeRecord]:
        """Parents before children; what was pruned, and all below it, only when asked for."""
        return _visible(self.database.beams.nodes(self.id), pruned)

    def below(self, at: At) -> list[BeamNodeRecord]:
        """A node and all that hangs under it, pruned branches too."""
        below = {self.node(at).id}
        found = []
        for node in self.database.beams.nodes(self.id):
            if node.id in below or node.parent_id in below:
                below.add(node.id)
                found.append(node)
        return found

    def leaves(self, *, pruned: bool = False) -> list[BeamNodeRecord]:
        """Nodes without children. Where all children were pruned, the stump is no beam."""
        everything = self.database.beams.nodes(self.id)
        parents = {node.parent_id for node in everything}
        return [node for node in _visible(everything, pruned) if node.id not in parents and node.parent_id is not None]

    def ranked(self, by: Measure = "cumulative", *, pruned: bool = False, pinned_first: bool = True) -> list[Ranked]:
        """The leaves, best first: by the highest cumulative, mean or minimum logprob, or by the lowest mean entropy."""
        check_measure(by)
        by_id = {node.id: node for node in self.nodes(pruned=pruned)}
        found = []
        for leaf in self.leaves(pruned=pruned):
            path = way_to(leaf, by_id)
            value = _value(by, path)
            if value is not None:
                found.append(Ranked(leaf, value, self._text(tuple(node.token_id for node in path))[1]))
        sign = 1.0 if by == "entropy" else -1.0
        return sorted(found, key=lambda r: (pinned_first and not r.node.pinned, sign * r.value, r.node.id))

    def same_text(self) -> list[tuple[int, ...]]:
        """Groups of leaves that read alike though their tokens differ."""
        found: dict[str, list[int]] = {}
        for ranked in self.ranked(pinned_first=False):
            found.setdefault(ranked.text, []).append(ranked.node.id)
        return [tuple(ids) for ids in found.values() if len(ids) > 1]

    def replay(self, at: At) -> list[Scene]:
        """A path step by step, from the first token on: what was taken, and what else there was."""
        nodes = self.database.beams.nodes(self.id)
        by_id = {node.id: node for node in nodes}
        node = self.node(at)
        scenes = []
        for step in way_to(node, by_id):
            assert step.parent_id is not None
            level = [other.sum_logprob for other in nodes if other.depth == step.depth and other.sum_logprob is not None]
            siblings = [other for other in self.database.beams.children(step.parent_id) if other.id != step.id]
            ids = tuple(each.token_id for each in way_to(step, by_id))
            place = 1 + sum(value > (step.sum_logprob or 0.0) for value in level)
            scenes.append(Scene(step, self._text(ids)[1], by_id[step.parent_id].candidates or (), tuple(siblings), place))
        return scenes

    def _text(self, path: Ids) -> tuple[str, str]:
        """The prefill's text and the path's; a character that begins in the prefill is the path's."""
        decoder = StreamDecoder(self.pieces)
        before = "".join(map(decoder.feed, self.record.prefill))
        return before, "".join(map(decoder.feed, path)) + decoder.flush()

    def __repr__(self) -> str:
        return f"<ramify.BeamTree {self.id} of sample {self.record.sample_id} under {self.record.model}>"


def check_measure(by: str) -> None:
    if by not in ("cumulative", "mean", "minimum", "entropy"):
        raise InputError(f"by is {by!r}; leaves are ranked by cumulative, mean, minimum or entropy")


def _visible(nodes: Sequence[BeamNodeRecord], pruned: bool) -> list[BeamNodeRecord]:
    if pruned:
        return list(nodes)
    gone: set[int | None] = set()
    found = []
    for node in nodes:
        if node.pruned or node.parent_id in gone:
            gone.add(node.id)
        else:
            found.append(node)
    return found


def way_to(node: BeamNodeRecord, by_id: Mapping[int, BeamNodeRecord]) -> list[BeamNodeRecord]:
    """The path to a node, the root left out."""
    found = []
    at = node
    while at.parent_id is not None:
        found.append(at)
        at = by_id[at.parent_id]
    return found[::-1]


def _value(by: Measure, path: Sequence[BeamNodeRecord]) -> float | None:
    if by == "entropy":
        entropies = [node.entropy for node in path if node.entropy is not None]
        return sum(entropies) / len(entropies) if len(entropies) == len(path) else None
    last = path[-1]
    return {"cumulative": last.sum_logprob, "mean": last.mean_logprob, "minimum": last.min_logprob}[by]
