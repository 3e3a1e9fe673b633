"""Beam search: several continuations of one prompt kept side by side, the likeliest ones as a whole.

A beam step is forks and frees on the tree of keys and values: beams share their trunk and nothing is reordered.
Sources: Graves 2012, "Sequence Transduction with Recurrent Neural Networks" (the search); the standard rule ends and ranks as
transformers' `generate` does, the early-stopped rule as the homework behind the decoding report does, its defects mended.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ramify.decoding import bans, choose
from ramify.decoding.constraints import Constraint
from ramify.decoding.pipeline import Pipeline
from ramify.decoding.pipeline import Row as History
from ramify.decoding.stopping import FinishReason, StopStrings
from ramify.engine.kv_tree import Branches
from ramify.engine.measuring import measured, token_logprobs
from ramify.engine.requests import CompletionResult, GenerationRequest, TokenEvent, TokenLogprob
from ramify.engine.rows import finished, special_enders, spelling
from ramify.engine.scoring import PIECE_TOKENS
from ramify.engine.tasks import Steps, prefill
from ramify.errors import ConstraintError
from ramify.models.base import Backend, Extension, Trunk
from ramify.models.detokenizer import StreamDecoder

__all__ = ["Beam", "Candidate", "EarlyStopped", "Hypothesis", "Search", "Standard", "as_events"]


@dataclass(slots=True)
class Beam:
    """A continuation that may still grow. score: the sum of its tokens' processed logprobs; group: of diverse beams."""

    ids: tuple[int, ...]
    score: float
    branch: Trunk
    constraint: Constraint | None = None
    group: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A beam with one more token. `ends` says why it would stop there, None if it would not."""

    parent: Beam
    token_id: int
    score: float
    ends: FinishReason | None
    stop_string: str | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        return (*self.parent.ids, self.token_id)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished continuation. rank: what it is ordered by, higher is better."""

    ids: tuple[int, ...]
    rank: float
    ends: FinishReason
    stop_string: str | None = None
    group: int = 0


class Search:
    """What every search over beams needs: processed logprobs, candidates, forks, and results with their logprobs."""

    def __init__(
        self,
        request: GenerationRequest,
        backend: Backend,
        branches: Branches,
        pipeline: Pipeline,
        constraint: Constraint | None,
    ) -> None:
        self.request = request
        self.config = request.config
        self.backend = backend
        self.branches = branches
        self.pipeline = pipeline
        self.constraint = constraint
        self.random = choose.RowRandom(request.seed)
        eos = self.config.eos_token_id or backend.info.eos_token_ids
        self.eos = () if self.config.ignore_eos else eos
        self.live: list[Beam] = []
        self.finished: list[Hypothesis] = []
        self.cached = 0
        self._stop_ids = frozenset(self.config.stop_token_ids or ())
        self._deadline = None if self.config.max_time is None else time.monotonic() + self.config.max_time
        self._first: Tensor | None = None
        self._trunk: Trunk | None = None
        self._ban: ConstraintError | None = None

    # What a search is made of.

    def search(self) -> Steps:
        """Fill `finished`; leave in `live` what had not ended."""
        raise AssertionError("a search says how it searches")

    def run(self) -> Steps:
        """Search, then measure what was found. Returns the completions, best first."""
        yield from self.search()
        best = self.best("time" if self.out_of_time else "length")
        measures: list[tuple[TokenLogprob, ...] | None] = [None] * len(best)
        if self.request.logprobs is not None:
            for i, hypothesis in enumerate(best):
                measures[i] = yield from self._measure(hypothesis)
        if self._trunk is not None and self.config.use_cache:
            self.branches.keep(self._trunk, self.request.prompt_ids)
        return [self._result(h, m) for h, m in zip(best, measures, strict=True)]

    def so_far(self, reason: FinishReason) -> list[CompletionResult]:
        """What there is at this moment, without logprobs."""
        return [self._result(hypothesis, None) for hypothesis in self.best(reason)]

    def best(self, reason: FinishReason) -> list[Hypothesis]:
        """As many hypotheses as asked for: finished ones first, then live ones cut for `reason`."""
        open_ones = [Hypothesis(b.ids, self.rank(b.score, len(b.ids)), reason, group=b.group) for b in self.live if b.ids]
        open_ones.sort(key=lambda h: -h.rank)
        found = sorted(self.finished, key=lambda h: -h.rank) + open_ones
        return (found or [Hypothesis((), 0.0, reason)])[: self.request.count]

    def rank(self, score: float, length: int) -> float:
        """score / length ** length_penalty."""
        return float(score / max(1, length) ** self.config.length_penalty)

    @property
    def out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def begin(self, *, hidden: bool = False) -> Steps:
        """Compute the prompt. Returns its last answer; `live` holds one empty beam."""
        ids = self.request.prompt_ids
        self._trunk, answers, self.cached = yield from prefill(self.branches, ids, reuse=self.config.use_cache, hidden=hidden)
        self._first = answers[-1].logits[-1:].clone()
        self.live = [Beam((), 0.0, self.branches.fork(self._trunk), self.constraint)]
        return answers

    def logprobs(self, logits: Tensor, beams: Sequence[Beam], taken: Sequence[Sequence[int]] = ()) -> Tensor:
        """(K, V) logits of the beams -> processed log-probabilities, as the pipeline leaves them (not normalised again).

        A beam whose bans forbid every token has none left: all -inf.
        """
        logprobs = torch.log_softmax(logits, dim=-1)
        if not self.pipeline.names:
            return logprobs
        rows = []
        for i, beam in enumerate(beams):
            keep = None
            if beam.constraint is not None:
                keep = beam.constraint.keep(self.request.room - len(beam.ids))
            rows.append(self._history(beam.ids, keep, taken[i] if taken else ()))
        return self.held(self.pipeline(logprobs, rows), rows)

    def held(self, processed: Tensor, rows: Sequence[History]) -> Tensor:
        """(K, V) as the pipeline leaves it, without the tokens that stand there although a ban forbids them."""
        for i, name in bans.overruled(self.config, rows, processed).items():
            processed[i] = -math.inf
            self._ban = bans.nothing_left(self.config, name, len(rows[i].generated_ids))
        return processed

    def candidates(self, scores: Tensor, beams: Sequence[Beam], count: int) -> list[Candidate]:
        """The `count` best continuations over all beams, best first; impossible ones are left out.

        scores: (K, V), accumulated. Equal ones stand in the order of beam, then id. Beam sampling draws them without replacement.
        """
        flat = scores.reshape(-1)
        count = min(count, flat.shape[0])
        if self.config.samples:
            uniforms = torch.from_numpy(self.random.uniforms(flat.shape[0]))
            _, drawn = choose.gumbel_top_k(flat.unsqueeze(0), uniforms.unsqueeze(0), count)
            places = drawn[0]
            values = flat[places]
        else:
            values, places = choose.largest(flat, count)
        found = []
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            if value > -math.inf:
                beam, token_id = beams[place // scores.shape[1]], place % scores.shape[1]
                ends, stop_string = self.ending(beam.ids, token_id)
                found.append(Candidate(beam, token_id, value, ends, stop_string))
        return found

    def ending(self, ids: tuple[int, ...], token_id: int) -> tuple[FinishReason | None, str | None]:
        """Whether a completion ends with this token, and by which stop string."""
        if token_id in self.eos:
            return "eos", None
        if self.config.stop_strings:
            pieces = spelling(self.request, self.backend)
            text = b"".join(pieces[i] for i in (*ids, token_id)).decode("utf-8", "replace")
            _, matched = StopStrings(self.config.stop_strings).feed(text)
            if matched is not None:
                return "stop", matched
        if token_id in self._stop_ids:
            return "stop", self.backend.codec.token_bytes[token_id].decode("utf-8", errors="replace")
        return ("length", None) if len(ids) + 1 >= self.request.room else (None, None)

    def descend(self, chosen: Sequence[Candidate]) -> Steps:
        """Make `chosen` the live beams: fork their parents, free the rest, compute one token each. Returns (K, V) logits."""
        parents = self.live
        self.live = []
        for candidate in chosen:
            constraint = candidate.parent.constraint
            if constraint is not None:
                constraint = constraint.copy()
                constraint.advance(candidate.token_id)
            branch = self.branches.fork(candidate.parent.branch)
            self.live.append(Beam(candidate.ids, candidate.score, branch, constraint, candidate.parent.group))
        for parent in parents:
            self.branches.free(parent.branch)
        wanted = []
        for beam in self.live:
            if self.config.use_cache:
                wanted.append(Extension(beam.branch, beam.ids[-1:]))
            else:
                self.branches.free(beam.branch)
                beam.branch = self.branches.open((), reuse=False)
                wanted.append(Extension(beam.branch, (*self.request.prompt_ids, *beam.ids)))
        answers = yield wanted
        return torch.cat([answer.logits for answer in answers])

    def _drop_live(self) -> None:
        for beam in self.live:
            self.branches.free(beam.branch)
        self.live = []

    def stuck(self) -> ConstraintError:
        """What is said where no beam can go on and none has finished."""
        return self._ban or ConstraintError(
            "the constraints leave no beam a token to go on with. Loosen one of them, or give more tokens."
        )

    # From hypotheses to results.

    def _history(self, ids: Sequence[int], keep: Tensor | None = None, taken: Sequence[int] = ()) -> History:
        return History(prompt_ids=self.request.prompt_ids, generated_ids=ids, keep=keep, taken=taken, limit=self.request.room)

    def taken(self, hypothesis: Hypothesis, step: int) -> Sequence[int]:
        """The tokens that earlier groups had chosen at this step of a hypothesis; only diverse beams have groups."""
        return ()

    def _measure(self, hypothesis: Hypothesis) -> Steps:
        """The measures of a finished continuation: one forward pass over it, and the processors replayed on each position."""
        ids = hypothesis.ids
        if not ids or self._first is None or self._trunk is None:
            return ()
        branch = self.branches.fork(self._trunk)
        constraint = self.constraint.copy() if self.constraint is not None else None
        rest, depth = ids[:-1], self.request.logprobs or 0
        found: list[TokenLogprob] = []
        logits = self._first
        for start in range(0, len(ids), PIECE_TOKENS):
            piece = ids[start : start + PIECE_TOKENS]
            fed = rest[start : start + PIECE_TOKENS]
            if fed:
                (answer,) = yield [Extension(branch, fed, len(fed))]
                logits = torch.cat([logits, answer.logits])
            rows = []
            for i in range(start, start + len(piece)):
                keep = constraint.keep(self.request.room - i) if constraint is not None else None
                rows.append(self._history(ids[:i], keep, self.taken(hypothesis, i)))
                if constraint is not None:
                    constraint.advance(ids[i])
            chosen = torch.tensor(piece, device=logits.device)
            here = logits[: len(piece)]
            processed = self.pipeline(torch.log_softmax(here, dim=-1), rows)
            raw, after = measured(here, chosen, depth), measured(processed, chosen, depth)
            found += token_logprobs(self.backend.codec, piece, raw, after, [depth] * len(piece))
            logits = logits[len(piece) :]
        self.branches.free(branch)
        return tuple(found)

    def _result(self, hypothesis: Hypothesis, logprobs: tuple[TokenLogprob, ...] | None) -> CompletionResult:
        decoder, enders = StreamDecoder(spelling(self.request, self.backend)), special_enders(self.request, self.backend)
        prefill_text = "".join(map(decoder.feed, self.request.prefill_ids))
        stops = StopStrings(self.config.stop_strings or (), self.config.include_stop_str_in_output)
        shown = [stops.feed("" if token_id in enders else decoder.feed(token_id))[0] for token_id in hypothesis.ids]
        shown.append(stops.feed(decoder.flush())[0] + stops.flush())
        generated = "".join(shown)
        return finished(
            self.request,
            self.backend,
            text=prefill_text + generated,
            generated_text=generated,
            generated_ids=hypothesis.ids,
            finish_reason=hypothesis.ends,
            stop_string=hypothesis.stop_string,
            logprobs=logprobs,
            seed=self.request.seed,
            cached_tokens=self.cached,
            beam_score=hypothesis.rank,
        )


class Standard(Search):
    """Beam search, and with sampling beam sampling, as transformers ends and ranks it.

    Of the max(2, 1 + EOS ids) * num_beams best continuations, those that end count as finished when they rank among the first
    num_beams; the others go on. `early_stopping` True stops when num_beams have finished, False when the best live beam could not
    beat the worst finished one at its present length, "never" when it could not at any length.
    """

    def search(self) -> Steps:
        config, beams = self.config, self.config.num_beams
        answers = yield from self.begin()
        logits = answers[-1].logits[-1:]
        while True:
            scores = self.logprobs(logits, self.live) + torch.tensor([[b.score] for b in self.live], device=logits.device)
            found = self.candidates(scores, self.live, max(2, 1 + len(self.eos)) * beams)
            if not found:
                if not self.finished:
                    raise self.stuck()
                self._drop_live()
                return
            self._finish(found[:beams])
            going = [c for c in found if c.ends is None]
            going = sorted(going, key=lambda c: -c.score)[:beams]
            length = len(found[0].ids)
            if not going:
                self._drop_live()
                return
            full = len(self.finished) >= beams
            if full and (config.early_stopping is True or not self._may_improve(going[0].score, length)):
                self._drop_live()
                return
            logits = yield from self.descend(going)
            if self.out_of_time:
                return

    def _finish(self, ranked: Sequence[Candidate]) -> None:
        beams = self.config.num_beams
        if self.config.early_stopping is True and len(self.finished) >= beams:
            return
        ended = [Hypothesis(c.ids, self.rank(c.score, len(c.ids)), c.ends, c.stop_string) for c in ranked if c.ends is not None]
        self.finished = sorted([*self.finished, *ended], key=lambda h: -h.rank)[:beams]

    def _may_improve(self, score: float, length: int) -> bool:
        longest = self.config.early_stopping == "never" and self.config.length_penalty > 0
        return self.rank(score, self.request.room if longest else length) > self.finished[-1].rank


class EarlyStopped(Search):
    """The decoding report's beam search: a child that ends is finished at once and never expanded, however it ranks.

    Every live beam proposes its num_beams likeliest tokens; the search stops when num_beams continuations are finished,
    when none is left, or at the length limit. The best finished one wins, and a live one only where nothing finished.
    `beam_length` says whether the prompt counts in the length that log-probabilities are divided by.
    """

    def rank(self, score: float, length: int) -> float:
        prompt = len(self.request.prompt_ids) if self.config.beam_length == "prompt_and_generated" else 0
        return super().rank(score, prompt + length)

    def search(self) -> Steps:
        beams = self.config.num_beams
        answers = yield from self.begin()
        logits = answers[-1].logits[-1:]
        while True:
            logprobs = self.logprobs(logits, self.live)
            going: list[Candidate] = []
            for beam, row in zip(self.live, logprobs, strict=True):
                for candidate in self.candidates((row + beam.score).unsqueeze(0), [beam], beams):
                    if candidate.ends in ("eos", "stop"):
                        rank = self.rank(candidate.score, len(candidate.ids))
                        self.finished.append(Hypothesis(candidate.ids, rank, candidate.ends, candidate.stop_string))
                    else:
                        going.append(candidate)
            going = sorted(going, key=lambda c: -self.rank(c.score, len(c.ids)))[:beams]
            if not going:
                if not self.finished:
                    raise self.stuck()
                self.live = []
                return
            if len(self.finished) >= beams or going[0].ends == "length":
                # Cut here: these are the beams that were still going, kept as hypotheses of last resort.
                self.live = [replace(c.parent, ids=c.ids, score=c.score) for c in going]
                return
            logits = yield from self.descend(going)
            if self.out_of_time:
                return


def as_events(results: Sequence[CompletionResult]) -> Iterator[TokenEvent]:
    """Searches decide at the end: each completion is one event."""
    for index, result in enumerate(results):
        yield TokenEvent(
            text=result.generated_text,
            token_ids=result.generated_token_ids,
            logprobs=result.logprobs or (),
            index=index,
            finish_reason=result.finish_reason,
            result=result,
        )
