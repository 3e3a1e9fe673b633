"""A `CompletionRequest` made into the engine's, and what comes of it in document 002's shapes: in-process and on the wire."""

import uuid
from datetime import UTC, datetime

from ramify.data_types import (
    CompletionOutput,
    CompletionRequest,
    CompletionStreamOutput,
    CompletionStreamResponse,
    CompletionSyncResponse,
    StreamError,
    StreamErrorContent,
    TokenOutput,
)
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult, GenerationRequest, TokenEvent, TokenLogprob
from ramify.errors import BadRequestError

__all__ = ["generation_request", "new_request_id", "stream_error", "stream_piece", "whole_answer"]


def generation_request(model: Model, asked: CompletionRequest, *, stream: bool = False) -> GenerationRequest:
    """What the engine is to do. Raises InputError as `Model.request` does, and BadRequestError where the prompt fits the window
    and max_new_tokens behind it would not."""
    request = model.request(asked.prompt, stream=stream, logprobs=0 if asked.return_token_log_probs else None, **asked.settings())
    prompt, window, wanted = len(request.prompt_ids), model.info.context_window, asked.max_new_tokens
    if prompt + wanted > window:
        raise BadRequestError(
            f"the prompt has {prompt} tokens and max_new_tokens is {wanted}, together {prompt + wanted}; the model's context "
            f"window holds {window}. Shorten the prompt, or ask for at most {window - prompt} tokens.",
            param="max_new_tokens",
        )
    return request


def new_request_id() -> str:
    return str(uuid.uuid4())


def whole_answer(request_id: str, result: CompletionResult) -> CompletionSyncResponse:
    """`tokens` are there where the request asked for logprobs."""
    return CompletionSyncResponse(
        request_id=request_id,
        output=CompletionOutput(
            text=result.generated_text,
            num_prompt_tokens=len(result.prompt_token_ids),
            num_completion_tokens=len(result.generated_token_ids),
            tokens=None if result.logprobs is None else [_token(logprob) for logprob in result.logprobs],
            finish_reason=result.finish_reason,
        ),
    )


def stream_piece(request_id: str, event: TokenEvent, tokens_before: int) -> CompletionStreamResponse:
    """An event of one token, or of the end. tokens_before: how many completion tokens were sent already."""
    result = event.result
    return CompletionStreamResponse(
        request_id=request_id,
        output=CompletionStreamOutput(
            text=event.text,
            finished=event.finish_reason is not None,
            num_prompt_tokens=None if result is None else len(result.prompt_token_ids),
            num_completion_tokens=tokens_before + len(event.token_ids),
            token=_token(event.logprobs[0]) if event.logprobs else None,
            finish_reason=event.finish_reason,
        ),
    )


def stream_error(request_id: str, status: int, message: str) -> CompletionStreamResponse:
    """The last event of a stream that failed after it began."""
    content = StreamErrorContent(error=message, timestamp=datetime.now(UTC).isoformat())
    return CompletionStreamResponse(request_id=request_id, error=StreamError(status_code=status, content=content))


def _token(logprob: TokenLogprob) -> TokenOutput:
    return TokenOutput(token=logprob.text, log_prob=logprob.logprob)
