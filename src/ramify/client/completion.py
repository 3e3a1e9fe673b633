"""`Completion`: document 002's client. Over HTTP where RAMIFY_BASE_URL names a server, in this process otherwise."""

import re
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from ramify.data_types import CompletionRequest, CompletionStreamResponse, CompletionSyncResponse
from ramify.errors import BadRequestError
from ramify.settings import Settings, read_key

if TYPE_CHECKING:
    from ramify.client.in_process import InProcess
    from ramify.client.over_http import Server

__all__ = ["Completion"]

TIMEOUT_S = 300.0
NAME, VALUE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"), re.compile(r"[\t\x20-\x7e]*")
"""What a header's name and value may be."""


class Parameters(TypedDict, total=False):
    """What `create` and `acreate` take besides, for those who check types."""

    stop_sequences: list[str] | None
    return_token_log_probs: bool
    presence_penalty: float | None
    frequency_penalty: float | None
    top_k: int | None
    top_p: float | None
    include_stop_str_in_output: bool | None
    guided_json: dict[str, Any] | None
    guided_regex: str | None
    guided_choice: list[str] | None
    guided_grammar: str | None
    timeout: float
    request_headers: Mapping[str, str] | None
    seed: int | None
    skip_special_tokens: bool


class Completion:
    """Completions of prompts, as LLM Engine's client makes them.

    >>> response = Completion.create(model="tiny", prompt="Hello, my name is", max_new_tokens=10, temperature=0.2)
    >>> response.output.text

    With RAMIFY_BASE_URL set, its server is asked, with the key in RAMIFY_API_KEY; otherwise the model runs in this process, with
    the same results (a seed gives the same text) and the same error classes. Nothing is retried.

    Parameters of `create` and `acreate`:

    model, prompt: a model's name (`ramify models list`), and a text.
    max_new_tokens: at least 1. temperature: 0 (greedy) to 1. top_k: at least 1, -1 is off. top_p: above 0, at most 1.
    stop_sequences: texts that end the completion and are left out of it, unless include_stop_str_in_output.
    return_token_log_probs: `tokens` with the logprob of each, in nats.
    presence_penalty, frequency_penalty: 0 to 2.
    guided_json, guided_regex, guided_choice, guided_grammar: what the completion must be; at most one of them.
    seed (by name): fixes every draw. skip_special_tokens (by name): True.
    timeout: seconds of silence after which RemoteError is raised and the generation ends.
    stream: pieces as they are made; an error after the first one comes as a piece with `error`.
    request_headers: sent with the request; only where a server is asked.

    Raises BadRequestError (400, 413, 415, 422: something given cannot be used; unknown parameters by name), UnauthorizedError
    (401), ForbiddenError (403), NotFoundError (404: no such model), ConflictError (409), RateLimitExceededError (429, with
    `retry_after`), ServerError (5xx), and RemoteError for the rest: no connection, silence, a stream that ended half-way.
    """

    @overload
    @classmethod
    def create(
        cls,
        model: str,
        prompt: str,
        max_new_tokens: int = ...,
        temperature: float = ...,
        *,
        stream: Literal[False] = ...,
        **parameters: Unpack[Parameters],
    ) -> CompletionSyncResponse: ...

    @overload
    @classmethod
    def create(
        cls,
        model: str,
        prompt: str,
        max_new_tokens: int = ...,
        temperature: float = ...,
        *,
        stream: Literal[True],
        **parameters: Unpack[Parameters],
    ) -> Generator[CompletionStreamResponse]: ...

    @classmethod
    def create(
        cls,
        model: str,
        prompt: str,
        max_new_tokens: int = 20,
        temperature: float = 0.2,
        stop_sequences: list[str] | None = None,
        return_token_log_probs: bool = False,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        include_stop_str_in_output: bool | None = None,
        guided_json: dict[str, Any] | None = None,
        guided_regex: str | None = None,
        guided_choice: list[str] | None = None,
        guided_grammar: str | None = None,
        timeout: float = TIMEOUT_S,
        stream: bool = False,
        request_headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> CompletionSyncResponse | Generator[CompletionStreamResponse]:
        """One completion, or with stream=True an iterator of its pieces. The class says what the parameters mean."""
        request = CompletionRequest(
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            stop_sequences=stop_sequences,
            return_token_log_probs=return_token_log_probs,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            top_k=top_k,
            top_p=top_p,
            include_stop_str_in_output=include_stop_str_in_output,
            guided_json=guided_json,
            guided_regex=guided_regex,
            guided_choice=guided_choice,
            guided_grammar=guided_grammar,
            **more,
        )
        service = _service(model, timeout, stream, request_headers)
        return service.stream(model, request) if stream else service.create(model, request)

    @overload
    @classmethod
    async def acreate(
        cls,
        model: str,
        prompt: str,
        max_new_tokens: int = ...,
        temperature: float = ...,
        *,
        stream: Literal[False] = ...,
        **parameters: Unpack[Parameters],
    ) -> CompletionSyncResponse: ...

    @overload
    @classmethod
    async def acreate(
        cls,
        model: str,
        prompt: str,
        max_new_tokens: int = ...,
        temperature: float = ...,
        *,
        stream: Literal[True],
        **parameters: Unpack[Parameters],
    ) -> AsyncGenerator[CompletionStreamResponse]: ...

    @classmethod
    async def acreate(
        cls,
        model: str,
        prompt: str,
        max_new_tokens: int = 20,
        temperature: float = 0.2,
        stop_sequences: list[str] | None = None,
        return_token_log_probs: bool = False,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        include_stop_str_in_output: bool | None = None,
        guided_json: dict[str, Any] | None = None,
        guided_regex: str | None = None,
        guided_choice: list[str] | None = None,
        guided_grammar: str | None = None,
        timeout: float = TIMEOUT_S,
        stream: bool = False,
        request_headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> CompletionSyncResponse | AsyncGenerator[CompletionStreamResponse]:
        """The same for asyncio; with stream=True it is awaited, too, and gives an async iterator."""
        request = CompletionRequest(
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            stop_sequences=stop_sequences,
            return_token_log_probs=return_token_log_probs,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            top_k=top_k,
            top_p=top_p,
            include_stop_str_in_output=include_stop_str_in_output,
            guided_json=guided_json,
            guided_regex=guided_regex,
            guided_choice=guided_choice,
            guided_grammar=guided_grammar,
            **more,
        )
        service = _service(model, timeout, stream, request_headers)
        return await (service.astream(model, request) if stream else service.acreate(model, request))


def _service(model: object, timeout: object, stream: object, headers: object) -> "Server | InProcess":
    """Who answers, by the environment as it is now. Raises BadRequestError."""
    if not isinstance(model, str) or not model:
        raise BadRequestError(f"model is {model!r}; it must be a model's name", param="model")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
        raise BadRequestError(f"timeout is {timeout!r}; it must be a number of seconds above 0", param="timeout")
    if not isinstance(stream, bool):
        raise BadRequestError(f"stream is {stream!r}; it must be True or False", param="stream")
    if headers is not None and not (isinstance(headers, Mapping) and all(map(_sendable, headers.items()))):
        raise BadRequestError(
            "request_headers is not a dict of headers; its names and values must be strings of printable ASCII",
            param="request_headers",
        )
    base_url = Settings.load().base_url
    if base_url is not None:
        from ramify.client.over_http import Server

        return Server(base_url, read_key("RAMIFY_API_KEY"), timeout_s=float(timeout), headers=headers or {})
    if headers:
        raise BadRequestError(
            "request_headers are given, and there is no server to send them to; leave them out, or set RAMIFY_BASE_URL",
            param="request_headers",
        )
    from ramify.client.in_process import InProcess

    return InProcess(timeout_s=float(timeout))


def _sendable(header: tuple[object, object]) -> bool:
    name, value = header
    return isinstance(name, str) and isinstance(value, str) and bool(NAME.fullmatch(name) and VALUE.fullmatch(value))
