"""A look into files before they are imported: what they are, their columns, and what the first records would become."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ramify.errors import InputError
from ramify.exchange.entries import Entry, Problem, Record
from ramify.exchange.formats.columns import suggested
from ramify.exchange.importing import ImportOptions, ImportReport
from ramify.exchange.reading import Progress, read_path
from ramify.exchange.sources import Source, sources

__all__ = ["Look", "LookedAnswer", "LookedEntry", "LookedRow", "look"]

SHOWN = 400
"""Characters of a text or a cell."""
COLUMNS, PROBLEMS = 200, 50
READ = 1000
"""Records that are read at most, good or bad, to find so many good ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedRow:
    """A record as it stands in the file."""

    file: str
    line: int
    cells: Mapping[str, str]
    """By column; what is no text as JSON, cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAnswer:
    text: str
    model: str | None
    good: bool | None
    rating: int | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedEntry:
    """What a record would become: a sample's prompt with its completions."""

    file: str
    line: int
    prompt: str
    """Its last turn, where it is a chat; cut."""
    turns: int
    """0 for raw text."""
    title: str
    answers: tuple[LookedAnswer, ...]
    better: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    files: tuple[Mapping[str, str], ...]
    """{"file", "format"} of those whose format is known."""
    why: str | None
    """Why the format is not known, and what to do."""
    columns: tuple[str, ...]
    rows: tuple[LookedRow, ...]
    suggested: Mapping[str, str]
    """A mapping that the columns' names suggest; for files of no known format."""
    entries: tuple[LookedEntry, ...]
    problems: tuple[Problem, ...]
    """Bad records among those looked at."""


def look(paths: Sequence[str], options: ImportOptions | None = None, *, count: int = 20) -> Look:
    """Look at the first records of the files under the options that an import would have; nothing is written.

    Raises InputError for what cannot be opened or is damaged. A bad record is a problem here, whatever skip_bad says.
    """
    if not paths:
        raise InputError("no file was named")
    options = replace(options or ImportOptions(), skip_bad=True, dry_run=True)
    rows, bad = _rows(paths, options, count)
    columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))[:COLUMNS]
    report, why, found = ImportReport(dry_run=True), None, list[Source]()
    try:
        found = sources(paths, options, report, Progress())
    except InputError as error:
        why = str(error)
    entries, more = _entries(found, count)
    problems = {(each.file, each.line): each for each in (*bad, *more)}
    return Look(
        files=tuple(report.files),
        why=why,
        columns=columns,
        rows=tuple(rows),
        suggested=suggested(columns),
        entries=tuple(entries),
        problems=tuple(problems.values())[:PROBLEMS],
    )


def _rows(paths: Sequence[str], options: ImportOptions, count: int) -> tuple[list[LookedRow], list[Problem]]:
    """The first good records of each file that has any, evenly; what holds none by itself (a workspace) gives none."""
    from ramify.exchange.formats import workspace

    rows, bad = list[LookedRow](), list[Problem]()
    plain = [path for path in paths if not workspace.is_workspace(path)]
    for path in plain:
        wanted = max(1, count // len(plain))
        for item in islice(read_path(path, password=options.password), READ):
            if isinstance(item, Problem):
                bad.append(item)
                continue
            rows.append(LookedRow(file=item.file, line=item.line, cells=_cells(item)))
            wanted -= 1
            if not wanted:
                break
    return rows, bad


def _cells(record: Record) -> dict[str, str]:
    return {str(name)[:SHOWN]: _cell(value) for name, value in islice(record.data.items(), COLUMNS)}


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _entries(found: Sequence[Source], count: int) -> tuple[list[LookedEntry], list[Problem]]:
    entries, bad = list[LookedEntry](), list[Problem]()
    for source in found:
        wanted = max(1, count // len(found))
        for item in islice(source.items(), READ):
            if isinstance(item, Problem):
                if item.line is not None:
                    bad.append(item)
                continue
            record, some = item
            entries += [_entry(record, each) for each in some[:wanted]]
            wanted -= len(some)
            if wanted <= 0:
                break
    return entries, bad


def _entry(record: Record, entry: Entry) -> LookedEntry:
    answers = (
        LookedAnswer(text=_cut(a.text), model=a.model, good=a.good, rating=a.rating, truncated=a.truncated) for a in entry.answers
    )
    raw = isinstance(entry.prompt, str)
    return LookedEntry(
        file=record.file,
        line=record.line,
        prompt=_cut("\n".join(_words(entry.prompt))),
        turns=0 if raw else len(entry.prompt),
        title=_cut(entry.title),
        answers=tuple(answers),
        better=entry.better,
    )


def _words(prompt: Any) -> Iterator[str]:
    if isinstance(prompt, str):
        yield prompt
    else:
        for turn in prompt[-1:]:
            content = turn.get("content")
            yield content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
