"""What a body of OpenAI's asks for, whoever asks: a request, or a row of a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ramify.api.completion_choices import ChatChoices, Choices, CompletionChoices
from ramify.api.errors import ApiError
from ramify.api.openai_fields import ChatRequest, CompletionRequest, Sampling, config_of
from ramify.api.parts import Ids
from ramify.api.prompts import chat_ids, raw_ids
from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model

__all__ = ["Wanted", "wanted_of_chat", "wanted_of_completion"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Completions of one prompt or several, and the shape of the answer."""

    prompts: Sequence[str | Sequence[int] | Sequence[Mapping[str, Any]]]
    encoders: Sequence[Callable[[Model], Ids]]
    config: GenerationConfig | None
    logprobs: int | None
    measure: int | None
    max_tokens: int | None
    shape_for: Callable[[Model], Choices]


def wanted_of_completion(body: CompletionRequest) -> Wanted:
    """Raises ApiError 400 for what contradicts itself."""
    _check_stream(body)
    _check_ids(body, measured=body.logprobs is not None)
    prompts = prompts_of(body.prompt)
    n = body.n or 1
    rows = n if body.best_of is None else body.best_of
    _check_best_of(body, n, rows)
    # Where nothing is generated the settings are judged all the same.
    settings = config_of(body, max_tokens=body.max_tokens or None, rows=rows)
    config = settings if body.max_tokens != 0 else None
    measure = body.prompt_logprobs
    if body.echo and body.logprobs is not None:
        measure = max(body.logprobs, measure or 0)
    special = body.add_special_tokens is not False
    return Wanted(
        prompts=prompts,
        encoders=[raw_ids(prompt, suffix=body.suffix, add_special_tokens=special) for prompt in prompts],
        config=config,
        # Ranking completions by their likelihood needs the likelihood.
        logprobs=body.logprobs if rows == n or body.logprobs is not None else 0,
        measure=measure,
        max_tokens=body.max_tokens if "max_tokens" in body.model_fields_set else None,
        shape_for=lambda model: CompletionChoices(model, body, prompts),
    )


def wanted_of_chat(body: ChatRequest) -> Wanted:
    """Raises ApiError 400 for what contradicts itself."""
    _check_stream(body)
    _check_ids(body, measured=bool(body.logprobs))
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
    encoder = chat_ids(
        body.messages,
        continue_final=bool(body.continue_final_message),
        add_generation_prompt=body.add_generation_prompt is not False,
        variables=body.chat_template_kwargs,
    )
    return Wanted(
        prompts=[body.messages],
        encoders=[encoder],
        config=config_of(body, max_tokens=most, rows=body.n or 1),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        measure=body.prompt_logprobs,
        max_tokens=most,
        shape_for=lambda model: ChatChoices(model, body),
    )


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


def _check_ids(body: Sampling, *, measured: bool) -> None:
    if body.return_tokens_as_token_ids and not measured:
        raise ApiError(
            400,
            "return_tokens_as_token_ids says how the tokens of logprobs are written, and no logprobs are asked for; "
            "ask for them, or for the ids alone with return_token_ids",
            param="return_tokens_as_token_ids",
        )


def _check_best_of(body: CompletionRequest, n: int, rows: int) -> None:
    if rows < n:
        raise ApiError(400, f"best_of is {rows} and n is {n}; best_of must be at least n", param="best_of", code="invalid_value")
    if rows == n:
        return
    if body.stream:
        raise ApiError(
            400, f"best_of is {rows}, and the best are known at the end only; leave out stream or best_of", param="best_of"
        )
    if (body.temperature == 0 or body.do_sample is False) and not (body.use_beam_search or (body.num_beams or 1) > 1):
        raise ApiError(
            400,
            f"best_of is {rows} and temperature is 0, where all are alike; give a temperature above 0, or leave best_of out",
            param="best_of",
        )
