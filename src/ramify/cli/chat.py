"""`ramify chat`."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ramify.cli import options, render
from ramify.cli.conversation import Conversation
from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError

__all__ = ["app", "talk"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

HELP = """\
/help              this
/set               the settings that were given
/set NAME VALUE    give a setting, as `ramify complete` takes it: /set temperature 0.8
/set NAME          take it back
/reset             begin anew; settings stay
/save FILE         write the conversation as JSON; `ramify complete --messages FILE` reads it
/quit              leave (so does the end of input)
Ctrl-C stops an answer and keeps the conversation.
A line that begins with // is said, with one slash."""


@app.command()
@options.takes_settings
@options.takes_model
def chat(
    system: Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT", help="What the model is told first.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No remarks on standard error.")] = False,
    model: options.ModelName = "tiny",
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Talk with a model, a line at a time; /help lists the commands.

    The whole conversation is the prompt. When it leaves too little room, the oldest exchanges are forgotten first.
    """
    config = options.settings_from(settings, preset)
    with options.open_model(model, **how) as loaded:
        if loaded.chat is None:
            raise InputError(f"{model} has no chat template, so it cannot chat; `ramify complete` takes raw text")
        talk(Conversation(loaded, _single(config), system), quiet=quiet)


def talk(conversation: Conversation, *, quiet: bool = False) -> None:
    """Read lines from standard input until it ends or says /quit."""
    interactive = sys.stdin.isatty()
    if interactive:
        with contextlib.suppress(ImportError):  # Line editing, where the platform has it.
            import readline  # noqa: F401
        render.note(f"{conversation.model.info.name}; /help lists the commands, /quit leaves", quiet)
    while True:
        try:
            line = input("> " if interactive else "")
        except EOFError:
            break
        except KeyboardInterrupt:
            typer.echo()
            continue
        except UnicodeDecodeError as error:
            raise InputError(f"standard input is not UTF-8 text ({error.reason} at byte {error.start})") from error
        try:
            if line.startswith("/") and not line.startswith("//"):
                if _command(conversation, line, quiet):
                    break
            elif line.strip():
                _say(conversation, line.removeprefix("/") if line.startswith("//") else line, quiet)
        except InputError as error:
            # One mistake does not end a conversation; in a script it does.
            if not interactive:
                raise
            render.note(str(error))


def _say(conversation: Conversation, text: str, quiet: bool) -> None:
    escape = sys.stdout.isatty()
    pieces = conversation.answer(text)
    try:
        for piece in pieces:
            typer.echo(render.shown(piece) if escape else piece, nl=False)
            sys.stdout.flush()
        typer.echo()
    except KeyboardInterrupt:
        pieces.close()  # type: ignore[attr-defined]  # A generator; the engine stops at once.
        typer.echo()
        render.note("[cancelled]", quiet)
    if conversation.forgotten:
        many = "exchange" if conversation.forgotten == 1 else f"{conversation.forgotten} exchanges"
        render.note(f"[the oldest {many} no longer fit and were left out]", quiet)
    if conversation.last is not None and conversation.last.truncated:
        render.note(f"[{conversation.last.finish_reason}: truncated]", quiet)


def _command(conversation: Conversation, line: str, quiet: bool) -> bool:
    """Obey a command; True to leave."""
    word, _, rest = line[1:].strip().partition(" ")
    rest = rest.strip()
    if word in ("quit", "exit"):
        return True
    if word == "help":
        typer.echo(HELP)
    elif word == "set":
        _set(conversation, rest)
    elif word == "reset":
        conversation.reset()
        render.note("[begun anew]", quiet)
    elif word == "save":
        _save(conversation, rest)
    else:
        raise InputError(f"/{word} is not a command; /help lists them, and //{word} says it")
    return False


def _set(conversation: Conversation, rest: str) -> None:
    name, _, value = rest.partition(" ")
    name = name.replace("-", "_")
    if name:
        conversation.config = _single(conversation.config.replace(**{name: _value(name, value.strip())}))
    for key, given in conversation.config.to_dict().items():
        typer.echo(f"{key} = {json.dumps(given, ensure_ascii=False)}")


def _value(name: str, text: str) -> Any:
    if name not in options.FIELDS:
        return text  # GenerationConfig refuses the name, and says the nearest one.
    if not text:
        return None
    kind = options.kind_of(options.FIELDS[name])
    if kind == "flag":
        return {"true": True, "false": False}.get(text.lower(), text)
    return options.one_setting(name, [text] if kind in ("texts", "ids", "names") else text)


def _single(config: GenerationConfig) -> GenerationConfig:
    if config.num_return_sequences > 1:
        raise InputError(f"num_return_sequences is {config.num_return_sequences}; a conversation goes on with one answer")
    return config


def _save(conversation: Conversation, file: str) -> None:
    if not file:
        raise InputError("/save needs a file's name")
    info = conversation.model.info
    content = {
        "model": info.name,
        "fingerprint": info.fingerprint,
        "config": conversation.config.to_dict(),
        "messages": conversation.messages,
    }
    try:
        Path(file).expanduser().write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"{file!r} cannot be written: {error.strerror or error}") from error
    typer.echo(f"{len(conversation.messages)} messages in {file}")
