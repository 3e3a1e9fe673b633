"""One request at work: its turn in the queue, its prompts made ready off the event loop, its completions, and its end.

A request ends in one of five ways: it is answered; its client leaves; it takes too long; the server stops; the engine fails. In
each of them `Run.close` gives back everything at once: the places in the queue, and the engine's memory after the step under way.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from starlette.types import Receive

from ramify.api.errors import ApiError, error_of
from ramify.api.letterbox import Arrivals
from ramify.api.state import Server
from ramify.decoding.config import GenerationConfig
from ramify.decoding.constraints import Constraint
from ramify.decoding.stopping import FinishReason
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult, GenerationRequest, Scored, TokenEvent, TokenLogprob
from ramify.engine.rows import finished
from ramify.engine.tasks import Handle
from ramify.errors import EngineError

__all__ = ["Answer", "ClientGoneError", "Kept", "Part", "Piece", "Run", "client_gone", "off_loop", "while_connected"]

T = TypeVar("T")

Ids = tuple[tuple[int, ...], tuple[int, ...]]
"""The ids of prompt and prefill together, and those of the prefill."""

AT_ONCE_CHARACTERS = 2_000
"""Up to here a prompt is tokenized sooner than a thread is woken."""
LARGE_CHARACTERS = 50_000

_SMALL = ThreadPoolExecutor(4, "ramify-prepare")
_LARGE = ThreadPoolExecutor(2, "ramify-prepare-large")
_GRAMMARS = ThreadPoolExecutor(2, "ramify-grammar")


class ClientGoneError(Exception):
    """The client left before its answer was there."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A completion that is there already, and is given in place of a new one."""

    text: str
    finish_reason: FinishReason
    token_ids: tuple[int, ...] | None
    """Its own ids; None for a text that no model made."""
    fingerprint: str | None
    """Of the model whose ids they are."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One prompt of a request, and what to make of it."""

    encode: Callable[[Model], Ids]
    """Run off the event loop where it may take long; raises InputError for a prompt that cannot be used."""
    characters: int
    """About how long the prompt is."""
    config: GenerationConfig | None
    """None: nothing is generated."""
    logprobs: int | None = None
    special_tokens: bool = False
    """Whether special tokens are part of the text."""
    measure: int | None = None
    """How many alternatives the prompt's own tokens are measured with; None: they are not measured."""
    max_tokens: int | None = None
    """What the request named; it must fit behind the prompt."""
    max_tokens_name: str = "max_tokens"
    """What the request called it."""
    kept: Kept | None = None
    """Given as it is, whatever the settings say."""


@dataclass(kw_only=True)
class Answer:
    """What became of a part."""

    prompt_ids: tuple[int, ...]
    """Prefill included."""
    prefill_ids: tuple[int, ...]
    measured: Scored | None = None
    """The prompt's tokens but the first."""
    completions: list[CompletionResult] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Piece:
    """Something of a part that has just become known: its prompt (when its turn came), or an event."""

    part: int
    answer: Answer
    event: TokenEvent | None = None


async def off_loop(characters: int, call: Callable[[], T]) -> T:
    """Run a call in a thread; long texts have threads of their own, so that short ones never wait behind them."""
    pool = _LARGE if characters > LARGE_CHARACTERS else _SMALL
    return await asyncio.get_running_loop().run_in_executor(pool, call)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves first. Raises ClientGoneError then."""
    task, gone = asyncio.create_task(work), asyncio.create_task(client_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


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
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turn = server.models.admission(name).enter([_rows(part.config) for part in self.parts])
        limit_s = server.limits.request_timeout_s
        late = ApiError(504, f"the request took longer than {limit_s:g} s, the most that this server allows", code="timeout")
        self._timer = asyncio.get_running_loop().call_later(limit_s, self.end, late)
        server.runs.add(self)

    # The end, whichever it is.

    def end(self, error: ApiError) -> None:
        """End the request with an error."""
        if not self._over.done():
            self._over.set_exception(error)
            self._over.exception()  # seen: nobody needs to wait for it

    def close(self) -> None:
        """Stop whatever still goes on for this request, and give back what it holds."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._timer.cancel()
        self._server.metrics.request_s.labels(self.name).observe(time.monotonic() - self.began)
        unfinished = sum(_rows(part.config) for i, part in enumerate(self.parts) if i not in self._counted)
        if unfinished and (self._ready or not self._failed):  # what was refused was not a completion yet
            self._server.metrics.completions.labels(self.name, "error" if self._failed else "cancelled").inc(unfinished)
        for handle in self._handles:
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        self._turn.close()
        self._server.runs.discard(self)

    async def until_over(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, or the error that ended the request before."""
        task = asyncio.create_task(work)
        either: set[asyncio.Future[Any]] = {task, self._over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await self._over
            return task.result()
        except Exception as error:
            self._failed = True
            self._server.metrics.errors.labels(self.name, str(error_of(error).status)).inc()
            raise
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # Making ready.

    async def prepare(self) -> Model:
        """Load the model, tokenize, check, and compile what constrains. Raises what is wrong with the request."""
        return await self.until_over(self._prepare())

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
        return await self.until_over(self._answers())

    async def _answers(self) -> list[Answer]:
        self._tasks = [asyncio.create_task(self._work(i, None)) for i in range(len(self.parts))]
        await _all(self._tasks)
        return [answer for answer, _ in self._ready]

    async def pieces(self, *, ping_s: float) -> AsyncIterator[list[Piece]]:
        """What becomes known, as it does; an empty list when nothing did for `ping_s`. Raises the error that ends the request."""
        arrivals: Arrivals[Piece | BaseException | None] = Arrivals()

        async def all_parts() -> None:
            self._tasks = [asyncio.create_task(self._work(i, arrivals.put)) for i in range(len(self.parts))]
            await _all(self._tasks)

        async def conduct() -> None:
            end = None
            try:
                await self.until_over(all_parts())
            except Exception as error:
                end = error
            self._letterbox.empty()  # so that the end comes behind every event
            arrivals.put(end)

        conductor = asyncio.create_task(conduct())
        try:
            while True:
                items = await arrivals.take(ping_s)
                pieces = [item for item in items if isinstance(item, Piece)]
                if pieces or not items:
                    yield pieces
                for item in items:
                    if isinstance(item, BaseException):
                        raise item
                if None in items:
                    return
        finally:
            conductor.cancel()
            await asyncio.gather(conductor, return_exceptions=True)

    async def _work(self, i: int, put: Callable[[Piece], None] | None) -> None:
        assert self._model is not None
        model, part = self._model, self.parts[i]
        answer, request = self._ready[i]
        await self._turn.comes(i)
        try:
            if part.measure is not None:
                answer.measured = Scored((), ())
                if len(answer.prompt_ids) > 1:
                    answer.measured = await self._of_engine(
                        model.start_scoring(answer.prompt_ids[:1], answer.prompt_ids[1:], top=part.measure)
                    )
            if put is not None:
                put(Piece(i, answer))
            if part.kept is not None:
                assert request is not None
                await self._give(i, part.kept, answer, request, put)
            elif request is not None:
                handle = Handle(partial(self._event, i, answer, put))
                constraint = self._constraint.copy() if self._constraint is not None else None
                answer.completions = await self._of_engine(model.start(request, handle, constraint))
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
                scored = await self._of_engine(self._model.start_scoring(answer.prompt_ids, ids, top=request.logprobs))
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

    async def _of_engine(self, handle: Handle) -> Any:
        self._handles.append(handle)
        try:
            return await asyncio.wrap_future(handle.future)
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


async def _all(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Wait for all; the first that fails ends the others."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_PLAIN = GenerationConfig()


def _is_short(part: Part) -> bool:
    """Whether neither the prompt nor any setting (a bias, bans, a schema) can be long."""
    settings = () if part.config is None else vars(part.config).items()
    return part.characters <= AT_ONCE_CHARACTERS and all(
        not isinstance(value, Collection) or value == getattr(_PLAIN, name) for name, value in settings
    )


def _rows(config: GenerationConfig | None) -> int:
    """How many places of the engine a part takes."""
    if config is None:
        return 1
    candidates = (config.top_k or 1) if config.strategy == "contrastive" else 1
    return max(config.num_return_sequences, config.num_beams, candidates)
