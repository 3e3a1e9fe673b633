"""What a model made of a `CompletionRequest`, in document 002's shapes: the same in-process and on the wire."""

import uuid
from datetime import UTC, datetime

from ramify.data_types import (
    CompletionOutput,
    CompletionStreamOutput,
    CompletionStreamResponse,
    CompletionSyncResponse,
    StreamError,
    StreamErrorContent,
    TokenOutput,
)
from ramify.engine.requests import CompletionResult, TokenEvent, TokenLogprob

__all__ = ["new_request_id", "stream_error", "stream_piece", "whole_answer"]


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
