"""ShareGPT: {"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}]}, with tool turns and a system turn.

Preferences have "chosen" and "rejected" turns beside it, Kahneman-Tversky rows a "label", tools a JSON text.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ramify.exchange.conversations import CannotSayError, call_text, conversation, offered, with_tools, without_tools
from ramify.exchange.entries import Entry, a_text
from ramify.exchange.formats import openai
from ramify.exchange.formats.rows import Row, TextOrMessages, messages_only

__all__ = ["detect", "read", "rows"]

NAMES = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system", "developer": "system"}


def detect(row: Mapping[str, Any]) -> bool:
    turns = row.get("conversations", row.get("conversation"))
    if isinstance(turns, list) and turns and isinstance(turns[0], Mapping):
        return "from" in turns[0] or "role" in turns[0]
    return isinstance(turns, str) and turns.lstrip().startswith("[{")


def read(row: Mapping[str, Any]) -> Iterator[Entry]:
    turns = row.get("conversations", row.get("conversation"))
    if isinstance(turns, str):
        from ramify.exchange.json_records import parse

        turns = parse(turns.encode())
    messages = conversation(turns, "conversations", role="from", content="value")
    if row.get("system"):
        messages = [{"role": "system", "content": a_text(row["system"], "system")}, *messages]
    title = row["id"] if isinstance(row.get("id"), str) else ""
    yield openai.entry(with_tools(messages, row.get("tools")), row, title=title, role="from", content="value")


def turns(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Messages as ShareGPT's turns. Raises CannotSayError for pictures, and for words beside a call."""
    found = []
    for message in messages:
        if not isinstance(message["content"], str):
            raise CannotSayError("it has a picture or sound in it")
        if message.get("tool_calls"):
            if message["content"]:
                raise CannotSayError("it has words beside a tool call")
            found.append({"from": "function_call", "value": call_text(message)})
        else:
            found.append({"from": NAMES[message["role"]], "value": message["content"]})
    return found


def rows(row: Row, *, tools: bool = False) -> dict[str, Any]:
    """tools: a column of that name in every row, "" where none are offered; otherwise only where some are."""
    prompt: TextOrMessages = messages_only(row.prompt)
    said = turns(without_tools(prompt))
    more = {"tools": offered(prompt)} if tools or offered(prompt) else {}
    if row.kind in ("dpo", "reward"):
        (chosen,), (rejected,) = turns([row.chosen]), turns([row.rejected])
        return {"conversations": said, "chosen": chosen, "rejected": rejected, **more}
    whole = {"conversations": [*said, *turns([row.chosen])], **more}
    return {**whole, "label": row.label} if row.kind == "kto" else whole
