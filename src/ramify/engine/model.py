"""A loaded model, as its users see it."""

import asyncio
import contextlib
import queue
import secrets
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self

import torch

from ramify.decoding.config import GenerationConfig
from ramify.decoding.constraints import Constraint
from ramify.engine.branch import Branch
from ramify.engine.engine import Engine
from ramify.engine.kv_tree import Branches
from ramify.engine.requests import CompletionResult, GenerationRequest, Origin, Prompt, Scored, TokenEvent
from ramify.engine.scoring import score_steps
from ramify.engine.tasks import Handle
from ramify.engine.waiting import wait_for
from ramify.engine.worker import Worker
from ramify.errors import ConfigError, EngineError, InputError, PromptTooLongError
from ramify.models import threads
from ramify.models.base import Backend, ModelInfo, TextCodec
from ramify.models.chat import ChatTemplate
from ramify.models.tools import told_apart
from ramify.settings import Settings

__all__ = ["Model", "load"]


@threads.team_for_now()
def load(
    name: str = "tiny",
    *,
    device: str | None = None,
    precision: str | None = None,
    adapter: str | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> "Model":
    """Load a model by registry name, folder, `hf:organisation/name`, or `gguf:PATH` (llama.cpp runs it; extra `gguf`).

    device: "cpu", "cuda"; None takes RAMIFY_DEVICE, else a GPU where there is one. precision: "float32", "bfloat16",
    "float16", "int8" (on a processor); None takes RAMIFY_PRECISION, else float32, the one in which a row's tokens do not depend
    on its company. A GGUF file has its own precision, and takes none.
    adapter: a PEFT LoRA folder laid over the weights.
    Raises ModelNotFoundError, InputError, and UnsafeModelError for pickled weights without `allow_pickle` or a model's own
    code without `trust_remote_code`.
    """
    from ramify.models.registry import Registry, fingerprint

    settings = Settings.load()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    file = Registry(settings).gguf(name, adapter=adapter, revision=revision)
    if file is not None:
        from ramify.models.gguf import GGUFBackend

        found = GGUFBackend.load(
            file,
            name=name,
            fingerprint=fingerprint(file, settings=settings).id,
            device=device or settings.device,
            precision=precision,
            choose_threads=not settings.threads_said,
        )
        return Model(found, chat=ChatTemplate(found.codec) if found.codec.chat_template else None, kept_bytes=found.kept_bytes)
    from ramify.models.transformers import TransformersBackend

    folder = Registry(settings).resolve(
        name, adapter=adapter, revision=revision, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code
    )
    precision = precision or settings.precision
    backend = TransformersBackend.load(
        folder,
        name=name,
        fingerprint=fingerprint(folder, settings=settings, precision=precision).id,
        device=device or settings.device,
        precision=precision,
        choose_threads=not settings.threads_said,
    )
    return Model(backend, chat=ChatTemplate(backend.codec) if backend.codec.chat_template else None)


class Model:
    """Makes completions. Safe to use from any thread, and from asyncio through the methods that begin with `a`.

    A prompt is raw text (special tokens in it count as such), token ids, or chat messages. Settings come as a
    GenerationConfig, as keywords laid over it, or both. `logprobs`: None for none, 0 for the chosen tokens' own, K for K
    alternatives beside each.
    """

    def __init__(self, backend: Backend, *, chat: ChatTemplate | None = None, **engine: Any) -> None:
        """engine: settings of the Engine, `max_rows` and `kept_bytes`."""
        self.engine = Engine(backend, **engine)
        self.chat = chat
        self._worker = Worker(self.engine)
        weakref.finalize(self, self._worker.close)

    @property
    def info(self) -> ModelInfo:
        return self.engine.backend.info

    @property
    def codec(self) -> TextCodec:
        """Text to ids and back."""
        return self.engine.backend.codec

    # Completions.

    def complete(
        self,
        prompt: Prompt,
        config: GenerationConfig | None = None,
        *,
        prefill: str | None = None,
        logprobs: int | None = 0,
        **fields: Any,
    ) -> CompletionResult:
        """One completion: the best one, where the configuration makes several."""
        return self.completions(prompt, config, prefill=prefill, logprobs=logprobs, **fields)[0]

    def completions(
        self,
        prompt: Prompt,
        config: GenerationConfig | None = None,
        *,
        n: int | None = None,
        prefill: str | None = None,
        logprobs: int | None = 0,
        **fields: Any,
    ) -> list[CompletionResult]:
        """Several completions of one prompt; `n` is num_return_sequences in short."""
        return self.result(self.request(prompt, config, n=n, prefill=prefill, logprobs=logprobs, **fields))

    def batch(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig | None = None,
        *,
        logprobs: int | None = 0,
        **fields: Any,
    ) -> list[list[CompletionResult]]:
        """One list of completions for each prompt, in their order. All are checked before the first one starts."""
        requests = self._batch_requests(prompts, config, logprobs, fields)
        handles: list[Handle] = []
        try:
            for wave in _waves(requests):
                started = [self.submit(request) for request in wave]
                handles.extend(started)
                for handle in started:
                    handle.future.exception()
        except BaseException:
            for handle in handles:
                handle.cancel()
            raise
        return [handle.future.result() for handle in handles]

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig | None = None,
        *,
        n: int | None = None,
        prefill: str | None = None,
        logprobs: int | None = 0,
        **fields: Any,
    ) -> Iterator[TokenEvent]:
        """Events as tokens are made; leaving the loop cancels the rest. Beams and other searches arrive when they are decided."""
        request = self.request(prompt, config, n=n, prefill=prefill, logprobs=logprobs, stream=True, **fields)
        return self._events(request)

    def _events(self, request: GenerationRequest) -> Iterator[TokenEvent]:
        events: queue.SimpleQueue[TokenEvent | None] = queue.SimpleQueue()
        handle = self.submit(request, Handle(events.put))
        handle.future.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                yield event
            handle.future.result()
        finally:
            handle.cancel()

    def score(self, prompt: Prompt, completion: str | Sequence[int], *, top: int = 0) -> Scored:
        """Measure given text at temperature 1: one entry per token of the completion, each with `top` alternatives."""
        scored: Scored = wait_for(self.submit_score(prompt, completion, top))
        return scored

    def branch(self, prompt: Prompt, *, prefill: str | None = None) -> Branch:
        """The prompt as a branch to grow by hand: look at its distribution, extend it, fork it at any token, complete it."""
        prompt_ids, prefill_ids = self.ids_of(prompt, prefill)
        self.check_room(len(prompt_ids))
        return Branch(self, prompt_ids, len(prompt_ids) - len(prefill_ids))

    # The same for asyncio.

    async def acomplete(self, prompt: Prompt, config: GenerationConfig | None = None, **options: Any) -> CompletionResult:
        return (await self.acompletions(prompt, config, **options))[0]

    async def acompletions(
        self, prompt: Prompt, config: GenerationConfig | None = None, **options: Any
    ) -> list[CompletionResult]:
        return await self.aresult(await asyncio.to_thread(self.request, prompt, config, **options))

    async def abatch(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig | None = None,
        *,
        logprobs: int | None = 0,
        **fields: Any,
    ) -> list[list[CompletionResult]]:
        requests = await asyncio.to_thread(self._batch_requests, prompts, config, logprobs, fields)
        results: list[list[CompletionResult]] = []
        for wave in _waves(requests):
            handles = [await asyncio.to_thread(self.submit, request) for request in wave]
            results.extend(await asyncio.gather(*map(_await, handles)))
        return results

    async def astream(self, prompt: Prompt, config: GenerationConfig | None = None, **options: Any) -> AsyncIterator[TokenEvent]:
        request = await asyncio.to_thread(self.request, prompt, config, stream=True, **options)
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[TokenEvent | None] = asyncio.Queue()

        def put(event: TokenEvent | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, event)

        handle = await asyncio.to_thread(self.submit, request, Handle(put))
        handle.future.add_done_callback(lambda _: put(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            handle.future.result()
        finally:
            handle.cancel()

    async def ascore(self, prompt: Prompt, completion: str | Sequence[int], *, top: int = 0) -> Scored:
        handle = await asyncio.to_thread(self.submit_score, prompt, completion, top)
        scored: Scored = await _await(handle)
        return scored

    # From what users say to what the engine takes.

    def ids_of(self, prompt: Prompt, prefill: str | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids of prompt and prefill together, and those of the prefill."""
        if isinstance(prompt, str):
            ids = tuple(self.codec.encode(prompt, special=True))
        elif isinstance(prompt, Sequence) and prompt and isinstance(prompt[0], Mapping):
            if self.chat is None:
                raise InputError(
                    f"{self.info.name} has no chat template, so it takes no messages; give the prompt as text or as token ids"
                )
            messages, tools = told_apart(prompt)  # type: ignore[arg-type]
            rendered = self.chat.prompt(messages, prefill=prefill or None, tools=tools)
            return tuple(rendered.token_ids), tuple(rendered.prefill_token_ids)
        elif isinstance(prompt, Sequence):
            ids = self.checked_ids(prompt, "the prompt")
        else:
            raise InputError(
                f"the prompt is a {type(prompt).__name__}; it must be text, a list of token ids, or a list of messages"
            )
        filled = tuple(self.codec.encode(prefill)) if prefill else ()
        return ids + filled, filled

    def request(
        self,
        prompt: Prompt,
        config: GenerationConfig | None = None,
        *,
        n: int | None = None,
        prefill: str | None = None,
        logprobs: int | None = 0,
        stream: bool = False,
        **fields: Any,
    ) -> GenerationRequest:
        """Check everything that can be checked before anything runs. Raises ConfigError, PromptTooLongError, InputError."""
        config = GenerationConfig() if config is None else config
        if not isinstance(config, GenerationConfig):
            raise InputError(f"config is a {type(config).__name__}; give a GenerationConfig, or its settings as keywords")
        if n is not None:
            fields["num_return_sequences"] = n
        if fields:
            config = config.replace(**fields)
        if logprobs is not None and (isinstance(logprobs, bool) or not isinstance(logprobs, int) or logprobs < 0):
            raise InputError(f"logprobs is {logprobs!r}; it must be None or a whole number >= 0 (how many alternatives)")
        prompt_ids, prefill_ids = self.ids_of(prompt, prefill)
        return self.request_of_ids(prompt_ids, prefill_ids, config, logprobs=logprobs, stream=stream)

    def request_of_ids(
        self,
        prompt_ids: tuple[int, ...],
        prefill_ids: tuple[int, ...],
        config: GenerationConfig,
        *,
        logprobs: int | None = 0,
        stream: bool = False,
        special_tokens: bool = False,
        origin: Origin = "prefill",
    ) -> GenerationRequest:
        """The same for a prompt that is ids already; they include the prefill's."""
        if not prompt_ids:
            start = config.bos_token_id if config.bos_token_id is not None else self.info.bos_token_id
            if start is None:
                raise InputError(
                    f"the prompt is empty, and {self.info.name} has no BOS token to start from; "
                    "give at least one token, or set bos_token_id"
                )
            prompt_ids = self.checked_ids((start,), "bos_token_id")
        self.check_room(len(prompt_ids))
        room = config.budget(len(prompt_ids), self.info.context_window) or 0
        if room < 1:
            raise ConfigError(
                f"max_length is {config.max_length} and the prompt has {len(prompt_ids)} tokens already; "
                "max_length counts both, so raise it, or use max_new_tokens",
                ("max_length",),
            )
        for name, given in (("pad_token_id", config.pad_token_id), ("bos_token_id", config.bos_token_id)):
            if given is not None:
                self.checked_ids((given,), name)
        self.checked_ids(config.stop_token_ids or (), "stop_token_ids")
        request = GenerationRequest(
            prompt_ids=prompt_ids,
            prefill_ids=prefill_ids,
            prefill_origin=origin,
            config=config,
            count=config.num_return_sequences,
            logprobs=logprobs,
            seed=secrets.randbits(31) if config.seed is None else config.seed,
            stream=stream,
            special_tokens=special_tokens,
            room=room,
        )
        self.engine.pipeline(request)  # token ids in the configuration are checked against the model here
        self._check_bans(config)
        return request

    def submit(self, request: GenerationRequest, handle: Handle | None = None) -> Handle:
        """Queue a checked request. A constraint is compiled here, on the caller's thread."""
        return self.start(request, handle or Handle(), self.engine.constraint(request))

    def start(self, request: GenerationRequest, handle: Handle, constraint: Constraint | None) -> Handle:
        """Queue a checked request whose constraint is compiled already (`engine.constraint`); returns at once.

        A constraint may have read tokens before the ones to come.
        """
        self._worker.start(lambda: self.engine.generate(request, handle, constraint), handle.future)
        return handle

    def start_scoring(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], *, top: int = 0, handle: Handle | None = None
    ) -> Handle:
        """Queue the measuring of ids after at least one other; its future gets a Scored. Returns at once."""
        handle, branches = handle or Handle(), Branches(self.engine.tree)
        steps = score_steps(branches, self.codec, prompt_ids, token_ids, top)
        self._worker.start(lambda: self.engine.converse(steps, handle, branches), handle.future)
        return handle

    def result(self, request: GenerationRequest) -> list[CompletionResult]:
        """Queue a checked request and wait for its completions."""
        results: list[CompletionResult] = wait_for(self.submit(request))
        return results

    async def aresult(self, request: GenerationRequest) -> list[CompletionResult]:
        results: list[CompletionResult] = await _await(await asyncio.to_thread(self.submit, request))
        return results

    def converse(self, steps: Any, branches: Branches) -> Any:
        """Run a conversation with the engine on branches that stay with the caller, and wait for its result."""
        handle = Handle()
        self._worker.start(lambda: self.engine.converse(steps, handle, branches, owns_branches=False), handle.future)
        return wait_for(handle)

    def on_engine(self, call: Any) -> "Future[Any]":
        """Run `call` on the engine's thread between two steps."""
        return self._worker.ask(call)

    def before_next(self, call: Any) -> None:
        """Run `call` on the engine's thread before whatever it is asked next; it must not fail."""
        self._worker.tell(call, wake=False)

    def release(self, branches: Branches) -> None:
        """Free branches that their owner has let go of; from any thread, the garbage collector's included."""
        with contextlib.suppress(EngineError):
            self._worker.tell(branches.close)

    def submit_score(self, prompt: Prompt, completion: str | Sequence[int], top: int = 0, *, start: int = 0) -> Handle:
        """Queue what `score` waits for; only tokens of the completion from `start` on are measured and told.

        Raises InputError, PromptTooLongError.
        """
        prompt_ids, _ = self.ids_of(prompt)
        given = self.codec.encode(completion) if isinstance(completion, str) else completion
        ids = self.checked_ids(given, "the completion")
        if not prompt_ids:
            if self.info.bos_token_id is None:
                raise InputError(
                    f"the prompt is empty, and {self.info.name} has no BOS token to start from; give at least one token"
                )
            prompt_ids = (self.info.bos_token_id,)
        if len(prompt_ids) + len(ids) > self.info.context_window:
            raise PromptTooLongError(len(prompt_ids) + len(ids), self.info.context_window)
        return self.start_scoring((*prompt_ids, *ids[:start]), ids[start:], top=top)

    def _batch_requests(
        self, prompts: Sequence[Prompt], config: GenerationConfig | None, logprobs: int | None, fields: dict[str, Any]
    ) -> list[GenerationRequest]:
        if isinstance(prompts, str) or not isinstance(prompts, Sequence):
            raise InputError(f"prompts is a {type(prompts).__name__}; give a list of prompts")
        requests = []
        for i, prompt in enumerate(prompts):
            try:
                requests.append(self.request(prompt, config, logprobs=logprobs, **fields))
            except InputError as error:
                error.args = (f"prompt {i}: {error}",)
                raise
        return requests

    def _check_bans(self, config: GenerationConfig) -> None:
        existing = int(self.engine.backend.codec.exists.sum())
        for name in ("suppress_tokens", "begin_suppress_tokens"):
            banned = {i for i in getattr(config, name) or () if self.engine.backend.codec.exists[i]}
            if len(banned) == existing:
                raise ConfigError(
                    f"{name} holds all {existing} tokens of {self.info.name}, so nothing could be said; leave some out", (name,)
                )

    def check_room(self, tokens: int) -> None:
        if tokens >= self.info.context_window:
            raise PromptTooLongError(tokens, self.info.context_window)

    def checked_ids(self, ids: Sequence[Any], what: str) -> tuple[int, ...]:
        exists = self.engine.backend.codec.exists
        for i, token_id in enumerate(ids):
            if isinstance(token_id, bool) or not hasattr(token_id, "__index__"):
                raise InputError(f"{what} holds {token_id!r} at {i}; token ids are whole numbers")
            if not 0 <= token_id < len(exists) or not exists[token_id]:
                raise InputError(
                    f"{what} holds token id {token_id} at {i}; {self.info.name} has ids 0 to {self.info.tokenizer_size - 1}"
                )
        return tuple(int(i) for i in ids)

    # The end.

    def close(self) -> None:
        """Cancel what runs and give the memory back. Using the model afterwards raises EngineError."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ramify.Model {self.info.name} ({self.info.architecture}, {self.info.dtype} on {self.info.device})>"


def _waves(requests: list[GenerationRequest]) -> Iterator[list[GenerationRequest]]:
    """Requests that may run together: all, or as many as batch_size allows rows."""
    size = requests[0].config.batch_size if requests else None
    each = 1 if size is None else max(1, size // max(1, requests[0].count))
    step = len(requests) if size is None else each
    for start in range(0, len(requests), max(1, step)):
        yield requests[start : start + step]


async def _await(handle: Handle) -> Any:
    try:
        return await asyncio.wrap_future(handle.future)
    except asyncio.CancelledError:
        handle.cancel()
        raise
