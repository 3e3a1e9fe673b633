"""OpenAI's messages: {"messages": [{"role": "user", "content": …}, …], "tools": […]}, and its preference rows
{"input": {"messages": …}, "preferred_output": […], "non_preferred_output": […]}. Read too: {"chosen_messages": […],
"rejected_messages": […]}.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ramify.errors import InputError
from ramify.exchange.conversations import (
    CannotSayError,
    answer_of,
    conversation,
    offered,
    split,
    with_tools,
    without_tools,
)
from ramify.exchange.entries import Answer, Entry, a_flag, an_object
from ramify.exchange.formats.rows import Row, messages_only

__all__ = ["detect", "entry", "pair", "read", "rows"]


def detect(row: Mapping[str, Any]) -> bool:
    if ("preferred_output" in row and "non_preferred_output" in row) or ("chosen_messages" in row and "rejected_messages" in row):
        return True
    turns = row.get("messages")
    return isinstance(turns, list) and bool(turns) and isinstance(turns[0], Mapping) and "role" in turns[0]


def read(row: Mapping[str, Any]) -> Iterator[Entry]:
    if "preferred_output" in row:
        asked = an_object(row.get("input"), "input")
        prompt = with_tools(conversation(asked.get("messages"), "input.messages"), asked.get("tools"))
        yield pair(prompt, conversation(row["preferred_output"]), conversation(row.get("non_preferred_output")))
        return
    if "chosen_messages" in row:
        chosen, rejected = (conversation(row.get(name), name) for name in ("chosen_messages", "rejected_messages"))
        yield pair([], with_tools(chosen, row.get("tools")), with_tools(rejected, row.get("tools")))
        return
    title = row["id"] if isinstance(row.get("id"), str) else ""
    yield entry(with_tools(conversation(row.get("messages")), row.get("tools")), row, title=title)


def entry(
    messages: list[dict[str, Any]], row: Mapping[str, Any], *, title: str = "", role: str = "role", content: str = "content"
) -> Entry:
    """A conversation, with what may stand beside it: "chosen" and "rejected" turns, or a "label"."""
    if "chosen" in row and "rejected" in row:
        last = [conversation(_turns(row[name]), name, role=role, content=content) for name in ("chosen", "rejected")]
        return replace(pair(messages, *last), title=title)
    prompt, answer = split(messages)
    if answer is None:
        return Entry(prompt=prompt, title=title)
    model = row.get("model")
    answer = replace(answer, model=model if isinstance(model, str) and model.strip() else None)
    label = row.get("label", row.get("kto_tag"))
    if label is not None:
        answer = replace(answer, good=a_flag(label, "label"))
    return Entry(prompt=prompt, answers=(answer,), title=title)


def _turns(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else value


def pair(prompt: list[dict[str, Any]], chosen: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> Entry:
    """A preference between two answers. Whole conversations are cut where they part; they must part at the last turn only.

    Raises InputError otherwise, and where the two are equal.
    """
    while len(chosen) > 1 and len(rejected) > 1 and chosen[0] == rejected[0]:
        prompt, chosen, rejected = [*prompt, chosen[0]], chosen[1:], rejected[1:]
    if len(chosen) != 1 or len(rejected) != 1:
        raise InputError("chosen and rejected part before their last turn; only the last may differ")
    if {chosen[0]["role"], rejected[0]["role"]} != {"assistant"}:
        raise InputError("chosen and rejected must be the assistant's turns")
    if not prompt:
        raise InputError("the preference has no prompt")
    return preference(prompt, answer_of(chosen[0]), answer_of(rejected[0]))


def preference(prompt: Any, chosen: Answer, rejected: Answer) -> Entry:
    """Raises InputError for two equal answers."""
    if chosen.text == rejected.text:
        raise InputError("chosen and rejected are equal; there is nothing to prefer")
    return Entry(prompt=prompt, answers=(chosen, rejected), better=((0, 1),))


def spoken(messages: Sequence[Mapping[str, Any]], *, arguments_as_text: bool = True) -> list[dict[str, Any]]:
    """Messages as the API takes them: every call has an id, and every tool's answer names its call."""
    found, number, open_ids = [], 0, list[str]()
    for message in without_tools(messages):
        turn = {"role": message["role"], "content": message["content"]}
        turn |= {key: message[key] for key in ("name", "tool_call_id") if key in message}
        if message.get("tool_calls"):
            calls = []
            for call in message["tool_calls"]:
                name, arguments = call["function"]["name"], call["function"]["arguments"]
                given = arguments if arguments_as_text else _parsed(arguments)
                calls.append(
                    {
                        "id": call.get("id", f"call_{number}"),
                        "type": "function",
                        "function": {"name": name, "arguments": given},
                    }
                )
                number += 1
            turn["tool_calls"], open_ids = calls, [str(call["id"]) for call in calls]
        elif message["role"] == "tool" and "tool_call_id" not in message and open_ids:
            turn["tool_call_id"] = open_ids.pop(0)
        found.append(turn)
    return found


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def tools_of(prompt: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"tools": […]} as the API wants them, or {}."""
    text = offered(prompt)
    if not text:
        return {}
    tools = json.loads(text)
    return {"tools": [each if "function" in each else {"type": "function", "function": each} for each in tools]}


def rows(row: Row) -> dict[str, Any]:
    prompt = messages_only(row.prompt)
    if row.kind in ("dpo", "reward"):
        start = len(prompt)
        return {
            "input": {"messages": spoken(prompt), **tools_of(prompt)},
            "preferred_output": spoken([*prompt, row.chosen])[start:],
            "non_preferred_output": spoken([*prompt, row.rejected])[start:],
        }
    if row.kind == "sft":
        return {"messages": spoken([*prompt, row.chosen]), **tools_of(prompt)}
    raise CannotSayError(f"OpenAI has no form for {row.kind}")
