"""OpenAI's routes: /v1/completions, /v1/chat/completions, /v1/models."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.responses import JSONResponse, Response

from ramify.api import curated
from ramify.api.completion_choices import ChatChoices, Choices, CompletionChoices
from ramify.api.errors import ApiError
from ramify.api.openai_answers import usage
from ramify.api.openai_fields import ChatRequest, CompletionRequest, Sampling, config_of
from ramify.api.prompts import chat_ids, raw_ids
from ramify.api.running import Answer, ClientGoneError, Kept, Part, Run, off_loop, while_connected
from ramify.api.state import Server, ServerState
from ramify.api.streaming import DONE, PING, EventStream, event
from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/completions", response_model=None)
async def completions(body: Annotated[CompletionRequest, Body()], server: ServerState, request: Request) -> Response:
    """Complete a raw prompt, or several."""
    prompts = prompts_of(body.prompt)
    n = body.n or 1
    rows = n if body.best_of is None else body.best_of
    _check_best_of(body, n, rows)
    if body.stream and body.prompt_logprobs is not None:
        raise ApiError(400, "prompt_logprobs are not part of a stream; leave one of them out", param="prompt_logprobs")
    config = config_of(body, max_tokens=body.max_tokens, rows=rows) if body.max_tokens != 0 else None
    measure = body.prompt_logprobs
    if body.echo and body.logprobs is not None:
        measure = max(body.logprobs, measure or 0)
    asked = Asked(
        server=server,
        body=body,
        prompts=prompts,
        encoders=[
            raw_ids(prompt, suffix=body.suffix, add_special_tokens=body.add_special_tokens is not False) for prompt in prompts
        ],
        config=config,
        # Ranking completions by their likelihood needs the likelihood.
        logprobs=body.logprobs if rows == n or body.logprobs is not None else 0,
        measure=measure,
        max_tokens=body.max_tokens if "max_tokens" in body.model_fields_set else None,
    )
    return await asked.answer(request, lambda model: CompletionChoices(model, body, prompts))


@router.post("/chat/completions", response_model=None)
async def chat_completions(body: Annotated[ChatRequest, Body()], server: ServerState, request: Request) -> Response:
    """Answer messages. A last message of the assistant is continued with continue_final_message."""
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
    if body.stream and body.prompt_logprobs is not None:
        raise ApiError(400, "prompt_logprobs are not part of a stream; leave one of them out", param="prompt_logprobs")
    if body.max_tokens is not None and body.max_completion_tokens is not None and body.max_tokens != body.max_completion_tokens:
        raise ApiError(
            400,
            f"max_tokens is {body.max_tokens} and max_completion_tokens is {body.max_completion_tokens}; give one of them",
            param="max_tokens",
        )
    most = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    asked = Asked(
        server=server,
        body=body,
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


@dataclass(kw_only=True)
class Asked:
    """A request for completions, understood; what OpenAI's two routes have in common."""

    server: Server
    body: Sampling
    prompts: Sequence[str | Sequence[int] | Sequence[Mapping[str, Any]]]
    encoders: Sequence[Callable[[Model], Any]]
    config: GenerationConfig | None
    logprobs: int | None
    measure: int | None
    max_tokens: int | None

    async def answer(self, request: Request, choices: Callable[[Model], Choices]) -> Response:
        """Run it, for as long as its client is there."""
        try:
            return await while_connected(request.receive, self._answer(choices))
        except ClientGoneError:
            return Response(status_code=499)  # which nobody reads

    async def _answer(self, choices: Callable[[Model], Choices]) -> Response:
        if self.body.stream_options is not None and not self.body.stream:
            raise ApiError(400, "stream_options is given and stream is not true; leave it out", param="stream_options")
        run = Run(*await self._chosen())
        try:
            shape = choices(await run.prepare())
            if not self.body.stream:
                answers = await run.answers()
                return JSONResponse(shape.whole(answers) | {"usage": usage(answers)})
        except BaseException:
            run.close()
            raise
        finally:
            if not self.body.stream:
                run.close()
        events = self._events(run, shape)
        return EventStream(events, close=run.close, failure=lambda error: event(error.body) + DONE)

    async def _chosen(self) -> tuple[Server, str, list[Part]]:
        """Who answers, and the parts of the work."""
        name, kept = self.body.model, (None,) * len(self.prompts)
        length = sum(map(_characters, self.prompts))
        if self.server.workspace is not None and name is not None and "@" in name:
            if (self.body.n or 1) != 1 or getattr(self.body, "best_of", None) not in (None, 1):
                raise ApiError(400, "under a facet a prompt has one approved completion; leave n and best_of out", param="n")
            choice = await off_loop(length, lambda: curated.choose(self.server, name, self.prompts))
            name, kept = choice.model, choice.kept
        name = name or self.server.models.default
        self.server.models.check(name)
        return self.server, name, [self._part(i, each) for i, each in enumerate(kept)]

    def _part(self, i: int, kept: Kept | None) -> Part:
        return Part(
            encode=self.encoders[i],
            characters=_characters(self.prompts[i]),
            config=self.config,
            logprobs=self.logprobs,
            measure=self.measure,
            max_tokens=self.max_tokens if kept is None else None,
            kept=kept,
        )

    async def _events(self, run: Run, shape: Choices) -> AsyncIterator[bytes]:
        options = self.body.stream_options
        answers: dict[int, Answer] = {}
        made = 0
        async for pieces in run.pieces(ping_s=self.server.limits.ping_s):
            if not pieces:
                yield PING
                continue
            written: list[bytes] = []
            for piece in pieces:
                answers[piece.part] = piece.answer
                made += len(piece.event.token_ids) if piece.event is not None else 0
                for chunk in shape.chunks(piece):
                    if options is not None and options.continuous_usage_stats:
                        prompt = sum(len(answer.prompt_ids) for answer in answers.values())
                        chunk["usage"] = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
                    elif self.body.usage_wanted:
                        chunk["usage"] = None
                    written.append(event(chunk))
            if written:
                yield b"".join(written)
        if self.body.usage_wanted:
            yield event(shape.head() | {"choices": [], "usage": usage(list(answers.values()))})
        yield DONE


def _characters(prompt: str | Sequence[int] | Sequence[Mapping[str, Any]]) -> int:
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        return len(prompt)
    return sum(len(str(message.get("content"))) for message in prompt if isinstance(message, Mapping))
