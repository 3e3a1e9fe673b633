"""Anthropic's helpful-and-harmless dialogues: {"chosen": "\\n\\nHuman: …\\n\\nAssistant: …", "rejected": …}."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ramify.errors import InputError
from ramify.exchange.conversations import CannotSayError
from ramify.exchange.entries import Entry, a_text
from ramify.exchange.formats.openai import pair
from ramify.exchange.formats.rows import Row, messages_only, words

__all__ = ["detect", "read", "rows"]

TURN = re.compile(r"\n\n(Human|Assistant):")
NAMES = {"user": "Human", "assistant": "Assistant"}


def detect(row: Mapping[str, Any]) -> bool:
    return all(isinstance(row.get(name), str) and row[name].startswith("\n\nHuman:") for name in ("chosen", "rejected"))


def _dialogue(text: Any, name: str) -> list[dict[str, Any]]:
    _, *parts = TURN.split(a_text(text, name))
    if not parts or not text.startswith("\n\n"):
        raise InputError(f"{name} is no dialogue of '\\n\\nHuman:' and '\\n\\nAssistant:' turns")
    roles = ["user" if part == "Human" else "assistant" for part in parts[::2]]
    return [{"role": role, "content": said.removeprefix(" ")} for role, said in zip(roles, parts[1::2], strict=True)]


def read(row: Mapping[str, Any]) -> Iterator[Entry]:
    yield pair([], _dialogue(row.get("chosen"), "chosen"), _dialogue(row.get("rejected"), "rejected"))


def rows(row: Row) -> dict[str, Any]:
    if row.kind not in ("dpo", "reward"):
        raise CannotSayError(f"dialogues in Anthropic's form are preferences; they have none for {row.kind}")
    turns = [dict(turn) for turn in messages_only(row.prompt)]
    if any(turn["role"] not in NAMES or turn.get("tools") or turn.get("tool_calls") for turn in turns):
        raise CannotSayError("it has a turn of neither user nor assistant")
    told = {name: [*turns, {"role": "assistant", "content": words(last)}] for name, last in _last(row).items()}
    if any(TURN.search(f"\n\n{turn['content']}") or TURN.search(str(turn["content"])) for each in told.values() for turn in each):
        raise CannotSayError("a text in it looks like the beginning of a turn")
    return {name: "".join(f"\n\n{NAMES[turn['role']]}: {turn['content']}" for turn in each) for name, each in told.items()}


def _last(row: Row) -> dict[str, Mapping[str, Any]]:
    return {"chosen": row.chosen, "rejected": row.rejected}
