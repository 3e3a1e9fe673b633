"""A look before an import, a mapping by columns' names, and mending by line."""

import gzip
import json
from pathlib import Path

import pytest

from exchange.conftest import Bring
from ramify.errors import InputError
from ramify.exchange import files, mending
from ramify.exchange.exporting import export
from ramify.exchange.formats.columns import check_mapping, suggested
from ramify.exchange.importing import ImportOptions
from ramify.exchange.looking import look
from ramify.exchange.mending import lines_at, replace_lines
from ramify.exchange.templates import ExportTemplate, FacetShare
from ramify.store import Database

GOOD = {"instruction": "Say yes.", "input": "", "output": "Yes."}


def test_a_look_shows_records_and_what_they_become_and_bad_ones_beside(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps(GOOD) + '\n{"instruction": \n' + json.dumps({**GOOD, "output": "x" * 1000}) + "\n")
    found = look([str(file)])
    assert (list(found.files), found.why, found.columns) == (
        [{"file": str(file), "format": "alpaca"}],
        None,
        ("instruction", "input", "output"),
    )
    assert [(row.line, row.cells["instruction"]) for row in found.rows] == [(1, "Say yes."), (3, "Say yes.")]
    assert [(entry.line, entry.prompt, entry.turns) for entry in found.entries] == [(1, "Say yes.", 1), (3, "Say yes.", 1)]
    assert found.entries[0].answers[0].text == "Yes."
    assert found.entries[1].answers[0].text == "x" * 400 + "…"
    assert [(bad.line, bad.reason[:13]) for bad in found.problems] == [(2, "it is no JSON")]


def test_a_look_goes_evenly_through_files_and_into_packed_ones(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = "".join(json.dumps({**GOOD, "instruction": f"{name}{n}"}) + "\n" for n in range(30))
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as packed:
            packed.write(rows)
    found = look([str(tmp_path / "a.jsonl.gz"), str(tmp_path / "b.jsonl.gz")], count=4)
    assert [entry.prompt for entry in found.entries] == ["a0", "a1", "b0", "b1"]


def test_a_file_of_bad_records_alone_is_no_error_of_a_look(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(b"{\n" * 3000)
    found = look([str(file)])
    assert (found.rows, found.entries, len(found.problems)) == ((), (), 50)
    assert found.why is not None


@pytest.mark.parametrize(
    ("columns", "mapping"),
    [
        (["Question", "Best Answer", "Answer"], {"user": "Question", "completion": "Answer"}),
        (["prompt", "chosen", "rejected", "output"], {"user": "prompt", "chosen": "chosen", "rejected": "rejected"}),
        (["prompt", "chosen"], {"user": "prompt"}),
        (["messages", "system", "score"], {"messages": "messages", "rating": "score"}),
        (["text"], {"completion": "text"}),
        (["colour", "shape"], {}),
    ],
)
def test_a_mapping_is_suggested_by_names_and_is_always_one_that_can_be(columns: list[str], mapping: dict[str, str]) -> None:
    assert suggested(columns) == mapping
    if mapping:
        check_mapping(mapping)


def test_a_line_is_mended_and_the_others_stay_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    before = [b'{"a": 1}\r\n', b"\xff broken\n", b"x" * 300_000 + b"\n", b"last"]
    file.write_bytes(b"".join(before))
    assert [(line.number, line.text, line.whole) for line in lines_at(file, 1, 2)] == [
        (1, '{"a": 1}', True),
        (2, "\ufffd broken", True),
    ]
    third, fourth = lines_at(file, 3, 5)
    assert (third.whole, len(third.text), fourth.text) == (False, mending.LINE_BYTES, "last")
    replace_lines(file, 2, 1, '{"b": "ü"}')
    assert file.read_bytes() == b"".join([before[0], '{"b": "ü"}\n'.encode(), *before[2:]])
    replace_lines(file, 1, 2, "")
    assert file.read_bytes() == b"".join(before[2:])
    replace_lines(file, 1, 0, "first\nsecond")
    assert [line.text[:6] for line in lines_at(file, 1, 3)] == ["first", "second", "xxxxxx"]
    with pytest.raises(InputError, match="mend it in an editor"):
        replace_lines(file, 3, 1, "")
    with pytest.raises(InputError, match="has no line 9"):
        replace_lines(file, 9, 1, "x")
    with pytest.raises(InputError, match="lone surrogate"):
        replace_lines(file, 1, 1, "\ud800")
    assert [each.name for each in tmp_path.iterdir()] == ["t.jsonl"]


def test_what_is_packed_or_no_text_is_not_mended(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    (tmp_path / "t.jsonl").write_bytes(gzip.compress(b"{}\n"))
    for name, said in (("t.parquet", "no plain text"), ("t.jsonl", "packed or encrypted")):
        with pytest.raises(InputError, match=said):
            lines_at(tmp_path / name, 1)


def test_a_description_larger_than_a_record_may_be_is_refused(
    tmp_path: Path, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RECORD_BYTES", 1 << 20)
    for name in ("dataset_info.json", "results_x.json"):
        (tmp_path / name).write_bytes(b"{" + b" " * (2 << 20))
        (tmp_path / "samples_a_x.jsonl").write_text("{}\n")
        with pytest.raises(InputError, match=r"larger than 1 MiB|no samples beside"):
            bring(tmp_path / name)


def test_an_import_hears_of_bad_records_too_so_that_it_can_be_ended(tmp_path: Path, bring: Bring, db: Database) -> None:
    from ramify.exchange.importing import import_files

    file = tmp_path / "t.jsonl"
    file.write_bytes(json.dumps(GOOD).encode() + b"\n" + b"{\n" * 5000)

    class EndedError(Exception):
        pass

    def told(read: int, records: int) -> None:
        raise EndedError

    with pytest.raises(EndedError):
        import_files(db, [str(file)], ImportOptions(skip_bad=True), told=told)
    assert (db.samples.count(), db.history.list()) == (0, [])


def test_a_filter_says_what_may_go_out(tmp_path: Path, bring: Bring, db: Database) -> None:
    for group in ("a", "b"):
        file = tmp_path / f"{group}.jsonl"
        file.write_text("".join(json.dumps({**GOOD, "instruction": f"{group}{n}"}) + "\n" for n in range(3)))
        bring(file, facet="f", group=group)
    only = {"field": "group", "op": "under", "value": "b"}
    template = ExportTemplate(kind="sft", form="alpaca", facets=(FacetShare(name="f"),), filter=only)
    report = export(db, template, tmp_path / "out.jsonl")
    assert [json.loads(line)["instruction"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["b0", "b1", "b2"]
    (facet,) = report.facets
    assert (dict(facet.reasons), facet.waiting) == ({"not matched by the filter": 3}, {"not matched by the filter": [1, 2, 3]})
    prompts = export(db, ExportTemplate(kind="prompts", filter=only), tmp_path / "p.jsonl", dry_run=True, examples=2)
    assert (prompts.rows, [each["sample"] for each in prompts.examples]) == (3, [4, 5])
    assert ExportTemplate(kind="sft", filter=only).to_data()["filter"] == only
    with pytest.raises(InputError):
        ExportTemplate(kind="sft", filter={"field": "no such", "op": "is", "value": 1})
