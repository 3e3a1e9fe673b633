"""The beam tree: what a model could say after a prompt, grown by hand or by a search, kept for good.

Nodes are tokens after their parent's tokens, so identical continuations are one path, however they were found. The workspace
holds ids, logprobs and the likeliest next tokens of every node that was looked at; keys and values are only a cache of it.
Ranking the tree under other rules asks no model. Every change is a step of the workspace's history.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.errors import ConfigError, InputError, PromptTooLongError
from ramify.store.database import Database
from ramify.store.records import BeamNodeRecord, NewNode, SampleRecord
from ramify.workbench.beam_tree_deciding import Deciding
from ramify.workbench.beam_tree_growing import Growing, Next
from ramify.workbench.beam_tree_looking import top_of
from ramify.workbench.beam_tree_reading import At, check_measure, way_to
from ramify.workbench.beam_tree_records import Measure, Unlikely
from ramify.workbench.beam_tree_rescoring import Rescored, next_tokens, rescored
from ramify.workbench.beam_tree_search import Outcome, Verdict
from ramify.workbench.reranking import Memory, Rules, search_again, why

__all__ = ["BeamTree"]

CACHED = 256
"""Next tokens kept for a node: 7 bytes each."""


class BeamTree(Growing, Deciding):
    """One tree of one prompt under one model. Use it as a context, or `close` it, to give its keys and values back."""

    @classmethod
    def start(
        cls,
        database: Database,
        model: Model,
        sample: SampleRecord | int,
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
        prompt: Any = database.samples.get(sample).prompt
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
            sample, model.info.name, model.info.fingerprint, title=title, prefill=prefill_ids, config=config
        )
        if unknown := set(prefill_ids) - set(database.beams.pieces(record)):
            # So that the tree can be read, and saved from, without its model.
            database.beams.learn(record, {token_id: model.codec.token_bytes[token_id] for token_id in unknown})
        return cls(database, model, record.id)

    def follow(self, token_ids: Sequence[int], *, at: At = None, origins: Sequence[str] | None = None) -> BeamNodeRecord:
        """Take a text that is there already into the tree, by its token ids after a node, and return the node where it ends.

        All its tokens are measured in one pass; those that the tree has are not added again. origins: where each token came from,
        "typed" unless said. Raises InputError for a token after an EOS, PromptTooLongError.
        """
        node = self._growing(at)
        ids = self.model.checked_ids(token_ids, "token_ids")
        start, eos = self.path(node), self.model.info.eos_token_ids
        if any(token_id in eos for token_id in ids[:-1]):
            raise InputError("the tokens go on after an EOS; nothing comes after it")
        if not ids:
            return node
        new: dict[tuple[int, ...], NewNode] = {}
        looked: dict[tuple[int, ...], Next] = {}
        scored = self.model.score(self.prompt_ids + start, ids, top=self.cached).logprobs
        path = start
        for place, token in enumerate(scored):
            top = tuple((other.token_id, other.logprob) for other in token.raw.alternatives)
            looked[path] = Next(top, token.raw.entropy, None)
            path = (*path, token.token_id)
            new[path] = NewNode(
                token_id=token.token_id,
                logprob=token.raw.logprob,
                entropy=token.raw.entropy,
                rank=token.raw.rank,
                origin="typed" if origins is None else origins[place],
                ended=token.token_id in eos,
            )
        grown = self._write("follow text", {start: node.id}, new, looked)
        return self.node(grown[path])

    def rerank(self, config: GenerationConfig | None = None, *, at: At = None, **fields: Any) -> Outcome:
        """Run a beam search under any settings on what the tree knows; the model is not called.

        Where the tree covers it, the outcome is that of a fresh search. Where it does not, nothing is guessed: `results` is
        empty and `unknown` names the paths that would have to be looked at; `cover` looks at them.
        """
        node = self.node(at)
        rules = self._rules(node, config, fields)
        outcome = search_again(rules, self.model.engine.backend, node.id)
        start = rules.start
        nodes = {path[len(start) :]: found.id for path, found in rules.memory.nodes.items() if path[: len(start)] == start}
        return replace(outcome, nodes=nodes)

    def cover(self, outcome: Outcome) -> int:
        """Ask the model about what left a search undecided, and keep its answer in the tree; then rank again.

        Returns how many nodes were looked at. One that is asked about again keeps eight times as many next tokens.
        """
        start = self.node(outcome.start)
        above = self.path(start)
        unknown = [above + path for path in outcome.unknown]
        wanted = sorted({path[:end] for path in unknown for end in range(len(above), len(path) + 1)}, key=len)
        there = {above: start}
        self._find_children(there, wanted[1:])
        missing = [path for path in wanted if path not in there]
        after = self._look([path[:-1] for path in missing], there, picked=[path[-1] for path in missing])
        eos, width = self.model.info.eos_token_ids, self.model.info.vocab_size
        new = {path: after[path[:-1]].new(path[-1], path[-1] in eos, "sampled", self.cached) for path in missing}
        found = self._looking.at(unknown)
        with self.database.action("look ahead", f"{len(unknown)}"):
            grown = self._write("look ahead", {path: node.id for path, node in there.items()}, new, {})
            for path in unknown:
                kept = len(self.node(grown[path]).candidates or ())
                most = width if outcome.config.samples else min(width, 8 * kept) if kept else self.cached
                (candidates,) = top_of(found[path].logprobs.unsqueeze(0), most, eos)
                self.database.beams.set_candidates(
                    grown[path], candidates, entropy=found[path].entropy, pieces=self._spelt(candidates)
                )
        return len(unknown)

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
        check_measure(by)
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
            way = way_to(leaf.node, by_id)
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

    def _rules(self, node: BeamNodeRecord, config: GenerationConfig | None, fields: Mapping[str, Any]) -> Rules:
        nodes = self.database.beams.nodes(self.id)
        memory = Memory(nodes, self.cached, torch.as_tensor(self.model.codec.exists), self.model.info.eos_token_ids)
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
