"""Diverse beam search: groups of beams that step one after the other, each shunning what the earlier ones have just chosen.

Source: Vijayakumar et al. 2016, "Diverse Beam Search"; the groups end and are ranked as in transformers 4.49.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ramify.engine.beams import Beam, Candidate, Hypothesis, Search
from ramify.engine.tasks import Steps

__all__ = ["Diverse", "Finished"]


class Finished:
    """The best finished continuations of one group of beams, `size` of them at most."""

    def __init__(self, search: Search, size: int) -> None:
        self._search = search
        self.size = size
        self.hypotheses: list[Hypothesis] = []

    def add(self, candidate: Candidate) -> None:
        """Keep a candidate that ends, unless `size` others are as good."""
        assert candidate.ends is not None
        rank = self._search.rank(candidate.score, len(candidate.ids))
        found = Hypothesis(candidate.ids, rank, candidate.ends, candidate.stop_string, candidate.parent.group)
        self.hypotheses = sorted([*self.hypotheses, found], key=lambda h: -h.rank)[: self.size]

    def closed(self, best: float, length: int) -> bool:
        """Whether the group may stop, when `best` is its best accumulated logprob at this length, ended or not.

        It may once `size` have finished: with `early_stopping` True at once, with False when `best` could not beat the worst of
        them at its present length, with "never" when it could not at any length that is still allowed.
        """
        if len(self.hypotheses) < self.size:
            return False
        config = self._search.config
        if config.early_stopping is True:
            return True
        if config.early_stopping == "never" and config.length_penalty > 0:
            length = self._search.request.room
        return self.hypotheses[-1].rank >= self._search.rank(best, length)


@dataclass(slots=True)
class _Group:
    beams: list[Beam]
    finished: Finished
    taken: list[tuple[int, ...]] = field(default_factory=list)
    """For each step, what the groups before it had chosen there."""
    done: bool = False


class Diverse(Search):
    """`num_beam_groups` searches of one width; a token loses `diversity_penalty` for each beam of an earlier group that took it.

    The penalty counts in the scores that beams are ranked by. A group that is done no longer grows, and stands for the padding
    token (else the first EOS) when the others look at what was taken: so it was in transformers, and scores are held to it.
    """

    def search(self) -> Steps:
        config = self.config
        size = config.num_beams // config.num_beam_groups
        answers = yield from self.begin()
        (root,) = self.live
        self._groups = [_Group([replace(root, group=i)], Finished(self, size)) for i in range(config.num_beam_groups)]
        # All groups start from the one row of logits after the prompt; later each has a row a beam.
        logits = answers[-1].logits[-1:].expand(len(self._groups), -1)
        while True:
            going = self._step(logits, size)
            self.finished = [h for group in self._groups for h in group.finished.hypotheses]
            if not going:
                self._drop_live()
                if not self.finished:
                    raise self.stuck()
                return
            logits = yield from self.descend(going)
            for i, group in enumerate(self._groups):
                group.beams = [beam for beam in self.live if beam.group == i]
            if self.out_of_time:
                return

    def taken(self, hypothesis: Hypothesis, step: int) -> Sequence[int]:
        return self._groups[hypothesis.group].taken[step]

    def _step(self, logits: Tensor, size: int) -> list[Candidate]:
        """Let every group choose. logits: a row a beam, group after group. Returns the candidates that go on, in that order."""
        taken: list[int] = []
        going: list[Candidate] = []
        row = 0
        for group in self._groups:
            group.taken.append(tuple(taken))
            if group.done:
                taken += [self._padding] * size
                continue
            rows = logits[row : row + len(group.beams)]
            row += len(group.beams)
            chosen = self._choose(group, rows, taken, size)
            taken += [candidate.token_id for candidate in chosen]
            if not group.done:
                going += chosen
        return going

    def _choose(self, group: _Group, logits: Tensor, taken: Sequence[int], size: int) -> list[Candidate]:
        """One group's step: its `size` best candidates that do not end; those that end and rank among its first `size` finish."""
        beams = group.beams
        scores = self.logprobs(logits, beams, [taken] * len(beams))
        scores = scores + torch.tensor([[beam.score] for beam in beams], device=logits.device)
        found = self.candidates(scores, beams, max(2, 1 + len(self.eos)) * size)
        for candidate in found[:size]:
            if candidate.ends in ("eos", "stop"):
                group.finished.add(candidate)
        chosen = [candidate for candidate in found if candidate.ends not in ("eos", "stop")][:size]
        group.done = not chosen or group.finished.closed(found[0].score, len(found[0].ids))
        if not group.done and chosen[0].ends == "length":
            for candidate in chosen:
                group.finished.add(candidate)
            group.done = True
        return chosen

    @property
    def _padding(self) -> int:
        given = self.config.pad_token_id if self.config.pad_token_id is not None else self.backend.info.pad_token_id
        return given if given is not None else self.eos[0] if self.eos else 0
