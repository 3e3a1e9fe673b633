"""A completion made step by step on the command line: a line of standard input is a step, in a terminal or through a pipe."""

import contextlib
import re
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import typer

from ramify.cli import render
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.store.records import CompletionRecord

__all__ = ["TAIL", "Steps", "unescaped"]

TAIL = 300
"""Characters of the text so far that are shown."""


class Steps(ABC):
    """Lines in, steps out. `s` saves and `q` leaves; all others are the heir's."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.interactive = sys.stdin.isatty()

    @abstractmethod
    def begin(self) -> None:
        """Show where it starts."""

    @abstractmethod
    def step(self, line: str) -> None:
        """Obey a line that does not leave. Raises InputError."""

    @abstractmethod
    def save(self) -> "CompletionRecord": ...

    def run(self, greeting: str) -> "CompletionRecord | None":
        """Read steps until one leaves; the completion, if it was saved. The end of input leaves too."""
        if self.interactive:
            with contextlib.suppress(ImportError):  # Line editing, where the platform has it.
                import readline  # noqa: F401
            render.note(greeting, self.quiet)
        self.begin()
        while True:
            try:
                line = input("> " if self.interactive else "")
            except EOFError:
                line = "q"
            except KeyboardInterrupt:
                if not self.interactive:
                    raise
                typer.echo()
                continue
            except UnicodeDecodeError as error:
                raise InputError(f"standard input is not UTF-8 text ({error.reason} at byte {error.start})") from error
            try:
                if line.strip() == "s":
                    return self.save()
                if line.strip() == "q":
                    render.note("[not saved]", self.quiet)
                    return None
                self.step(line)
            except InputError as error:
                # One mistake does not end the work; in a script it does, and nothing is saved.
                if not self.interactive:
                    raise
                render.note(str(error))


def unescaped(text: str) -> str:
    """What \\n, \\t and \\\\ stand for."""
    return re.sub(r"\\([nt\\])", lambda found: {"n": "\n", "t": "\t", "\\": "\\"}[found[1]], text)
