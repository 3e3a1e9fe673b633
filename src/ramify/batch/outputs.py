"""What came of a job's rows as a file: in the input's order, one record a row, an error in its place where there is no answer.

A JSON array (document 002's), JSON Lines, or Parquet, by the name; an OpenAI batch has two files, of answers and of errors.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from ramify.batch.places import written
from ramify.batch.spec import JobSpec, Shape
from ramify.errors import InputError
from ramify.store.job_records import JobRow
from ramify.store.jobs import Jobs

__all__ = ["check_format", "error_path_of", "error_record", "write_output"]

NOT_DONE = {"cancelled": "the job was cancelled before this row's turn came", "failed": "the job ended before this row was done"}
TABLE_ROWS = 1000


def error_record(shape: Shape | None, reason: str, code: str, data: Mapping[str, Any] | None = None) -> str:
    """A row without an answer, as JSON. data: what of its record can be repeated."""
    error = {"message": reason, "code": code}
    found: dict[str, Any] = {"error": error}
    if shape == "openai-batch":
        found = {"id": None, "custom_id": (data or {}).get("custom_id"), "response": None, "error": error}
    elif shape == "rows" and data is not None:
        found = {**data, "error": error}
        found = found if "output" not in data else {"record": dict(data), "error": error}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _format(path: str, shape: Shape | None) -> str:
    suffix = PurePosixPath(path.partition("?")[0]).suffix.lower()
    if shape == "openai-batch" or suffix in (".jsonl", ".ndjson"):
        return "lines"
    if suffix == ".parquet":
        return "table"
    return "array" if suffix == ".json" or shape in ("content", "openai", None) else "lines"


def check_format(path: str, shape: Shape | None) -> None:
    """Raises InputError for a form that this shape cannot be written in."""
    if PurePosixPath(path).suffix.lower() == ".parquet" and shape == "openai-batch":
        raise InputError(f"{path}: an OpenAI batch is JSON Lines; give a name that ends in .jsonl")
    if PurePosixPath(path).suffix.lower() in (".gz", ".zip", ".xz", ".bz2", ".csv", ".arrow"):
        raise InputError(f"{path}: a job writes .json, .jsonl or .parquet; pack it afterwards")


def error_path_of(spec: JobSpec) -> str:
    """Where an OpenAI batch's failed rows go: what was said, else beside the output."""
    if spec.error_path is not None:
        return spec.error_path
    return f"{spec.output_path.removesuffix('.jsonl')}.errors.jsonl"


def write_output(jobs: Jobs, key: str, spec: JobSpec, *, state: str) -> None:
    """Write all there is. state: how the job ends, for rows that it never came to. Raises WorkspaceError, InputError."""
    shape = spec.shape or "content"
    if shape == "openai-batch":
        _write_batch(jobs, key, spec, state)
        return
    form = _format(spec.output_path, shape)
    with written(spec.output_path, key) as file:
        if form == "table":
            _write_table(file, jobs, key, spec, state)
            return
        results = (_result(row, spec, state) for row in jobs.walk(key))
        if form == "lines":
            for text in results:
                file.write(text.encode() + b"\n")
            return
        file.write(b"[")
        for number, text in enumerate(results):
            file.write((b",\n" if number else b"\n") + text.encode())
        file.write(b"\n]\n")


def _result(row: JobRow, spec: JobSpec, state: str) -> str:
    if row.state in ("done", "failed") and row.result is not None:
        return row.result
    data = json.loads(row.request) if row.request and spec.shape in ("rows", "openai-batch") else None
    return error_record(spec.shape, NOT_DONE.get(state, NOT_DONE["failed"]), state, data)


def _write_batch(jobs: Jobs, key: str, spec: JobSpec, state: str) -> None:
    """Both files take their names, or the errors' alone is missing where there are none."""
    with contextlib.ExitStack() as stack:
        answers = stack.enter_context(written(spec.output_path, key))
        failed = any(row.state != "done" for row in jobs.walk(key))
        errors = stack.enter_context(written(error_path_of(spec), key)) if failed else None
        for row in jobs.walk(key):
            file = answers if row.state == "done" or errors is None else errors
            file.write(_result(row, spec, state).encode() + b"\n")


# ---------------------------------------------------------------- Parquet


def _write_table(file: BinaryIO, jobs: Jobs, key: str, spec: JobSpec, state: str) -> None:
    """Two walks: one to learn every column and its type, one to write. A column of several types is written as JSON text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def records() -> Iterator[dict[str, Any]]:
        return (json.loads(_result(row, spec, state)) for row in jobs.walk(key))

    types: dict[str, Any] = {}
    mixed: set[str] = set()
    for page in _pages(records(), TABLE_ROWS):
        for name in {name for record in page for name in record}:
            try:
                found = pa.array([record.get(name) for record in page]).type
                before = types.get(name, pa.null())
                fields = [pa.schema([(name, before)]), pa.schema([(name, found)])]
                types[name] = pa.unify_schemas(fields, promote_options="permissive").field(name).type
            except (pa.ArrowException, TypeError):
                mixed.add(name)
    # A structure without fields has no form in Parquet.
    mixed |= {name for name, kind in types.items() if pa.types.is_struct(kind) and kind.num_fields == 0}
    schema = pa.schema([(name, pa.string() if name in mixed or pa.types.is_null(kind) else kind) for name, kind in types.items()])
    for name in sorted(mixed - set(types)):
        schema = schema.append(pa.field(name, pa.string()))
    with pq.ParquetWriter(file, schema) as writer:
        for page in _pages(records(), TABLE_ROWS):
            columns = [[_cell(record.get(name), name in mixed) for record in page] for name in schema.names]
            arrays = [pa.array(column, type=schema.field(i).type) for i, column in enumerate(columns)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _cell(value: Any, as_text: bool) -> Any:
    return json.dumps(value, ensure_ascii=False) if as_text and value is not None else value


def _pages(records: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    page: list[dict[str, Any]] = []
    for record in records:
        page.append(record)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
