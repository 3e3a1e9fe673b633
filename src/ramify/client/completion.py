"""`Completion`: document 002's client. Over HTTP where RAMIFY_BASE_URL names a server, in this process otherwise."""

import re
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from ramify.data_types import (
    CancelBatchCompletionsResponse,
    CompletionRequest,
    CompletionStreamResponse,
    CompletionSyncResponse,
    CreateBatchCompletionsModelConfig,
    CreateBatchCompletionsRequest,
    CreateBatchCompletionsRequestContent,
    CreateBatchCompletionsResponse,
    GetBatchCompletionsResponse,
    ListBatchCompletionsResponse,
    ToolConfig,
)
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

    # Batches.

    @classmethod
    def batch_create(
        cls,
        output_data_path: str,
        model_config: CreateBatchCompletionsModelConfig,
        content: CreateBatchCompletionsRequestContent | None = None,
        input_data_path: str | None = None,
        data_parallelism: int = 1,
        max_runtime_sec: int = 86400,
        tool_config: ToolConfig | None = None,
        labels: dict[str, str] | None = None,
        timeout: float = TIMEOUT_S,
        request_headers: Mapping[str, str] | None = None,
    ) -> CreateBatchCompletionsResponse:
        """Start a batch, and return its job's id at once.

        The prompts are in `content` or in the file at input_data_path; the answers are written to output_data_path, a JSON array
        in the prompts' order. Paths are local, or URLs such as s3://bucket/key.
        data_parallelism: 1 to 64 processes, as many of them as make sense; the job says how many, and why. max_runtime_sec: 1 to
        172800. tool_config: run the code that the model writes, in a sandbox. labels: left out, the model_config's.

        Where no server is named, the job is in the workspace (RAMIFY_WORKSPACE, else the last one used, else batches.ramify in
        the data folder) and a process of its own works at it, which goes on when this one ends. Raises as `create` does.
        """
        asked = CreateBatchCompletionsRequest(
            input_data_path=input_data_path,
            output_data_path=output_data_path,
            chosen_model=model_config,
            content=content,
            data_parallelism=data_parallelism,
            max_runtime_sec=max_runtime_sec,
            tool_config=tool_config,
            labels=labels,
        )
        return _service(asked.chosen_model.model, timeout, False, request_headers).batch_create(asked)

    @classmethod
    def get_batch_completion(cls, job_id: str, timeout: float = TIMEOUT_S) -> GetBatchCompletionsResponse:
        """How far a job is: `response.job.status`, `.num_done`, `.remaining_sec` … Raises NotFoundError."""
        return _service(job_id, timeout, False, None, name="job_id").batch_get(job_id)

    @classmethod
    def list_batch_completions(cls, limit: int = 20, timeout: float = TIMEOUT_S) -> ListBatchCompletionsResponse:
        """The newest jobs first."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 1000:
            raise BadRequestError(f"limit is {limit!r}; it must be a whole number from 1 to 1000", param="limit")
        return _service("jobs", timeout, False, None).batch_list(limit)

    @classmethod
    def cancel_batch_completion(cls, job_id: str, timeout: float = TIMEOUT_S) -> CancelBatchCompletionsResponse:
        """End a job; what is done is kept and written, and the job stays visible. Raises NotFoundError."""
        return _service(job_id, timeout, False, None, name="job_id").batch_cancel(job_id)


def _service(model: object, timeout: object, stream: object, headers: object, *, name: str = "model") -> "Server | InProcess":
    """Who answers, by the environment as it is now. Raises BadRequestError."""
    if not isinstance(model, str) or not model:
        kind = "a model's name" if name == "model" else "a job's id"
        raise BadRequestError(f"{name} is {model!r}; it must be {kind}", param=name)
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
