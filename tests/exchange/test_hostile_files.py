"""Files that are damaged, or mean harm: the place is named, memory stays bounded, and nothing is half-imported."""

import bz2
import gzip
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.conftest import Bring
from ramify.errors import InputError, RecordError
from ramify.exchange import files, json_records
from ramify.exchange.encryption import Encrypted
from ramify.exchange.entries import Problem, Record
from ramify.exchange.reading import read_path
from ramify.store import Database

GOOD = b'{"prompt": "a", "completion": "b"}'
AFTER = b'{"prompt": "c", "completion": "d"}'
DEEP = b'{"prompt": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"

BAD = [
    ("cut short", b'{"prompt": "a", "compl', "it is no JSON"),
    ("no object", b"[1, 2]", "it is a list; a record is an object"),
    ("NaN", b'{"prompt": "a", "completion": "b", "x": NaN}', "NaN is no JSON number"),
    ("infinity", b'{"prompt": "a", "completion": "b", "x": -Infinity}', "-Infinity is no JSON number"),
    ("twice", b'{"prompt": "a", "prompt": "b", "completion": "c"}', "'prompt' stands twice"),
    ("surrogate", b'{"prompt": "a\\ud800", "completion": "b"}', "a lone surrogate"),
    ("escaped NUL", b'{"prompt": "a\\u0000", "completion": "b"}', "a NUL character"),
    ("NUL", b'{"prompt": "a\x00", "completion": "b"}', "it is no JSON"),
    ("not UTF-8", b'{"prompt": "\xff", "completion": "b"}', "is not UTF-8"),
    ("deep", DEEP, "nested too deep"),
    ("a number of a million digits", b'{"prompt": "a", "completion": "b", "x": ' + b"9" * 1_000_000 + b"}", "digits"),
    ("a password", b'{"prompt": "a", "completion": "b", "model": "https://me:secret@host/x"}', "password"),
]


@pytest.mark.parametrize(("line", "said"), [(line, said) for _, line, said in BAD], ids=[name for name, *_ in BAD])
def test_a_bad_line_is_named_and_stops_everything_or_is_left_out(
    tmp_path: Path, bring: Bring, db: Database, line: bytes, said: str
) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(b"\n".join([GOOD, line, AFTER]) + b"\n")
    how: dict[str, Any] = (
        {"mapping": {"prompt": "prompt", "completion": "completion", "model": "model"}} if b"model" in line else {}
    )
    if how:
        file.write_bytes(
            b"\n".join(row.replace(b"}", b', "model": "m"}') if b"model" not in row else row for row in (GOOD, line, AFTER))
        )
    with pytest.raises(RecordError, match=said) as caught:
        bring(file, **how)
    assert (caught.value.file, caught.value.line) == (str(file), 2)
    assert (db.samples.count(), db.history.list()) == (0, [])
    report = bring(file, skip_bad=True, **how)
    assert (report.records, report.bad_records, [each["line"] for each in report.problems]) == (2, 1, [2])
    assert [sample.prompt for sample in db.samples.list()] == ["c", "a"]


@pytest.mark.parametrize(("line", "said"), [(line, said) for _, line, said in BAD[2:-1]], ids=[name for name, *_ in BAD[2:-1]])
def test_a_bad_element_of_a_list_is_named_and_the_rest_is_read(tmp_path: Path, line: bytes, said: str) -> None:
    file = tmp_path / "t.json"
    file.write_bytes(b"[\n" + b",\n".join([GOOD, line, AFTER]) + b"\n]")
    first, bad, last = read_path(str(file))
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert isinstance(bad, Problem)
    assert (first.line, last.data["prompt"], bad.line) == (2, "c", 3)
    assert said in bad.reason


def test_a_list_that_is_cut_short_gives_what_was_whole(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_bytes(b"[\n" + GOOD + b",\n" + AFTER[:-4])
    first, bad = read_path(str(file))
    assert isinstance(first, Record)
    assert bad == Problem(str(file), 3, "the file ends within this record; it is cut short")


def test_marks_line_ends_and_blank_lines_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n" + AFTER + b"\r\n")
    assert [(each.line, each.data["prompt"]) for each in read_path(str(file))] == [(1, "a"), (3, "c")]  # type: ignore[union-attr]
    (tmp_path / "t.json").write_bytes(b"\xef\xbb\xbf  [" + GOOD + b" ,\r\n" + AFTER + b"]\r\n")
    assert [each.data["prompt"] for each in read_path(str(tmp_path / "t.json"))] == ["a", "c"]  # type: ignore[union-attr]


def test_json_lines_may_be_called_json_and_objects_may_follow_each_other(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    for text in (GOOD + b"\n" + AFTER, b'{"prompt":\n"a", "completion": "b"} ' + AFTER, b"[" + GOOD + b"]\n[" + AFTER + b"]"):
        file.write_bytes(text)
        assert [each.data["prompt"] for each in read_path(str(file))] == ["a", "c"]  # type: ignore[union-attr]


def test_utf_16_is_refused_with_what_to_do(tmp_path: Path, bring: Bring) -> None:
    for name in ("t.jsonl", "t.json", "t.csv"):
        (tmp_path / name).write_bytes(GOOD.decode().encode("utf-16"))
        with pytest.raises(InputError, match="UTF-16; save it as UTF-8"):
            bring(tmp_path / name)


class Endless(io.RawIOBase):
    """So many bytes of one letter between a beginning and an end, without ever having them all."""

    def __init__(self, before: bytes, count: int, after: bytes) -> None:
        self.before, self.left, self.after = before, count, after

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.before:
            part, self.before = self.before[: len(buffer)], self.before[len(buffer) :]
        elif self.left:
            part = b"x" * min(len(buffer), self.left)
            self.left -= len(part)
        else:
            part, self.after = self.after[: len(buffer)], self.after[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize(
    ("read", "size"),
    [
        (json_records.read_lines, 1 << 30),
        (json_records.read_json, 1 << 26),
        pytest.param(json_records.read_json, 1 << 30, marks=pytest.mark.slow),
    ],
)
def test_a_line_of_a_gigabyte_is_passed_over_in_bounded_memory(
    read: Callable[..., Any], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_records, "RECORD_BYTES", 1 << 20)
    before = GOOD + b"\n" if read is json_records.read_lines else b"[" + GOOD + b",\n"
    after = b'"}\n' + AFTER if read is json_records.read_lines else b'"},\n' + AFTER + b"]"
    stream = io.BufferedReader(Endless(before + b'{"prompt": "', size, after), 1 << 18)
    tracemalloc.start()
    try:
        first, bad, last = read("big", stream)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (first.data["prompt"], last.data["prompt"]) == ("a", "c")
    assert (bad.line, bad.reason) == (2, "it is longer than 1 MiB")
    assert peak < 16 << 20


def bomb(open: Callable[..., Any], file: Path) -> None:
    with open(file, "wb") as packed:
        packed.write(GOOD + b"\n")
        for _ in range(40):
            packed.write(b" " * (1 << 20))


@pytest.mark.parametrize(("name", "open"), [("t.jsonl.gz", gzip.open), ("t.jsonl.bz2", bz2.open)])
def test_a_file_that_swells_beyond_measure_is_refused(
    tmp_path: Path, bring: Bring, db: Database, monkeypatch: pytest.MonkeyPatch, name: str, open: Any
) -> None:
    monkeypatch.setattr(files, "BOMB_BYTES", 8 << 20)
    bomb(open, tmp_path / name)
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        bring(tmp_path / name, skip_bad=True)
    assert db.samples.count() == 0


def test_a_zip_that_swells_or_leads_out_is_refused(
    tmp_path: Path, bring: Bring, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BOMB_BYTES", 8 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("t.jsonl", GOOD + b"\n" + b" " * (40 << 20))
    with pytest.raises(InputError, match="unpacks to more than 200 times"):
        bring(tmp_path / "bomb.zip", skip_bad=True)
    for name in ("../t.jsonl", "/t.jsonl", "a/../../t.jsonl", "..\\t.jsonl"):
        with zipfile.ZipFile(tmp_path / "slip.zip", "w") as packed:
            packed.writestr(name, GOOD)
        with pytest.raises(InputError, match="leads out of it; nothing was read"):
            bring(tmp_path / "slip.zip")
    assert db.samples.count() == 0


def test_a_zip_of_several_files_is_read_member_by_member(tmp_path: Path, bring: Bring, db: Database) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/t.jsonl", GOOD)
        packed.writestr("b/t.json", b"[" + AFTER + b"]")
    assert bring(tmp_path / "t.zip").completions_added == 2


def test_a_packed_file_that_is_cut_short_is_damaged_and_leaves_nothing(tmp_path: Path, bring: Bring, db: Database) -> None:
    rows = b"".join(json.dumps({"prompt": f"p{i}", "completion": "x" * 50}).encode() + b"\n" for i in range(5000))
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(rows)[:-2000])
    with pytest.raises(InputError, match="damaged or cut short"):
        bring(tmp_path / "t.jsonl.gz", skip_bad=True)
    assert (db.samples.count(), db.history.list()) == (0, [])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("prompt,completion\na,b\nc\n", 3, "it has 1 fields; the header has 2"),
        ("prompt,completion\na,b\nc,d,e\n", 3, "it has 3 fields; the header has 2"),
        ("prompt,completion\na,b\nc,d\0\n", 3, "a NUL character"),
    ],
)
def test_a_bad_row_of_a_table_is_named(tmp_path: Path, bring: Bring, text: str, line: int, said: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(RecordError, match=said) as caught:
        bring(tmp_path / "t.csv")
    assert caught.value.line == line
    assert bring(tmp_path / "t.csv", skip_bad=True).records == 1


def test_a_table_with_two_columns_of_one_name_or_none_is_refused(tmp_path: Path, bring: Bring) -> None:
    (tmp_path / "t.csv").write_text("prompt,prompt\na,b\n")
    with pytest.raises(InputError, match="two columns named 'prompt'"):
        bring(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(InputError, match="no header"):
        bring(tmp_path / "t.csv")


def test_a_quoted_field_may_span_lines_and_the_next_row_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\ufeffprompt,completion\r\n"a\nb",c\r\nd,e\r\n', "utf-8", newline="")
    found = list(read_path(str(tmp_path / "t.csv")))
    assert [(each.line, dict(each.data)) for each in found] == [  # type: ignore[union-attr]
        (2, {"prompt": "a\nb", "completion": "c"}),
        (4, {"prompt": "d", "completion": "e"}),
    ]


def test_odd_types_of_parquet_become_what_json_has_or_are_named(tmp_path: Path) -> None:
    import datetime
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "text": pa.array([b"a", b"\xff"], pa.binary()),
        "when": pa.array([datetime.datetime(2026, 1, 2), None], pa.timestamp("us")),
        "much": pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00")], pa.decimal128(5, 2)),
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        "which": pa.array(["x", "y"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    first, bad = read_path(str(tmp_path / "t.parquet"))
    assert isinstance(first, Record)
    assert dict(first.data) == {"text": "a", "when": "2026-01-02T00:00:00", "much": 1.5, "map": {"k": 1}, "which": "x"}
    assert bad == Problem(str(tmp_path / "t.parquet"), 2, "it has bytes that are no UTF-8 text")


def test_a_parquet_file_with_a_number_that_is_none_is_named(tmp_path: Path, bring: Bring) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"prompt": ["a"], "completion": ["b"], "x": [float("nan")]}), tmp_path / "t.parquet")
    with pytest.raises(RecordError, match="nan is no number"):
        bring(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.zip", "t.jsonl.gz"])
def test_what_is_not_what_its_name_says_is_refused(tmp_path: Path, bring: Bring, name: str) -> None:
    (tmp_path / name).write_bytes(
        b"PK\x03\x04 no" if name == "t.zip" else b"\x1f\x8b no" if name.endswith("gz") else b"no such thing"
    )
    with pytest.raises(InputError):
        bring(tmp_path / name)


def test_what_cannot_be_opened_says_so(tmp_path: Path, bring: Bring) -> None:
    (tmp_path / "t.docx").write_bytes(b"x")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    for name, said in (("t.docx", "ends in '.docx'"), ("nothing.jsonl", "there is no file"), ("empty.jsonl", "has no records")):
        with pytest.raises(InputError, match=said):
            bring(tmp_path / name)


# ---------------------------------------------------------------- encrypted


def sealed(path: Path, content: bytes, password: str = "open sesame") -> None:
    with path.open("wb") as under:
        out = Encrypted(under, password)
        for start in range(0, len(content), 50_000):
            out.write(content[start : start + 50_000])
        out.close()


def test_an_encrypted_file_comes_in_with_its_password_only(tmp_path: Path, bring: Bring, db: Database) -> None:
    content = b"".join(json.dumps({"prompt": f"p{i}", "completion": "x" * 400}).encode() + b"\n" for i in range(500))
    file = tmp_path / "t.jsonl.enc"
    sealed(file, content)
    assert b"prompt" not in file.read_bytes()
    with pytest.raises(InputError, match="is encrypted; give its password"):
        bring(file)
    with pytest.raises(InputError, match="password is wrong"):
        bring(file, password="close sesame")
    assert bring(file, password="open sesame").completions_added == 500


def test_an_encrypted_file_that_was_cut_changed_or_prolonged_is_noticed(tmp_path: Path, bring: Bring, db: Database) -> None:
    content = (GOOD + b"\n") + b"\n" * 200_000
    file = tmp_path / "t.jsonl.enc"
    sealed(file, content)
    whole = file.read_bytes()
    pieces = 11 + 24
    second = pieces + 4 + 65536 + 16
    for damaged in (whole[:-1], whole[:second], whole[:500] + b"\x00" + whole[501:], whole + b"x"):
        file.write_bytes(damaged)
        with pytest.raises(InputError):
            bring(file, password="open sesame")
    assert db.samples.count() == 0
