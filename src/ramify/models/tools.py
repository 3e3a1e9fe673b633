"""Tools in a kept conversation: those on offer are JSON text under "tools" in its first message, a call's arguments JSON text.

Chat templates want both as objects.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ramify.errors import MessageError

__all__ = ["told_apart"]


def told_apart(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Any] | None]:
    """(messages as templates want them, the tools on offer or None). Raises MessageError for tools that are no JSON list."""
    first = messages[0]
    offered = first.get("tools")
    found = [_message(message) for message in messages]
    if offered is None:
        return found, None
    try:
        tools = json.loads(offered) if isinstance(offered, str) else offered
    except ValueError:
        tools = None
    if not isinstance(tools, list):
        raise MessageError(f"messages[0].tools is {str(offered)[:60]!r}; it must be a JSON list of tools", "messages[0].tools")
    return found, tools


def _message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(message, Mapping) or ("tools" not in message and not message.get("tool_calls")):
        return message
    kept = {name: value for name, value in message.items() if name != "tools"}
    if isinstance(kept.get("tool_calls"), list):
        kept["tool_calls"] = [_call(call) for call in kept["tool_calls"]]
    return kept


def _call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
    except ValueError:
        return call
