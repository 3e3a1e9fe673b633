"""Models behind an endpoint that speaks OpenAI's protocol or Anthropic's: complete, stream, and score where it can.

They decode no branches and give no logits. What they are asked and cannot do is refused by name before anything is sent.

Each `Remote` runs its requests on one event loop in a thread of its own, so that cancelling ends a request in any state
(connecting, waiting to try again, in the middle of a stream) and closes its connection at once. Its methods may be called
from any thread; the `a` twins from any event loop.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import queue
import threading
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Self, TypeVar

from ramify.errors import CancelledError, InputError, UnsupportedError
from ramify.models import probing
from ramify.models.cards import Abilities, Card, Cards, abilities
from ramify.models.endpoints import Endpoint, fingerprint_at
from ramify.models.messages_answers import MessagesAnswer
from ramify.models.messages_fields import MESSAGES, messages_body
from ramify.models.registry import Registry
from ramify.models.remote_answers import (
    Answer,
    Asked,
    RemoteAlternative,
    RemoteCompletion,
    RemoteEvent,
    RemoteToken,
    RemoteUsage,
)
from ramify.models.remote_calls import Connection
from ramify.models.remote_fields import GenerationSettings, prompt_fields, setting_fields
from ramify.models.remote_retries import Retries
from ramify.models.remote_streams import Flow, Put, RemoteAsyncStream, RemoteStream, fill
from ramify.settings import Settings

__all__ = [
    "Remote",
    "RemoteAlternative",
    "RemoteAsyncStream",
    "RemoteCompletion",
    "RemoteEvent",
    "RemoteStream",
    "RemoteToken",
    "RemoteUsage",
    "Retries",
    "connect",
]

Prompt = str | Sequence[int] | Sequence[Mapping[str, object]]
T = TypeVar("T")

CHAT, RAW = "/chat/completions", "/completions"


def connect(name: str, *, settings: Settings | None = None, timeout_s: float = 600.0, retries: Retries | None = None) -> "Remote":
    """The remote model behind a registered name, `openai:NAME` or `anthropic:NAME`. Nothing is sent yet.

    Raises ModelNotFoundError, or UnsupportedError for a local model's name, or InputError for a key that is not set.
    """
    settings = settings or Settings.load()
    entry = Registry(settings).show(name)
    if entry.endpoint is None:
        raise UnsupportedError(f"{name!r} is a local model ({entry.target}); ramify.load opens it")
    model = entry.target.split(":", 1)[1]
    return Remote(model, entry.endpoint, name=name, settings=settings, timeout_s=timeout_s, retries=retries)


class Remote:
    """A model behind an endpoint.

    timeout_s: the longest silence of the endpoint, and not of a whole answer (that is the config's max_time).
    Raises InputError where the endpoint needs a key and its variable is not set.
    """

    def __init__(
        self,
        model: str,
        endpoint: Endpoint | None = None,
        *,
        name: str | None = None,
        settings: Settings | None = None,
        timeout_s: float = 600.0,
        retries: Retries | None = None,
    ) -> None:
        settings = settings or Settings.load()
        given = endpoint or Endpoint()
        self.model = model
        self.name = name or f"{given.provider}:{model}"
        self.endpoint = given.settle(settings)
        """With every default filled in."""
        self.where = f"{model!r} at {self.endpoint.base_url}"
        self._connection = Connection(
            str(self.endpoint.base_url),
            given.key(settings),
            where=self.where,
            timeout_s=timeout_s,
            retries=retries or Retries(),
            anthropic=self.endpoint.provider == "anthropic",
        )
        self._cards = Cards(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_serve, args=(self._loop, self._connection), name=f"ramify-remote-{model}", daemon=True
        )
        self._thread.start()
        self._lock = threading.Lock()
        # The thread does not hold this object, so that dropping it ends the thread. Streams hold it.
        self._end = weakref.finalize(self, _stop, self._loop)

    def __repr__(self) -> str:
        return f"Remote({self.model!r} at {self.endpoint.base_url!r}, {self.endpoint.dialect})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is running, close the connections, end the thread. Later calls raise InputError."""
        with self._lock:  # what was submitted before it is cancelled, and not forgotten
            self._end()
        self._thread.join()

    @property
    def fingerprint(self) -> str:
        """Stands for the model's name at its address: 16 hexadecimal digits. What is behind it the endpoint alone knows."""
        return fingerprint_at(self.endpoint.base_url, self.model)

    @property
    def card(self) -> Card | None:
        """What was measured of this model at this address, if it was (`probe`, `ramify models probe`)."""
        return self._cards.get(self.fingerprint)

    @property
    def can(self) -> Abilities:
        """What may be asked for, and why not."""
        return abilities(self.endpoint, self.card)

    @property
    def prefills(self) -> bool:
        """Whether a prefill of chat messages may be given. One of a raw text always may."""
        return self.can.prefill is True

    @property
    def scores(self) -> bool:
        """Whether `score` may be asked for."""
        return self.can.score is True

    def alternatives(self, welcome: int) -> int | None:
        """How many alternatives to ask for where so many are welcome; None where the endpoint is known to give no logprobs."""
        card = self.card
        if self.endpoint.dialect == "anthropic" or (card is not None and card.why_not("logprobs")):
            return None
        return welcome if card is None or card.top_logprobs is None else min(welcome, card.top_logprobs)

    def probe(self) -> Card:
        """Ask the endpoint a few cheap things (some twenty short requests), keep what it can do as its card, and return it.

        Raises RemoteError where it answers nothing at all; then the card that was there stays. A single question that came to no
        answer (a limit on requests, silence) is `unclear` on the card.
        """
        card = self.wait(probing.probe(self._connection, self.model, self.endpoint))
        self._cards.keep(card)
        return card

    def check(
        self, prompt: Prompt, config: GenerationSettings, *, prefill: str | None = None, logprobs: int | None = None
    ) -> dict[str, Any]:
        """The body that would be sent, without sending it. Raises what `complete` would: UnsupportedError, InputError."""
        return self._request(prompt, config, prefill, logprobs, stream=False)[1]

    def complete(
        self, prompt: Prompt, config: GenerationSettings, *, prefill: str | None = None, logprobs: int | None = None
    ) -> tuple[RemoteCompletion, ...]:
        """All completions of one request, `config.num_return_sequences` of them.

        prompt: raw text, the endpoint's own token ids, or chat messages. logprobs: None for none, 0 for the chosen tokens', K
        for K alternatives too; an endpoint may still give none. A seed is of the whole request.
        Raises UnsupportedError naming the setting that cannot be honoured, RemoteError for what goes wrong at the endpoint.
        Waiting cannot be cancelled from another thread: stream for that.
        """
        return self.wait(self._complete(*self._request(prompt, config, prefill, logprobs, stream=False), _max_time_s(config)))

    async def acomplete(
        self, prompt: Prompt, config: GenerationSettings, *, prefill: str | None = None, logprobs: int | None = None
    ) -> tuple[RemoteCompletion, ...]:
        """`complete`, awaited. Cancelling the task closes the connection."""
        request = self._request(prompt, config, prefill, logprobs, stream=False)
        return await self._awaited(self._complete(*request, _max_time_s(config)))

    def stream(
        self, prompt: Prompt, config: GenerationSettings, *, prefill: str | None = None, logprobs: int | None = None
    ) -> RemoteStream:
        """The same in pieces, as they arrive; the request begins at once."""
        request = self._request(prompt, config, prefill, logprobs, stream=True)
        arrived: queue.SimpleQueue[object] = queue.SimpleQueue()
        return RemoteStream(self._flow(request, _max_time_s(config), arrived.put), arrived, self)

    def astream(
        self, prompt: Prompt, config: GenerationSettings, *, prefill: str | None = None, logprobs: int | None = None
    ) -> RemoteAsyncStream:
        """`stream` for `async for`. Called on a running event loop."""
        request = self._request(prompt, config, prefill, logprobs, stream=True)
        loop, arrived = asyncio.get_running_loop(), asyncio.Queue[object]()

        def put(item: object) -> None:
            with contextlib.suppress(RuntimeError):  # the listener's loop is gone, and so is the listener
                loop.call_soon_threadsafe(arrived.put_nowait, item)

        return RemoteAsyncStream(self._flow(request, _max_time_s(config), put), arrived, self)

    def score(self, prompt: str, completion: str, *, top: int = 0) -> tuple[RemoteToken, ...]:
        """The logprobs of a given completion after a raw text prompt, by the endpoint's own tokens.

        Only where an endpoint can repeat a prompt with logprobs (vLLM). Raises UnsupportedError elsewhere, and RemoteError where
        the endpoint's tokens do not part at the end of the prompt: they would measure something else.
        """
        return self.wait(self._score(*self._score_request(prompt, completion, top)))

    def check_score(self, prompt: str, completion: str, *, top: int = 0) -> None:
        """Raise what `score` would before anything is sent: UnsupportedError, InputError."""
        self._score_request(prompt, completion, top)

    async def ascore(self, prompt: str, completion: str, *, top: int = 0) -> tuple[RemoteToken, ...]:
        """`score`, awaited."""
        return await self._awaited(self._score(*self._score_request(prompt, completion, top)))

    # --- requests

    def _request(
        self, prompt: Prompt, config: GenerationSettings, prefill: str | None, logprobs: int | None, *, stream: bool
    ) -> tuple[str, dict[str, Any], Answer]:
        if logprobs is not None and logprobs < 0:
            raise InputError(f"logprobs is {logprobs}; give None, 0, or how many alternatives a token carries")
        card, dialect = self.card, self.endpoint.dialect
        streamed = stream or _max_time_s(config) is not None
        if streamed and card is not None and (why := card.why_not("stream")):
            raise UnsupportedError(f"{self.where} ({dialect}) cannot be streamed from, which max_time needs too: {why}")
        if dialect == "anthropic":
            path = MESSAGES
            body = messages_body(prompt, config, self.endpoint, model=self.model, prefill=prefill, logprobs=logprobs, card=card)
        else:
            chat, asked_for = prompt_fields(prompt, prefill, self.endpoint, model=self.model, card=card)
            settings = setting_fields(config, self.endpoint, model=self.model, chat=chat, logprobs=logprobs, card=card)
            path, body = CHAT if chat else RAW, {"model": self.model, **asked_for, **settings}
        if streamed:
            body["stream"] = True
            if dialect not in ("compatible", "anthropic"):  # some servers refuse fields that they do not know
                body["stream_options"] = {"include_usage": True}
        asked = Asked(
            where=self.where,
            count=body.get("n", 1),
            stops=bool({"stop", "stop_token_ids", "stop_sequences"} & body.keys()),
            tells_stops=dialect in ("vllm", "anthropic"),
            logprobs=logprobs is not None,
            prefill=prefill or "",
            doubles=False if path == RAW else self.can.doubles,
            hide=self._connection.hide,
        )
        try:
            json.dumps(body, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise InputError(f"the request cannot be written as JSON ({error}); look at the prompt's characters") from None
        return path, body, MessagesAnswer(asked) if dialect == "anthropic" else Answer(asked)

    def _score_request(self, prompt: str, completion: str, top: int) -> tuple[dict[str, Any], str]:
        if (why := self.can.score) is not True:
            raise UnsupportedError(
                f"{self.where} ({self.endpoint.dialect}) cannot score a given text: {why}. "
                "Score with a local model, or with vLLM (dialect vllm)"
            )
        if not completion or not prompt:
            raise InputError("prompt and completion must both be texts that are not empty")
        body = {"model": self.model, "prompt": prompt + completion, "echo": True, "logprobs": top, "max_tokens": 1}
        return {**body, "temperature": 0.0}, completion

    async def _complete(
        self, path: str, body: dict[str, Any], answer: Answer, max_time_s: float | None
    ) -> tuple[RemoteCompletion, ...]:
        if max_time_s is None:
            answer.feed(await self._connection.post(path, body))
            return answer.complete()
        if await fill(answer, self._connection, path, body, max_time_s, lambda _: None):
            return answer.complete()
        return answer.completions(unfinished="time")

    async def _score(self, body: dict[str, Any], completion: str) -> tuple[RemoteToken, ...]:
        answer = Answer(Asked(where=self.where, logprobs=True, hide=self._connection.hide))
        answer.feed(await self._connection.post(RAW, body))
        tokens = (answer.complete()[0].tokens or ())[:-1]  # the last is the one it had to generate
        # From the end, as what the server puts before the prompt (a BOS) is its own affair.
        begin, rest = len(tokens), completion
        while begin and rest and tokens[begin - 1].text and rest.endswith(tokens[begin - 1].text):
            begin -= 1
            rest = rest.removesuffix(tokens[begin].text)
        if rest:
            raise answer.error("gave tokens that do not part where the completion begins, or no logprobs; it cannot be scored")
        return tokens[begin:]

    # --- the loop

    def submit(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Run a coroutine of one's own on this model's event loop. Cancelling the future cancels what it awaits.

        Raises InputError once the model is closed.
        """
        with self._lock:
            if self._end.alive:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise self._closed()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """`submit`, and its result. An interrupt cancels it. Raises CancelledError where the model was closed meanwhile."""
        future = self.submit(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise self._was_cancelled() from None
        except BaseException:
            future.cancel()  # Ctrl-C; of no effect where the work itself failed
            raise

    async def _awaited(self, work: Coroutine[Any, Any, T]) -> T:
        future = self.submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise self._was_cancelled() from None

    def _flow(self, request: tuple[str, dict[str, Any], Answer], max_time_s: float | None, put: Put) -> Flow:
        with self._lock:
            if self._end.alive:
                return Flow(self._loop, self._connection, request, max_time_s, put)
        raise self._closed()

    def _closed(self) -> InputError:
        return InputError(f"{self!r} is closed; connect anew")

    def _was_cancelled(self) -> CancelledError:
        return CancelledError(f"{self!r} was closed before its answer came")


def _max_time_s(config: GenerationSettings) -> float | None:
    given = config.to_dict().get("max_time")
    return None if given is None else float(given)


def _serve(loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(connection.aclose())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(loop.stop)
