"""From prompt and settings to the body of a request in Anthropic's Messages protocol.

It has messages alone (no raw text, no token ids), one completion a request, and neither logprobs nor seeds: what is asked
beyond it is refused by name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ramify.errors import InputError, UnsupportedError
from ramify.models.cards import Card, refused_prefill
from ramify.models.endpoints import Endpoint
from ramify.models.remote_fields import GenerationSettings, checked_messages, given_settings, refusal

__all__ = ["MESSAGES", "messages_body"]

MESSAGES = "/v1/messages"

WHY = {
    "seed": "its protocol has no seed; the same request may give another text",
    "num_return_sequences": "its protocol gives one completion a request; ask several times",
    "logit_bias": "its protocol takes no token ids",
    "stop_token_ids": "it stops at texts only; give stop_strings",
    "max_length": "the prompt's tokens are counted by the endpoint alone; give max_new_tokens",
    "use_cache": "its cache is its own",
    "batch_size": "its batches are its own",
}


def messages_body(
    prompt: str | Sequence[int] | Sequence[Mapping[str, object]],
    config: GenerationSettings,
    endpoint: Endpoint,
    *,
    model: str,
    prefill: str | None = None,
    logprobs: int | None = None,
    card: Card | None = None,
) -> dict[str, Any]:
    """The body, without `stream`. `endpoint` is settled; max_time is the caller's to keep.

    Leading system messages become `system`; a prefill is the last message, the assistant's.
    Raises UnsupportedError naming what cannot be honoured, InputError for a prompt that is none.
    """
    asked_for = _prompt(prompt, prefill, endpoint, model, card)
    return {"model": model, **asked_for, **_settings(config, endpoint, model, logprobs, card)}


def _prompt(prompt: Any, prefill: str | None, endpoint: Endpoint, model: str, card: Card | None) -> dict[str, Any]:
    where = f"{model!r} at {endpoint.base_url} (anthropic)"
    if isinstance(prompt, str) or (prompt and all(isinstance(item, int) for item in prompt)):
        what = "a raw text" if isinstance(prompt, str) else "token ids"
        raise UnsupportedError(f"the prompt is {what}, and {where} takes messages only; give some with a role and a content each")
    messages = checked_messages(prompt)
    for at, message in enumerate(messages):
        if unknown := sorted(set(message) - {"role", "content"}):
            raise UnsupportedError(f"message {at} has {', '.join(unknown)}, which {where} does not know; leave it out")
        if message["role"] not in ("system", "user", "assistant"):
            raise UnsupportedError(f"message {at} is of role {message['role']!r}; {where} knows system, user and assistant")
    led = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    if late := [at for at, message in enumerate(messages[led:], led) if message["role"] == "system"]:
        raise UnsupportedError(f"message {late[0]} is a system message after others; {where} takes them at the beginning only")
    if led == len(messages):
        raise InputError("the prompt has system messages alone; add the user's")
    system, turns = [str(message["content"]) for message in messages[:led]], messages[led:]
    if prefill:
        if why := refused_prefill(endpoint, card):
            raise UnsupportedError(f"a prefill was given, and {where} cannot continue it: {why}. Leave it out")
        if prefill != prefill.rstrip():
            raise UnsupportedError(f"the prefill ends in white space, which {where} does not take at the end; take it off")
        turns = [*turns, {"role": "assistant", "content": prefill}]
    fields: dict[str, Any] = {"messages": turns}
    if system:
        fields["system"] = system[0] if len(system) == 1 else [{"type": "text", "text": text} for text in system]
    return fields


def _settings(
    config: GenerationSettings, endpoint: Endpoint, model: str, logprobs: int | None, card: Card | None
) -> dict[str, Any]:
    def refuse(name: str, value: Any, why: str) -> UnsupportedError:
        return refusal(name, value, why, endpoint, model)

    given = given_settings(config)
    fields: dict[str, Any] = {}
    most = given.pop("max_new_tokens", None)
    if most is None:
        raise refuse("max_new_tokens", None, "its protocol asks for a number; give one")
    fields["max_tokens"] = most
    temperature = given.pop("temperature", None)
    temperature = (1.0 if temperature is None else temperature) if config.samples else 0.0
    if temperature > 1.0:
        raise refuse("temperature", temperature, "its temperatures end at 1")
    if temperature != 1.0:  # its default; with some models no other may be said, nor beside top_p
        if card is not None and (why := card.why_not("temperature")):
            raise refuse("temperature", temperature, f"{why}; sample at temperature 1 (do_sample), which needs no field")
        fields["temperature"] = temperature
    for name, value in given.items():
        if card is not None and (why := card.why_not(name)):
            raise refuse(name, value, why)
        if name in ("top_k", "top_p"):
            fields[name] = value
        elif name == "stop_strings":
            if blank := [text for text in value if not text.strip()]:
                raise refuse(name, blank, "a stop string of white space alone is not taken")
            fields["stop_sequences"] = list(value)
        else:
            raise refuse(name, value, WHY.get(name, "its protocol has no such field"))
    if logprobs is not None:
        raise refuse("logprobs", logprobs, "its protocol gives none")
    return fields
