"""The beam tree: what a model could say after a prompt, grown by hand or by a search, kept for good.

Nodes are tokens after their parent's tokens, so identical continuations are one path, however they were found. The workspace
holds ids, logprobs and the likeliest next tokens of every node that was looked at; keys and values are only a cache of it.
Ranking the tree under other rules asks no model. Every change is a step of the workspace's history.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from ramify.decoding.config import GenerationConfig
from ramify.engine.kv_tree import Branches
from ramify.engine.model import Model
from ramify.engine.requests import GenerationRequest
from ramify.errors import ConfigError, InputError, NotFoundError, PromptTooLongError
from ramify.models.detokenizer import StreamDecoder
from ramify.store.database import Database
from ramify.store.records import BeamNodeRecord, CompletionRecord, NewCompletion, NewNode, SpanRecord, TokenLogprob
from ramify.workbench.beam_tree_looking import Distribution, Ids, Lookahead, top_of
from ramify.workbench.beam_tree_records import Implied, Measure, NextToken, NextTokens, Ranked, Scene, Unlikely
from ramify.workbench.beam_tree_search import Looking, Outcome, Verdict, watched
from ramify.workbench.reranking import Memory, Rescored, Rules, next_tokens, rescored, search_again, why

__all__ = ["BeamTree"]

CACHED = 256
"""Next tokens kept for a node: 7 bytes each."""
ALTERNATIVES = 10
"""Of which so many go with a completion that is saved."""
MOST_NODES = 4096
"""In one beam-out."""

At = BeamNodeRecord | int | None
"""A node, its id, or None for the root."""


@dataclass(frozen=True)
class _Next:
    """What comes after a node, as far as it is at hand."""

    candidates: tuple[tuple[int, float], ...]
    entropy: float
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


class BeamTree:
    """One tree of one prompt under one model. Use it as a context, or `close` it, to give its keys and values back."""

    def __init__(self, database: Database, model: Model, tree_id: int) -> None:
        """Open a tree. Raises NotFoundError, and InputError where it was grown by another model than this one."""
        self.database, self.model = database, model
        self.record = database.beams.get(tree_id)
        if (self.record.model, self.record.fingerprint) != (model.info.name, model.info.fingerprint):
            raise InputError(
                f"tree {tree_id} was grown by {self.record.model} ({self.record.fingerprint[:12]}); "
                f"the model given is {model.info.name} ({model.info.fingerprint[:12]}). Open it with its own, or start another"
            )
        config = self.record.config
        self.prompt_ids: Ids = tuple(config["prompt_token_ids"])
        """The prompt and the prefill as the model is given them."""
        self.cached = int(config["cached"])
        self._looking = Lookahead(model, self.prompt_ids)

    @classmethod
    def start(
        cls,
        database: Database,
        model: Model,
        sample_id: int,
        *,
        prefill: str | Sequence[int] | None = None,
        title: str = "",
        cached: int = CACHED,
    ) -> Self:
        """The tree of a sample's current prompt under this model and title, made when there is none yet.

        cached: how many likeliest next tokens a node keeps; with as many as the vocabulary has, every question about other rules
        has an exact answer. Raises InputError where the tree is there with another prefill.
        """
        if cached < 1:
            raise InputError(f"cached is {cached}; a node keeps at least 1 next token")
        prompt: Any = database.samples.get(sample_id).prompt
        if prefill is None or isinstance(prefill, str):
            ids, prefill_ids = model.ids_of(prompt, prefill)
        else:
            prefill_ids = tuple(int(i) for i in prefill)
            ids = model.ids_of(prompt)[0] + prefill_ids
        if not ids:
            ids = model.request_of_ids((), (), GenerationConfig()).prompt_ids
        if len(ids) >= model.info.context_window:
            raise PromptTooLongError(len(ids), model.info.context_window)
        config = {"prompt_token_ids": list(ids), "cached": min(cached, model.info.vocab_size)}
        record = database.beams.tree(
            sample_id, model.info.name, model.info.fingerprint, title=title, prefill=prefill_ids, config=config
        )
        return cls(database, model, record.id)

    def close(self) -> None:
        self._looking.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ the tree as it is

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

    def find(self, token_ids: Sequence[int]) -> BeamNodeRecord | None:
        return self.database.beams.find(self.id, token_ids)

    def children(self, at: At) -> list[BeamNodeRecord]:
        """Likeliest first."""
        return self.database.beams.children(self.node(at).id)

    def nodes(self, *, pruned: bool = False) -> list[BeamNodeRecord]:
        """Parents before children; what was pruned, and all below it, only when asked for."""
        return _visible(self.database.beams.nodes(self.id), pruned)

    def leaves(self, *, pruned: bool = False) -> list[BeamNodeRecord]:
        """Nodes without children (that are not pruned)."""
        nodes = self.nodes(pruned=pruned)
        parents = {node.parent_id for node in nodes}
        return [node for node in nodes if node.id not in parents and node.parent_id is not None]

    def ranked(self, by: Measure = "cumulative", *, pruned: bool = False, pinned_first: bool = True) -> list[Ranked]:
        """The leaves, best first: by the highest cumulative, mean or minimum logprob, or by the lowest mean entropy."""
        _check_measure(by)
        nodes = self.nodes(pruned=pruned)
        by_id = {node.id: node for node in nodes}
        parents = {node.parent_id for node in nodes}
        found = []
        for leaf in nodes:
            if leaf.id in parents or leaf.parent_id is None:
                continue
            path = _up(leaf, by_id)
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
        for step in _up(node, by_id):
            assert step.parent_id is not None
            level = [other.sum_logprob for other in nodes if other.depth == step.depth and other.sum_logprob is not None]
            siblings = [other for other in self.database.beams.children(step.parent_id) if other.id != step.id]
            ids = tuple(each.token_id for each in _up(step, by_id))
            place = 1 + sum(value > (step.sum_logprob or 0.0) for value in level)
            scenes.append(Scene(step, self._text(ids)[1], by_id[step.parent_id].candidates or (), tuple(siblings), place))
        return scenes

    # ------------------------------------------------------------ growing

    def candidates(self, at: At = None, k: int = 10, *, search: str | None = None) -> NextTokens:
        """What the model could say after a node: the k likeliest tokens, EOS among them where it is.

        search: only tokens that contain this text, out of the whole vocabulary. At most one forward pass of one token, and none
        where the node was looked at before (but for a search beyond what it keeps). Raises InputError after an EOS.
        """
        node = self._growing(at)
        path = self.path(node)
        known = self._look([path], {path: node}, whole=search is not None)[path]
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
        picked = None if tokens is None else self.model._checked_ids(tokens, "tokens")
        room = self.model.info.context_window - len(self.prompt_ids) - len(start)
        if room < 1:
            raise PromptTooLongError(len(self.prompt_ids) + len(start) + 1, self.model.info.context_window)
        new: dict[Ids, NewNode] = {}
        looked: dict[Ids, _Next] = {}
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
        looked: dict[Ids, _Next] = {}
        results = self.model.result(request)
        for result in results:
            path = start
            for token in result.logprobs or ():
                top = tuple((other.token_id, other.logprob) for other in token.raw.alternatives)
                looked.setdefault(path, _Next(top, token.entropy, None))
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
        run.top = self.cached
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
        looked = {start + path: _Next(tuple(top), surprise, None) for path, (top, surprise) in run.seen.items()}
        with self.database.action("beam search", f"{request.config.num_beams} beams"):
            grown = self._write("beam search", {start: node.id}, new, looked)
            self._bury(outcome, {path[len(start) :]: node_id for path, node_id in grown.items()})
        return replace(outcome, nodes={path[len(start) :]: node_id for path, node_id in grown.items()})

    # ------------------------------------------------------------ decisions

    def pin(self, *at: At, on: bool = True) -> int:
        """Pinned branches stand first. Returns how many nodes changed."""
        return self._mark(at, pinned=on)

    def bookmark(self, *at: At, on: bool = True) -> int:
        return self._mark(at, bookmarked=on)

    def keep(self, at: At, *, prefer: bool = False) -> list[Implied]:
        """Decide for a branch at its fork.

        prefer: it and each sibling that is not kept itself are saved as completions, down to the best end below them, and the
        preferences that this implies are returned for the caller to write.
        """
        node = self.node(at)
        with self.database.action("keep beam", str(node.id)):
            self._mark([node], kept=True, pruned=False)
            rivals = [other for other in self._siblings(node) if not other.kept] if prefer else []
            return [self.implied(node, other) for other in rivals]

    def prune(self, *at: At, prefer: bool = False) -> list[Implied]:
        """Take branches, with all below them, out of lists and rankings; `resume` brings them back.

        prefer: each kept or pinned sibling is better than what was pruned, and the preferences that this implies are returned.
        """
        nodes = [self.node(each) for each in at]
        if any(node.parent_id is None for node in nodes):
            raise InputError("the root cannot be pruned; prune its children, or delete the tree")
        with self.database.action("prune beams", f"{len(nodes)}"):
            self._mark(nodes, pruned=True, kept=False)
            pairs = [
                (other, node)
                for node in nodes
                for other in (self._siblings(node) if prefer else [])
                if (other.kept or other.pinned) and not other.pruned
            ]
            return [self.implied(better, worse) for better, worse in pairs]

    def resume(self, *at: At) -> int:
        """Bring branches back: neither they nor the way to them are pruned or given up. Returns how many nodes changed."""
        changed: set[int] = set()
        with self.database.action("resume beams", f"{len(at)}"):
            for each in at:
                way = self.database.beams.path(self.node(each).id)
                pruned = [node.id for node in way if node.pruned]
                dead = [node.id for node in way if node.dead_reason is not None]
                if pruned:
                    self.database.beams.mark(pruned, pruned=False)
                if dead:
                    self.database.beams.die(dead, None)
                changed |= {*pruned, *dead}
        return len(changed)

    def implied(self, better: At, worse: At) -> Implied:
        """The preference of one branch over another, as two saved completions: each down to its best end by mean logprob."""
        with self.database.action("save fork"):
            first, second = self._best_below(self.node(better)), self._best_below(self.node(worse))
            if first.id == second.id:
                raise InputError("a branch is not better than itself; name two that part somewhere")
            shared = 0
            for one, two in zip(self.path(first), self.path(second), strict=False):
                if one != two:
                    break
                shared += 1
            prefilled = len(self.record.prefill)
            return Implied(self.save(first).id, self.save(second).id, prefilled + shared)

    def save(self, at: At) -> CompletionRecord:
        """The path to a node as a completion: its exact tokens, where each came from, and its logprobs.

        finish_reason is eos where it ended with one, else user. A path that was saved before gives that completion again.
        """
        node = self.node(at)
        if node.parent_id is None:
            raise InputError("the root has no tokens to save; choose a node below it")
        if node.completion_id is not None:
            return self.database.completions.get(node.completion_id)
        way = self.database.beams.path(node.id)
        text_before, text = self._text(tuple(step.token_id for step in way))
        ids = (*self.record.prefill, *(step.token_id for step in way))
        new = NewCompletion(
            text=text_before + text,
            model=self.record.model,
            fingerprint=self.record.fingerprint,
            finish_reason="eos" if node.ended else "user",
            generated_start=len(text_before),
            token_ids=ids,
            spans=_spans(len(self.record.prefill), way),
            details={"beam_tree": self.id, "beam_node": node.id},
            logprobs=self._token_logprobs(way),
        )
        with self.database.action("save beam", str(node.id)):
            made = self.database.completions.add(self.record.sample_id, new, prompt_id=self.record.prompt_id)
            self.database.beams.saved_as(node.id, made.id)
        return made

    # ------------------------------------------------------------ other rules, no model

    def rerank(self, config: GenerationConfig | None = None, *, at: At = None, **fields: Any) -> Outcome:
        """Run a beam search under any settings on what the tree knows; the model is not called.

        Where the tree covers it, the outcome is that of a fresh search. Where it does not, nothing is guessed: `results` is
        empty and `unknown` names the paths that would have to be looked at, with `candidates` or `beam_out`.
        """
        node = self.node(at)
        rules = self._rules(node, config, fields)
        outcome = search_again(rules, self.model.engine.backend, node.id)
        start = rules.start
        nodes = {path[len(start) :]: found.id for path, found in rules.memory.nodes.items() if path[: len(start)] == start}
        return replace(outcome, nodes=nodes)

    def why(self, outcome: Outcome, at: At | Sequence[int]) -> Verdict:
        """What became of a path in a search: alive, removed by which processor, or crowded out by which beams, with the numbers.

        at: a node below the search's start, or token ids from the start on.
        """
        start = self.node(outcome.start)
        rules = self._rules(start, outcome.config, {"seed": outcome.seed})
        if at is None or isinstance(at, int | BeamNodeRecord):
            path = self.path(at)
            if path[: len(rules.start)] != rules.start:
                raise InputError(f"that node is not below node {outcome.start}, where the search began")
            path = path[len(rules.start) :]
        else:
            path = tuple(at)
        return why(outcome, rules, path)

    def verdicts(self, outcome: Outcome) -> dict[int, Verdict]:
        """What became of every node below the search's start."""
        start = self.node(outcome.start)
        rules = self._rules(start, outcome.config, {"seed": outcome.seed})
        size = len(rules.start)
        return {
            node.id: why(outcome, rules, path[size:])
            for path, node in rules.memory.nodes.items()
            if len(path) > size and path[:size] == rules.start
        }

    def under(self, config: GenerationConfig | None = None, *, at: At = None, **fields: Any) -> dict[int, Rescored]:
        """Every node below one, by its id, under any settings: what a search adds up, or with sampling the logprob of drawing it.

        Numbers that the tree does not decide are bounds; `unknown` says so. The model is not called.
        """
        return rescored(self._rules(self.node(at), config, fields))

    def find_unlikely(
        self,
        config: GenerationConfig | None = None,
        *,
        by: Measure = "mean",
        at_least: float | None = None,
        explore: int = 0,
        depth: int = 8,
        **fields: Any,
    ) -> list[Unlikely]:
        """Branches that sampling under these settings (temperature, top_p, …) cannot reach, because one of their tokens is
        removed; the best first by their raw logprobs.

        at_least: leave out what ranks lower. explore: first beam out so many of the tokens that are removed, likeliest first,
        at every step of the best branch, each `depth` long; only then is the model called.
        """
        _check_measure(by)
        if explore:
            self._explore(config, fields, explore, depth)
        under = self.under(config, **fields)
        nodes = self.nodes()
        by_id = {node.id: node for node in nodes}
        ranked = self.ranked(by, pinned_first=False)
        reachable = [leaf.value for leaf in ranked if not under[leaf.node.id].unreachable]
        found = []
        for leaf in ranked:
            if not under[leaf.node.id].unreachable or (at_least is not None and leaf.value < at_least):
                continue
            way = _up(leaf.node, by_id)
            removed = tuple(
                (step.depth - 1, under[step.id].removed_by or "the model", step.logprob or 0.0)
                for step in way
                if under[step.id].token.high == -math.inf
            )
            lower = sum(value > leaf.value if by == "entropy" else value < leaf.value for value in reachable)
            found.append(Unlikely(leaf.node, leaf.value, leaf.text, removed, lower / len(reachable) if reachable else 1.0))
        return found

    def _explore(self, config: GenerationConfig | None, fields: Mapping[str, Any], explore: int, depth: int) -> None:
        best = self.ranked("mean", pinned_first=False)
        way = [self.root, *(self.database.beams.path(best[0].node.id) if best else [])]
        rules = self._rules(self.root, config, fields)
        for node in way:
            if node.ended:
                continue
            path = rules.memory.paths[node.id]
            known = rules.memory.at(path)
            order = known.logprobs.argsort(descending=True)
            tokens = known.ids[order].tolist()
            after = next_tokens(rules, path, tokens)
            removed = [token_id for token_id in tokens if after[token_id][0].high == -math.inf][:explore]
            if removed:
                self.beam_out(node, tokens=removed, depth=depth)

    # ------------------------------------------------------------ the parts

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
    ) -> dict[Ids, _Next]:
        """What comes after each path, from the tree where it is enough, else from the model."""
        found: dict[Ids, _Next] = {}
        for path in paths:
            node = there.get(path)
            if node is not None and node.candidates is not None and not whole:
                top = {token_id for token_id, _ in node.candidates[: self.cached]}
                entropy = self._entropy_after(node)
                if entropy is not None and not (picked is not None and set(picked) - top):
                    found[path] = _Next(node.candidates, entropy, None)
        missing = [path for path in paths if path not in found]
        for path, distribution in self._looking.at(missing).items():
            (top_row,) = top_of(distribution.logprobs.unsqueeze(0), self.cached, self.model.info.eos_token_ids)
            found[path] = _Next(tuple(top_row), distribution.entropy, distribution)
        return {path: found[path] for path in paths}

    def _entropy_after(self, node: BeamNodeRecord) -> float | None:
        """The entropy of a node's next token, where the tree knows it."""
        kept: float | None = getattr(node, "next_entropy", None)
        if kept is not None:
            return kept
        return next((child.entropy for child in self.database.beams.children(node.id) if child.entropy is not None), None)

    def _keep_candidates(self, node_id: int, after: _Next) -> None:
        self.database.beams.set_candidates(node_id, after.candidates)

    def _write(
        self, name: str, ids: Mapping[Ids, int], new: Mapping[Ids, NewNode], looked: Mapping[Ids, _Next]
    ) -> dict[Ids, int]:
        """Hang new nodes under those of `ids`, level by level, as one action. Returns the node of every path."""
        found = dict(ids)
        spelt = self.model.codec.literal_bytes
        with self.database.action(name, f"{len(new)}"):
            for depth in sorted({len(path) for path in new}):
                level = [path for path in new if len(path) == depth]
                rows = []
                for path in level:
                    after = looked.get(path)
                    rows.append(
                        (found[path[:-1]], [new[path] if after is None else replace(new[path], candidates=after.candidates)])
                    )
                pieces = {path[-1]: spelt[path[-1]] for path in level}
                for path, (node,) in zip(level, self.database.beams.extend_many(rows, pieces=pieces), strict=True):
                    found[path] = node.id
            bare = [path for path in ids if path in looked and self.node(ids[path]).candidates is None]
            for path in bare:
                self._keep_candidates(ids[path], looked[path])
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

    def _mark(self, at: Iterable[At], **flags: bool) -> int:
        return self.database.beams.mark([self.node(each).id for each in at], **flags)

    def _siblings(self, node: BeamNodeRecord) -> list[BeamNodeRecord]:
        if node.parent_id is None:
            return []
        return [other for other in self.database.beams.children(node.parent_id) if other.id != node.id]

    def _best_below(self, node: BeamNodeRecord) -> BeamNodeRecord:
        """The best end at or below a node, by mean logprob."""
        nodes = self.database.beams.nodes(self.id)
        below, has_child = {node.id}, set()
        for other in nodes:
            if other.parent_id in below and not (other.pruned and not node.pruned):
                below.add(other.id)
                has_child.add(other.parent_id)
        ends = [other for other in nodes if other.id in below and other.id not in has_child]
        return max(ends, key=lambda end: (end.mean_logprob if end.mean_logprob is not None else -math.inf, -end.id))

    def _request(
        self, path: Ids, config: GenerationConfig | None, fields: Mapping[str, Any], logprobs: int | None = None
    ) -> GenerationRequest:
        settings = (config or GenerationConfig()).replace(**fields)
        return self.model.request_of_ids(self.prompt_ids + path, (), settings, logprobs=logprobs)

    def _rules(self, node: BeamNodeRecord, config: GenerationConfig | None, fields: Mapping[str, Any]) -> Rules:
        nodes = self.database.beams.nodes(self.id)
        memory = Memory(nodes, self.cached, torch.as_tensor(self.model.codec.exists))
        start = memory.paths[node.id]
        request = self._request(start, config, fields)
        if request.config.guidance_scale != 1.0:
            raise ConfigError(
                f"guidance_scale is {request.config.guidance_scale}, which asks the model once more at every step; "
                "a tree is ranked again without it. Leave it out",
                ("guidance_scale",),
            )
        engine = self.model.engine
        eos = tuple(request.config.eos_token_id or self.model.info.eos_token_ids)
        return Rules(memory, start, request, engine.pipeline(request), engine.constraint(request), eos)

    def _text(self, path: Ids) -> tuple[str, str]:
        """The prefill's text and the path's; a character that begins in the prefill is the path's."""
        decoder = StreamDecoder(self.model.codec.token_bytes)
        before = "".join(map(decoder.feed, self.record.prefill))
        return before, "".join(map(decoder.feed, path)) + decoder.flush()

    def _token_logprobs(self, way: Sequence[BeamNodeRecord]) -> tuple[TokenLogprob, ...]:
        """The measures of a path from the root, with the likeliest others."""
        spelt = self.model.codec.token_bytes
        parents = [self.root, *way[:-1]]
        found = []
        for parent, step in zip(parents, way, strict=True):
            assert step.logprob is not None
            assert step.rank is not None
            assert step.entropy is not None
            others = tuple((i, spelt[i], value) for i, value in (parent.candidates or ())[: min(ALTERNATIVES, self.cached)])
            found.append(
                TokenLogprob(
                    token_id=step.token_id,
                    token_bytes=spelt[step.token_id],
                    logprob=step.logprob,
                    rank=step.rank,
                    entropy=step.entropy,
                    alternatives=others,
                )
            )
        return tuple(found)

    def __repr__(self) -> str:
        return f"<ramify.BeamTree {self.id} of sample {self.record.sample_id} under {self.record.model}>"


def _check_measure(by: str) -> None:
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


def _up(node: BeamNodeRecord, by_id: Mapping[int, BeamNodeRecord]) -> list[BeamNodeRecord]:
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


def _ranks(pairs: Sequence[tuple[int, float]]) -> list[int]:
    """1 + how many are strictly likelier; pairs are likeliest first."""
    ranks: list[int] = []
    for i, (_, value) in enumerate(pairs):
        ranks.append(ranks[-1] if i and pairs[i - 1][1] == value else i + 1)
    return ranks


def _spans(prefilled: int, way: Sequence[BeamNodeRecord]) -> list[SpanRecord]:
    spans = [SpanRecord(0, prefilled, "prefill")] if prefilled else []
    for at, step in enumerate(way, start=prefilled):
        origin: Any = step.origin
        if spans and spans[-1].origin == origin:
            spans[-1] = SpanRecord(spans[-1].start, at + 1, origin)
        else:
            spans.append(SpanRecord(at, at + 1, origin))
    return spans
