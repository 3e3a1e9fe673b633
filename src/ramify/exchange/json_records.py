"""JSON as it comes: one record a line, an array of records, records one after the other. As a stream, whatever the size.

A record that is wrong is a `Problem` with its line, and reading goes on behind it: behind the line in JSON Lines, behind the
closing bracket elsewhere. Wrong are: invalid JSON, NaN and Infinity, a name twice in one object, too many levels, bytes that are
not UTF-8, a lone surrogate, a NUL, more than RECORD_BYTES.
"""

import io
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from ramify.errors import InputError
from ramify.exchange.entries import Problem, Record
from ramify.exchange.files import RECORD_BYTES

__all__ = ["parse", "read_json", "read_lines"]

CHUNK = 1 << 18
MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.DOTALL)
"""A whole string, a bracket, or a quote whose string does not end in this buffer."""
IN_STRING, OUTSIDE = re.compile(rb'["\\]'), re.compile(rb'["{}\[\]]')
BLANKS, WORD = re.compile(rb"[ \t\r\n,]*"), re.compile(rb"[^,{}\[\]\n]*")
SURROGATE = re.compile("[\ud800-\udfff]")


def _no_number(word: str) -> Any:
    raise InputError(f"{word} is no JSON number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"the name {twice!r} stands twice in one object")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)


def parse(data: bytes) -> Any:
    """One JSON value. Raises InputError that says what is wrong with it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} of the record is not UTF-8") from None
    try:
        found = DECODER.decode(text)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip())
        raise InputError(f"it is no JSON: {error.msg} at character {error.pos}{' (is it cut short?)' if cut else ''}") from None
    except RecursionError:
        raise InputError("its objects and lists are nested too deep") from None
    except ValueError as error:
        raise InputError(str(error)) from None
    # Escapes can say what UTF-8 cannot; looking for a backslash first spares most records the walk.
    if "\\u" in text and (sign := _unwritable(found)):
        raise InputError(f"it has {sign}, which is no text")
    if "\0" in text:
        raise InputError("it has a NUL character, which is no text")
    return found


def _unwritable(value: Any) -> str:
    """A lone surrogate or a NUL anywhere in a value."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if "\0" in each:
                return "a NUL character"
            if not each.isascii() and SURROGATE.search(each):
                return "a lone surrogate"
        elif isinstance(each, dict):
            waiting += each.keys()
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return ""


def _made(file: str, line: int, data: bytes) -> Record | Problem:
    try:
        found = parse(data)
        if not isinstance(found, dict):
            raise InputError(f"it is a {type(found).__name__}; a record is an object")
    except InputError as error:
        return Problem(file, line, str(error))
    return Record(file, line, found)


def _too_long(file: str, line: int) -> Problem:
    return Problem(file, line, f"it is longer than {RECORD_BYTES // 1024 // 1024} MiB")


def lines_of(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """(number, line without its end); None for a line that is too long. An UTF-8 mark at the start is left out.

    Raises InputError for UTF-16.
    """
    number = 0
    while line := stream.readline(RECORD_BYTES + 1):
        number += 1
        if number == 1:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InputError("the file is UTF-16; save it as UTF-8")
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > RECORD_BYTES and not line.endswith(b"\n"):
            while (rest := stream.readline(CHUNK)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        else:
            yield number, line.rstrip(b"\r\n")


def read_lines(file: str, stream: BinaryIO) -> Iterator[Record | Problem]:
    """JSON Lines; empty lines are nothing."""
    for number, line in lines_of(stream):
        if line is None:
            yield _too_long(file, number)
        elif line.strip():
            yield _made(file, number, line)


def read_json(file: str, stream: BinaryIO) -> Iterator[Record | Problem]:
    """Whatever JSON it is. An array's elements are records; so are objects that follow each other, one a line or not."""
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream, CHUNK)  # type: ignore[type-var]
    head = buffered.peek(CHUNK)[:CHUNK].removeprefix(b"\xef\xbb\xbf").lstrip()
    first = head.split(b"\n", 1)[0].strip()
    if first.startswith(b"{") and first.endswith(b"}") and b"\n" in head and _is_json(first):
        yield from read_lines(file, buffered)
    else:
        yield from _elements(file, buffered)


def _is_json(line: bytes) -> bool:
    try:
        parse(line)
    except InputError:
        return False
    return True


class _Window:
    """A stretch of the file, a place in it, and the line that place is on."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.data, self.at, self.line = stream, stream.read(CHUNK), 0, 1
        self.ended = not self.data
        if self.data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError("the file is UTF-16; save it as UTF-8")
        self.data = self.data.removeprefix(b"\xef\xbb\xbf")

    def more(self) -> None:
        """Drop what is behind and read on; twice as much as is pending, so that a long record costs linear time."""
        pending = self.data[self.at :]
        read = self.stream.read(max(CHUNK, len(pending)))
        self.data, self.at, self.ended = pending + read, 0, not read

    def pass_to(self, end: int) -> bytes:
        """What lies between here and there; go there."""
        taken = self.data[self.at : end]
        self.line += taken.count(b"\n")
        self.at = end
        return taken


def _elements(file: str, stream: BinaryIO) -> Iterator[Record | Problem]:
    """Objects one after the other, and those of arrays. Only brackets outside strings are looked at before an object is whole."""
    window, in_array = _Window(stream), False
    while True:
        blank = BLANKS.match(window.data, window.at)
        window.pass_to(blank.end() if blank else window.at)
        if window.at == len(window.data):
            if window.ended:
                if in_array:
                    yield Problem(file, window.line, "the file ends before its list does; it is cut short")
                return
            window.more()
            continue
        sign = window.data[window.at : window.at + 1]
        if (sign == b"[" and not in_array) or (sign == b"]" and in_array):
            in_array = sign == b"["
            window.pass_to(window.at + 1)
        elif sign in (b"{", b"["):
            end = _end_of(window)
            if end is None:
                yield Problem(file, window.line, "the file ends within this record; it is cut short")
                return
            if end < 0:
                yield _too_long(file, window.line)
                _skip(window)
                continue
            line = window.line
            yield _made(file, line, window.pass_to(end))
        else:
            word = WORD.match(window.data, window.at)
            taken = window.pass_to(max(word.end() if word else 0, window.at + 1))
            shown = taken[:40].decode("utf-8", errors="replace").strip()
            yield Problem(file, window.line, f"{shown!r} is no record; a record is an object")


def _end_of(window: _Window) -> int | None:
    """Where the object that begins here ends, reading on until it does; None: the file ends first, -1: it is too long."""
    depth, at = 0, window.at
    while True:
        for mark in MARK.finditer(window.data, at):
            byte = window.data[mark.start()]
            if byte == 0x22:
                if mark.end() - mark.start() == 1:  # Its end is not here yet.
                    at = mark.start()
                    break
            elif byte in b"{[":
                depth += 1
            else:
                depth -= 1
                if depth == 0:
                    return mark.end()
            at = mark.end()
        else:
            at = len(window.data)
        if window.ended:
            return None
        if len(window.data) - window.at > RECORD_BYTES:
            return -1
        at -= window.at
        window.more()


def _skip(window: _Window) -> None:
    """Pass over the object that begins here without keeping it."""
    depth, in_string = 0, False
    while window.at < len(window.data):
        at = window.at
        while mark := (IN_STRING if in_string else OUTSIDE).search(window.data, at):
            byte, at = window.data[mark.start()], mark.end()
            if byte == 0x5C:
                if at == len(window.data):
                    window.data += window.stream.read(1)
                at += 1
            elif byte == 0x22:
                in_string = not in_string
            else:
                depth += 1 if byte in b"{[" else -1
                if depth == 0:
                    window.pass_to(at)
                    return
        window.pass_to(len(window.data))
        window.more()
