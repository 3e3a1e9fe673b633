"""Messages to token ids, by the model's own template.

A template is a program that came with the weights. It runs only in jinja's immutable sandbox, and its output is
bounded.

What a message says is never a control token. The template is rendered twice: once as it is, and once with every visible
character of the contents exchanged for a private one. Where the second text differs from the first, the characters are
a message's, and a control token with such a character in it is plain text. (Once is enough where the messages have none of
the characters that control tokens begin and end with.) Templates that look into contents
(`'</think>' in content`) say something else to exchanged contents; they get gentler marks, and if none agrees with the
plain rendering, the message is refused.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Protocol

from ramify.errors import InputError, MessageError, UnsupportedError
from ramify.models.chat_sandbox import SandboxedTemplate

__all__ = ["ChatPrompt", "ChatTemplate", "check_messages"]

MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content")
NOT_VARIABLES = {"messages", "tools", "add_generation_prompt", "strftime_now"}


class ChatCodec(Protocol):
    """What a template needs of a tokenizer."""

    chat_template: str | dict[str, str] | None
    special_tokens: dict[str, str]
    added_tokens: dict[str, int]
    swallows_before: frozenset[str]
    swallows_after: frozenset[str]

    @property
    def special_ids(self) -> frozenset[int]: ...
    def encode(self, text: str, *, special: bool = False) -> list[int]: ...
    def encode_rendered(self, text: str) -> list[int]: ...
    def encode_literal(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class ChatPrompt:
    """A rendered conversation."""

    token_ids: tuple[int, ...]
    """Everything that the model is given, the prefill included."""
    prefill_token_ids: tuple[int, ...]
    """The last of them, which are the beginning of the answer."""
    text: str
    """As the template wrote it, with the prefill; for people to read.

    Control tokens in contents look like real ones here.
    """


class ChatTemplate:
    """A model's chat template."""

    def __init__(self, codec: ChatCodec, source: str | Mapping[str, str] | None = None) -> None:
        """source: a template in place of the model's, or several by name, of which `default` and `tool_use` are chosen
        as needed.

        Raises UnsupportedError where there is none, InputError for one that is not valid jinja.
        """
        source = codec.chat_template if source is None else source
        if not source:
            raise UnsupportedError(
                "this model has no chat template, so messages cannot be rendered; "
                "pass the prompt as one text (or as token ids), written as the model was trained"
            )
        self._codec = codec
        self._sources = {"default": source} if isinstance(source, str) else dict(source)
        self._compiled = {name: SandboxedTemplate(text, name) for name, text in self._sources.items()}
        special = {text for text, i in codec.added_tokens.items() if i in codec.special_ids}
        self._control = {
            name: special | {text for text in codec.added_tokens if template.writes(text)}
            for name, template in self._compiled.items()
        }

        self._borders = {name: self._border(name) for name in self._compiled}

    @property
    def source(self) -> str:
        """The template's text, or the named ones as JSON: what a fingerprint is made of."""
        return self._sources["default"] if list(self._sources) == ["default"] else json.dumps(self._sources, sort_keys=True)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: str | None = None,
        add_generation_prompt: bool = True,
        continue_final: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> list[int]:
        """The token ids of a conversation; the arguments are those of `prompt`."""
        written = self.prompt(
            messages,
            prefill=prefill,
            add_generation_prompt=add_generation_prompt,
            continue_final=continue_final,
            tools=tools,
            **variables,
        )
        return list(written.token_ids)

    def prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: str | None = None,
        add_generation_prompt: bool = True,
        continue_final: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> ChatPrompt:
        """Render a conversation, and the beginning of the answer where one is given.

        prefill: the answer begins exactly so: its tokens follow the generation prompt, with no space added and nothing
        trimmed. continue_final: the last message is the assistant's and is continued, as if its content were the
        prefill. variables: whatever else the template reads, such as enable_thinking=False; what it does not read is
        refused. Raises InputError for messages, variables or a prefill that cannot be rendered.
        """
        checked = check_messages(messages)
        if continue_final:
            if prefill is not None or checked[-1]["role"] != "assistant" or not isinstance(checked[-1]["content"], str):
                raise MessageError(
                    "continue_final continues a last message of role 'assistant' with text, and takes no prefill beside it",
                    f"messages[{len(checked) - 1}]",
                )
            checked, prefill = checked[:-1], checked[-1]["content"]
            if not checked:
                raise MessageError("continue_final needs a message before the assistant's")
        if prefill is not None and not add_generation_prompt:
            raise InputError("prefill begins the assistant's answer, so add_generation_prompt cannot be False")
        if tools is not None and (isinstance(tools, str) or not all(isinstance(tool, Mapping) for tool in tools)):
            raise InputError("tools must be a list of objects, each the JSON schema of one function")
        name = self._choose(tools)
        self._check(name, checked, variables)
        now = datetime.now().astimezone()
        data = {"messages": checked, "documents": None, "tools": tools, **variables}
        own = {**self._codec.special_tokens, "add_generation_prompt": add_generation_prompt, "strftime_now": now.strftime}
        beginning = self._beginning(name, data, own) if prefill is not None else ""
        spans = self._spans(name, data, own, beginning)
        ids: list[int] = []
        for text, literal in spans:
            ids.extend(self._codec.encode_literal(text) if literal else self._codec.encode_rendered(text))
        begun = self._codec.encode(prefill) if prefill else []
        return ChatPrompt(tuple(ids + begun), tuple(begun), "".join(text for text, _ in spans) + (prefill or ""))

    def unread(self, variables: Iterable[str], name: str | None = None) -> str | None:
        """What is wrong with variables that the template does not read; None: it reads them all."""
        read = self._compiled[name or self._choose(None)].variables
        left = sorted(set(variables) - read)
        known = sorted(read - NOT_VARIABLES - set(self._codec.special_tokens))
        told = f"the chat template does not read {', '.join(left)}; it reads {', '.join(known) or 'nothing but the messages'}"
        return told if left else None

    def _choose(self, tools: object) -> str:
        name = "tool_use" if tools is not None and "tool_use" in self._compiled else "default"
        if name not in self._compiled:
            raise InputError(
                f"the model has chat templates named {', '.join(sorted(self._compiled))}, but no 'default'; choose one as source"
            )
        return name

    def _check(self, name: str, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> None:
        unread = self.unread(variables, name)
        if unread is not None:
            raise InputError(unread)
        for i, message in enumerate(messages):
            for text in self._control[name]:
                if text in message["role"]:
                    told = f"the role {message['role']!r} contains the control token {text!r}"
                    raise MessageError(told, f"messages[{i}].role")

    # Whose is each character?

    def _beginning(self, name: str, data: Mapping[str, Any], own: Mapping[str, Any]) -> str:
        """What stands before an assistant's words, in a template that writes no generation prompt; "" in all others."""
        template, messages = self._compiled[name], data["messages"]
        asked = template.render({**own, **data})
        if asked != template.render({**own, **data, "add_generation_prompt": False}):
            return ""
        words = _Exchange(asked, re.compile("(?!)")).everything("answer")
        longer = [*messages, {"role": "assistant", "content": words}]
        try:
            answered = template.render({**own, **data, "messages": longer})
            went_on = template.render({**own, **data, "messages": [*longer, {"role": "user", "content": words}]})
        except InputError:
            return ""
        before, _, _ = answered.partition(words)
        # A template that always ends in a generation prompt takes it away again when the conversation goes on.
        always = not went_on.startswith(answered)
        return before.removeprefix(asked) if before.startswith(asked) and words in answered and not always else ""

    def _spans(self, name: str, data: Mapping[str, Any], own: Mapping[str, Any], beginning: str) -> list[tuple[str, bool]]:
        """The rendered text in pieces (text, literal); literal ones hold control tokens that are a message's words."""

        def render(mark: Callable[[str], str]) -> str:
            marked = {key: _in_strings(value, mark) for key, value in data.items() if key != "messages"}
            written = {**own, **marked, "messages": _in_contents(data["messages"], mark)}
            return self._compiled[name].render(written) + beginning

        plain = render(str)
        control = _longest_first(self._control[name])
        found = [(match.start(), match.end()) for match in control.finditer(plain)]
        if not found or self._are_apart(name, data):
            return [(plain, False)]
        exchanged = _Exchange(plain, control)
        for mark in (exchanged.everything, exchanged.control_tokens):
            marked = render(mark)
            if exchanged.back(marked) == plain:
                is_own = [any(exchanged.is_private(c) for c in marked[start:end]) for start, end in found]
                return self._pieces(plain, found, is_own)
        raise MessageError(
            "a message spells out one of the model's control tokens, and this chat template transforms contents in a "
            "way "
            "that hides which words are the message's; take the control token out of the message"
        )

    def _border(self, name: str) -> re.Pattern[str] | None:
        """Characters without which no words of a message can be part of a control token; None where that cannot be said.

        Every control token begins and ends with one of them, and no text of the template stops inside a control token.
        """
        tokens, codec = self._control[name], self._codec
        ends = {character for token in tokens for character in (token[0], token[-1])}
        beginnings = {token[:size] for token in tokens for size in range(1, len(token))}
        begun = any(own.endswith(tuple(beginnings)) for own in codec.special_tokens.values())
        if not ends or any(map(str.isalnum, ends)) or begun or self._compiled[name].stops_at(beginnings):
            return None
        return re.compile(f"[{re.escape(''.join(sorted(ends)))}]")

    def _are_apart(self, name: str, data: Mapping[str, Any]) -> bool:
        """Whether all control tokens are surely the template's own. Most conversations need no second rendering for it."""
        border = self._borders[name]
        if border is None or any(isinstance(value, str | Mapping | Sequence) for key, value in data.items() if key != "messages"):
            return False
        return not any(border.search(text) for text in _texts(data["messages"]))

    def _pieces(self, text: str, found: Sequence[tuple[int, int]], own: Sequence[bool]) -> list[tuple[str, bool]]:
        """Cut at the template's control tokens around each stretch in which a message spells one."""
        pieces: list[tuple[str, bool]] = []
        begin = 0  # Of the piece being read.
        last = (0, 0)  # The control token before, of those that are the template's.
        dirty = False
        for (start, end), is_own in [*zip(found, own, strict=True), ((len(text), len(text)), False)]:
            if is_own:
                dirty = True
                continue
            if dirty:
                # Space that a control token swallows goes with it.
                head, tail = last[1], start
                while text[slice(*last)] in self._codec.swallows_after and head < tail and text[head].isspace():
                    head += 1
                while text[start:end] in self._codec.swallows_before and head < tail and text[tail - 1].isspace():
                    tail -= 1
                pieces += [(text[begin:head], False), (text[head:tail], True)]
                begin = tail
            last, dirty = (start, end), False
        pieces.append((text[begin:], False))
        return [(piece, literal) for piece, literal in pieces if piece]


class _Exchange:
    """Visible characters for private ones that occur nowhere in a text, and back."""

    def __init__(self, text: str, control: re.Pattern[str]) -> None:
        used = set(text)
        # The two private-use planes, and ten that are unassigned.
        codes = chain(range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE), range(0x40000, 0xE0000))
        self._free = (chr(code) for code in codes if chr(code) not in used)
        self._control = control
        self._private: dict[str, str] = {}
        self._visible: dict[str, str] = {}
        # These get theirs first, whatever a message does to use all private characters up.
        for character in sorted({character for match in control.finditer(text) for character in match[0]}):
            if self._of(character) == character:
                raise MessageError("the messages use every private character of Unicode, so nothing can be told apart in them")

    def everything(self, content: str) -> str:
        return "".join(character if character.isspace() else self._of(character) for character in content)

    def control_tokens(self, content: str) -> str:
        return self._control.sub(lambda match: self.everything(match[0]), content)

    def back(self, text: str) -> str:
        return "".join(self._visible.get(character, character) for character in text)

    def is_private(self, character: str) -> bool:
        return self._visible.get(character, character) != character

    def _of(self, character: str) -> str:
        if character not in self._private:
            private = next(self._free, character)
            self._private[character] = private
            self._visible[private] = character
        return self._private[character]


# Messages as data.


def check_messages(messages: object) -> list[dict[str, Any]]:
    """Messages as the templates want them: a role and a text each. Lists of text parts are joined.

    Raises MessageError, naming the message by its index, for anything else.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise MessageError(f"messages must be a list of objects with role and content; got {type(messages).__name__}")
    if not messages:
        raise MessageError("messages is empty; give at least one message with role and content")
    return [_check_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _check_message(message: object, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise MessageError(f"{where} is {type(message).__name__}; it must be an object with role and content", where)
    unknown = sorted(str(key) for key in message if key not in MESSAGE_KEYS)
    if unknown:
        told = f"{where} has unknown keys {', '.join(unknown)}; allowed are {', '.join(MESSAGE_KEYS)}"
        raise MessageError(told, f"{where}.{unknown[0]}"[:100])
    role = message.get("role")
    if not isinstance(role, str) or not role.strip():
        raise MessageError(
            f"{where}.role is {role!r}; it must be a text such as 'system', 'user' or 'assistant'", f"{where}.role"
        )
    calls = message.get("tool_calls")
    content = _check_content(message.get("content"), where, may_be_absent=bool(calls))
    for key in ("name", "tool_call_id", "reasoning_content"):
        if message.get(key) is not None and not isinstance(message[key], str):
            raise MessageError(f"{where}.{key} is {type(message[key]).__name__}; it must be a text", f"{where}.{key}")
    if calls is not None and (isinstance(calls, str) or not isinstance(calls, Sequence)):
        raise MessageError(f"{where}.tool_calls is {type(calls).__name__}; it must be a list", f"{where}.tool_calls")
    return {**{key: value for key, value in message.items() if value is not None}, "role": role, "content": content}


def _check_content(content: object, where: str, *, may_be_absent: bool) -> str | None:
    if content is None and may_be_absent:
        return None
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        texts = []
        for i, part in enumerate(content):
            if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise MessageError(
                    f"{where}.content[{i}] is {part!r}; only parts like {{'type': 'text', 'text': '…'}} are understood",
                    f"{where}.content[{i}]",
                )
            texts.append(part["text"])
        content = "".join(texts)
    if not isinstance(content, str):
        told = f"{where}.content is {type(content).__name__}; it must be a text or a list of text parts"
        raise MessageError(told, f"{where}.content")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        told = f"{where}.content has a lone surrogate at character {error.start}; it is not Unicode text"
        raise MessageError(told, f"{where}.content") from None
    return content


def _in_contents(messages: Sequence[Mapping[str, Any]], mark: Callable[[str], str]) -> list[dict[str, Any]]:
    return [{key: value if key == "role" else _in_strings(value, mark) for key, value in message.items()} for message in messages]


def _in_strings(value: Any, mark: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mark(value)
    if isinstance(value, Mapping):
        return {key: _in_strings(inner, mark) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_in_strings(inner, mark) for inner in value]
    return value


def _texts(value: Any) -> Iterator[str]:
    """All texts inside a value, roles and names among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def _longest_first(texts: set[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or "(?!)")
