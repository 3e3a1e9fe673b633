"""A prompt as the workspace keeps it: raw text or messages, the words for search, and a hash by which to find it again."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ramify.errors import InputError
from ramify.store.packing import to_json
from ramify.store.records import Message, Prompt

__all__ = ["checked_text", "prompt_columns", "prompt_from", "prompt_hash"]


def checked_text(text: str, what: str) -> str:
    """The text itself. Raises InputError for what no file could hold: not a string, or a lone surrogate."""
    if not isinstance(text, str):
        raise InputError(f"{what} is {type(text).__name__}; it must be text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{what} has a lone surrogate at {error.start}; it must be valid Unicode") from None
    return text


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    found = []
    for index, message in enumerate(prompt):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str) or "content" not in message:
            raise InputError(
                f"message {index} of the prompt must have a role and a content, such as {{'role': 'user', 'content': 'Hello'}}"
            )
        found.append(dict(message))
    if not found:
        raise InputError("the prompt has no messages; give at least one, or raw text")
    return found


def _words(message: Message) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and "text" in part)


def prompt_columns(prompt: Prompt) -> dict[str, Any]:
    """The columns `messages`, `text` and `hash`. Raises InputError for what is no prompt."""
    if isinstance(prompt, str):
        text = checked_text(prompt, "the prompt")
        return {"messages": None, "text": text, "hash": _hash("text", text)}
    messages = _messages(prompt)
    try:
        packed = checked_text(to_json(messages), "the prompt")
    except TypeError as error:
        raise InputError(f"the prompt's messages must be JSON: {error}") from None
    return {"messages": packed, "text": "\n".join(_words(message) for message in messages), "hash": _hash("messages", packed)}


def prompt_hash(prompt: Prompt) -> str:
    """Equal prompts have equal hashes; a raw text never equals messages."""
    found: str = prompt_columns(prompt)["hash"]
    return found


def prompt_from(messages: str | None, text: str) -> str | tuple[Message, ...]:
    return text if messages is None else tuple(json.loads(messages))


def _hash(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()
