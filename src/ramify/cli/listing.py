"""Records of the workspace for eyes and for pipes: aligned columns, facts, JSON."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.cells import cell_len
from rich.text import Text

from ramify.cli import render

if TYPE_CHECKING:
    from ramify.engine.requests import TokenLogprob as Measured
    from ramify.store.records import CompletionRecord, SampleRecord, TokenLogprob

__all__ = [
    "columns",
    "completions",
    "echo",
    "facts",
    "fewer",
    "first_line",
    "measured",
    "number",
    "plain",
    "print_json",
    "said",
    "samples",
    "state",
]

PREVIEW = 60
"""Cells of a text in a list that goes to a file or pipe; a terminal shows what it has room for. --json has all of it."""


def plain(value: Any) -> Any:
    """A record as JSON has it: times in ISO form, bytes as lists of numbers, what is not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return list(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(record: Any, **more: Any) -> None:
    """One object, one line."""
    typer.echo(json.dumps({**plain(record), **plain(more)}, ensure_ascii=False))


def echo(text: str) -> None:
    typer.echo(render.shown(text))


def first_line(text: str) -> str:
    """A text on one line, for a list."""
    return render.shown(text.strip()).replace("\n", "⏎").replace("\t", "⇥")


def number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def columns(heads: Sequence[str], rows: Iterable[Sequence[str | Text]], *, preview: int = PREVIEW) -> None:
    """Aligned columns under their names. Columns of numbers stand to the right; the last is cut to the terminal's width."""
    out = render.console()
    lines = [[cell if isinstance(cell, Text) else Text(first_line(cell)) for cell in row] for row in rows]
    if not lines:
        return
    widths = [max(cell_len(head), *(cell_len(line[i].plain) for line in lines)) for i, head in enumerate(heads)]
    right = [all(_is_number(line[i].plain) for line in lines) for i in range(len(heads))]
    room = max(20, out.width - sum(widths[:-1]) - 2 * len(widths[:-1])) if out.is_terminal else preview
    for line in [[Text(head, style="bold") for head in heads], *lines]:
        made = Text()
        for i, cell in enumerate(line):
            last = i == len(line) - 1
            if last:
                cell.truncate(room, overflow="ellipsis")
            blank = " " * (widths[i] - cell_len(cell.plain))
            made.append(blank if right[i] else "")
            made.append_text(cell)
            made.append("" if right[i] or last else blank)
            made.append("" if last else "  ")
        made.rstrip()
        out.print(made)


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def facts(found: Mapping[str, Any]) -> None:
    """A line a fact; what is empty is left out."""
    told = {name: value for name, value in found.items() if value not in (None, "", [], (), {})}
    widest = max((len(name) for name in told), default=0)
    for name, value in told.items():
        text = value if isinstance(value, Text) else Text(first_line(str(value)))
        render.console().print(Text.assemble(f"{name:<{widest}}  ", text))


def samples(records: "Iterable[SampleRecord]") -> None:
    columns(
        ("sample", "group", "title", "tags", "prompt"),
        [
            (
                str(each.id),
                each.group,
                each.title + (" (archived)" if each.archived else ""),
                ", ".join(each.tags),
                said(each.prompt),
            )
            for each in records
        ],
    )


def said(prompt: Any) -> str:
    """A prompt in one text: raw as it is, messages with their roles."""
    return prompt if isinstance(prompt, str) else " ⏎ ".join(f"{each['role']}: {each['content']}" for each in prompt)


def completions(records: "Iterable[CompletionRecord]") -> None:
    columns(
        ("completion", "sample", "model", "ended", "tokens", "mean", "tags", "text"),
        [
            (
                str(each.id),
                str(each.sample_id),
                each.model,
                state(each),
                "" if each.token_count is None else str(each.token_count),
                number(each.mean_logprob),
                ", ".join(each.tags),
                each.text,
            )
            for each in records
        ],
    )


def state(record: "CompletionRecord") -> Text:
    """How it ended, and what is the matter with it; a truncated one in red."""
    words = [record.finish_reason or "growing"]
    words += [name for name in ("truncated", "draft", "archived", "hidden") if getattr(record, name)]
    return Text(", ".join(words), style="red" if record.truncated else "")


def measured(tokens: "Sequence[TokenLogprob]") -> "list[Measured]":
    """The store's measures as the ones that `render` shows."""
    from ramify.engine import requests

    return [
        requests.TokenLogprob(
            each.token_id,
            each.token_bytes,
            requests.Measured(
                each.logprob, each.rank, each.entropy, tuple(requests.Alternative(*other) for other in each.alternatives)
            ),
        )
        for each in tokens
    ]


def fewer(tokens: "Sequence[Measured]", alternatives: int) -> "list[Measured]":
    """The same tokens with at most so many alternatives."""
    return [
        dataclasses.replace(each, raw=dataclasses.replace(each.raw, alternatives=each.raw.alternatives[:alternatives]))
        for each in tokens
    ]
