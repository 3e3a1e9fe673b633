"""Greedy decoding and sampling: rows that each take one token a step.

All rows of all requests that share a configuration are processed and chosen from together; what a row draws comes from
its own seed, so its tokens do not depend on who runs beside it.
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ramify.decoding import bans, choose, penalties
from ramify.decoding.constraints import Constraint
from ramify.decoding.pipeline import Pipeline
from ramify.decoding.pipeline import Row as History
from ramify.decoding.stopping import FinishReason, StopStrings
from ramify.engine.kv_tree import Branches
from ramify.engine.lookup import Lookup
from ramify.engine.measuring import measured, token_logprobs
from ramify.engine.requests import CompletionResult, GenerationRequest, Span, TokenEvent, TokenLogprob
from ramify.engine.tasks import Handle, Prefill
from ramify.errors import ConstraintError
from ramify.models.base import Backend, Extension, Outputs, Trunk
from ramify.models.detokenizer import StreamDecoder

__all__ = ["Row", "RowsTask", "choose_tokens", "eos_ids", "finished", "special_enders", "spelling"]


class Row:
    """One completion in the making."""

    def __init__(self, request: GenerationRequest, index: int, backend: Backend, constraint: Constraint | None) -> None:
        self.request = request
        self.index = index
        self.seed = request.seed + index
        self.random = choose.RowRandom(self.seed)
        self.generated_ids: list[int] = []
        self.history = History(prompt_ids=request.prompt_ids, generated_ids=self.generated_ids, limit=request.room)
        self.constraint = constraint
        self.branch: Trunk | None = None
        self.guide: Trunk | None = None
        self.guessed: list[int] = []
        """Tokens that `branch` holds beyond the chosen ones, until it is known whether the row draws the same."""
        self.goes_on = False
        """Whether the last choice was the one guessed, so that the logits after it are there already."""
        self.lookup = Lookup(request.prompt_ids) if request.config.prompt_lookup_num_tokens else None
        self._looked = 0
        self.logprobs: list[TokenLogprob] = []
        self.finish_reason: FinishReason | None = None
        self.stop_string: str | None = None
        self.cached = 0
        self._backend = backend
        config = request.config
        self._eos = eos_ids(request, backend)
        self._stop_ids = frozenset(config.stop_token_ids or ())
        self._enders = special_enders(request, backend)
        self._decoder = StreamDecoder(spelling(request, backend))
        self._prefill_text = "".join(map(self._decoder.feed, request.prefill_ids))
        self._stops = StopStrings(config.stop_strings or (), config.include_stop_str_in_output)
        self._text: list[str] = []

    @property
    def budget(self) -> int:
        """Tokens still allowed, the coming one included."""
        return self.request.room - len(self.generated_ids)

    def guess(self) -> list[int]:
        """Tokens that may come after the last one, fewer than are still allowed."""
        most = min(self.request.config.prompt_lookup_num_tokens or 0, self.budget - 1)
        if self.lookup is None or not self._backend.info.shares_trunks:
            return []
        new, self._looked = self.generated_ids[self._looked :], len(self.generated_ids)
        return self.lookup.draft(new, most)

    def accept(self, token_id: int, logprob: TokenLogprob | None) -> str:
        """Append a token; returns the text that may be shown now. `finish_reason` is set when it was the last."""
        self.generated_ids.append(token_id)
        if logprob is not None:
            self.logprobs.append(logprob)
        if self.constraint is not None:
            self.constraint.advance(token_id)
        shown, stopped_by = self._stops.feed("" if token_id in self._enders else self._decoder.feed(token_id))
        self._text.append(shown)
        if token_id in self._eos:
            return shown + self.finish("eos")
        if stopped_by is not None:
            self.finish_reason, self.stop_string = "stop", stopped_by
        elif token_id in self._stop_ids:
            self.stop_string = self._backend.codec.token_bytes[token_id].decode("utf-8", errors="replace")
            return shown + self.finish("stop")
        elif self.budget <= 0:
            return shown + self.finish("length")
        return shown

    def finish(self, reason: FinishReason) -> str:
        """End here and give back what was held back."""
        self.finish_reason = reason
        shown, _ = self._stops.feed(self._decoder.flush())
        shown += self._stops.flush()
        self._text.append(shown)
        return shown

    def result(self) -> CompletionResult:
        request, generated = self.request, "".join(self._text)
        return finished(
            request,
            self._backend,
            text=self._prefill_text + generated,
            generated_text=generated,
            generated_ids=self.generated_ids,
            finish_reason=self.finish_reason or "error",
            stop_string=self.stop_string,
            logprobs=tuple(self.logprobs) if request.logprobs is not None else None,
            seed=self.seed,
            cached_tokens=self.cached,
        )


def eos_ids(request: GenerationRequest, backend: Backend) -> frozenset[int]:
    """The tokens with which the model itself ends."""
    config = request.config
    return frozenset(() if config.ignore_eos else config.eos_token_id or backend.info.eos_token_ids)


def spelling(request: GenerationRequest, backend: Backend) -> Sequence[bytes]:
    """What each token adds to the text."""
    return backend.codec.literal_bytes if request.special_tokens else backend.codec.token_bytes


def special_enders(request: GenerationRequest, backend: Backend) -> frozenset[int]:
    """Special tokens that end the completion and are left out of its text, even where others are part of it."""
    if request.config.include_stop_str_in_output:
        return frozenset()
    return backend.codec.special_ids & (eos_ids(request, backend) | frozenset(request.config.stop_token_ids or ()))


def finished(
    request: GenerationRequest,
    backend: Backend,
    *,
    text: str,
    generated_text: str,
    generated_ids: Sequence[int],
    finish_reason: FinishReason,
    stop_string: str | None,
    logprobs: tuple[TokenLogprob, ...] | None,
    seed: int,
    cached_tokens: int = 0,
    beam_score: float | None = None,
) -> CompletionResult:
    """A result with what its request and model say of it."""
    filled, total = len(request.prefill_ids), len(request.prefill_ids) + len(generated_ids)
    spans = [Span(0, filled, request.prefill_origin)] if filled else []
    if total > filled:
        spans.append(Span(filled, total, "sampled"))
    prompt = request.prompt_ids
    return CompletionResult(
        text=text,
        generated_text=generated_text,
        token_ids=(*request.prefill_ids, *generated_ids),
        prompt_token_ids=prompt[: len(prompt) - filled],
        finish_reason=finish_reason,
        stop_string=stop_string,
        logprobs=logprobs,
        seed=seed,
        beam_score=beam_score,
        spans=tuple(spans),
        config=request.config,
        model=backend.info.name,
        fingerprint=backend.info.fingerprint,
        cached_tokens=cached_tokens,
    )


class RowsTask:
    """`count` completions of one prompt, which is computed once; at most `batch_size` of them at a time."""

    def __init__(
        self,
        handle: Handle,
        branches: Branches,
        request: GenerationRequest,
        backend: Backend,
        pipeline: Pipeline,
        constraint: Constraint | None,
    ) -> None:
        self.handle = handle
        self.request = request
        self.pipeline = pipeline
        self.done = False
        self._branches = branches
        self._backend = backend
        config = request.config
        self.rows = [Row(request, i, backend, constraint and constraint.copy()) for i in range(request.count)]
        self._live: list[Row] = []
        self._to_start = list(reversed(self.rows))
        self._deadline = None if config.max_time is None else time.monotonic() + config.max_time
        self._guided = config.guidance_scale != 1.0
        self._prefill: Prefill | None = None
        self._trunk: Trunk | None = None
        self._unconditional: Trunk | None = None
        self._first: Tensor | None = None
        """(1 or 2, V): the logits after the prompt, and the unconditional ones; every row starts from them."""
        self.pending: list[tuple[Row, list[int]]] = []
        """Rows to choose a token for, and where their logits stand in the last outputs."""

    @property
    def width(self) -> int:
        return min(self.request.count, self.request.config.batch_size or self.request.count)

    @property
    def prompt_left(self) -> tuple[int, ...]:
        return self.request.prompt_ids if self._first is None and self.request.config.use_cache else ()

    def _begin(self) -> None:
        request = self.request
        self._trunk = self._branches.open(request.prompt_ids, reuse=request.config.use_cache)
        self._prefill = Prefill(self._trunk, request.prompt_ids)
        if self._guided:
            self._unconditional = self._branches.open((), reuse=False)

    def extensions(self) -> Sequence[Extension]:
        if self._trunk is None:
            self._begin()
        if self._prefill is not None:
            piece = self._prefill.next()
            assert piece is not None
            if piece.wanted and self._unconditional is not None:
                return [piece, Extension(self._unconditional, self.request.prompt_ids[-1:])]
            return [piece]
        wanted: list[Extension] = []
        for row in self._live:
            assert row.branch is not None
            wanted.append(self._grow(row))
            if row.guide is not None:
                wanted.append(Extension(row.guide, row.generated_ids[-1:]))
        return wanted

    def _grow(self, row: Row) -> Extension:
        assert row.branch is not None
        if self.request.config.use_cache:
            row.guessed = row.guess()
            return Extension(row.branch, [*row.generated_ids[-1:], *row.guessed], 1 + len(row.guessed))
        self._branches.free(row.branch)
        row.branch = self._branches.open((), reuse=False)
        return Extension(row.branch, (*row.history.prompt_ids, *row.generated_ids))

    def receive(self, outputs: Outputs, first: int) -> None:
        """Note which rows of the outputs are whose; tokens are chosen for all tasks together by `choose_tokens`."""
        at = outputs.starts[first]
        if self._prefill is not None:
            if outputs.starts[first + 1] == at:
                return
            self._first = outputs.logits[at : at + 1 + self._guided]
            for row in self.rows:
                row.cached = self._prefill.cached
            self._prefill = None
            if self.request.config.use_cache and self._trunk is not None:
                self._branches.keep(self._branches.fork(self._trunk), self.request.prompt_ids)
        else:
            each = 1 + self._guided
            self.pending = [
                (row, [outputs.starts[first + each * i + j] for j in range(each)]) for i, row in enumerate(self._live)
            ]

    def starting(self) -> tuple[list[Row], Tensor] | None:
        """Rows that start now, with the logits after the prompt that they all start from."""
        if self._first is None or not self._to_start:
            return None
        rows = [self._to_start.pop() for _ in range(min(len(self._to_start), self.width - len(self._live)))]
        return (rows, self._first) if rows else None

    def took(self, row: Row, token_id: int, logprob: TokenLogprob | None) -> None:
        """A token was chosen for `row`."""
        text = row.accept(token_id, logprob)
        if row.finish_reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            text += row.finish("time")
        self._judge_guesses(row, token_id)
        if row.finish_reason is None:
            if row.branch is None:
                assert self._trunk is not None
                row.branch = self._branches.fork(self._trunk)
                row.guide = self._branches.fork(self._unconditional) if self._unconditional is not None else None
                self._live.append(row)
        else:
            self._retire(row)
        if self.request.stream:
            event = TokenEvent(
                text=text,
                token_ids=(token_id,),
                logprobs=() if logprob is None else (logprob,),
                index=row.index,
                finish_reason=row.finish_reason,
                result=row.result() if row.finish_reason is not None else None,
            )
            self.handle.emit(event)
        if not self._live and not self._to_start and all(row.finish_reason for row in self.rows):
            self.close()
            self.handle.future.set_result([row.result() for row in self.rows])

    def _judge_guesses(self, row: Row, token_id: int) -> None:
        """The guess that the row's own choice confirmed is a token like any other; the first other one ends them all."""
        if row.guessed and row.guessed[0] == token_id and row.finish_reason is None:
            del row.guessed[0]
            row.goes_on = True
            return
        row.goes_on = False
        if row.guessed and row.branch is not None:
            row.guessed = []
            longer = row.branch
            row.branch = self._branches.fork(longer, len(self.request.prompt_ids) + len(row.generated_ids) - 1)
            self._branches.free(longer)

    def _retire(self, row: Row) -> None:
        if row in self._live:
            self._live.remove(row)
        if row.guide is not None:
            self._branches.free(row.guide)
        if row.branch is not None:
            computed = (*self.request.prompt_ids, *row.generated_ids)[: row.branch.length]
            if self.request.config.use_cache:
                self._branches.keep(row.branch, computed)
            else:
                self._branches.free(row.branch)

    def cancel(self) -> None:
        for row in self.rows:
            if row.finish_reason is None:
                text = row.finish("cancelled")
                if self.request.stream:
                    event = TokenEvent(text=text, token_ids=(), index=row.index, finish_reason="cancelled", result=row.result())
                    self.handle.emit(event)
        self.close()
        self.handle.future.set_result([row.result() for row in self.rows])

    def fail(self, error: BaseException) -> None:
        self.close()
        if not self.handle.future.done():
            self.handle.future.set_exception(error)

    def close(self) -> None:
        self.done = True
        self.pending = []
        self._live = []
        self._branches.close()


def choose_tokens(tasks: Sequence[RowsTask], outputs: Outputs | None) -> None:
    """Choose a token for every row that has logits waiting: one pass a configuration, then one for the rows that start.

    A row whose choice was guessed chooses again, from the logits after the guess.
    """
    waiting = [(task, row, where) for task in tasks for row, where in task.pending]
    for task in tasks:
        task.pending = []
    while waiting and outputs is not None:
        groups: dict[int, list[tuple[RowsTask, Row, list[int]]]] = {}
        for each in waiting:
            groups.setdefault(id(each[0].pipeline), []).append(each)
        for going in groups.values():
            where = [at for _, _, places in going for at in places]
            whole = where == list(range(outputs.logits.shape[0]))
            _choose([(task, row) for task, row, _ in going], outputs.logits if whole else outputs.logits[where])
        waiting = [(task, row, [places[0] + 1]) for task, row, places in waiting if row.goes_on and not task.done]
    # Whose first token was its last makes room for another row of its task.
    while starts := [(task, *start) for task in tasks if not task.done and (start := task.starting()) is not None]:
        together: dict[int, list[tuple[RowsTask, list[Row], Tensor]]] = {}
        for begun in starts:
            together.setdefault(id(begun[0].pipeline), []).append(begun)
        for group in together.values():
            members = [(task, row) for task, rows, _ in group for row in rows]
            _choose(members, torch.cat([first.repeat(len(rows), 1) for _, rows, first in group]))


@torch.inference_mode()
def _choose(members: list[tuple[RowsTask, Row]], logits: Tensor) -> None:
    """members share a pipeline. logits: (B, V), or (2 B, V) with each row's unconditional logits behind its own."""
    task = members[0][0]
    config, rows = task.request.config, [row for _, row in members]
    conditional = logits
    if config.guidance_scale != 1.0:
        conditional = logits[0::2]
        logits = penalties.guide(conditional, logits[1::2], config.guidance_scale)
    dead: dict[int, Exception] = {}
    for i, row in enumerate(rows):
        if row.constraint is not None:
            row.history.keep = row.constraint.keep(row.budget)
            if row.constraint.dead:
                dead[i] = ConstraintError(
                    "the constraints leave no token to go on with: together they cannot be met from here. "
                    "Loosen one of them, or give more tokens."
                )
    processed = task.pipeline(logits, [row.history for row in rows]) if task.pipeline.names else logits
    if config.samples:
        uniforms = torch.tensor([row.random.uniform() for row in rows], dtype=torch.float64)
        chosen = choose.categorical(processed, uniforms)
    else:
        chosen = choose.argmax(processed)
    token_ids: list[int] = chosen.tolist()
    for i, name in bans.overruled(config, [row.history for row in rows], processed).items():
        dead[i] = bans.nothing_left(config, name, len(rows[i].generated_ids))
    logprobs: list[TokenLogprob | None] = [None] * len(rows)
    asking = [i for i, (t, _) in enumerate(members) if t.request.logprobs is not None]
    if asking:
        deepest = max(members[i][0].request.logprobs or 0 for i in asking)
        raw = measured(conditional[asking], chosen[asking], deepest)
        after = measured(processed[asking], chosen[asking], deepest)
        tokens = [token_ids[i] for i in asking]
        depths = [members[i][0].request.logprobs or 0 for i in asking]
        for i, logprob in zip(asking, token_logprobs(task._backend.codec, tokens, raw, after, depths), strict=True):
            logprobs[i] = logprob
    for i, (owner, row) in enumerate(members):
        if owner.done:
            continue
        if i in dead:
            owner.fail(dead[i])
        else:
            owner.took(row, token_ids[i], logprobs[i])
