"""From prompt and settings to the fields of a request.

Every setting that is not at its default becomes a field, or is refused by name; a neutral value is left out where the server
is known to have the same default, and said aloud where it is known to have another.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ramify.errors import InputError, UnsupportedError
from ramify.models.cards import Card, refused_prefill
from ramify.models.endpoints import Dialect, Endpoint, PrefillStyle

__all__ = [
    "SAID_ALOUD",
    "GenerationSettings",
    "checked_messages",
    "given_settings",
    "prefill_fields",
    "prompt_fields",
    "refusal",
    "setting_fields",
]


class GenerationSettings(Protocol):
    """What is used of a GenerationConfig, which stands a level above."""

    @property
    def samples(self) -> bool: ...

    def to_dict(self) -> dict[str, Any]: ...


# --- settings

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_k": (0,),
    "top_p": (1.0,),
    "min_p": (0.0,),
    "typical_p": (1.0,),
    "eta_cutoff": (0.0,),
    "epsilon_cutoff": (0.0,),
    "penalty_alpha": (0.0,),
    "early_stopping": (True,),
}
"""Values that differ from the default and yet change nothing (with one beam)."""

EVERYWHERE = {"top_p": "top_p", "seed": "seed"}
"""Our name: the request's, in all dialects."""

PENALTIES = {"presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty"}

NAMES: Mapping[str, Mapping[str, str]] = {
    "openai": PENALTIES,
    "compatible": PENALTIES,
    "vllm": {
        **PENALTIES,
        "top_k": "top_k",
        "min_p": "min_p",
        "repetition_penalty": "repetition_penalty",
        "min_new_tokens": "min_tokens",
        "ignore_eos": "ignore_eos",
        "stop_token_ids": "stop_token_ids",
        "include_stop_str_in_output": "include_stop_str_in_output",
    },
    # Its presence and frequency penalties count the prompt's tokens too, which ours and OpenAI's do not.
    "llama.cpp": {
        "top_k": "top_k",
        "min_p": "min_p",
        "typical_p": "typical_p",
        "repetition_penalty": "repeat_penalty",
        "ignore_eos": "ignore_eos",
    },
    "ollama": PENALTIES,
    "openrouter": {**PENALTIES, "top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"},
}

SAID_ALOUD: Mapping[Dialect, Mapping[str, Any]] = {
    # vLLM's defaults come from the model's generation_config.json.
    "vllm": {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    # llama.cpp's are top_k 40, top_p 0.95, min_p 0.05; its penalty looks back 64 tokens only unless told otherwise. -1 for all of
    # them is refused by newer servers, and the largest number allowed makes them take 8 GB; this one is above every window.
    "llama.cpp": {
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "repeat_last_n": 2**20,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        # Ours: its own order has the temperature after the filters, and processors that nobody asked for.
        "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p", "typ_p"],
    },
    "ollama": {"top_p": 1.0},
    # A provider that would ignore a field is not routed to.
    "openrouter": {"provider": {"require_parameters": True}},
}

WHY = {
    "max_length": "the prompt's tokens are counted by the endpoint alone; give max_new_tokens",
    "stop_token_ids": "it stops at texts only; give stop_strings",
    "suppress_tokens": "it has no ban; logit_bias with -100 is the nearest",
    "forbidden_words": "it could ban some tokenizations of a word only",
    "grammar": "its grammars are written in another language than Lark",
    "processors": "the order of its processors is its own",
    "nucleus_rule": "its nucleus keeps the token that crosses top_p",
    "use_cache": "its cache is its own",
    "batch_size": "its batches are its own",
}

MOST_STOPS, MOST_LOGPROBS_CHAT, MOST_LOGPROBS_RAW = 4, 20, 5
"""OpenAI's own limits."""


def setting_fields(
    config: GenerationSettings,
    endpoint: Endpoint,
    *,
    model: str,
    chat: bool,
    logprobs: int | None = None,
    card: Card | None = None,
) -> dict[str, Any]:
    """The request's fields for a config. `endpoint` is settled; max_time is the caller's to keep.

    logprobs: None for none, 0 for the chosen tokens', K for K alternatives too. card: what was measured there; it goes before
    what is known of the dialect.
    Raises UnsupportedError naming the first setting that this endpoint cannot honour, and the endpoint.
    """
    dialect = endpoint.dialect or "compatible"

    def refuse(name: str, value: Any, why: str) -> UnsupportedError:
        return refusal(name, value, why, endpoint, model)

    given = given_settings(config)
    fields: dict[str, Any] = dict(SAID_ALOUD.get(dialect, {}))
    temperature = given.pop("temperature", None)
    # Unset means greedy here and 1 there, so it is always said, but where any other is refused.
    fields["temperature"] = (1.0 if temperature is None else temperature) if config.samples else 0.0
    if card is not None and (why := card.why_not("temperature")):
        if fields["temperature"] != 1.0:
            why = f"{why}; sample at temperature 1 (do_sample), which needs no field"
            raise refuse("temperature", fields["temperature"], why)
        del fields["temperature"]

    most = given.pop("max_new_tokens", None)
    if most is not None:
        fields["max_completion_tokens" if chat and dialect == "openai" else "max_tokens"] = most
    elif not chat and dialect in ("openai", "compatible", "vllm"):
        raise refuse("max_new_tokens", None, "a raw completion would end after its default of 16 tokens; give a number")

    names = {**EVERYWHERE, **NAMES[dialect]}
    if card is not None and card.honours("top_k"):
        names = {"top_k": "top_k", **names}
    for name, value in given.items():
        if card is not None and (why := card.why_not(name)):
            raise refuse(name, value, why)
        if name in names:
            if name == "seed" and dialect == "llama.cpp" and value >= 2**32 - 1:
                raise refuse(name, value, "its seeds are below 2**32 - 1")
            fields[names[name]] = value
        elif name == "stop_strings":
            if dialect == "openai" and len(value) > MOST_STOPS:
                raise refuse(name, value, f"it takes {MOST_STOPS} at most")
            fields["stop"] = list(value)
        elif name == "num_return_sequences" and dialect != "ollama":
            fields["n"] = value
        elif name == "logit_bias" and dialect != "ollama":
            fields["logit_bias"] = {str(token_id): bias for token_id, bias in value.items()}
        elif name in ("json_schema", "regex", "choices") and (constraint := _constraint(name, value, dialect, chat)):
            fields |= constraint
        else:
            raise refuse(name, value, WHY.get(name, "its protocol has no such field"))

    if logprobs is not None:
        if card is not None and (why := card.why_not("logprobs", logprobs)):
            raise refuse("logprobs", logprobs, why)
        bound = MOST_LOGPROBS_CHAT if chat else MOST_LOGPROBS_RAW
        if dialect == "openai" and logprobs > bound:
            raise refuse("logprobs", logprobs, f"it gives {bound} alternatives at most")
        if not chat:
            fields["logprobs"] = logprobs
        else:
            fields |= {"logprobs": True, **({"top_logprobs": logprobs} if logprobs else {})}
    return fields


def given_settings(config: GenerationSettings) -> dict[str, Any]:
    """What of a config an endpoint must be told: without what changes nothing, how it chooses, and max_time."""
    given = {name: value for name, value in config.to_dict().items() if not _neutral(name, value)}
    given.pop("do_sample", None)
    given.pop("max_time", None)
    return given


def refusal(name: str, value: Any, why: str, endpoint: Endpoint, model: str) -> UnsupportedError:
    """The error for a setting that an endpoint cannot honour."""
    shown = repr(value) if len(repr(value)) <= 100 else repr(value)[:100] + "…"
    return UnsupportedError(
        f"{name} is {shown}, which {model!r} at {endpoint.base_url} ({endpoint.dialect or 'compatible'}) cannot honour: {why}. "
        f"Leave {name} out, or use a model that can"
    )


def _neutral(name: str, value: Any) -> bool:
    if name == "exponential_decay_length_penalty":
        return bool(value[1] == 1.0)
    return value in NEUTRAL.get(name, ())


def _constraint(name: str, value: Any, dialect: Dialect, chat: bool) -> dict[str, Any] | None:
    """The fields that enforce a constraint; None where this dialect has none that is known to."""
    if name == "json_schema":
        schema = json.loads(value) if isinstance(value, str) else value
        if not isinstance(schema, Mapping):
            return None
        if dialect == "vllm":
            return {"structured_outputs": {"json": schema}}
        if chat and dialect != "compatible":
            # Without `strict` OpenAI's own models only try to comply.
            described = {"name": "answer", "strict": True, "schema": schema}
            return {"response_format": {"type": "json_schema", "json_schema": described}}
        return None
    if dialect == "vllm":
        return {"structured_outputs": {"choice": list(value)} if name == "choices" else {"regex": value}}
    return None


# --- prompts


def prompt_fields(
    prompt: str | Sequence[int] | Sequence[Mapping[str, object]],
    prefill: str | None,
    endpoint: Endpoint,
    *,
    model: str,
    card: Card | None = None,
) -> tuple[bool, dict[str, Any]]:
    """Whether it is a chat, and the request's fields for the prompt.

    Text and token ids (the endpoint's own) are raw prompts; a prefill is appended to a text. A chat's prefill is sent in the
    endpoint's `prefill` style, or the one that its card found. Raises InputError for a prompt that is none, UnsupportedError
    for a prefill that cannot be sent, and for a kind of prompt that the card found refused.
    """
    where = f"{model!r} at {endpoint.base_url}"

    def check(what: str, kind: str) -> None:
        if card is not None and (why := card.why_not(what)):
            raise UnsupportedError(f"the prompt is {kind}, which {where} does not take: {why}. Give it in another form")

    if isinstance(prompt, str):
        check("raw", "a raw text")
        return False, {"prompt": prompt + (prefill or "")}
    items = list(prompt)
    if items and all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        if prefill:
            raise UnsupportedError(
                f"a prefill is text and the prompt token ids; {where} tokenizes alone. Give the prompt as text"
            )
        check("token_ids", "token ids")
        return False, {"prompt": items}
    messages = checked_messages(items)
    check("chat", "messages")
    if not prefill:
        return True, {"messages": messages}
    if why := refused_prefill(endpoint, card):
        raise UnsupportedError(f"a prefill was given, and {where} does not continue one: {why}. Leave it out")
    style = endpoint.prefill or (card.continues if card is not None else None)
    if style is None:
        raise UnsupportedError(
            f"a prefill was given, and nobody said what {where} does with one: some endpoints "
            "continue it, some answer it or repeat it. Leave it out, let `ramify models probe` find out, or set "
            "the entry's prefill to continue_final_message or assistant_turn once you know"
        )
    return True, prefill_fields(messages, prefill, style)


def prefill_fields(messages: Sequence[Mapping[str, object]], prefill: str, style: PrefillStyle) -> dict[str, Any]:
    """Messages with a begun answer, in a style."""
    begun = [*messages, {"role": "assistant", "content": prefill}]
    if style == "assistant_turn":
        return {"messages": begun}
    return {"messages": begun, "continue_final_message": True, "add_generation_prompt": False}


def checked_messages(items: Sequence[object]) -> list[dict[str, object]]:
    """Chat messages that end with somebody else's. Raises InputError for what is none."""
    messages = [_message(item, at) for at, item in enumerate(items)]
    if not messages:
        raise InputError("the prompt is empty; give a text, token ids, or messages with a role and a content each")
    if messages[-1]["role"] == "assistant":
        raise InputError("the last message is the assistant's own; give it as prefill, to be continued, or add the user's next")
    return messages


def _message(item: object, at: int) -> dict[str, object]:
    if not (isinstance(item, Mapping) and isinstance(item.get("role"), str) and isinstance(item.get("content"), str)):
        raise InputError(f"message {at} of the prompt is not usable; each has a role and a content, both texts")
    return dict(item)
