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

__all__ = ["read_documents", "read_examples", "read_rows", "texts_of"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every line as a dict. Raises InputError naming the file and line where one is not a JSON object."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a JSON Lines file")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
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
    special = SpecialIds.of(tokenizer)
    plain = [(n, row["text"]) for n, row in enumerate(rows) if "text" in row]
    encoded = dict(zip((n for n, _ in plain), encode_plain(tokenizer, [text for _, text in plain]), strict=True))
    examples: list[Example] = []
    for number, row in enumerate(rows):
        if number in encoded:
            ids: Sequence[int] = [special.bos, *encoded[number], special.end]
        else:
            ids = encode_row(tokenizer, row, name=f"{path.name}, row {number + 1}").token_ids
        windows = (tuple(ids[at : at + max_length]) for at in range(0, len(ids), max_length))
        examples.extend(Example(window, window) for window in windows if len(window) > 1)
    return examples
