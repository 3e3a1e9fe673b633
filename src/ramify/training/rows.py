"""Training rows in JSON Lines files.

A line is {"text": …}, {"prompt": …, "completion": …} or {"messages": [{"role": …, "content": …}, …]}.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ramify.errors import InputError
from ramify.training.examples import Example, encode_row
from ramify.training.tokenizers import SpecialIds, encode_plain

__all__ = ["check_row", "encode_documents", "read_documents", "read_examples", "read_rows", "texts_of"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every line as a dict. Raises InputError naming the file and line where one is not a JSON object."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a JSON Lines file")
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text: byte {error.start} cannot be read; save it as UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number} is not JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number} is {type(row).__name__}; each line must be a JSON object")
        rows.append(row)
    return rows


def check_row(row: dict[str, Any], name: str) -> None:
    """Raises InputError where a row has none of the three forms."""
    if "messages" in row:
        messages = row["messages"]
        if not isinstance(messages, list) or not messages:
            raise InputError(f"{name}: messages is no list of turns")
        fits = all(isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in messages)
        if not fits:
            raise InputError(f"{name}: each of the messages must have a role and a content, both text")
        return
    if "text" not in row and not {"prompt", "completion"} <= set(row):
        raise InputError(f"{name} has the keys {sorted(row)}; it needs messages, or prompt and completion, or text")
    odd = [key for key in ("text", "prompt", "completion") if key in row and not isinstance(row[key], str)]
    if odd:
        raise InputError(f"{name}: {odd[0]} is {type(row[odd[0]]).__name__}; it must be text")


def texts_of(row: dict[str, Any]) -> Iterator[str]:
    """The natural texts of a row, for learning a vocabulary."""
    if "messages" in row:
        for message in row["messages"]:
            yield message["role"]  # so that each role is one token
            yield message["content"]
    else:
        yield from (row[key] for key in ("text", "prompt", "completion") if key in row)


def read_examples(path: Path, tokenizer: Tokenizer) -> list[Example]:
    """Rows of which the completion is learned (a text is a completion of nothing)."""
    return [encode_row(tokenizer, row, name=f"{path.name}, row {n}") for n, row in enumerate(read_rows(path), start=1)]


def read_documents(path: Path, tokenizer: Tokenizer, *, max_length: int) -> list[Example]:
    """Rows of which every token is learned, conversations included; longer ones are cut into windows of `max_length`."""
    rows = read_rows(path)
    return encode_documents(rows, [f"{path.name}, row {n}" for n in range(1, len(rows) + 1)], tokenizer, max_length=max_length)


def encode_documents(
    rows: Sequence[dict[str, Any]], names: Sequence[str], tokenizer: Tokenizer, *, max_length: int
) -> list[Example]:
    """As `read_documents`, of rows at hand; names: of each, for errors."""
    special = SpecialIds.of(tokenizer)
    plain = [(n, row["text"]) for n, row in enumerate(rows) if "text" in row]
    encoded = dict(zip((n for n, _ in plain), encode_plain(tokenizer, [text for _, text in plain]), strict=True))
    examples: list[Example] = []
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        if number in encoded:
            ids: Sequence[int] = [special.bos, *encoded[number], special.end]
        else:
            ids = encode_row(tokenizer, row, name=name).token_ids
        windows = (tuple(ids[at : at + max_length]) for at in range(0, len(ids), max_length))
        examples.extend(Example(window, window) for window in windows if len(window) > 1)
    return examples
