"""Ranking a cached tree anew: other penalties, bans or temperatures, and no model call.

A node of the tree keeps the model's likeliest next tokens with their exact logprobs; of the others only bounds are known: none is
likelier than the last one kept, and together they have what is left of the mass. A processor is run on two rows, one with every
other token at its bound and one with all of them gone. What comes out equal in both is certain. A search that would have to take
anything else stops there and says which nodes the model would have to be asked about; nothing is guessed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ramify.decoding.constraints import Constraint
from ramify.decoding.pipeline import Pipeline, Row
from ramify.engine.beams import Beam, Candidate
from ramify.engine.kv_tree import Branches, KVTree
from ramify.engine.requests import CompletionResult, GenerationRequest
from ramify.engine.tasks import Answer, Steps
from ramify.models import threads
from ramify.models.base import Backend, Extension, ModelInfo, Outputs, TextCodec, Trunk
from ramify.store.records import BeamNodeRecord
from ramify.workbench.beam_tree_reading import Ids
from ramify.workbench.beam_tree_search import Outcome, Step, Verdict, Watched, watched

__all__ = ["Known", "Memory", "Rules", "Stage", "search_again", "why"]

SLACK = 1e-6
"""What rounding may add to the mass that is left."""
ROUNDING = 1e-4
"""What the probabilities of a whole float32 distribution may lack of 1."""


# ---------------------------------------------------------------- what the tree knows


Stage = Callable[[Tensor, Sequence[Row]], Tensor]


@dataclass(frozen=True)
class Known:
    """One node's next tokens as far as they were kept."""

    ids: Tensor
    """(N,) the tokens whose logprob is known."""
    logprobs: Tensor
    """(N,) float32."""
    floor: float
    """No other token is likelier than this; -inf where there is no other."""
    rest: float
    """The mass that the others have together."""

    @property
    def whole(self) -> bool:
        return self.floor == -math.inf

    def row(self, others: float, exists: Tensor) -> Tensor:
        """(V,) with every token that is not known at `others`."""
        row = torch.where(exists, others, -math.inf).float()
        row[self.ids] = self.logprobs
        return row


class Memory:
    """The nodes of a tree as a function from paths to what is known of the next token."""

    def __init__(self, nodes: Sequence[BeamNodeRecord], cached: int, exists: Tensor, eos: Ids) -> None:
        """nodes: parents before children. cached: how many likeliest tokens a node keeps at least; the EOS ids `eos` may stand
        behind them, however unlikely. exists: (V,) ids that have a token."""
        self.cached, self.exists, self.eos = cached, exists, eos
        self.tokens = int(exists.sum())
        self.nodes: dict[Ids, BeamNodeRecord] = {}
        self.paths: dict[int, Ids] = {}
        self._children: dict[Ids, list[BeamNodeRecord]] = {}
        self._known: dict[Ids, Known] = {}
        for node in nodes:
            path = () if node.parent_id is None else (*self.paths[node.parent_id], node.token_id)
            self.nodes[path], self.paths[node.id] = node, path
            if node.parent_id is not None:
                self._children.setdefault(path[:-1], []).append(node)

    def children(self, path: Ids) -> list[BeamNodeRecord]:
        return self._children.get(path, [])

    def at(self, path: Ids) -> Known:
        """What is known after a path, which need not be in the tree."""
        if path not in self._known:
            self._known[path] = self._collect(path)
        return self._known[path]

    def _collect(self, path: Ids) -> Known:
        node = self.nodes.get(path)
        kept = (node.candidates if node is not None else None) or ()
        known = {child.token_id: child.logprob for child in self.children(path) if child.logprob is not None} | dict(kept)
        rest = max(0.0, 1.0 - math.fsum(math.exp(value) for value in known.values()))
        # A node keeps fewer than it may only where the model gives the others no probability.
        whole = bool(kept) and (len(known) >= self.tokens or (len(kept) < self.cached and rest <= ROUNDING))
        if whole:
            floor, rest = -math.inf, 0.0
        else:
            likeliest = [value for token_id, value in kept if token_id not in self.eos]
            floor = min(0.0, math.log(rest + SLACK), *likeliest[-1:])
        return Known(torch.tensor(list(known), dtype=torch.long), torch.tensor(list(known.values())).float(), floor, rest)


# ---------------------------------------------------------------- what processors make of it


class Rules:
    """One request's processors, applied to cached rows. Paths begin where the request's tokens do."""

    def __init__(
        self, memory: Memory, start: Ids, request: GenerationRequest, pipeline: Pipeline, constraint: Constraint | None, eos: Ids
    ) -> None:
        self.memory, self.start, self.request, self.pipeline = memory, start, request, pipeline
        self.constraint, self.eos = constraint, eos
        self.stages: list[tuple[str, Stage]] = list(zip(pipeline.names, pipeline._steps, strict=True))

    def known(self, path: Ids) -> Known:
        return self.memory.at(self.start + path)

    def history(self, path: Ids, taken: Sequence[int] = (), keep: Tensor | None = None) -> Row:
        room = self.request.room
        return Row(prompt_ids=self.request.prompt_ids, generated_ids=list(path), keep=keep, taken=taken, limit=room)

    def keep(self, path: Ids) -> Tensor | None:
        """What the constraint lets stand after a path."""
        if self.constraint is None:
            return None
        constraint = self.constraint.copy()
        for token_id in path:
            constraint.advance(token_id)
        return constraint.keep(self.request.room - len(path))

    def bounded(self, rows: Sequence[Row], known: Sequence[Known]) -> tuple[Tensor, Tensor]:
        """Processed upper bounds (K, V), and which of them are the very numbers (K, V)."""
        exists = self.memory.exists
        above = self.pipeline(torch.stack([each.row(each.floor, exists) for each in known]), rows)
        below = self.pipeline(torch.stack([each.row(-math.inf, exists) for each in known]), rows)
        sure = above == below
        above = torch.maximum(above, below)
        decay = self.request.config.exponential_decay_length_penalty
        if "exponential_decay_length_penalty" in self.pipeline.names and decay is not None and decay[1] > 1:
            # A less likely EOS may gain more: no bound from above.
            for i, (row, each) in enumerate(zip(rows, known, strict=True)):
                unknown = [token_id for token_id in self.eos if token_id not in each.ids.tolist() and not each.whole]
                if unknown and len(row.generated_ids) > decay[0]:
                    above[i, unknown], sure[i, unknown] = math.inf, False
        return above, sure

    def remover(self, path: Ids, token_id: int, taken: Sequence[int] = ()) -> tuple[str | None, float]:
        """Which processor removes a known token after a path, and its processed logprob; None and -inf: the model itself."""
        known, keep = self.known(path), self.keep(path)
        rows = [self.history(path, taken, keep)]
        value = known.row(known.floor, self.memory.exists).unsqueeze(0)
        processed = float(self.pipeline(value, rows)[0, token_id])
        if processed > -math.inf or value[0, token_id] == -math.inf:
            return None, processed
        for name, step in self.stages:
            value = step(value, rows)
            if value[0, token_id] == -math.inf:
                return name, -math.inf
        return None, processed


# ---------------------------------------------------------------- a search on it


class UncoveredError(Exception):
    """A search came to where the tree does not decide."""

    def __init__(self, paths: Sequence[Ids]) -> None:
        super().__init__(f"{len(paths)} paths are not covered")
        self.paths = tuple(paths)


class Recalling(Watched):
    """A search that is answered from memory."""

    rules: Rules

    def logprobs(self, logits: Tensor, beams: Sequence[Beam], taken: Sequence[Sequence[int]] = ()) -> Tensor:
        known = [self.rules.known(beam.ids) for beam in beams]
        partial = [beam.ids for beam, each in zip(beams, known, strict=True) if not each.whole]
        if self.config.samples and partial:
            raise UncoveredError(partial)  # a draw looks at every token
        rows = []
        for i, beam in enumerate(beams):
            keep = None if beam.constraint is None else beam.constraint.keep(self.request.room - len(beam.ids))
            rows.append(self.rules.history(beam.ids, taken[i] if taken else (), keep))
        above, sure = self.rules.bounded(rows, known)
        above = self.held(above, rows)
        self._sure = {id(beam): row for beam, row in zip(beams, sure, strict=True)}
        self.note(beams, above.masked_fill(~sure, -math.inf), taken)
        return above

    def candidates(self, scores: Tensor, beams: Sequence[Beam], count: int) -> list[Candidate]:
        found = super().candidates(scores, beams, count)
        missing = [c.parent.ids for c in found if not self._sure[id(c.parent)][c.token_id]]
        if missing:
            self.step(beams).found.clear()
            raise UncoveredError(list(dict.fromkeys(missing)))
        return found


class _Trunk:
    """A branch of nothing but a length."""

    def __init__(self, length: int) -> None:
        self.length = length


class _NoModel:
    """A backend that computes nothing, for a search that does not look at its answers."""

    threads = None

    def __init__(self, info: ModelInfo, codec: TextCodec) -> None:
        self.info, self.codec = info, codec

    def root(self) -> Trunk:
        return _Trunk(0)

    def extend(self, rows: Sequence[Extension]) -> Outputs:
        raise AssertionError("a tree is ranked again without its model")

    def fork(self, branch: Trunk, at: int | None = None) -> Trunk:
        return _Trunk(branch.length if at is None else at)

    def free(self, branch: Trunk) -> None:
        return None

    def size_bytes(self) -> int:
        return 0


@threads.team_for_now()
def search_again(rules: Rules, backend: Backend, start: int) -> Outcome:
    """Run the search that `rules.request` asks for on the cached tree, from the node `start`."""
    request = rules.request
    quiet = _NoModel(backend.info, backend.codec)
    branches = Branches(KVTree(quiet, 0))
    search = watched(Recalling, request.config)(request, quiet, branches, rules.pipeline, rules.constraint)
    search.rules = rules
    results: tuple[CompletionResult, ...] = ()
    unknown: tuple[Ids, ...] = ()
    try:
        results = tuple(_converse(search.run(), backend.info.vocab_size))
    except UncoveredError as error:
        unknown = error.paths
    return Outcome(
        start=start,
        config=request.config,
        seed=request.seed,
        steps=tuple(search.steps[depth] for depth in sorted(search.steps)),
        results=results,
        finished=search.ended,
        unknown=unknown,
    )


def _converse(steps: Steps, width: int) -> Any:
    """Answer a conversation with empty answers of the right shape."""
    try:
        asked = next(steps)
        while True:
            answers = []
            for extension in asked:
                assert isinstance(extension.branch, _Trunk)
                extension.branch.length += len(extension.token_ids)
                answers.append(Answer(torch.zeros(1, 1).expand(extension.wanted, width), None))
            asked = steps.send(answers)
    except StopIteration as end:
        return end.value


def why(outcome: Outcome, rules: Rules, path: Ids) -> Verdict:
    """What became of a path (from the search's start) in a search."""
    best = {result.generated_token_ids for result in outcome.results}
    for at in range(1, len(path) + 1):
        here, parent, token_id = path[:at], path[: at - 1], path[at - 1]
        if at > len(outcome.steps) or parent not in outcome.steps[at - 1].live:
            return Verdict("stopped" if outcome.decided else "unknown", at if not outcome.decided else at - 1)
        step = outcome.steps[at - 1]
        score, ends = step.found.get(here, (None, None))
        if here in best or here in outcome.finished or (ends is not None and _stood(outcome, step, here)):
            state: Literal["best", "finished", "stopped"] = "best" if here in best else "finished"
            return Verdict(state if at == len(path) else "stopped", at, score)
        if here in step.kept:
            continue
        if outcome.decided and score is not None and ends is None and not step.kept:
            return Verdict("stopped", at, score)  # enough had finished at this very step
        is_known = token_id in rules.known(parent).ids.tolist()
        processor, processed = rules.remover(parent, token_id, step.taken.get(parent, ())) if is_known else (None, 0.0)
        if processed == -math.inf:
            return Verdict("removed", at, -math.inf, processor or "the model, which gives it no probability")
        if not outcome.decided and at == len(outcome.steps):
            return Verdict("unknown", at)
        if not is_known:
            return Verdict("crowded", at, None, None, _rivals(step, here, math.nan))
        return Verdict("crowded", at, step.live[parent] + processed, None, _rivals(step, here, step.live[parent] + processed))
    return Verdict("best" if path in best else "alive", len(path), _score(outcome, path))


def _score(outcome: Outcome, path: Ids) -> float | None:
    return outcome.steps[len(path) - 1].kept.get(path) if path else 0.0


def _stood(outcome: Outcome, step: Step, path: Ids) -> bool:
    """Whether a continuation that ends stood among the first at its step, so that it finished."""
    if outcome.config.beam_rule == "early_stopped":
        return True
    return path in list(step.found)[: outcome.config.num_beams]


def _rivals(step: Step, path: Ids, score: float) -> tuple[tuple[Ids, float], ...]:
    """Those that were considered or kept at a step and were better, best first; all of them where the score is not known."""
    others = {ids: value for ids, (value, _) in step.found.items()} | step.kept
    better = [(ids, value) for ids, value in others.items() if ids != path and not value <= score]
    return tuple(sorted(better, key=lambda pair: -pair[1]))
