"""Prompts from the command line: text, a file, standard input, or chat messages."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import options
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.engine.requests import Message

__all__ = ["Chat", "Exact", "File", "Messages", "System", "Text", "read_messages", "read_prompt", "read_typed"]

PANEL = "Prompt"

Text = Annotated[str | None, typer.Argument(metavar="PROMPT", help="The text to complete; - reads it from standard input.")]
File = Annotated[
    str | None, typer.Option("--file", "-f", metavar="FILE", help="Read the prompt from a file.", rich_help_panel=PANEL)
]
Exact = Annotated[
    bool, typer.Option("--exact", help="Keep the line end that closes a file or standard input.", rich_help_panel=PANEL)
]
Chat = Annotated[
    bool,
    typer.Option("--chat", help="The prompt is a user's message, through the model's chat template.", rich_help_panel=PANEL),
]
System = Annotated[
    str | None,
    typer.Option("--system", "-s", metavar="TEXT", help="A system message before it; implies --chat.", rich_help_panel=PANEL),
]
Messages = Annotated[
    str | None,
    typer.Option(
        "--messages",
        metavar="FILE",
        help="A JSON file with a list of {role, content}; - is standard input.",
        rich_help_panel=PANEL,
    ),
]


def read_prompt(
    prompt: str | None, *, file: str | None, exact: bool, chat: bool, system: str | None, messages: str | None
) -> "str | Sequence[Message]":
    """The one prompt that was given, in whichever way. Raises InputError for none, two, or one that cannot be read."""
    sources = {"a prompt": prompt, "--file": file, "--messages": messages}
    named = [name for name, value in sources.items() if value is not None]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} were given; give one of them")
    if messages is not None:
        if system is not None or chat:
            raise InputError("--messages holds the whole conversation; leave --system and --chat out")
        return read_messages(_stdin() if messages == "-" else options.read_text(messages), messages)
    text = read_typed(prompt, file, exact=exact, what="prompt")
    if not chat and system is None:
        return text
    before = [] if system is None else [{"role": "system", "content": system}]
    return [*before, {"role": "user", "content": text}]


def read_typed(text: str | None, file: str | None, *, exact: bool, what: str) -> str:
    """A text from an argument, a file, or standard input; `what` is the word for it in a refusal."""
    if text is not None and file is not None:
        raise InputError(f"a {what} and --file were given; give one of them")
    if text is not None and text != "-":
        return text
    if file is not None:
        return _closed(_stdin() if file == "-" else options.read_text(file), exact)
    if text == "-" or not sys.stdin.isatty():
        return _closed(_stdin(), exact)
    raise InputError(f"there is no {what}; give it as text, with --file, or on standard input (-)")


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 text ({error.reason} at byte {error.start})") from error


def _closed(text: str, exact: bool) -> str:
    """Editors and `echo` close a text with a line end that nobody meant."""
    return text if exact else text.removesuffix("\n").removesuffix("\r")


def read_messages(text: str, where: str) -> Sequence[Mapping[str, Any]]:
    """Messages from JSON: a list, or an object that has one under `messages` (what `/save` in the chat writes)."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where!r} is not JSON ({error}); give a list of {{role, content}}") from None
    found = found.get("messages") if isinstance(found, dict) else found
    if not isinstance(found, list) or not found:
        raise InputError(f"{where!r} holds no messages; give a list of {{role, content}}, at least one")
    for position, message in enumerate(found):
        if not isinstance(message, dict):
            raise InputError(f"{where!r}: message {position} is {message!r}; it must be an object with role and content")
    return found
