"""Beam trees: what a model could say after a prompt, kept as a tree of token ids.

A node is a token after its parent's tokens. Two children of one node never carry the same token, so identical continuations are
one path however they were found. A node keeps the model's next-token candidates once they were computed; ranking the tree again
needs no model.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.changes import Action, chunks, learn, model_id_of
from ramify.store.packing import pack_candidates, pack_ids, to_json, unpack_candidates, unpack_ids
from ramify.store.records import (
    BeamNodeRecord,
    BeamTreeRecord,
    CompletionRecord,
    NewNode,
    SampleRecord,
    id_of,
    ids_of,
    moment,
)
from ramify.store.secrets import refuse_secrets

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Beams"]

trees, nodes = tables.beam_trees, tables.beam_nodes
FLAGS = ("pinned", "kept", "pruned", "bookmarked")
ROOT_TOKEN = -1
LOOKED = ("candidates", "next_entropy")
"""What was learnt by looking: kept, and no step of the history."""


class Beams:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def tree(
        self,
        sample: SampleRecord | int,
        model: str,
        fingerprint: str = "",
        *,
        title: str = "",
        prefill: Sequence[int] = (),
        config: Mapping[str, Any] | None = None,
    ) -> BeamTreeRecord:
        """The tree of a sample's current prompt under a model, made when there is none. Titles tell several trees apart.

        Raises InputError when the tree is there with another prefill.
        """
        refuse_secrets(dict(config or {}), "config")
        record = self._there(id_of(sample, SampleRecord), model, fingerprint, title, prefill)
        if record is not None:
            return record
        with self.database.action("grow tree", model) as action:
            record = self._there(
                id_of(sample, SampleRecord), model, fingerprint, title, prefill
            )  # now that nobody else can make it
            if record is not None:
                return record
            prompt_id = self.database.samples.get(sample).prompt_id
            model_id = model_id_of(action.connection, model, fingerprint)
            row = {"sample_id": id_of(sample, SampleRecord), "prompt_id": prompt_id, "model_id": model_id, "title": title}
            row |= {"prefill": pack_ids(prefill), "config": to_json(dict(config or {})), "created_at": action.time}
            (found,) = action.insert(trees, [row])
            root = {"tree_id": found, "parent_id": None, "token_id": ROOT_TOKEN, "depth": 0, "sum_logprob": 0.0, "origin": "root"}
            action.insert(nodes, [{**root, "created_at": action.time}])
            return self.get(found)

    def _there(self, sample_id: int, model: str, fingerprint: str, title: str, prefill: Sequence[int]) -> BeamTreeRecord | None:
        prompt_id = self.database.samples.get(sample_id).prompt_id
        same = (trees.c.prompt_id == prompt_id) & (trees.c.title == title)
        models = tables.models
        found = self._trees(same & (models.c.name == model) & (models.c.fingerprint == fingerprint))
        if found and found[0].prefill != tuple(prefill):
            raise InputError(f"tree {found[0].id} has another prefill; give this one a title of its own")
        return found[0] if found else None

    def get(self, tree: BeamTreeRecord | int) -> BeamTreeRecord:
        """Raises NotFoundError."""
        found = self._trees(trees.c.id == id_of(tree, BeamTreeRecord))
        if not found:
            raise NotFoundError(f"there is no beam tree {id_of(tree, BeamTreeRecord)}")
        return found[0]

    def of(self, sample: SampleRecord | int) -> Sequence[BeamTreeRecord]:
        """A sample's trees, of every revision of its prompt, oldest first."""
        return self._trees(trees.c.sample_id == id_of(sample, SampleRecord))

    def list(self, *, limit: int = 50) -> Sequence[BeamTreeRecord]:
        """All trees, newest first."""
        newest = select(trees.c.id).order_by(trees.c.id.desc()).limit(limit)
        return self._trees(trees.c.id.in_(newest))[::-1]

    def pieces(self, tree: BeamTreeRecord) -> dict[int, bytes]:
        """The bytes of every token that the workspace knows of the tree's model; b"" for those that write nothing."""
        table, models = tables.vocabulary, tables.models
        query = select(table.c.token_id, table.c.bytes).join(models, models.c.id == table.c.model_id)
        query = query.where(models.c.name == tree.model, models.c.fingerprint == tree.fingerprint)
        with self.database.reading() as connection:
            return {row[0]: bytes(row[1]) for row in connection.execute(query)}

    def learn(self, tree: BeamTreeRecord, pieces: Mapping[int, bytes]) -> None:
        """Keep the bytes of tokens of the tree's model. No step of the history."""
        with self.database.writing() as connection:
            _learn(connection, tree.id, pieces)

    def _trees(self, condition: Any) -> Sequence[BeamTreeRecord]:
        models, root = tables.models, nodes.alias("r")
        query = (
            select(trees, models.c.name, models.c.fingerprint, root.c.id.label("root_id"))
            .join(models, models.c.id == trees.c.model_id)
            .join(root, (root.c.tree_id == trees.c.id) & (root.c.depth == 0))
            .where(condition)
            .order_by(trees.c.id)
        )
        with self.database.reading() as connection:
            return [
                BeamTreeRecord(
                    id=row.id,
                    sample_id=row.sample_id,
                    prompt_id=row.prompt_id,
                    model=row.name,
                    fingerprint=row.fingerprint,
                    title=row.title,
                    prefill=unpack_ids(bytes(row.prefill)),
                    root_id=row.root_id,
                    config=json.loads(row.config),
                    created_at=moment(row.created_at),
                )
                for row in connection.execute(query)
            ]

    # ------------------------------------------------------------ growing

    def extend(
        self, parent: BeamNodeRecord | int, path: Sequence[NewNode], *, pieces: Mapping[int, bytes] | None = None
    ) -> Sequence[BeamNodeRecord]:
        """Hang a path of tokens under a node, one below the other; tokens that are there already are not added again.

        Returns the path's nodes. A node that is there learns candidates and measures that it lacked.
        `pieces` are the bytes of the tokens, for people. Raises NotFoundError; InputError for a token after an EOS.
        """
        return self.extend_many([(id_of(parent, BeamNodeRecord), path)], pieces=pieces)[0]

    def extend_many(
        self, paths: Sequence[tuple[int, Sequence[NewNode]]], *, pieces: Mapping[int, bytes] | None = None
    ) -> Sequence[Sequence[BeamNodeRecord]]:
        """Several paths, as one action: level by level, so that a wide growth is a few statements and not some for every node."""
        with self.database.action("extend beams", f"{len(paths)}") as action:
            at = [parent_id for parent_id, _ in paths]
            tree_ids = {row.tree_id for row in _nodes(action.connection, at).values()}
            made: list[list[int]] = [[] for _ in paths]
            for depth in range(max((len(path) for _, path in paths), default=0)):
                going = [i for i, (_, path) in enumerate(paths) if len(path) > depth]
                found = _hang(action, [(at[i], paths[i][1][depth]) for i in going])
                for i, node_id in zip(going, found, strict=True):
                    at[i] = node_id
                    made[i].append(node_id)
            if pieces and any(made):
                for tree_id in sorted(tree_ids):
                    _learn(action.connection, tree_id, pieces)
            records = {node.id: node for node in self.nodes_by_id(list(dict.fromkeys(i for ids in made for i in ids)))}
            return [[records[i] for i in ids] for ids in made]

    def set_candidates(
        self,
        node: BeamNodeRecord | int,
        candidates: Sequence[tuple[int, float]],
        *,
        entropy: float | None = None,
        pieces: Mapping[int, bytes] | None = None,
    ) -> None:
        """Keep what the model could say after a node: (token id, logprob), likeliest first, and the entropy of the whole.

        Durable, but no step of the history: who looks changes nothing, and an undo does not forget. Raises NotFoundError.
        """
        values: dict[str, Any] = {"candidates": pack_candidates(candidates)}
        if entropy is not None:
            values["next_entropy"] = entropy
        with self.database.writing() as connection:
            row = _node(connection, id_of(node, BeamNodeRecord))
            Action(connection, "").set_rows(nodes, [row.id], values)
            if pieces:
                _learn(connection, row.tree_id, pieces)

    def mark(self, which: Sequence[BeamNodeRecord | int], **flags: bool) -> int:
        """Set pinned, kept, pruned or bookmarked. Returns how many nodes changed."""
        unknown = sorted(set(flags) - set(FLAGS))
        if unknown or not flags:
            raise InputError(f"a node has no mark {unknown[0] if unknown else ''!r}; it has {', '.join(FLAGS)}")
        names = ", ".join(name if value else f"not {name}" for name, value in flags.items())
        with self.database.action("mark beams", names) as action:
            return len(action.update(nodes, ids_of(which, BeamNodeRecord), flags))

    def die(self, which: Sequence[BeamNodeRecord | int], reason: str | None) -> int:
        """Note why beams were given up; None brings them back to life. Returns how many changed."""
        with self.database.action("end beams" if reason else "revive beams", reason or "") as action:
            return len(action.update(nodes, ids_of(which, BeamNodeRecord), {"dead_reason": reason}))

    def saved_as(self, node: BeamNodeRecord | int, completion: CompletionRecord | int | None) -> None:
        """Note which completion a path was saved as."""
        with self.database.action("save beam", str(id_of(node, BeamNodeRecord))) as action:
            made = None if completion is None else id_of(completion, CompletionRecord)
            action.update(nodes, [id_of(node, BeamNodeRecord)], {"completion_id": made})

    def remove(self, which: Sequence[BeamNodeRecord | int]) -> None:
        """Delete nodes with all below them. Raises InputError for a root; delete the tree instead."""
        ids = ids_of(which, BeamNodeRecord)
        with self.database.action("remove beams", f"{len(ids)}") as action:
            if any(row["parent_id"] is None for part in chunks(list(ids)) for row in action.read(nodes, part)):
                raise InputError("a root cannot be removed from its tree; delete the tree")
            action.delete(nodes, ids)

    def delete(self, tree: BeamTreeRecord | int) -> None:
        with self.database.action("delete tree", str(id_of(tree, BeamTreeRecord))) as action:
            action.delete(trees, [self.get(tree).id])

    # ------------------------------------------------------------ reading

    def nodes(self, tree: BeamTreeRecord | int) -> Sequence[BeamNodeRecord]:
        """The whole tree, parents before children."""
        with self.database.reading() as connection:
            query = select(nodes).where(nodes.c.tree_id == id_of(tree, BeamTreeRecord)).order_by(nodes.c.depth, nodes.c.id)
            return [_record(row) for row in connection.execute(query)]

    def size(self, tree: BeamTreeRecord | int) -> int:
        """How many nodes a tree has, the root and what is pruned among them."""
        with self.database.reading() as connection:
            query = select(func.count()).select_from(nodes).where(nodes.c.tree_id == id_of(tree, BeamTreeRecord))
            found: int = connection.execute(query).scalar_one()
            return found

    def nodes_by_id(self, ids: Sequence[int]) -> Sequence[BeamNodeRecord]:
        """Those that exist, in the order given."""
        found = {}
        with self.database.reading() as connection:
            for part in chunks(list(ids)):
                found.update({row.id: _record(row) for row in connection.execute(select(nodes).where(nodes.c.id.in_(part)))})
        return [found[i] for i in ids if i in found]

    def children(self, node: BeamNodeRecord | int) -> Sequence[BeamNodeRecord]:
        """Likeliest first; those never measured last."""
        order = func.coalesce(nodes.c.logprob, -1e300).desc()
        with self.database.reading() as connection:
            query = select(nodes).where(nodes.c.parent_id == id_of(node, BeamNodeRecord)).order_by(order, nodes.c.id)
            return [_record(row) for row in connection.execute(query)]

    def path(self, node: BeamNodeRecord | int) -> Sequence[BeamNodeRecord]:
        """From the first token after the root down to the node; empty for the root. Raises NotFoundError."""
        node_id = id_of(node, BeamNodeRecord)
        up = select(nodes.c.id, nodes.c.parent_id).where(nodes.c.id == node_id).cte("up", recursive=True)
        up = up.union_all(select(nodes.c.id, nodes.c.parent_id).join(up, nodes.c.id == up.c.parent_id))
        query = select(nodes).where(nodes.c.id.in_(select(up.c.id))).order_by(nodes.c.depth)
        with self.database.reading() as connection:
            found = [_record(row) for row in connection.execute(query)]
        if not found:
            raise NotFoundError(f"there is no beam node {node_id}")
        return found[1:]

    def find(self, tree: BeamTreeRecord | int, token_ids: Sequence[int]) -> BeamNodeRecord | None:
        """The node at which these tokens after the root end; None where the tree has no such path."""
        at = self.get(tree).root_id
        with self.database.reading() as connection:
            for token_id in token_ids:
                query = select(nodes.c.id).where(nodes.c.parent_id == at, nodes.c.token_id == token_id)
                step = connection.execute(query).scalar()
                if step is None:
                    return None
                at = step
        return self.nodes_by_id([at])[0]


def _node(connection: Connection, node_id: int) -> Any:
    row = connection.execute(select(nodes).where(nodes.c.id == node_id)).first()
    if row is None:
        raise NotFoundError(f"there is no beam node {node_id}")
    return row


def _nodes(connection: Connection, ids: Iterable[int]) -> dict[int, Any]:
    """Rows by id. Raises NotFoundError for the first that is not there."""
    wanted = list(dict.fromkeys(ids))
    found = {row.id: row for part in chunks(wanted) for row in connection.execute(select(nodes).where(nodes.c.id.in_(part)))}
    missing = next((i for i in wanted if i not in found), None)
    if missing is not None:
        raise NotFoundError(f"there is no beam node {missing}")
    return found


def _hang(action: Action, wanted: Sequence[tuple[int, NewNode]]) -> list[int]:
    """One token under each of these nodes; returns the children's ids. What is there already learns what it lacked."""
    parents = _nodes(action.connection, (parent_id for parent_id, _ in wanted))
    there = _children(action.connection, wanted)
    fresh: dict[tuple[int, int], NewNode] = {}
    for parent_id, new in wanted:
        if parents[parent_id].ended:
            raise InputError(f"node {parent_id} is an EOS; nothing comes after it")
        if (parent_id, new.token_id) not in there:
            fresh.setdefault((parent_id, new.token_id), new)
    rows = [_row(parents[parent_id], new, action.time) for (parent_id, _), new in fresh.items()]
    made = dict(zip(fresh, action.insert(nodes, rows), strict=True))
    ids = []
    for parent_id, new in wanted:
        key = (parent_id, new.token_id)
        ids.append(made[key] if key in made else there[key].id)
        if fresh.get(key) is not new:
            # Read anew: another path may have taught the same node a moment ago.
            _teach(action, parents[parent_id], _node(action.connection, ids[-1]), new)
    return ids


def _children(connection: Connection, wanted: Sequence[tuple[int, NewNode]]) -> dict[tuple[int, int], Any]:
    """Those of the wanted that are there, by parent and token."""
    tokens = sorted({new.token_id for _, new in wanted})
    found: dict[tuple[int, int], Any] = {}
    for part in chunks(sorted({parent_id for parent_id, _ in wanted})):
        for some in chunks(tokens):
            query = select(nodes.c.id, nodes.c.parent_id, nodes.c.token_id)
            query = query.where(nodes.c.parent_id.in_(part), nodes.c.token_id.in_(some))
            found |= {(row.parent_id, row.token_id): row for row in connection.execute(query)}
    return found


def _teach(action: Action, parent: Any, old: Any, new: NewNode) -> None:
    """Give a node the candidates and measures that it lacked."""
    lacking = {k: v for k, v in _row(parent, new, action.time).items() if getattr(old, k) is None and v is not None}
    learnt = {name: lacking.pop(name) for name in LOOKED if name in lacking}
    if learnt:
        action.set_rows(nodes, [old.id], learnt)
    if lacking:
        action.update(nodes, [old.id], lacking)
        if "sum_logprob" in lacking:
            _measure_below(action, old.id)


def _learn(connection: Connection, tree_id: int, pieces: Mapping[int, bytes]) -> None:
    model_id = connection.execute(select(trees.c.model_id).where(trees.c.id == tree_id)).scalar_one()
    learn(connection, model_id, pieces)


def _measure_below(action: Action, node_id: int) -> None:
    """Sums and minima of the nodes under one that was measured only now."""
    parent = _node(action.connection, node_id)
    for child in action.connection.execute(select(nodes).where(nodes.c.parent_id == node_id)).all():
        if child.logprob is not None:
            found = {"sum_logprob": parent.sum_logprob + child.logprob, "min_logprob": min(parent.min_logprob, child.logprob)}
            action.update(nodes, [child.id], found)
            _measure_below(action, child.id)


def _row(parent: Any, new: NewNode, time: str) -> dict[str, Any]:
    known = new.logprob is not None and parent.sum_logprob is not None
    lowest = [value for value in (parent.min_logprob, new.logprob) if value is not None]  # the root has no minimum
    return {
        "tree_id": parent.tree_id,
        "parent_id": parent.id,
        "token_id": new.token_id,
        "depth": parent.depth + 1,
        "logprob": new.logprob,
        "entropy": new.entropy,
        "rank": new.rank,
        "sum_logprob": parent.sum_logprob + new.logprob if known else None,
        "min_logprob": min(lowest) if known else None,
        "origin": new.origin,
        "ended": new.ended,
        "candidates": None if new.candidates is None else pack_candidates(new.candidates),
        "next_entropy": new.next_entropy,
        "created_at": time,
    }


def _record(row: Any) -> BeamNodeRecord:
    values = {name: getattr(row, name) for name in BeamNodeRecord.__slots__ if name != "candidates"}
    values |= {name: bool(values[name]) for name in ("ended", *FLAGS)}
    return BeamNodeRecord(**values, candidates=None if row.candidates is None else unpack_candidates(bytes(row.candidates)))
