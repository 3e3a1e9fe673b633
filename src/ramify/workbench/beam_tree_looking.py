"""What a model could say after each of several paths, in one forward pass; the trunks stay in memory between two looks.

The workspace holds token ids and logprobs; keys and values are only a cache of them, and nothing is lost with it.
"""

import math
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.decoding.logprobs import measure
from ramify.engine.kv_tree import Branches, common_length
from ramify.engine.model import Model
from ramify.engine.tasks import PREFILL_TOKENS, Steps, prefill
from ramify.errors import CancelledError, EngineError
from ramify.models import threads
from ramify.models.base import Extension, Trunk
from ramify.workbench.beam_tree_reading import Ids

__all__ = ["Distribution", "Lookahead", "top_of"]

ROWS = 64
"""Paths computed in one forward pass at most."""
HELD = 128
"""Branches whose keys and values stay in memory; what they share is there once."""
REMEMBERED = 32
"""Whole distributions that stay in memory, V floats each."""


@dataclass(frozen=True)
class Distribution:
    """What comes next, at temperature 1. logprobs: (V,) float32, ids without a token at -inf; entropy in nats."""

    logprobs: Tensor
    entropy: float

    def measure(self, token_id: int) -> tuple[float, int]:
        """A token's logprob and its rank, 1 for the likeliest."""
        value = self.logprobs[token_id]
        return float(value), int((self.logprobs > value).sum()) + 1


def top_of(logprobs: Tensor, k: int, also: Sequence[int] = ()) -> list[list[tuple[int, float]]]:
    """For each row of (B, V): the k likeliest (token id, logprob), then those of `also` that are missing, likeliest first."""
    found = measure(logprobs, torch.zeros(len(logprobs), dtype=torch.long, device=logprobs.device), k)
    # The numbers as they were given: `measure` normalises once more, which moves the last bit.
    given = logprobs.gather(1, found.top_ids).tolist()
    rows = []
    for ids, values, row in zip(found.top_ids.tolist(), given, logprobs, strict=True):
        top = [pair for pair in zip(ids, values, strict=True) if pair[1] > -math.inf]
        there = {token_id for token_id, _ in top}
        more = [(token_id, float(row[token_id])) for token_id in also if token_id not in there]
        rows.append(top + sorted((pair for pair in more if pair[1] > -math.inf), key=lambda pair: -pair[1]))
    return rows


class Lookahead:
    """Computes distributions after a fixed prompt. Used from any thread; the branches live on the engine's."""

    def __init__(self, model: Model, prompt_ids: Ids) -> None:
        self.model = model
        self.prompt_ids = prompt_ids
        self._branches = Branches(model.engine.tree)
        self._held: OrderedDict[Ids, Trunk] = OrderedDict()
        self._remembered: OrderedDict[Ids, Distribution] = OrderedDict()
        self._finalizer = weakref.finalize(self, model.release, self._branches)

    @threads.team_for_now()
    def at(self, paths: Sequence[Ids]) -> dict[Ids, Distribution]:
        """The distribution after each path; those not in memory are computed together, 64 in one forward pass."""
        found = {path: self._remembered[path] for path in paths if path in self._remembered}
        missing = [path for path in dict.fromkeys(paths) if path not in found]
        for start in range(0, len(missing), ROWS):
            part = missing[start : start + ROWS]
            try:
                logits: Tensor = self.model.converse(self._steps(part), self._branches)
            except (CancelledError, EngineError):
                self.free()
                raise
            logprobs = torch.log_softmax(logits, dim=-1)
            entropies = measure(logits, torch.zeros(len(part), dtype=torch.long, device=logits.device)).entropies.tolist()
            for path, row, entropy in zip(part, logprobs, entropies, strict=True):
                found[path] = self._remembered[path] = Distribution(row.clone(), entropy)
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return found

    def free(self) -> None:
        """Give the memory back; the next look computes anew."""
        self._finalizer()
        self._held = OrderedDict()
        self._branches = Branches(self.model.engine.tree)
        self._finalizer = weakref.finalize(self, self.model.release, self._branches)

    def remember(self, path: Ids) -> None:
        """Leave what is held of a path to the requests that come."""
        self.model.on_engine(lambda: self._lend(self.prompt_ids + path)).result()

    def _lend(self, ids: Ids) -> None:
        if self._held:
            branch = self._nearest((*ids, -1))
            self._branches.keep(branch, ids[: branch.length])

    def _steps(self, paths: Sequence[Ids]) -> Steps:
        """On the engine's thread: the logits after each path, (paths, V)."""
        found: dict[Ids, Tensor] = {}
        if not self._held:
            trunk, answers, _ = yield from prefill(self._branches, self.prompt_ids)
            self._hold(self.prompt_ids, trunk)
            found[()] = answers[-1].logits[-1].clone()
        jobs = [(path, self.prompt_ids + path) for path in paths if path not in found]
        forks = {path: self._nearest(ids) for path, ids in jobs}
        while left := [(path, ids) for path, ids in jobs if forks[path].length < len(ids)]:
            asked: list[Extension] = []
            for path, ids in left:
                start = forks[path].length
                piece = ids[start : start + PREFILL_TOKENS]
                asked.append(Extension(forks[path], piece, 1 if start + len(piece) == len(ids) else 0))
            answers = yield asked
            for (path, _), extension, answer in zip(left, asked, answers, strict=True):
                if extension.wanted:
                    found[path] = answer.logits[-1].clone()
        for path, ids in jobs:
            self._hold(ids, forks[path])
        return torch.stack([found[path] for path in paths])

    def _nearest(self, ids: Ids) -> Trunk:
        """A fork of the held branch that shares most with `ids`, one token short of all at most."""
        parent = ids[:-1]  # nothing shares more, and growing level by level it is there
        best = parent if parent in self._held else max(self._held, key=lambda held: common_length(held, ids))
        self._held.move_to_end(best)
        return self._branches.fork(self._held[best], min(common_length(best, ids), len(ids) - 1))

    def _hold(self, ids: Ids, branch: Trunk) -> None:
        """Keep a branch in place of those that are a beginning of it."""
        for other in [held for held in self._held if held == ids[: len(held)]]:
            self._branches.free(self._held.pop(other))
        self._held[ids] = branch
        while len(self._held) > HELD:
            self._branches.free(self._held.popitem(last=False)[1])
