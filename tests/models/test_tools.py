"""Tools in a kept conversation become what chat templates read."""

import pytest

from ramify.models.tools import told_apart

CALL = {"type": "function", "function": {"name": "look", "arguments": '{"b": 1}'}}


def test_offered_tools_and_a_calls_arguments_become_objects() -> None:
    messages = [
        {"role": "user", "content": "Hi", "tools": '[{"name": "look"}]'},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ]
    found, tools = told_apart(messages)
    assert tools == [{"name": "look"}]
    assert found[0] == {"role": "user", "content": "Hi"}
    assert found[1]["tool_calls"] == [{"type": "function", "function": {"name": "look", "arguments": {"b": 1}}}]
    assert messages[1]["tool_calls"] == [CALL]


def test_a_conversation_without_tools_is_left_as_it_is() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    assert told_apart(messages) == (messages, None)


def test_tools_that_are_no_list_are_refused() -> None:
    with pytest.raises(ValueError, match=r"messages\[0\]\.tools is 'look'"):
        told_apart([{"role": "user", "content": "Hi", "tools": "look"}])
