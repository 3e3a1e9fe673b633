"""Tables as records: CSV and TSV, Parquet, and the Arrow files of Hugging Face data sets. A batch at a time."""

import csv
import datetime
import decimal
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ramify.errors import InputError
from ramify.exchange.entries import Problem, Record
from ramify.exchange.files import RECORD_BYTES
from ramify.exchange.json_records import SURROGATE, lines_of

__all__ = ["read_arrow", "read_csv", "read_parquet"]

BATCH_BYTES, BATCH_ROWS = 16 * 1024 * 1024, 1024


def read_csv(file: str, stream: BinaryIO, *, delimiter: str | None = None) -> Iterator[Record | Problem]:
    """Rows under the names of the first one. A row of another width is a problem, and so are bytes that are not UTF-8.

    delimiter: None finds out which of comma, semicolon and tab the header has most of.
    """
    csv.field_size_limit(RECORD_BYTES)
    where = [0]
    lines = lines_of(stream)

    def texts() -> Iterator[str]:
        for number, line in lines:
            where[0] = number
            if line is None:
                raise InputError(f"it is longer than {RECORD_BYTES // 1024 // 1024} MiB")
            try:
                yield line.decode("utf-8") + "\n"
            except UnicodeDecodeError as error:
                raise InputError(f"byte {error.start} of the line is not UTF-8") from None

    head = next(texts(), "")
    if not head.strip():
        raise InputError(f"{file} has no header; its first line names the columns")
    sign = delimiter or max(",;\t", key=head.count)
    rows = csv.reader(itertools.chain([head], _again(texts)), delimiter=sign)
    try:
        names = [name.strip() for name in next(rows)]
    except (csv.Error, InputError) as error:
        raise InputError(f"{file} has a header that cannot be read: {error}") from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{file} has two columns named {twice[0]!r}; give each its own name")
    while True:
        line = where[0] + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except (csv.Error, InputError) as error:
            yield Problem(file, max(line, where[0]), str(error))
            continue
        if not row:
            continue
        if len(row) != len(names):
            yield Problem(file, line, f"it has {len(row)} fields; the header has {len(names)}")
        elif any("\0" in cell for cell in row):
            yield Problem(file, line, "it has a NUL character, which is no text")
        else:
            yield Record(file, line, dict(zip(names, row, strict=True)))


def _again(texts: "Any") -> Iterator[str]:
    """The lines; after one that raised, the next ones, which a generator alone would not give."""
    return _Lines(texts)


class _Lines:
    def __init__(self, texts: Any) -> None:
        self._make, self._now = texts, texts()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line: str = next(self._now)
        except InputError:
            self._now = self._make()
            raise
        return line


def read_parquet(file: str, path: Path | BinaryIO) -> Iterator[Record | Problem]:
    """Rows of a Parquet file. Raises InputError for a damaged one, and for rows too large to be read at once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        rows = max(1, table.metadata.num_rows)
        groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
        widest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=0)
        if widest > RECORD_BYTES:
            raise InputError(f"{file} has rows of {widest / 1024 / 1024:.0f} MiB; a record may have {RECORD_BYTES >> 20} MiB")
        size = max(1, min(BATCH_ROWS, int(BATCH_BYTES / max(1.0, widest)), rows))
        yield from _batches(file, table.iter_batches(batch_size=size))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is no readable Parquet file: {error}") from None


def read_arrow(file: str, path: Path) -> Iterator[Record | Problem]:
    """Rows of an Arrow file or stream, as `datasets.save_to_disk` writes them."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            try:
                yield from _batches(file, pa.ipc.open_stream(source))
            except pa.ArrowInvalid:
                source.seek(0)
                whole = pa.ipc.open_file(source)
                yield from _batches(file, (whole.get_batch(i) for i in range(whole.num_record_batches)))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is no readable Arrow file: {error}") from None


def _batches(file: str, batches: Any) -> Iterator[Record | Problem]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(start, BATCH_ROWS)
            try:
                rows = part.to_pylist()
            except (ValueError, UnicodeDecodeError, OverflowError):  # One cell spoils a batch: find it.
                rows = [_alone(part, i) for i in range(part.num_rows)]
            for row in rows:
                number += 1
                yield row_record(file, number, row)


def _alone(batch: Any, index: int) -> Any:
    try:
        return batch.slice(index, 1).to_pylist()[0]
    except (ValueError, UnicodeDecodeError, OverflowError) as error:
        return InputError(f"a value cannot be read: {error}")


def row_record(file: str, number: int, row: Any) -> Record | Problem:
    """A table's row as JSON would have it: times in ISO form, bytes as the text they hold, decimals as numbers."""
    try:
        if isinstance(row, InputError):
            raise row
        return Record(file, number, {str(name): _plain(value) for name, value in row.items()})
    except InputError as error:
        return Problem(file, number, str(error))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        if "\0" in value or SURROGATE.search(value):
            raise InputError("it has a NUL character or a lone surrogate, which is no text")
        return value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{value} is no number that JSON knows")
        return value
    if isinstance(value, bytes | bytearray):
        try:
            return _plain(value.decode("utf-8"))
        except UnicodeDecodeError:
            raise InputError("it has bytes that are no UTF-8 text") from None
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        if value and all(isinstance(each, tuple) and len(each) == 2 for each in value):  # Arrow's maps
            return {str(name): _plain(each) for name, each in value}
        return [_plain(each) for each in value]
    raise InputError(f"a value is of type {type(value).__name__}, which is no text, number, list or object")
