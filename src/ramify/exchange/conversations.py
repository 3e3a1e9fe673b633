"""Messages in the one shape that the workspace keeps, and how a conversation becomes a prompt and its answer.

    {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": …, "arguments": "{…}"}}]}

The last assistant turn of a conversation is the completion; everything before it is the prompt. A call's arguments stay the text
that they were, so their order is kept. The tools on offer are JSON text under "tools" in the first message. What a model
thought before it spoke is part of its text, in <think> … </think>.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ramify.errors import InputError
from ramify.exchange.entries import Answer, a_list, a_text, an_object

__all__ = [
    "CannotSayError",
    "answer_of",
    "as_json",
    "assistant_turn",
    "conversation",
    "offered",
    "split",
    "with_tools",
    "without_tools",
]

ROLES = {
    **dict.fromkeys(("human", "user", "prompter", "Human", "User"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model", "Assistant", "ai"), "assistant"),
    **dict.fromkeys(("system", "System"), "system"),
    "developer": "developer",
    **dict.fromkeys(("observation", "tool", "function", "function_response", "tool_response", "ipython"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "function_call"),
}
KEPT = ("name", "tool_call_id")

Message = dict[str, Any]


class CannotSayError(InputError):
    """A conversation that a format has no words for; the message says what it lacks."""


def as_json(value: Any) -> str:
    """One line, as the files have it."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


# ---------------------------------------------------------------- from a file


def conversation(turns: Any, name: str = "messages", *, role: str = "role", content: str = "content") -> list[Message]:
    """Turns of any dialect as messages. Raises InputError that names the turn."""
    found: list[Message] = []
    for index, turn in enumerate(a_list(turns, name)):
        where = f"{name}[{index}]"
        fields = {key: value for key, value in an_object(turn, where).items() if value is not None}
        said = fields.get(role, fields.get("from" if role == "role" else "role"))
        if not isinstance(said, str) or said not in ROLES:
            raise InputError(f"{where} has the role {said!r}; known are {', '.join(ROLES)}")
        words = fields.get(content, fields.get("value" if content == "content" else "content"))
        found.append(_message(ROLES[said], words, fields, where))
    if not found:
        raise InputError(f"{name} is empty; a conversation has at least one turn")
    return found


def _message(role: str, words: Any, fields: Mapping[str, Any], where: str) -> Message:
    calls = [_call(each, where) for each in a_list(fields.get("tool_calls") or (), f"{where}.tool_calls")]
    if isinstance(fields.get("function_call"), Mapping):
        calls.append(_call({"function": fields["function_call"]}, where))
    if role == "function_call":
        role, calls, words = "assistant", _calls_in(a_text(words, f"{where}'s text"), where), ""
    thought = fields.get("reasoning_content") or fields.get("reasoning") or fields.get("thinking") or ""
    if isinstance(words, list | tuple):
        words, more, thoughts = _parts(words, where)
        calls, thought = [*calls, *more], thoughts or thought
    if words is None and calls:
        words = ""
    if thought and role == "assistant" and isinstance(words, str):
        words = f"<think>\n{a_text(thought, f'{where}.reasoning')}\n</think>\n\n{words}"
    if not isinstance(words, list):
        a_text(words, f"{where}'s text")
    made: Message = {"role": role, "content": words}
    made |= {key: fields[key] for key in KEPT if isinstance(fields.get(key), str)}
    if calls:
        made["tool_calls"] = calls
    return made


def _parts(parts: Sequence[Any], where: str) -> tuple[Any, list[Message], str]:
    """(text, tool calls, thoughts) of a content in parts. With a picture in it the parts stay parts."""
    words, calls, thoughts, pictures = [], list[Message](), [], False
    for part in parts:
        fields = an_object(part, f"{where}'s part")
        kind, value = fields.get("type", "text"), fields.get("text", fields.get("value"))
        if kind in ("text", "input_text", "output_text"):
            words.append(a_text(value, f"{where}'s part"))
        elif kind in ("reasoning", "thinking"):
            thoughts.append(a_text(value if value is not None else fields.get("thinking"), f"{where}'s part"))
        elif kind in ("tool_call", "tool_calls", "function_call"):
            calls += _calls_in(a_text(value, f"{where}'s part"), where)
        elif kind in ("image", "image_url", "audio", "video", "input_audio", "input_image"):
            pictures = True
        else:
            raise InputError(f"{where} has a part of type {kind!r}; known are text, reasoning, tool_call, image and audio")
    if pictures:
        return [dict(part) for part in parts], calls, "".join(thoughts)
    return "".join(words), calls, "".join(thoughts)


def _call(call: Any, where: str) -> Message:
    fields = an_object(call, f"{where}.tool_calls")
    function = an_object(fields.get("function", fields), f"{where}'s call")
    arguments = function.get("arguments", function.get("parameters", {}))
    arguments = arguments if isinstance(arguments, str) else as_json(arguments)
    made: Message = {
        "type": "function",
        "function": {"name": a_text(function.get("name"), "a call's name"), "arguments": arguments},
    }
    return {"id": fields["id"], **made} if isinstance(fields.get("id"), str) else made


def _calls_in(text: str, where: str) -> list[Message]:
    """The calls in a text such as {"name": …, "arguments": {…}}, or in a list of them."""
    try:
        found = json.loads(text)
    except ValueError:
        raise InputError(f"{where} is a function call, but no JSON: {text[:60]!r}") from None
    return [_call(each, where) for each in (found if isinstance(found, list) else [found])]


def with_tools(messages: Sequence[Message], tools: Any) -> list[Message]:
    """The messages with the tools on offer noted in the first; no tools change nothing."""
    if tools in (None, "", [], "[]"):
        return list(messages)
    text = tools if isinstance(tools, str) else as_json(tools)
    try:
        json.loads(text)
    except ValueError:
        raise InputError(f"tools is no JSON: {text[:60]!r}") from None
    return [{**messages[0], "tools": text}, *messages[1:]]


def answer_of(message: Message) -> Answer:
    """An assistant turn as a completion. A call becomes text, as a model would write it, and is kept beside it."""
    words = message["content"]
    if not isinstance(words, str):
        raise InputError("the answer has a picture or sound in it; a completion is a text")
    calls = message.get("tool_calls")
    if not calls:
        return Answer(text=words)
    spelt = "\n".join(_spelt(call) for call in calls)
    return Answer(text=f"{words}\n{spelt}" if words else spelt, details={"content": words, "tool_calls": calls})


def split(messages: Sequence[Message]) -> tuple[list[Message], Answer | None]:
    """The prompt and its answer. A conversation that ends with another's turn is a prompt without one.

    Raises InputError for one that is an answer only.
    """
    if messages[-1]["role"] != "assistant":
        return list(messages), None
    if len(messages) == 1:
        raise InputError("the conversation is an answer without a question")
    answer = answer_of(messages[-1])
    if not answer.text:
        raise InputError("the last answer is empty")
    return list(messages[:-1]), answer


# ---------------------------------------------------------------- to a file


def offered(messages: Sequence[Mapping[str, Any]]) -> str:
    """The tools on offer, as JSON text; "" where there are none."""
    return str(messages[0].get("tools", ""))


def without_tools(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    return [{key: value for key, value in message.items() if key != "tools"} for message in messages]


def assistant_turn(text: str, details: Mapping[str, Any]) -> Message:
    """A completion as an assistant's message; what it called is told apart again, where it is still what was imported."""
    calls, words = details.get("tool_calls"), details.get("content")
    if isinstance(calls, list) and isinstance(words, str):
        message = {"role": "assistant", "content": words, "tool_calls": calls}
        if answer_of(message).text == text:
            return message
    return {"role": "assistant", "content": text}


def _spelt(call: Mapping[str, Any]) -> str:
    """{"name": …, "arguments": {…}}, the arguments to the letter where they are JSON."""
    function = call["function"]
    return f'{{"name": {as_json(function["name"])}, "arguments": {_arguments_text(function["arguments"])}}}'


def _arguments_text(arguments: str) -> str:
    try:
        json.loads(arguments)
    except ValueError:
        return as_json(arguments)
    return arguments


def call_text(message: Mapping[str, Any]) -> str:
    """All calls of a turn as one JSON text: an object, or a list of several."""
    spelt = [_spelt(call) for call in message["tool_calls"]]
    return spelt[0] if len(spelt) == 1 else f"[{', '.join(spelt)}]"
