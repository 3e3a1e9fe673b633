"""An input file as requests, one at a time: what shape it has, and what of each record a row needs to know.

Read as a stream, whatever its size, but for document 002's one JSON object of all prompts, which is no stream and has a limit.
A record that cannot be used becomes a row that has failed, in its place.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.batch.outputs import error_record
from ramify.batch.spec import Shape
from ramify.data_types import CreateBatchCompletionsRequestContent
from ramify.errors import BadRequestError, InputError
from ramify.exchange.entries import Problem, Record
from ramify.exchange.files import Opened, opened
from ramify.exchange.json_records import parse, read_json
from ramify.exchange.table_records import read_csv, read_parquet
from ramify.store.job_records import NewResult

__all__ = ["PROMPTS", "Input", "Taken", "opened_input", "prompt_column_of"]

Taken = tuple[str, NewResult | None]
"""A row's request as it is kept, and what is wrong with it where it can never run."""

WHOLE_BYTES = 256 * 2**20
"""The largest object of all prompts, which is read in one piece."""
PROMPTS = ("messages", "prompt", "text")
"""Columns that hold a prompt, the first that is there."""
OURS = ("output", "error")
"""What an answered row has besides its own columns."""


@dataclass(frozen=True)
class Input:
    shape: Shape
    content: CreateBatchCompletionsRequestContent | None
    """Of the shape `content`: the settings for all."""
    rows: Iterator[Taken]


def opened_input(path: Path, shape: Shape | None, prompt_column: str | None = None) -> Input:
    """What a file holds. Raises InputError for a file that is none of the shapes, before its first row is taken.

    The rows end with the file being closed.
    """
    found = _shape_of(path) if shape is None else shape
    if found == "content":
        content = _content(path)
        return Input(found, content, ((json.dumps(prompt, ensure_ascii=False), None) for prompt in content.prompts))
    return Input(found, None, _rows(path, found, prompt_column))


def _records(path: Path) -> Iterator[Record | Problem]:
    """Records by what the bytes are, and not by the name: an `s3://my-input-path` has no ending."""
    with opened(path) as members:
        if len(members) > 1:
            raise InputError(f"{path} holds {len(members)} files; give one")
        yield from _read(path, members[0])


def _read(path: Path, member: Opened) -> Iterator[Record | Problem]:
    if member.suffix in (".csv", ".tsv"):
        return read_csv(str(path), member.stream, delimiter="\t" if member.suffix == ".tsv" else None)
    peek = getattr(member.stream, "peek", None)
    if peek is not None and peek(4)[:4] == b"PAR1":
        return read_parquet(str(path), path)
    return read_json(str(path), member.stream)


def _shape_of(path: Path) -> Shape:
    for number, record in enumerate(_records(path)):
        if isinstance(record, Record):
            return _shape_of_record(path, record.data)
        if number == 0 and "longer than" in record.reason and _begins_an_object(path):
            return "content"
        if number >= 1000:
            break
    raise InputError(
        f"{path} has no record that can be read; a job takes a JSON object with `prompts`, an array of OpenAI requests, "
        "the lines of an OpenAI batch, or JSON Lines, CSV or Parquet with a column `prompt`, `messages` or `text`"
    )


def _shape_of_record(path: Path, data: Mapping[str, Any]) -> Shape:
    if "prompts" in data:
        return "content"
    if "custom_id" in data and "body" in data:
        return "openai-batch"
    return "openai" if _first_byte(path) == b"[" else "rows"


def _first_byte(path: Path) -> bytes:
    with opened(path) as members:
        return members[0].stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _begins_an_object(path: Path) -> bool:
    return _first_byte(path) == b"{"


def _content(path: Path) -> CreateBatchCompletionsRequestContent:
    with opened(path) as members:
        data = members[0].stream.read(WHOLE_BYTES + 1)
    if len(data) > WHOLE_BYTES:
        raise InputError(
            f"{path} is one JSON object of more than {WHOLE_BYTES >> 20} MiB, which cannot be read piece by piece; "
            'give its prompts as JSON Lines, {"prompt": …} each, and the settings as options'
        )
    try:
        found = parse(data.removeprefix(b"\xef\xbb\xbf"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(found, Mapping) or "prompts" not in found:
        raise InputError(f"{path} is no JSON object with `prompts`")
    try:
        return CreateBatchCompletionsRequestContent(**found)
    except BadRequestError as error:
        raise InputError(f"{path}: {error}") from None


# ---------------------------------------------------------------- row by row


def _rows(path: Path, shape: Shape, prompt_column: str | None) -> Iterator[Taken]:
    seen: set[bytes] = set()
    for record in _records(path):
        if isinstance(record, Problem):
            yield "", _bad(shape, record.line, record.reason, None)
            continue
        wrong = _wrong(record.data, shape, prompt_column, seen)
        text = json.dumps(record.data, ensure_ascii=False, separators=(",", ":"))
        yield (text, None) if wrong is None else ("", _bad(shape, record.line, wrong, record.data))


def _wrong(data: Mapping[str, Any], shape: Shape, prompt_column: str | None, seen: set[bytes]) -> str | None:
    """Why a record can never be a row; what only its model knows is told when its turn comes."""
    if shape == "openai-batch":
        key = data.get("custom_id")
        if not isinstance(key, str) or not key:
            return "it has no custom_id; give each request one of its own"
        digest = _digest(key)
        if digest in seen:
            return f"the custom_id {key!r} stands in the file twice; give each request one of its own"
        seen.add(digest)
        if not isinstance(data.get("body"), Mapping):
            return "it has no body; that is the request"
        return None
    if shape == "openai":
        return None if "prompt" in data or "messages" in data else "it has neither prompt nor messages"
    taken = next((name for name in OURS if name in data), None)
    if taken is not None:
        return f"it has a column {taken!r}, where the answer is put; rename it"
    column = prompt_column_of(data, prompt_column)
    if column is None:
        return f"it has no column {prompt_column!r}" if prompt_column else f"it has none of the columns {', '.join(PROMPTS)}"
    return None


def _digest(key: str) -> bytes:
    """Short, so that a million ids seen cost little memory."""
    import hashlib

    return hashlib.blake2b(key.encode(), digest_size=12).digest()


def prompt_column_of(data: Mapping[str, Any], named: str | None) -> str | None:
    """Which column holds the prompt; None: there is none."""
    if named is not None:
        return named if data.get(named) is not None else None
    return next((name for name in PROMPTS if data.get(name) is not None), None)


def _bad(shape: Shape, line: int | None, reason: str, data: Mapping[str, Any] | None) -> NewResult:
    told = reason if line is None else f"line {line}: {reason}"
    return NewResult(number=-1, result=error_record(shape, told, "bad_record", data), error=told)
