"""OpenAI's routes: /v1/completions, /v1/chat/completions, /v1/models."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from ramify.api import curated
from ramify.api.asking import Asked
from ramify.api.completion_choices import ChatChoices, CompletionChoices
from ramify.api.errors import ApiError
from ramify.api.openai_fields import ChatRequest, CompletionRequest, Sampling, config_of
from ramify.api.prompts import chat_ids, raw_ids
from ramify.api.state import Server, ServerState

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/completions", response_model=None)
async def completions(body: Annotated[CompletionRequest, Body()], server: ServerState, request: Request) -> Response:
    """Complete a raw prompt, or several."""
    _check_stream(body)
    prompts = prompts_of(body.prompt)
    n = body.n or 1
    rows = n if body.best_of is None else body.best_of
    _check_best_of(body, n, rows)
    config = config_of(body, max_tokens=body.max_tokens, rows=rows) if body.max_tokens != 0 else None
    measure = body.prompt_logprobs
    if body.echo and body.logprobs is not None:
        measure = max(body.logprobs, measure or 0)
    asked = Asked(
        server=server,
        model=body.model,
        stream=bool(body.stream),
        prompts=prompts,
        encoders=[
            raw_ids(prompt, suffix=body.suffix, add_special_tokens=body.add_special_tokens is not False) for prompt in prompts
        ],
        config=config,
        # Ranking completions by their likelihood needs the likelihood.
        logprobs=body.logprobs if rows == n or body.logprobs is not None else 0,
        special_tokens=body.skip_special_tokens is False,
        measure=measure,
        max_tokens=body.max_tokens if "max_tokens" in body.model_fields_set else None,
    )
    return await asked.answer(request, lambda model: CompletionChoices(model, body, prompts))


@router.post("/chat/completions", response_model=None)
async def chat_completions(body: Annotated[ChatRequest, Body()], server: ServerState, request: Request) -> Response:
    """Answer messages. A last message of the assistant is continued with continue_final_message."""
    _check_stream(body)
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(
            400, "top_logprobs is given and logprobs is not true; set it, or leave top_logprobs out", param="top_logprobs"
        )
    if body.continue_final_message and body.add_generation_prompt:
        raise ApiError(
            400,
            "continue_final_message goes on with the last message and add_generation_prompt begins a new one; leave one out",
            param="add_generation_prompt",
        )
    if body.max_tokens is not None and body.max_completion_tokens is not None and body.max_tokens != body.max_completion_tokens:
        raise ApiError(
            400,
            f"max_tokens is {body.max_tokens} and max_completion_tokens is {body.max_completion_tokens}; give one of them",
            param="max_tokens",
        )
    most = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    asked = Asked(
        server=server,
        model=body.model,
        stream=bool(body.stream),
        prompts=[body.messages],
        encoders=[
            chat_ids(
                body.messages,
                continue_final=bool(body.continue_final_message),
                add_generation_prompt=body.add_generation_prompt is not False,
                variables=body.chat_template_kwargs,
            )
        ],
        config=config_of(body, max_tokens=most, rows=body.n or 1),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        special_tokens=body.skip_special_tokens is False,
        measure=body.prompt_logprobs,
        max_tokens=most,
    )
    return await asked.answer(request, lambda model: ChatChoices(model, body))


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


def prompts_of(prompt: Any) -> list[str | list[int]]:
    """The prompts of a request: a text, token ids, or several of either."""
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise ApiError(400, "prompt is an empty list; give at least one text or token id", param="prompt", code="invalid_value")
    return [list(prompt)] if isinstance(prompt[0], int) else list(prompt)


def _check_stream(body: Sampling) -> None:
    if body.stream and body.prompt_logprobs is not None:
        raise ApiError(400, "prompt_logprobs are not part of a stream; leave one of them out", param="prompt_logprobs")
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "stream_options is given and stream is not true; leave it out", param="stream_options")


def _check_best_of(body: CompletionRequest, n: int, rows: int) -> None:
    if rows < n:
        raise ApiError(400, f"best_of is {rows} and n is {n}; best_of must be at least n", param="best_of", code="invalid_value")
    if rows == n:
        return
    if body.stream:
        raise ApiError(
            400, f"best_of is {rows}, and the best are known at the end only; leave out stream or best_of", param="best_of"
        )
    if body.temperature == 0 or body.do_sample is False:
        raise ApiError(
            400,
            f"best_of is {rows} and temperature is 0, where all are alike; give a temperature above 0, or leave best_of out",
            param="best_of",
        )
