"""Mending a text file by its lines: look at some, and put others in their place. Never more in memory than what is looked at."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ramify.errors import InputError
from ramify.exchange.encryption import MAGIC
from ramify.exchange.files import PACKED

__all__ = ["LINE_BYTES", "TEXT_SUFFIXES", "Line", "lines_at", "replace_lines"]

TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
LINE_BYTES = 256 * 1024
"""Longer lines are shown cut, and are not mended here."""
PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    """From 1."""
    text: str
    """Without its end; bytes that are not UTF-8 as U+FFFD."""
    whole: bool
    """False for a line that is cut because it is too long."""


def lines_at(path: Path, first: int, count: int = 1) -> list[Line]:
    """`count` lines from number `first` on; fewer at the end of the file. Raises InputError for a file that is no plain text."""
    found = []
    with _text(path) as file:
        _skip(file, first - 1)
        for number in range(first, first + count):
            raw = file.readline(LINE_BYTES + 1)
            if not raw:
                break
            whole = len(raw) <= LINE_BYTES
            if not whole and not raw.endswith(b"\n"):
                _skip(file, 1)
            found.append(Line(number, raw[:LINE_BYTES].rstrip(b"\r\n").decode("utf-8", "replace"), whole))
    return found


def replace_lines(path: Path, first: int, count: int, text: str) -> None:
    """Put `text` (of any number of lines; "" removes them) in place of `count` lines from number `first` on.

    The file is written anew beside itself and then takes its own place. Raises InputError where there is no such line, for one
    that is too long to be shown whole, and for text that is no Unicode.
    """
    there = lines_at(path, first, count)
    if len(there) < count:
        raise InputError(f"{path.name} has no line {first + len(there)}")
    if not all(line.whole for line in there):
        raise InputError(f"a line of {path.name} is longer than {LINE_BYTES // 1024} KiB; mend it in an editor of your own")
    try:
        new = text.encode()
    except UnicodeEncodeError:
        raise InputError("the text has a lone surrogate; it must be valid Unicode") from None
    if new and not new.endswith(b"\n"):
        new += b"\n"
    beside = path.with_name(f".{path.name}.part")
    try:
        with _text(path) as file, beside.open("wb") as out:
            for piece in _lines(file, first - 1):
                out.write(piece)
            out.write(new)
            _skip(file, count)
            while piece := file.read(PIECE):
                out.write(piece)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _text(path: Path) -> BinaryIO:
    if path.suffix.lower() not in TEXT_SUFFIXES:
        raise InputError(f"{path.name} is no plain text; mend it with the program that made it")
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from None
    head = file.read(16)
    file.seek(0)
    if head.startswith((MAGIC[:16], b"PK\x03\x04", *PACKED)):
        file.close()
        raise InputError(f"{path.name} is packed or encrypted; mend it as it was before")
    return file


def _lines(file: BinaryIO, count: int) -> Iterator[bytes]:
    """So many lines, in pieces of bounded size."""
    while count:
        piece = file.readline(PIECE)
        if not piece:
            return
        count -= piece.endswith(b"\n")
        yield piece


def _skip(file: BinaryIO, count: int) -> None:
    for _ in _lines(file, count):
        pass
