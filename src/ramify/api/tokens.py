"""/tokenize and /detokenize: between text and ids, by a served model's own tokenizer. Shapes as vLLM's server has them."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import Field, model_validator
from starlette.responses import Response

from ramify.api.openai_answers import spelt
from ramify.api.openai_fields import Fields
from ramify.api.prompts import chat_ids, raw_ids
from ramify.api.state import ServerState
from ramify.api.waiting import ClientGoneError, off_loop, while_connected
from ramify.engine.model import Model

__all__ = ["router"]

router = APIRouter(tags=["tokens"])


PIECE = 10_000
"""Items written as JSON in one call, which holds the interpreter: a million ids in one would keep all others for 200 ms."""


class TokenizeRequest(Fields):
    """A raw prompt, or messages."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self


class DetokenizeRequest(Fields):
    model: str | None = None
    tokens: Annotated[list[int], Field(fail_fast=True)]


@router.post("/tokenize", response_model=None)
async def tokenize(body: Annotated[TokenizeRequest, Body()], server: ServerState, request: Request) -> Response:
    """The ids that a request with this prompt gives the model."""
    model: Model = await server.models.aget(body.model)
    if body.prompt is not None:
        encode, length = raw_ids(body.prompt, add_special_tokens=body.add_special_tokens is not False), len(body.prompt)
    else:
        encode = chat_ids(
            body.messages or (),
            continue_final=bool(body.continue_final_message),
            add_generation_prompt=body.add_generation_prompt is not False,
            variables=body.chat_template_kwargs,
        )
        length = sum(len(str(message)) for message in body.messages or ())

    def work() -> Response:
        ids, _ = encode(model)
        found = f'{{"count":{len(ids)},"max_model_len":{model.info.context_window},"tokens":{_in_pieces(ids)}'
        if body.return_token_strs:
            found += f',"token_strs":{_in_pieces([spelt(model.codec, i) for i in ids])}'
        return Response(found + "}", media_type="application/json")

    try:
        return await while_connected(request.receive, off_loop(length, work))
    except ClientGoneError:
        return Response(status_code=499)


@router.post("/detokenize")
async def detokenize(body: Annotated[DetokenizeRequest, Body()], server: ServerState) -> dict[str, str]:
    """The text of ids, special tokens spelt out."""
    model: Model = await server.models.aget(body.model)

    def work() -> str:
        ids = model.checked_ids(body.tokens, "tokens")
        return b"".join(model.codec.literal_bytes[i] for i in ids).decode("utf-8", "replace")

    return {"prompt": await off_loop(len(body.tokens), work)}


def _in_pieces(items: Sequence[int] | Sequence[str]) -> str:
    pieces = (json.dumps(items[start : start + PIECE], separators=(",", ":"))[1:-1] for start in range(0, len(items), PIECE))
    return f"[{','.join(pieces)}]"
