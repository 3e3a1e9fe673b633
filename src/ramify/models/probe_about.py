"""What an endpoint tells of itself: who it is, its context length, its prices. Nothing of it is needed."""

import contextlib
from collections.abc import Mapping
from typing import Any

from ramify.models.probe_asking import Asking

__all__ = ["about"]

WINDOWS = ("max_model_len", "context_length", "context_window", "max_context_length", "max_input_tokens")
"""Where model lists have the context length: vLLM's, OpenRouter's, Groq's, Mistral's, Anthropic's."""


async def about(asking: Asking) -> dict[str, Any]:
    """Fields of a Card, those that were told."""
    told = await asking.get(f"/v1/models/{asking.model}" if asking.far else "/models")
    entry = told if asking.far else _entry(told.get("data"), asking.model)
    owner = entry.get("owned_by")
    windows = [entry.get(name) for name in WINDOWS]
    if asking.dialect == "llama.cpp" or owner == "llamacpp":
        # What the model was trained for is in its list; what a slot has is here.
        props = await asking.get(str(asking.endpoint.base_url).removesuffix("/v1") + "/props")
        windows = [_of(props, "default_generation_settings", "n_ctx"), *windows, _of(entry, "meta", "n_ctx_train")]
    found = {
        "server": asking.words(owner) if isinstance(owner, str) else None,
        "context_window": next((size for size in windows if isinstance(size, int) and size > 0), None),
        "prompt_price": _price(_of(entry, "pricing", "prompt")),
        "completion_price": _price(_of(entry, "pricing", "completion")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _entry(listed: object, model: str) -> Mapping[str, Any]:
    entries = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    return next((each for each in entries if each.get("id") == model), entries[0] if len(entries) == 1 else {})


def _of(told: Mapping[str, Any], part: str, name: str) -> object:
    inner = told.get(part)
    return inner.get(name) if isinstance(inner, Mapping) else None


def _price(given: object) -> float | None:
    """US dollars a token; such lists write numbers as texts."""
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        with contextlib.suppress(ValueError):
            price = float(given)
            return price if 0 <= price < 1 else None
    return None
