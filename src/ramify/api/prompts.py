"""From what a request says to token ids: raw prompts, messages, and a gap to fill in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ramify.api.errors import ApiError
from ramify.api.parts import Ids
from ramify.engine.model import Model
from ramify.errors import UnsupportedError
from ramify.models.chat import ChatTemplate

__all__ = ["chat_ids", "raw_ids"]

GAPS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<|fim_begin|>", "<|fim_hole|>", "<|fim_end|>"),
)
"""The control tokens of models that fill in (Qwen, StarCoder and Gemma; the last, DeepSeek's, stand for begin, hole and end)."""

OWN_ARGUMENTS = frozenset(
    {"self", "messages", "prefill", "add_generation_prompt", "continue_final", "tools", "documents", "strftime_now"}
)


def raw_ids(prompt: str | Sequence[int], *, suffix: str | None = None, add_special_tokens: bool = True) -> Callable[[Model], Ids]:
    """A raw prompt: special tokens written in it count as such. suffix: what follows the gap that the completion fills."""

    def encode(model: Model) -> Ids:
        if suffix:
            return _filled(model, prompt, suffix), ()
        if isinstance(prompt, str) and not add_special_tokens:
            rendered: Any = getattr(model.codec, "encode_rendered", model.codec.encode)
            return tuple(rendered(prompt)), ()
        return model.ids_of(prompt)

    return encode


def _filled(model: Model, prompt: str | Sequence[int], suffix: str) -> tuple[int, ...]:
    known: Mapping[str, int] = getattr(model.codec, "added_tokens", {})
    marks = next((marks for marks in GAPS if all(mark in known for mark in marks)), None)
    if marks is None:
        raise ApiError(
            400,
            f"suffix is given, and {model.info.name} has no tokens to fill in with; leave it out",
            param="suffix",
            code="unsupported",
        )
    begin, hole, end = (known[mark] for mark in marks)
    before = tuple(model.codec.encode(prompt)) if isinstance(prompt, str) else model.ids_of(prompt)[0]
    return (begin, *before, hole, *model.codec.encode(suffix), end)


def chat_ids(
    messages: Sequence[Mapping[str, Any]],
    *,
    continue_final: bool = False,
    add_generation_prompt: bool = True,
    variables: Mapping[str, Any] | None = None,
) -> Callable[[Model], Ids]:
    """Messages, by the model's own template."""

    def encode(model: Model) -> Ids:
        chat: ChatTemplate | None = model.chat
        if chat is None:
            raise UnsupportedError(f"{model.info.name} has no chat template, so it takes no messages; use /v1/completions")
        nameless = next((name for name in variables or {} if not name.isidentifier() or name.startswith("_")), None)
        if nameless is not None:
            raise _unread(f"chat_template_kwargs has {nameless[:100]!r}, which cannot be a variable of a template")
        taken = sorted(set(variables or {}) & OWN_ARGUMENTS)
        if taken:
            raise _unread(f"chat_template_kwargs has {taken[0]!r}, which is said by the request's own fields")
        unread = chat.unread(variables or {})
        if unread is not None:
            raise _unread(unread)
        written = chat.prompt(
            messages,
            continue_final=continue_final,
            add_generation_prompt=add_generation_prompt or continue_final,
            **(variables or {}),
        )
        return written.token_ids, written.prefill_token_ids

    return encode


def _unread(why: str) -> ApiError:
    return ApiError(400, why, param="chat_template_kwargs", code="invalid_value")
