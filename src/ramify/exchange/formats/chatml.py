"""Conversations written out with control tokens, and back: ChatML as a training text, and what lm-evaluation-harness logged of
templates by Qwen and others (ChatML), Gemma, and Llama 3.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ramify.errors import InputError
from ramify.exchange.conversations import CannotSayError, conversation, split
from ramify.exchange.entries import Entry, a_text
from ramify.exchange.formats.rows import Row, messages_only, words

__all__ = ["detect", "plain_messages", "read", "rows"]

START, END = "<|im_start|>", "<|im_end|>"

DIALECTS: tuple[tuple[str, str, str, str], ...] = (
    # before the role, after it, the end of a turn, what may stand before all
    (START, "\n", END, ""),
    ("<start_of_turn>", "\n", "<end_of_turn>", "<bos>"),
    ("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "<|begin_of_text|>"),
)


def plain_messages(text: str) -> list[dict[str, Any]] | None:
    """The messages in a text of one of the dialects; None where it is none, or is not well-formed to the last character.

    An open assistant's turn at the end is left out when it is empty.
    """
    for before, after, end, first in DIALECTS:
        body = text.removeprefix(first)
        if body.startswith(before):
            return _turns(body, before, after, end)
    return None


def _turns(text: str, before: str, after: str, end: str) -> list[dict[str, Any]] | None:
    found: list[dict[str, Any]] = []
    at = 0
    while at < len(text):
        if not text.startswith(before, at):
            return found if found and not text[at:].strip() else None
        middle = text.find(after, at)
        if middle < 0:
            return None
        role, start = text[at + len(before) : middle], middle + len(after)
        if not re.fullmatch(r"\w+", role):
            return None
        stop = text.find(end, start)
        words = text[start : stop if stop >= 0 else len(text)]
        if before in words:
            return None
        if stop >= 0 or words:
            found.append({"role": role, "content": words})
        at = len(text) if stop < 0 else stop + len(end) + (1 if text.startswith("\n", stop + len(end)) else 0)
    return found or None


def detect(row: Mapping[str, Any]) -> bool:
    text = row.get("text", row.get("chatml"))
    return isinstance(text, str) and text.startswith(START)


def read(row: Mapping[str, Any]) -> Iterator[Entry]:
    found = plain_messages(a_text(row.get("text", row.get("chatml")), "text"))
    if found is None:
        raise InputError("it is no well-formed ChatML: turns are <|im_start|>role, a line break, the text, <|im_end|>")
    prompt, answer = split(conversation(found))
    yield Entry(prompt=prompt, answers=() if answer is None else (answer,))


def rows(row: Row) -> dict[str, Any]:
    if row.kind != "sft":
        raise CannotSayError(f"ChatML has no form for {row.kind}")
    turns = [*messages_only(row.prompt), {"role": "assistant", "content": words(row.chosen)}]
    if any(turn.get("tool_calls") or turn.get("tools") or not isinstance(turn["content"], str) for turn in turns):
        raise CannotSayError("it uses tools or pictures, for which ChatML has no place")
    if any(START in turn["content"] or END in turn["content"] for turn in turns):
        raise CannotSayError("a text in it spells a control token of ChatML")
    return {"text": "".join(f"{START}{turn['role']}\n{turn['content']}{END}\n" for turn in turns)}
