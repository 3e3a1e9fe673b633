"""LLM Engine's routes, in its wire shapes: what document 002's client speaks."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from starlette.responses import Response

from ramify.answers import new_request_id, stream_error, stream_piece, whole_answer
from ramify.api.asking import Asked
from ramify.api.errors import ApiError
from ramify.api.parts import Answer, Piece
from ramify.api.prompts import raw_ids
from ramify.api.state import Server, ServerState
from ramify.data_types import CompletionRequest
from ramify.decoding.config import GenerationConfig

__all__ = ["router"]

router = APIRouter(prefix="/v1/llm", tags=["LLM Engine"])

SCHEMA = CompletionRequest.model_json_schema()
TAKES = {"requestBody": {"required": True, "content": {"application/json": {"schema": SCHEMA}}}}

Name = Annotated[str, Query(description="The model: a name of /v1/models, or name@facet.", min_length=1)]
Fields = Annotated[dict[str, Any], Body()]


@router.post("/completions-sync", response_model=None, openapi_extra=TAKES)
async def completions_sync(model_endpoint_name: Name, body: Fields, server: ServerState, request: Request) -> Response:
    """A whole completion."""
    return await _asked(server, model_endpoint_name, body, stream=False).answer(request, lambda model: EngineShape())


@router.post("/completions-stream", response_model=None, openapi_extra=TAKES)
async def completions_stream(model_endpoint_name: Name, body: Fields, server: ServerState, request: Request) -> Response:
    """The same as data-only events, a token each. The stream ends with the connection; LLM Engine's has no [DONE]."""
    return await _asked(server, model_endpoint_name, body, stream=True).answer(request, lambda model: EngineShape())


def _asked(server: Server, name: str, body: Mapping[str, Any], *, stream: bool) -> Asked:
    wanted = CompletionRequest(**body)
    return Asked(
        server=server,
        model=name,
        prompts=[wanted.prompt],
        encoders=[raw_ids(wanted.prompt)],
        config=GenerationConfig(**wanted.settings()),
        logprobs=0 if wanted.return_token_log_probs else None,
        max_tokens=wanted.max_new_tokens if "max_new_tokens" in body else None,
        max_tokens_name="max_new_tokens",
        stream=stream,
    )


class EngineShape:
    """LLM Engine's answers. Parts that are None are left out."""

    def __init__(self) -> None:
        self._id = new_request_id()
        self._made = 0

    def whole(self, answers: Sequence[Answer]) -> Mapping[str, Any]:
        return whole_answer(self._id, answers[0].completions[0]).model_dump(mode="json", exclude_none=True)

    def written(self, pieces: Sequence[Piece]) -> bytes:
        found: list[str] = []
        for piece in pieces:
            if piece.event is not None:
                found.append(stream_piece(self._id, piece.event, self._made).json())
                self._made += len(piece.event.token_ids)
        return b"".join(b"data: " + line.encode() + b"\n\n" for line in found)

    def end(self) -> bytes:
        return b""

    def failure(self, error: ApiError) -> bytes:
        return b"data: " + stream_error(self._id, error.status, str(error)).json().encode() + b"\n\n"
