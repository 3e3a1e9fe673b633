"""From a name to records: files by what they hold, folders of a Hugging Face data set, the hub."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from ramify.errors import InputError
from ramify.exchange.entries import Problem, Record
from ramify.exchange.files import Opened, opened
from ramify.exchange.json_records import lines_of, read_json, read_lines
from ramify.exchange.table_records import read_arrow, read_csv, read_parquet, row_record

__all__ = ["HUB", "Progress", "first_records", "read_path", "read_records"]

HUB = "hf:"
"""`hf:NAME`, `hf:NAME/CONFIG@SPLIT`: a data set of the hub, or a folder, read by the `datasets` library."""

TABLES = (".parquet", ".arrow")
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt")


class Progress:
    """How many bytes of the files were read, for a bar; told now and then, for asking costs."""

    def __init__(self) -> None:
        self.bytes_read = 0
        self._before = 0

    def at(self, position: int) -> None:
        self.bytes_read = self._before + position

    def done(self, size: int) -> None:
        self._before += size
        self.bytes_read = self._before


def read_path(name: str, *, password: str | None = None, progress: Progress | None = None) -> Iterator[Record | Problem]:
    """Every record of a file, a folder or a data set of the hub. Raises InputError for what cannot be opened at all."""
    if name.startswith(HUB):
        yield from _hub(name)
        return
    path = Path(name)
    if path.is_dir():
        for each in _folder(path):
            yield from read_path(str(each), password=password, progress=progress)
        return
    progress = progress or Progress()
    with opened(path, password=password) as members:
        for member in members:
            shown = str(path) if len(members) == 1 else f"{path}:{member.name}"
            for count, record in enumerate(read_records(shown, path, member)):
                if not count % 256:
                    progress.at(member.position())
                yield record
    progress.done(path.stat().st_size)


def read_records(shown: str, path: Path, member: Opened) -> Iterator[Record | Problem]:
    """The records of one opened file, by its ending."""
    suffix = member.suffix
    if suffix not in SUFFIXES:
        raise InputError(f"{shown} ends in {suffix or 'nothing'!r}; what can be read ends in {', '.join(SUFFIXES)}")
    if suffix in TABLES:
        if suffix == ".arrow":
            return read_arrow(shown, path)
        whole = member.stream if member.stream.seekable() else _spooled(member.stream)
        return read_parquet(shown, whole)
    if suffix in (".csv", ".tsv"):
        return read_csv(shown, member.stream, delimiter="\t" if suffix == ".tsv" else None)
    if suffix == ".json":
        return read_json(shown, member.stream)
    if suffix == ".txt":
        return _text_lines(shown, member.stream)
    return read_lines(shown, member.stream)


def _spooled(stream: BinaryIO) -> BinaryIO:
    """Parquet is read from its end, so what comes out of a packing is kept: in memory while small, else in a nameless file."""
    import tempfile

    # Closed with the last reference; a nameless file leaves nothing behind.
    kept = tempfile.SpooledTemporaryFile(max_size=64 * 1024 * 1024)  # noqa: SIM115
    while data := stream.read(1 << 20):
        kept.write(data)
    kept.seek(0)
    return cast(BinaryIO, kept)


def _text_lines(file: str, stream: BinaryIO) -> Iterator[Record | Problem]:
    """Each line that is not empty is a text."""
    for number, line in lines_of(stream):
        try:
            text = "" if line is None else line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield Problem(file, number, f"byte {error.start} of the line is not UTF-8")
            continue
        if line is None or "\0" in text:
            yield Problem(file, number, "it has a NUL character" if line is not None else "it is too long")
        elif text.strip():
            yield Record(file, number, {"text": text})


def _folder(path: Path) -> list[Path]:
    """The data files of a folder: those that a saved data set names, else every one it has, by name."""
    state = path / "state.json"
    if state.exists():
        try:
            names = [str(each["filename"]) for each in json.loads(state.read_text("utf-8"))["_data_files"]]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(f"{state} does not say which files the data set has: {error}") from None
        if any(Path(name).name != name for name in names):
            raise InputError(f"{state} names files outside its folder; nothing was read")
        return [path / name for name in names]
    found = sorted(
        each
        for each in path.rglob("*")
        if each.is_file()
        and each.name.removesuffix(".gz").endswith(SUFFIXES)
        and not any(part.startswith(".") for part in each.relative_to(path).parts)
        and each.name not in ("dataset_info.json", "dataset_dict.json", "state.json")
        and not each.name.endswith(".manifest.json")
    )
    if not found:
        raise InputError(f"{path} has no data files; what can be read ends in {', '.join(SUFFIXES)}")
    return found


def _hub(name: str) -> Iterator[Record | Problem]:
    """Streamed by `datasets`, so nothing is kept on the disk."""
    import datasets

    wanted, _, split = name.removeprefix(HUB).partition("@")
    config = None
    if not Path(wanted).exists() and wanted.count("/") == 2:
        wanted, _, config = wanted.rpartition("/")
    try:
        found = datasets.load_dataset(wanted, config, split=split or "train", streaming=True)
        for number, row in enumerate(found, start=1):
            yield row_record(name, number, dict(row))
    except (OSError, ValueError, RuntimeError, ImportError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"{name} cannot be read: {type(error).__name__}: {error}") from None


def first_records(name: str, count: int, *, password: str | None = None) -> list[Record]:
    """The first good ones, for finding out what the file is; [] where none is good among the first thousand."""
    found: list[Record] = []
    for number, record in enumerate(read_path(name, password=password)):
        if isinstance(record, Record):
            found.append(record)
        if len(found) == count or number >= 1000:
            break
    return found
