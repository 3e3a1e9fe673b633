"""What a writer is given: one row of a training set, in the workspace's own shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ramify.exchange.conversations import CannotSayError

__all__ = ["Row", "TextOrMessages", "last_user", "messages_only", "words"]

TextOrMessages = Any
"""A raw prompt, or a list of messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    kind: str
    """ "sft", "dpo", "kto", "reward", "stepwise" or "prompts"."""
    prompt: TextOrMessages
    chosen: Mapping[str, Any]
    """An assistant's message; {} in a row of prompts."""
    rejected: Mapping[str, Any]
    """{} where the kind has none."""
    label: bool
    details: Mapping[str, Any]
    """Of the chosen completion."""


def messages_only(prompt: TextOrMessages) -> Sequence[Mapping[str, Any]]:
    """Raises CannotSayError for a raw prompt."""
    if isinstance(prompt, str):
        raise CannotSayError(
            "its prompt is raw text, and this form holds conversations; --prompts as-user makes it a user's turn"
        )
    return list(prompt)


def last_user(prompt: TextOrMessages) -> tuple[str, list[tuple[str, str]], str]:
    """(system, earlier (user, assistant) pairs, the last user's text). Raises CannotSayError for any other order of turns."""
    turns = list(messages_only(prompt))
    if any(turn.get("tool_calls") or turn["role"] == "tool" or turn.get("tools") for turn in turns):
        raise CannotSayError("it uses tools, for which this form has no place")
    if any(not isinstance(turn["content"], str) for turn in turns):
        raise CannotSayError("it has a picture or sound in it")
    system = ""
    if turns and turns[0]["role"] in ("system", "developer"):
        system, turns = turns[0]["content"], turns[1:]
    roles = [turn["role"] for turn in turns]
    if roles != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        raise CannotSayError("its turns are not user and assistant in alternation, ending with the user")
    pairs = [(turns[i]["content"], turns[i + 1]["content"]) for i in range(0, len(turns) - 1, 2)]
    return system, pairs, turns[-1]["content"]


def words(message: Mapping[str, Any]) -> str:
    """An answer's text. Raises CannotSayError for a tool call."""
    if message.get("tool_calls"):
        raise CannotSayError("it calls a tool, for which this form has no place")
    return str(message["content"])
