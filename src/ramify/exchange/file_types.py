"""Rows into JSON Lines, JSON and Parquet. Equal rows give equal bytes."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ramify.exchange.outputs import Output

__all__ = ["Shape", "writer"]

AT_ONCE = 2000
LINE = json.JSONEncoder(ensure_ascii=False)


class JsonLines:
    def __init__(self, output: Output) -> None:
        self._output = output

    def put(self, row: Mapping[str, Any]) -> None:
        self._output.write(LINE.encode(row).encode() + b"\n")
        self._output.rows += 1

    def finish(self) -> None:
        pass


class JsonArray:
    """A record a line between the brackets."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def put(self, row: Mapping[str, Any]) -> None:
        self._output.write((b",\n" if self._output.rows else b"[\n") + LINE.encode(row).encode())
        self._output.rows += 1

    def finish(self) -> None:
        self._output.write(b"\n]\n" if self._output.rows else b"[]\n")


class Parquet:
    """Its columns' types must be known before the first row: they are a `Shape`."""

    def __init__(self, output: Output, shape: "Shape") -> None:
        import pyarrow.parquet as pq

        self._output, self._schema, self._waiting = output, shape.schema(), list[Mapping[str, Any]]()
        self._writer = pq.ParquetWriter(output.stream, self._schema, compression="zstd")

    def put(self, row: Mapping[str, Any]) -> None:
        self._waiting.append(_for_arrow(row))
        self._output.rows += 1
        if len(self._waiting) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
            self._waiting = []

    def finish(self) -> None:
        self._flush()
        self._writer.close()


class Shape:
    """The types of all rows together, as Arrow has them."""

    def __init__(self) -> None:
        self._type: Any = None

    def see(self, row: Mapping[str, Any]) -> None:
        self._type = _merged(self._type, _type_of(_for_arrow(row)))

    def schema(self) -> Any:
        import pyarrow as pa

        kind, members = self._type if self._type is not None else ("object", {})
        assert kind == "object", "a row is an object"
        return pa.schema([(name, _arrow(each)) for name, each in members.items()])


def _type_of(value: Any) -> Any:
    """("object", {name: type}), ("list", type), a Python type, or None for what is not known."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return ("object", {name: _type_of(each) for name, each in value.items()})
    if isinstance(value, list):
        inner: Any = None
        for each in value:
            inner = _merged(inner, _type_of(each))
        return ("list", inner)
    return type(value)


def _merged(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return second if first is None else first
    if isinstance(first, tuple) and isinstance(second, tuple) and first[0] == second[0]:
        if first[0] == "list":
            return ("list", _merged(first[1], second[1]))
        names = dict.fromkeys((*first[1], *second[1]))
        return ("object", {name: _merged(first[1].get(name), second[1].get(name)) for name in names})
    return first if first == second else float if {first, second} == {int, float} else str


def _arrow(kind: Any) -> Any:
    import pyarrow as pa

    if isinstance(kind, tuple):
        if kind[0] == "list":
            return pa.list_(_arrow(kind[1]))
        return pa.struct([(name, _arrow(each)) for name, each in kind[1].items()])
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(kind, pa.string())


def _for_arrow(value: Any, name: str = "") -> Any:
    """The same, a call's arguments as JSON text: their names differ from row to row, and columns' types cannot."""
    if name == "arguments" and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return {key: _for_arrow(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_for_arrow(each) for each in value]
    return value


def writer(file_type: str, output: Output, rows: Iterable[Mapping[str, Any]] | None = None) -> "JsonLines | JsonArray | Parquet":
    """rows: all rows that are to come, for Parquet; they are gone through once for their types."""
    if file_type != "parquet":
        return JsonLines(output) if file_type == "jsonl" else JsonArray(output)
    shape = Shape()
    for row in rows or ():
        shape.see(row)
    return Parquet(output, shape)


def each_of(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of so many at most."""
    waiting = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
