"""How a beam tree grows: by tokens that were picked, by the likeliest ones, by the model on its own, or by a search."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ramify.decoding.config import GenerationConfig
from ramify.engine.kv_tree import Branches
from ramify.engine.model import Model
from ramify.engine.requests import GenerationRequest
from ramify.errors import InputError, PromptTooLongError
from ramify.store.database import Database
from ramify.store.records import BeamNodeRecord, BeamTreeRecord, NewNode
from ramify.workbench.beam_tree_looking import Distribution, Lookahead, top_of
from ramify.workbench.beam_tree_reading import At, Ids, Reading
from ramify.workbench.beam_tree_records import NextToken, NextTokens
from ramify.workbench.beam_tree_search import Looking, Outcome, watched

__all__ = ["Growing", "Next"]

MOST_NODES = 4096
"""In one beam-out."""
SPELT = 32
"""Of so many of a node's likeliest next tokens the workspace keeps the bytes."""


@dataclass(frozen=True)
class Next:
    """What comes after a node, as far as it is at hand."""

    candidates: tuple[tuple[int, float], ...]
    entropy: float | None
    """None where the tree does not know it and nobody needs it."""
    whole: Distribution | None

    def new(self, token_id: int, ends: bool, origin: str, top: int) -> NewNode:
        """The child with this token; `top` candidates are the likeliest ones, the others stand behind them."""
        place = next((i for i, (i_th, _) in enumerate(self.candidates[:top]) if i_th == token_id), None)
        if place is not None:
            logprob = self.candidates[place][1]
            rank = 1 + sum(value > logprob for _, value in self.candidates[:place])
        else:
            assert self.whole is not None
            logprob, rank = self.whole.measure(token_id)
        return NewNode(token_id=token_id, logprob=logprob, entropy=self.entropy, rank=rank, origin=origin, ended=ends)


class Growing(Reading):
    """What makes new nodes: the tree with its model. Close it to give its keys and values back."""

    def __init__(self, database: Database, model: Model, tree: BeamTreeRecord | int) -> None:
        """Open a tree. Raises NotFoundError, and InputError where it was grown by another model than this one."""
        super().__init__(database, tree)
        self.model = model
        if (self.record.model, self.record.fingerprint) != (model.info.name, model.info.fingerprint):
            raise InputError(
                f"tree {self.id} was grown by {self.record.model} ({self.record.fingerprint[:12]}); "
                f"the model given is {model.info.name} ({model.info.fingerprint[:12]}). Open it with its own, or start another"
            )
        self.pieces = dict(enumerate(model.codec.token_bytes))
        self._looking = Lookahead(model, self.prompt_ids)

    def close(self) -> None:
        self._looking.free()

    def candidates(self, at: At = None, k: int = 10, *, search: str | None = None) -> NextTokens:
        """What the model could say after a node: the k likeliest tokens, EOS among them where it is.

        search: only tokens that contain this text, out of the whole vocabulary. At most one forward pass of one token, and none
        where the node was looked at before (but for a search beyond what it keeps). Raises InputError after an EOS.
        """
        node = self._growing(at)
        path = self.path(node)
        known = self._look([path], {path: node}, whole=search is not None, surprised=False)[path]
        if node.candidates is None:
            self._keep_candidates(node.id, known)
        pairs = list(known.candidates[: self.cached])
        if search is not None or (k > len(pairs) and known.whole is not None):
            assert known.whole is not None
            (everything,) = top_of(known.whole.logprobs.unsqueeze(0), self.model.info.vocab_size)
            pairs = everything
        ranks, spelt = _ranks(pairs), self.model.codec.literal_bytes
        children = {child.token_id: child.id for child in self.database.beams.children(node.id)}
        eos = self.model.info.eos_token_ids
        shown = [
            NextToken(token_id, spelt[token_id], logprob, rank, token_id in eos, children.get(token_id))
            for (token_id, logprob), rank in zip(pairs, ranks, strict=True)
            if search is None or search in spelt[token_id].decode("utf-8", errors="replace")
        ][:k]
        others = max(0.0, 1.0 - math.fsum(token.probability for token in shown))
        return NextTokens(node.id, tuple(shown), others, known.entropy)

    def beam_out(
        self, at: At = None, *, width: int | None = None, tokens: Sequence[int] | None = None, depth: int = 1, spread: int = 1
    ) -> list[BeamNodeRecord]:
        """Grow branches from a node: with its `width` likeliest next tokens, or with these `tokens`; each goes on with its
        `spread` likeliest continuations, token by token, until it is `depth` long or ends.

        Each step is one forward pass for all branches together, and none for what the tree knows. Returns the branches' ends,
        in the order of their first tokens. Raises InputError after an EOS, PromptTooLongError where the window has no room.
        """
        node = self._growing(at)
        if (width is None) == (tokens is None):
            raise InputError("give width (so many of the likeliest tokens) or tokens (these very ones), not both and not neither")
        if (width is not None and width < 1) or depth < 1 or spread < 1:
            raise InputError(f"width is {width}, depth is {depth}, spread is {spread}; each must be at least 1")
        first = width if width is not None else len(tokens or ())
        if first * sum(spread**i for i in range(depth)) > MOST_NODES:
            raise InputError(f"that would grow more than {MOST_NODES} tokens at once; grow fewer or shorter branches")
        start = self.path(node)
        picked = None if tokens is None else self.model.checked_ids(tokens, "tokens")
        room = self.model.info.context_window - len(self.prompt_ids) - len(start)
        if room < 1:
            raise PromptTooLongError(len(self.prompt_ids) + len(start) + 1, self.model.info.context_window)
        new: dict[Ids, NewNode] = {}
        looked: dict[Ids, Next] = {}
        there: dict[Ids, BeamNodeRecord] = {start: node}
        frontier = [start]
        ends = []
        for level in range(1, min(depth, room) + 1):
            wanted = [path for path in frontier if not self._ends(path[len(start) :])]
            if level > 1:
                self._find_children(there, wanted)
            known = self._look(wanted, there, picked=picked if level == 1 else None)
            looked |= known
            ends += [path for path in frontier if path not in known and path != start]
            frontier = []
            for path, after in known.items():
                likeliest = [token_id for token_id, _ in after.candidates[: first if level == 1 else spread]]
                for token_id in picked if level == 1 and picked is not None else likeliest:
                    origin = "picked" if level == 1 and picked is not None else "sampled"
                    new[*path, token_id] = after.new(token_id, token_id in self.model.info.eos_token_ids, origin, self.cached)
                    frontier.append((*path, token_id))
        grown = self._write("beam out", {start: node.id}, new, looked)
        last = sorted(dict.fromkeys(ends + frontier), key=list(grown).index)
        return [self.node(grown[path]) for path in last]

    def continue_(self, at: At = None, config: GenerationConfig | None = None, **fields: Any) -> list[BeamNodeRecord]:
        """Let the model go on from a node to an end of its own, under any settings. Returns the ends, best first."""
        node = self._growing(at)
        start = self.path(node)
        request = self._request(start, config, fields, logprobs=self.cached)
        self._looking.remember(start)
        new: dict[Ids, NewNode] = {}
        looked: dict[Ids, Next] = {}
        results = self.model.result(request)
        for result in results:
            path = start
            for token in result.logprobs or ():
                top = tuple((other.token_id, other.logprob) for other in token.raw.alternatives)
                looked.setdefault(path, Next(top, token.entropy, None))
                path = (*path, token.token_id)
                ended = len(path) == len(start) + len(result.generated_token_ids) and result.finish_reason == "eos"
                new[path] = NewNode(
                    token_id=token.token_id, logprob=token.logprob, entropy=token.entropy, rank=token.rank, ended=ended
                )
        grown = self._write("continue beam", {start: node.id}, new, looked)
        return [self.node(grown[(*start, *result.generated_token_ids)]) for result in results]

    def search(
        self, config: GenerationConfig | None = None, *, at: At = None, logprobs: int | None = None, **fields: Any
    ) -> Outcome:
        """Automatic beam search from a node, run by the engine: its results are those of `model.completions`.

        Every beam that was kept becomes a path of the tree; those that were given up say why in `dead_reason`.
        """
        node = self._growing(at)
        start = self.path(node)
        request = self._request(start, config, fields, logprobs=logprobs)
        engine = self.model.engine
        branches = Branches(engine.tree)
        kind = watched(Looking, request.config)
        run = kind(request, engine.backend, branches, engine.pipeline(request), engine.constraint(request))
        # One more than a step considers, so that the same search can run again without the model.
        run.top = max(self.cached, max(2, 1 + len(run.eos)) * request.config.num_beams + 1)
        self._looking.remember(start)
        try:
            results = tuple(self.model.converse(run.run(), branches))
        finally:
            self.model.release(branches)
        steps = tuple(run.steps[depth] for depth in sorted(run.steps))
        outcome = Outcome(node.id, request.config, request.seed, steps, results, run.ended)
        kept = [path for step in steps for path in step.kept] + list(run.ended) + [r.generated_token_ids for r in results]
        new: dict[Ids, NewNode] = {}
        for whole in kept:
            for path in (whole[:end] for end in range(1, len(whole) + 1)):
                logprob, rank = run.measures[path]
                ended = path[-1] in run.eos and path[-1] in self.model.info.eos_token_ids
                surprise = run.seen[path[:-1]][1]
                new[start + path] = NewNode(token_id=path[-1], logprob=logprob, entropy=surprise, rank=rank, ended=ended)
        looked = {start + path: Next(tuple(top), surprise, None) for path, (top, surprise) in run.seen.items()}
        with self.database.action("beam search", f"{request.config.num_beams} beams"):
            grown = self._write("beam search", {start: node.id}, new, looked)
            self._bury(outcome, {path[len(start) :]: node_id for path, node_id in grown.items()})
        return replace(outcome, nodes={path[len(start) :]: node_id for path, node_id in grown.items()})

    def _request(
        self, path: Ids, config: GenerationConfig | None, fields: Mapping[str, Any], logprobs: int | None = None
    ) -> GenerationRequest:
        settings = (config or GenerationConfig()).replace(**fields)
        return self.model.request_of_ids(self.prompt_ids + path, (), settings, logprobs=logprobs)

    def _growing(self, at: At) -> BeamNodeRecord:
        node = self.node(at)
        if node.ended:
            raise InputError(f"node {node.id} is an EOS; nothing comes after it. Choose one of its ancestors")
        return node

    def _ends(self, path: Ids) -> bool:
        return bool(path) and path[-1] in self.model.info.eos_token_ids

    def _find_children(self, there: dict[Ids, BeamNodeRecord], paths: Iterable[Ids]) -> None:
        """Add to `there` those of the paths that are nodes already."""
        for path in paths:
            parent = there.get(path[:-1])
            if parent is not None and path not in there:
                for child in self.database.beams.children(parent.id):
                    there[*path[:-1], child.token_id] = child

    def _look(
        self,
        paths: Sequence[Ids],
        there: Mapping[Ids, BeamNodeRecord],
        *,
        picked: Sequence[int] | None = None,
        whole: bool = False,
        surprised: bool = True,
    ) -> dict[Ids, Next]:
        """What comes after each path, from the tree where it is enough, else from the model.

        picked: tokens that must be measured. whole: the whole distribution is needed. surprised: its entropy is.
        """
        found: dict[Ids, Next] = {}
        for path in paths:
            node = there.get(path)
            if node is not None and node.candidates is not None and not whole:
                top = {token_id for token_id, _ in node.candidates[: self.cached]}
                entropy = self._entropy_after(node)
                if not (surprised and entropy is None) and not (picked is not None and set(picked) - top):
                    found[path] = Next(node.candidates, entropy, None)
        missing = [path for path in paths if path not in found]
        seen = self._looking.at(missing)
        if seen:
            together = torch.stack([distribution.logprobs for distribution in seen.values()])
            tops = top_of(together, self.cached, self.model.info.eos_token_ids)
            for (path, distribution), top_row in zip(seen.items(), tops, strict=True):
                found[path] = Next(tuple(top_row), distribution.entropy, distribution)
        return {path: found[path] for path in paths}

    def _entropy_after(self, node: BeamNodeRecord) -> float | None:
        """The entropy of a node's next token, where the tree knows it."""
        if node.next_entropy is not None:
            return node.next_entropy
        found = next((child.entropy for child in self.database.beams.children(node.id) if child.entropy is not None), None)
        if found is None and node.candidates and len(node.candidates) >= self.model.codec.size:
            found = -math.fsum(math.exp(logprob) * logprob for _, logprob in node.candidates)
        return found

    def _keep_candidates(self, node_id: int, after: Next) -> None:
        if not self.database.read_only:
            pieces = self._spelt(after.candidates)
            self.database.beams.set_candidates(node_id, after.candidates, entropy=after.entropy, pieces=pieces)

    def _spelt(self, candidates: Sequence[tuple[int, float]]) -> dict[int, bytes]:
        """The likeliest ones' bytes: the tree can then be read and saved without its model."""
        return {token_id: self.pieces[token_id] for token_id, _ in candidates[:SPELT]}

    def _write(self, name: str, ids: Mapping[Ids, int], new: Mapping[Ids, NewNode], looked: Mapping[Ids, Next]) -> dict[Ids, int]:
        """Hang new nodes under those of `ids`, level by level, as one action. Returns the node of every path."""
        found = dict(ids)
        with self.database.action(name, f"{len(new)}"):
            for depth in sorted({len(path) for path in new}):
                level = [path for path in new if len(path) == depth]
                rows = []
                for path in level:
                    after = looked.get(path)
                    rows.append((found[path[:-1]], [new[path] if after is None else _looked_at(new[path], after)]))
                pieces = {path[-1]: self.pieces[path[-1]] for path in level}
                for path in level:
                    pieces |= self._spelt(looked[path].candidates) if path in looked else {}
                for path, (node,) in zip(level, self.database.beams.extend_many(rows, pieces=pieces), strict=True):
                    found[path] = node.id
            for path, node in zip(ids, self.database.beams.nodes_by_id(list(ids.values())), strict=True):
                after = looked.get(path)
                if after is not None and (node.candidates is None or (node.next_entropy is None and after.entropy is not None)):
                    known = max(after.candidates, node.candidates or (), key=len)
                    self._keep_candidates(node.id, replace(after, candidates=known))
        return found

    def _bury(self, outcome: Outcome, nodes: Mapping[Ids, int]) -> None:
        """Say of every beam that a search gave up why, and revive what it kept."""
        alive = {path[:end] for path in (*outcome.finished, *outcome.paths) for end in range(1, len(path) + 1)}
        beams = self.database.beams
        back = [nodes[path] for path in nodes if path in alive]
        beams.die([node.id for node in beams.nodes_by_id(back) if node.dead_reason is not None], None)
        for at, step in enumerate(outcome.steps):
            last = sorted(step.kept.values())
            for path in step.live:
                token = step.best.get(path)
                if not path or path in alive or token is None or any(kept[:-1] == path for kept in step.kept) or not last:
                    continue
                reason = (
                    f"crowded out at token {at + 1}: its best continuation would have had {token[1]:.4f}, "
                    f"and the last of the {len(last)} beams kept had {last[0]:.4f}"
                )
                beams.die([nodes[path]], reason)


def _looked_at(new: NewNode, after: Next) -> NewNode:
    return replace(new, candidates=after.candidates, next_entropy=after.entropy)


def _ranks(pairs: Sequence[tuple[int, float]]) -> list[int]:
    """1 + how many are strictly likelier; pairs are likeliest first."""
    ranks: list[int] = []
    for i, (_, value) in enumerate(pairs):
        ranks.append(ranks[-1] if i and pairs[i - 1][1] == value else i + 1)
    return ranks
