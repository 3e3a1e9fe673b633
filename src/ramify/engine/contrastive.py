"""Contrastive search: the likeliest tokens compete, and the one least like what has been said has an advantage.

Source: Su et al. 2022, "A Contrastive Framework for Neural Text Generation"; the arithmetic is that of transformers 4.49.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ramify.engine.beams import Beam, Hypothesis, Search
from ramify.engine.measuring import measured, token_logprobs
from ramify.engine.requests import CompletionResult, TokenLogprob
from ramify.engine.tasks import Answer, Steps
from ramify.models.base import Extension

__all__ = ["Contrastive"]


class Contrastive(Search):
    """Each step computes the `top_k` likeliest tokens on a fork each and keeps the one with the best score.

    score = (1 - alpha) * p - alpha * similarity, where p is the token's processed probability and similarity the greatest cosine
    between its last hidden state and those of all tokens before it, the prompt's included. Tokens of probability 0 do not
    compete, and of equal scores the likelier token wins. Nothing is drawn, so there is one completion.
    """

    def search(self) -> Steps:
        self._measures: list[TokenLogprob] = []
        answers = yield from self.begin(hidden=True)
        logits = answers[-1].logits[-1:]
        said = torch.cat([_directions(answer) for answer in answers])
        while True:
            (beam,) = self.live
            keep = None if beam.constraint is None else beam.constraint.keep(self.request.room - len(beam.ids))
            rows = [self._history(beam.ids, keep)]
            processed = self.held(self.pipeline(logits, rows), rows)
            token_ids, probabilities = self._likeliest(processed)
            if not token_ids:
                raise self.stuck()
            forks = [Beam((*beam.ids, token_id), 0.0, self.branches.fork(beam.branch), beam.constraint) for token_id in token_ids]
            answers = yield [self._look(fork) for fork in forks]
            directions = torch.cat([_directions(answer)[-1:] for answer in answers])
            similarity = (said @ directions.T).amax(dim=0)
            alpha = self.config.penalty_alpha or 0.0
            best = int(((1.0 - alpha) * probabilities - alpha * similarity).argmax())
            self._note(token_ids[best], logits, processed)
            self._keep_only(forks, best, beam)
            ends, stop_string = self.ending(beam.ids, token_ids[best])
            if ends is not None:
                self.branches.free(forks[best].branch)
                self.live = []
                self.finished = [Hypothesis(forks[best].ids, 0.0, ends, stop_string)]
                return
            if self.out_of_time:
                return
            logits = answers[best].logits
            said = torch.cat([said, directions[best : best + 1]])

    def _likeliest(self, processed: Tensor) -> tuple[list[int], Tensor]:
        """(1, V) processed logits -> the ids of the candidates, likeliest first, and their probabilities (K,)."""
        if bool(processed.isneginf().all()):
            return [], processed[0, :0]
        probabilities, ids = processed[0].softmax(dim=-1).topk(min(self.config.top_k or 1, processed.shape[-1]))
        possible = int((probabilities > 0).sum())
        return ids[:possible].tolist(), probabilities[:possible]

    def _look(self, fork: Beam) -> Extension:
        if self.config.use_cache:
            return Extension(fork.branch, fork.ids[-1:], 1, hidden=True)
        self.branches.free(fork.branch)
        fork.branch = self.branches.open((), reuse=False)
        return Extension(fork.branch, (*self.request.prompt_ids, *fork.ids), 1, hidden=True)

    def _keep_only(self, forks: list[Beam], best: int, parent: Beam) -> None:
        for i, fork in enumerate(forks):
            if i != best:
                self.branches.free(fork.branch)
        self.branches.free(parent.branch)
        if parent.constraint is not None:
            parent.constraint.advance(forks[best].ids[-1])
        self.live = [forks[best]]

    # What was chosen is measured where it is chosen: the processors saw logits here, not log-probabilities as beams do.

    def _note(self, token_id: int, logits: Tensor, processed: Tensor) -> None:
        if self.request.logprobs is not None:
            chosen, depth = torch.tensor([token_id], device=logits.device), self.request.logprobs
            raw, after = measured(logits, chosen, depth), measured(processed, chosen, depth)
            self._measures += token_logprobs(self.backend.codec, [token_id], raw, after, [depth])

    def _measure(self, hypothesis: Hypothesis) -> Steps:
        yield from _nothing()
        return tuple(self._measures[: len(hypothesis.ids)])

    def _result(self, hypothesis: Hypothesis, logprobs: tuple[TokenLogprob, ...] | None) -> CompletionResult:
        return replace(super()._result(hypothesis, logprobs), beam_score=None)


def _directions(answer: Answer) -> Tensor:
    """(tokens, D): the hidden states at length 1, so that their products are cosines."""
    assert answer.hidden is not None, "hidden states were asked for"
    lengths: Tensor = torch.linalg.vector_norm(answer.hidden, dim=-1, keepdim=True)
    return answer.hidden / lengths


def _nothing() -> Iterator[list[Extension]]:
    """A conversation in which nothing is asked."""
    return iter(())
