"""docs/cli.md from the commands themselves: `python -m ramify.cli.reference docs/cli.md`, or `make docs`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import render

from ramify.cli.main import CODES, COMMANDS, app, command

__all__ = ["page"]

INTRODUCTION = """\
# The command line

Made by `make docs` from the commands' own `--help`; change it there. `ramify COMMAND --help` says the same.

{codes}
Errors are one line on standard error; `ramify --debug COMMAND …` shows where one came from.
"""


def page() -> str:
    """The whole reference in Markdown."""
    from typer.main import get_command

    sections = [INTRODUCTION.format(codes=CODES), *_section("ramify", get_command(app), nested=False)]
    for name in COMMANDS:
        sections += _section(f"ramify {name}", command(name))
    return "\n".join(sections)


def _section(name: str, parsed: Any, *, nested: bool = True) -> Iterator[str]:
    children: dict[str, Any] = dict(getattr(parsed, "commands", {}))
    arguments = [param for param in parsed.params if param.param_type_name == "argument"]
    options = [param for param in parsed.params if param.param_type_name == "option" and not param.hidden]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *(_argument(argument) for argument in arguments)])
    yield f"## {name}\n\n`{usage}{' COMMAND' if children else ''}`\n\n{_plain(parsed.help)}\n"
    if arguments:
        yield "".join(f"- `{_argument(argument)}`: {_plain(argument.help)}\n" for argument in arguments)
    panels: dict[str, list[Any]] = {}
    for option in options:
        panels.setdefault(getattr(option, "rich_help_panel", None) or "Options", []).append(option)
    for panel, members in panels.items():
        rows = "".join(f"| {_names(option)} | {_meaning(option)} |\n" for option in members)
        yield f"| {panel} | |\n|---|---|\n{rows}"
    if not nested:
        yield "".join(f"- [`{name} {child}`](#{name}-{child}): {COMMANDS[child]}\n" for child in children)
        return
    for child, found in children.items():
        yield from _section(f"{name} {child}", found)


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return str(name if argument.required else f"[{name}]")


def _names(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f" {option.metavar or 'VALUE'}".replace("|", "\\|")
    return f"`{names}{value}`"


def _meaning(option: Any) -> str:
    default = option.default if isinstance(option.default, str | int | float) and not option.is_flag else None
    told = _plain(option.help).replace("|", "\\|").replace("<", "&lt;")
    return told + (f" Default: {default}." if default not in (None, "") else "")


def _plain(help: str | None) -> str:
    return " ".join(render(help or "").plain.replace("\n\n", "\0").split()).replace("\0", "\n\n")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), "utf-8")
