"""One request at work: its turn in the queue, its prompts made ready off the event loop, its completions, and its end.

A request ends in one of five ways: it is answered; its client leaves; it takes too long; the server stops; the engine fails. In
each of them `Run.close` gives back everything at once: the places in the queue, and the engine's memory after the step under way.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from ramify.api.errors import ApiError, error_of
from ramify.api.letterbox import Arrivals
from ramify.api.parts import Answer, Kept, Part, Piece
from ramify.api.state import Server
from ramify.api.waiting import off_loop
from ramify.decoding.config import GenerationConfig
from ramify.decoding.constraints import Constraint
from ramify.engine.model import Model
from ramify.engine.requests import GenerationRequest, Scored, TokenEvent, TokenLogprob
from ramify.engine.rows import finished
from ramify.engine.tasks import Handle
from ramify.errors import EngineError

__all__ = ["Run"]

AT_ONCE_CHARACTERS = 2_000
"""Up to here a prompt is tokenized sooner than a thread is woken."""

_GRAMMARS = ThreadPoolExecutor(2, "ramify-grammar")


_Asked = tuple[Handle, "asyncio.Future[Any]"]
"""What the engine was asked, and what becomes of it."""


class Run:
    """A request that was let into the queue. Use `prepare`, then either `answers` or `pieces`; always `close`."""

    def __init__(self, server: Server, name: str, parts: Sequence[Part]) -> None:
        """Raises ApiError: 404 for a model that is not served, 429 where the queue is full, 503 where the server stops."""
        if server.draining:
            raise ApiError(503, "the server is stopping; ask another one, or again later", code="draining")
        self.name = name
        self.parts = tuple(parts)
        self.began = time.monotonic()
        self._server = server
        self._letterbox = server.letterbox()
        self._model: Model | None = None
        self._ready: list[tuple[Answer, GenerationRequest | None]] = []
        self._constraint: Constraint | None = None
        self._handles: list[Handle] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = threading.Event()
        self._first_at: dict[int, float] = {}
        self._counted: set[int] = set()
        self._failed = False
        self._error: ApiError | None = None
        """What ended the request from outside."""
        self._preparing: asyncio.Task[Any] | None = None
        self._finish: Callable[[Exception | None], None] | None = None
        """Told when all parts have ended, or what ended them."""
        self._turn = server.models.admission(name).enter([part.rows for part in self.parts])
        limit_s = server.limits.request_timeout_s
        late = ApiError(504, f"the request took longer than {limit_s:g} s, the most that this server allows", code="timeout")
        self._timer = asyncio.get_running_loop().call_later(limit_s, self.end, late)
        server.runs.add(self)

    # The end, whichever it is.

    def end(self, error: ApiError) -> None:
        """End the request with an error."""
        if self._error is None and not self._stopped.is_set():
            self._error = error
            if self._preparing is not None:
                self._preparing.cancel()
            if self._finish is not None:
                self._finish(error)

    def close(self) -> None:
        """Stop whatever still goes on for this request, and give back what it holds."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._timer.cancel()
        self._finish = None
        self._server.metrics.request_s.labels(self.name).observe(time.monotonic() - self.began)
        unfinished = sum(part.rows for i, part in enumerate(self.parts) if i not in self._counted)
        if unfinished and (self._ready or not self._failed):  # what was refused was not a completion yet
            self._server.metrics.completions.labels(self.name, "error" if self._failed else "cancelled").inc(unfinished)
        for handle in self._handles:
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        self._turn.close()
        self._server.runs.discard(self)

    def _note(self, error: Exception) -> None:
        self._failed = True
        self._server.metrics.errors.labels(self.name, str(error_of(error).status)).inc()

    # Making ready.

    async def prepare(self) -> Model:
        """Load the model, tokenize, check, and compile what constrains. Raises what is wrong with the request, or ended it."""
        self._preparing = task = asyncio.current_task()
        assert task is not None
        try:
            return await self._prepare()
        except asyncio.CancelledError:
            if self._error is None or task.uncancel():
                raise
            self._note(self._error)
            raise self._error from None
        except Exception as error:
            self._note(error)
            raise
        finally:
            self._preparing = None

    async def _prepare(self) -> Model:
        self._model = model = await self._server.models.aget(self.name)
        longest = sum(part.characters for part in self.parts)
        if len(self.parts) == 1 and _is_short(self.parts[0]):
            self._ready = self._checked(model)
        else:
            self._ready = await off_loop(longest, partial(self._checked, model))
        request = next((request for _, request in self._ready if request is not None), None)
        if request is not None and request.config.constrained:
            loop = asyncio.get_running_loop()
            self._constraint = await loop.run_in_executor(_GRAMMARS, model.engine.constraint, request)
        self._turn.ready()
        return model

    def _checked(self, model: Model) -> list[tuple[Answer, GenerationRequest | None]]:
        found: list[tuple[Answer, GenerationRequest | None]] = []
        for part in self.parts:
            if self._stopped.is_set():
                break
            prompt_ids, prefill_ids = part.encode(model)
            window = model.info.context_window
            if part.max_tokens is not None and len(prompt_ids) + part.max_tokens > window > len(prompt_ids):
                raise ApiError(
                    400,
                    f"the prompt has {len(prompt_ids)} tokens and {part.max_tokens_name} is {part.max_tokens}, together "
                    f"{len(prompt_ids) + part.max_tokens}; the model's context window holds {window}. "
                    "Shorten the prompt, or ask for fewer tokens",
                    param=part.max_tokens_name,
                    code="context_length_exceeded",
                )
            # What is only measured is checked like what goes on: for its ids, and for its room.
            config = part.config or GenerationConfig(max_new_tokens=1)
            request = model.request_of_ids(
                prompt_ids, prefill_ids, config, logprobs=part.logprobs, stream=True, special_tokens=part.special_tokens
            )
            answer = Answer(prompt_ids=request.prompt_ids, prefill_ids=prefill_ids)
            found.append((answer, request if part.config else None))
        return found

    # At work.

    async def answers(self) -> list[Answer]:
        """All parts, when all have ended."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finish(error: Exception | None) -> None:
            if ended.done():  # nobody waits any more
                return
            if error is None:
                ended.set_result(None)
            else:
                ended.set_exception(error)

        self._begin(None, finish)
        await ended
        return [answer for answer, _ in self._ready]

    def pieces(self, *, ping_s: float) -> AsyncIterator[list[Piece]]:
        """What becomes known, as it does; an empty list when nothing did for `ping_s`. Raises the error that ends the request.

        The work begins with this call, not with the first look at what comes of it.
        """
        arrivals: Arrivals[Piece | BaseException | None] = Arrivals(ping_s)

        def finish(error: Exception | None) -> None:
            self._letterbox.empty()  # so that the end comes behind every event
            arrivals.put(error)

        self._begin(arrivals.put, finish)
        return self._as_they_come(arrivals)

    async def _as_they_come(self, arrivals: Arrivals[Piece | BaseException | None]) -> AsyncIterator[list[Piece]]:
        try:
            while True:
                items = await arrivals.take()
                pieces = [item for item in items if isinstance(item, Piece)]
                if pieces or not items:
                    yield pieces
                for item in items:
                    if isinstance(item, BaseException):
                        raise item
                if None in items:
                    return
        finally:
            arrivals.close()

    def _begin(self, put: Callable[[Piece], None] | None, finish: Callable[[Exception | None], None]) -> None:
        """Have all parts worked at. `finish` is called once: with None when all have ended, else with what ended them."""
        left = len(self.parts)

        def over(error: Exception | None) -> None:
            if self._finish is None:
                return
            self._finish = None
            if error is not None:
                self._note(error)
                for task in self._tasks:
                    task.cancel()
            finish(error)

        def ended(task: "asyncio.Task[None]") -> None:
            nonlocal left
            left -= 1
            error = None if task.cancelled() else task.exception()
            if isinstance(error, Exception):
                over(error)
            elif not left and not task.cancelled():
                over(None)

        self._finish = over
        if self._error is None:
            self._tasks = [asyncio.create_task(self._work(i, put, self._at_once(i, put))) for i in range(left)]
        for task in self._tasks:
            task.add_done_callback(ended)
        if self._error is not None or not left:
            over(self._error)

    def _at_once(self, i: int, put: Callable[[Piece], None] | None) -> _Asked | None:
        """Ask the engine for a part's completions now, where nothing must be waited for.

        Of requests that come together the first ones are then computed while the others are still being read: a task of its own
        begins behind everything that the loop has to do for all of them.
        """
        part = self.parts[i]
        answer, request = self._ready[i]
        if part.measure is not None or part.kept is not None or request is None or not self._turn.has_come(i):
            return None
        if put is not None:
            put(Piece(i, answer))
        return self._ask_for(i, answer, request, put)

    def _ask_for(self, i: int, answer: Answer, request: GenerationRequest, put: Callable[[Piece], None] | None) -> _Asked:
        assert self._model is not None
        constraint = self._constraint.copy() if self._constraint is not None else None
        start = partial(self._model.start, request, constraint=constraint)
        return self._ask(start, Handle(partial(self._event, i, answer, put)))

    async def _work(self, i: int, put: Callable[[Piece], None] | None, asked: _Asked | None) -> None:
        assert self._model is not None
        model, part = self._model, self.parts[i]
        answer, request = self._ready[i]
        try:
            if asked is not None:
                answer.completions = await self._answered(asked)
                self._server.models.answered(self.name)
                self._count(i, answer)
                return
            await self._turn.comes(i)
            if part.measure is not None:
                answer.measured = Scored((), ())
                if len(answer.prompt_ids) > 1:
                    start = partial(model.start_scoring, answer.prompt_ids[:1], answer.prompt_ids[1:], top=part.measure)
                    answer.measured = await self._answered(self._ask(start, Handle()))
            if put is not None:
                put(Piece(i, answer))
            if part.kept is not None:
                assert request is not None
                await self._give(i, part.kept, answer, request, put)
            elif request is not None:
                answer.completions = await self._answered(self._ask_for(i, answer, request, put))
            self._server.models.answered(self.name)
            self._count(i, answer)
        except EngineError as error:
            self._server.engine_failed(self.name, error)
            raise
        finally:
            self._turn.done(i)

    async def _give(
        self, i: int, kept: Kept, answer: Answer, request: GenerationRequest, put: Callable[[Piece], None] | None
    ) -> None:
        """A kept completion as if it had been made now, measured under this model where that was asked for."""
        assert self._model is not None
        codec = self._model.codec
        if kept.token_ids is not None and kept.fingerprint == self._model.info.fingerprint:
            ids = kept.token_ids
        else:
            ids = await off_loop(len(kept.text), lambda: tuple(codec.encode(kept.text)))
        logprobs: tuple[TokenLogprob, ...] | None = None
        if request.logprobs is not None:
            logprobs = ()
            if ids:
                start = partial(self._model.start_scoring, answer.prompt_ids, ids, top=request.logprobs)
                scored = await self._answered(self._ask(start, Handle()))
                logprobs = scored.logprobs
        result = finished(
            replace(request, prefill_ids=()),
            self._model.engine.backend,
            text=kept.text,
            generated_text=kept.text,
            generated_ids=ids,
            finish_reason=kept.finish_reason,
            stop_string=None,
            logprobs=logprobs,
            seed=request.seed,
        )
        answer.completions = [result]
        event = TokenEvent(
            text=kept.text, token_ids=ids, logprobs=logprobs or (), finish_reason=kept.finish_reason, result=result
        )
        self._time_first(i)
        if put is not None:
            put(Piece(i, answer, event))

    def _ask(self, start: Callable[..., Any], handle: Handle) -> _Asked:
        """Call `start` with a handle; what becomes of it comes by the letterbox, behind all events."""
        assert self._model is not None
        engine, letterbox = self._model.engine, self._letterbox
        settled: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(found: "Future[Any]") -> None:
            if settled.done():  # its waiter has left
                return
            error = found.exception()
            if error is None:
                settled.set_result(found.result())
            else:
                settled.set_exception(error)

        def tell(found: "Future[Any]") -> None:
            """On the engine's thread."""
            letterbox.post(settle, found)
            engine.after_step(letterbox.wake)

        def begin() -> None:
            try:
                start(handle=handle)
            except EngineError as error:
                if not settled.done():
                    settled.set_exception(error)

        handle.future.add_done_callback(tell)
        self._handles.append(handle)
        if engine.busy:
            begin()
        else:
            letterbox.send(begin)
        return handle, settled

    async def _answered(self, asked: _Asked) -> Any:
        handle, settled = asked
        try:
            return await settled
        finally:
            handle.cancel()  # which does nothing to one that has ended
            self._handles.remove(handle)

    def _event(self, i: int, answer: Answer, put: Callable[[Piece], None] | None, event: TokenEvent) -> None:
        """On the engine's thread."""
        self._time_first(i)
        if put is not None:
            assert self._model is not None
            self._letterbox.post(put, Piece(i, answer, event))
            self._model.engine.after_step(self._letterbox.wake)

    def _time_first(self, i: int) -> None:
        if i not in self._first_at:
            self._first_at[i] = now = time.monotonic()
            if len(self._first_at) == 1:
                self._server.metrics.first_token_s.labels(self.name).observe(now - self.began)

    def _count(self, i: int, answer: Answer) -> None:
        metrics, name = self._server.metrics, self.name
        self._counted.add(i)
        metrics.prompt_tokens.labels(name).inc(len(answer.prompt_ids))
        if answer.completions:
            metrics.cached_tokens.labels(name).inc(answer.completions[0].cached_tokens)
        for completion in answer.completions:
            metrics.generated_tokens.labels(name).inc(len(completion.generated_token_ids))
            metrics.completions.labels(name, completion.finish_reason).inc()
        longest = max((len(completion.generated_token_ids) for completion in answer.completions), default=0)
        if longest > 1 and i in self._first_at:
            metrics.token_s.labels(name).observe((time.monotonic() - self._first_at[i]) / (longest - 1))


_PLAIN = vars(GenerationConfig())


def _is_short(part: Part) -> bool:
    """Whether neither the prompt nor any setting (a bias, bans, a schema) can be long."""
    settings = () if part.config is None else vars(part.config).items()
    return part.characters <= AT_ONCE_CHARACTERS and all(
        value is _PLAIN.get(name) or not isinstance(value, Collection) or value == _PLAIN.get(name) for name, value in settings
    )
