"""OpenAI's routes: /v1/completions, /v1/chat/completions, /v1/models."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from ramify.api import curated
from ramify.api.asking import Asked
from ramify.api.openai_fields import ChatRequest, CompletionRequest, Sampling
from ramify.api.openai_wanted import Wanted, wanted_of_chat, wanted_of_completion
from ramify.api.short_way import Called
from ramify.api.state import Server, ServerState

__all__ = ["SHORT_WAYS", "router"]

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/completions", response_model=None)
async def completions(body: Annotated[CompletionRequest, Body()], server: ServerState, request: Request) -> Response:
    """Complete a raw prompt, or several."""
    return await _answer(wanted_of_completion(body), body, server, request)


@router.post("/chat/completions", response_model=None)
async def chat_completions(body: Annotated[ChatRequest, Body()], server: ServerState, request: Request) -> Response:
    """Answer messages. A last message of the assistant is continued with continue_final_message."""
    return await _answer(wanted_of_chat(body), body, server, request)


SHORT_WAYS: dict[str, Called] = {
    "/v1/completions": (CompletionRequest, completions),
    "/v1/chat/completions": (ChatRequest, chat_completions),
}
"""For the middleware that calls them without a search."""


async def _answer(wanted: Wanted, body: Sampling, server: Server, request: Request) -> Response:
    asked = Asked(
        server=server,
        model=body.model,
        stream=bool(body.stream),
        prompts=wanted.prompts,
        encoders=wanted.encoders,
        config=wanted.config,
        logprobs=wanted.logprobs,
        special_tokens=body.skip_special_tokens is False,
        measure=wanted.measure,
        max_tokens=wanted.max_tokens,
    )
    return await asked.answer(request, wanted.shape_for)


@router.get("/models")
def models(server: ServerState) -> dict[str, Any]:
    """The names that requests may give; those with an @ are facets of the workspace."""
    names = [*server.models.names(), *curated.curated_names(server)]
    return {"object": "list", "data": [_model(server, name) for name in names]}


@router.get("/models/{name:path}")
def model(name: str, server: ServerState) -> dict[str, Any]:
    """One of them."""
    if name not in curated.curated_names(server):
        server.models.check(name)
    return _model(server, name)


def _model(server: Server, name: str) -> dict[str, Any]:
    loaded = server.models.loaded().get(name)
    known = {} if loaded is None else {"max_model_len": loaded.info.context_window, "fingerprint": loaded.info.fingerprint}
    return {"id": name, "object": "model", "created": 0, "owned_by": "ramify", **known}
