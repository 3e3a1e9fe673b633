"""Text, Markdown, PDF and Word files as training texts; what cannot be read is named, and why."""

import io
import zipfile
from pathlib import Path

import pytest

from ramify.errors import InputError
from ramify.training import documents
from ramify.training.documents import read_texts

WORDS = "The owl was fond of maps. It kept each of them under the old barn."


def pdf(*pages: str) -> bytes:
    """A PDF of one line a page; an empty one is a blank page, as a scan without text is to a reader."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    bodies = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(pages):
        said = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        bodies += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * n} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(said)} >>\nstream\n{said}\nendstream",
        ]
    made, places = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        places.append(len(made))
        made += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    trailer = f"trailer\n<< /Size {len(bodies) + 1} /Root 1 0 R >>\nstartxref\n{len(made)}\n%%EOF\n"
    return made + f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


def locked(data: bytes) -> bytes:
    import pypdf

    writer = pypdf.PdfWriter(io.BytesIO(data))
    writer.encrypt("secret", algorithm="AES-256")
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def word(*paragraphs: str, table: list[list[str]] | None = None) -> bytes:
    import docx

    document = docx.Document()
    for each in paragraphs:
        document.add_paragraph(each)
    if table is not None:
        made = document.add_table(len(table), len(table[0]))
        for row, cells in enumerate(table):
            for column, text in enumerate(cells):
                made.cell(row, column).text = text
    written = io.BytesIO()
    document.save(written)
    return written.getvalue()


def test_each_kind_of_file_is_one_text_and_json_lines_are_one_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + WORDS.encode())
    (tmp_path / "b.md").write_text("# Maps\r\n\r\nAn *owl*.", newline="")
    (tmp_path / "c.pdf").write_bytes(pdf("First page.", "Second page."))
    (tmp_path / "d.docx").write_bytes(word("A title", "A paragraph.", table=[["a", "b"], ["c", "d"]]))
    (tmp_path / "e.jsonl").write_text('{"text": "one"}\n{"prompt": "p", "completion": "c"}\n')
    (tmp_path / "f.txt").write_bytes("zwölf".encode("utf-16"))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")  # of a folder what is no text is passed over
    found = read_texts([tmp_path])
    assert found.rows == [
        {"text": WORDS}, {"text": "# Maps\n\nAn *owl*."}, {"text": "First page.\n\nSecond page."},
        {"text": "A title\nA paragraph.\na\tb\nc\td"}, {"text": "one"}, {"prompt": "p", "completion": "c"}, {"text": "zwölf"},
    ]  # fmt: skip
    assert (found.files, found.duplicates, found.left_out) == (6, 0, [])
    assert found.names[5] == f"{tmp_path / 'e.jsonl'}, row 2"


def bomb() -> bytes:
    """A Word file of some kilobytes whose document is 300 MiB of spaces."""
    made = io.BytesIO(word("small"))
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as parts, parts.open("word/extra.xml", "w", force_zip64=True) as part:
        for _ in range(300):
            part.write(b" " * (1 << 20))
    return made.getvalue()


HOSTILE = {
    "locked.pdf": (lambda: locked(pdf("secret words")), "locked.pdf is locked with a password; save it without one"),
    "scan.pdf": (lambda: pdf("", ""), r"scan.pdf has 2 pages without text; they may be scanned pictures"),
    "cut.pdf": (lambda: pdf("whole")[:60], "cut.pdf cannot be read as PDF: "),
    "empty.pdf": (lambda: b"", "empty.pdf cannot be read as PDF: "),
    "bomb.docx": (bomb, r"bomb.docx unpacks to 300 MiB; 256 MiB are read at most"),
    "locked.docx": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "locked.docx is locked with a password, or in"),
    "no.docx": (lambda: b"PK\x03\x04 not really", "no.docx cannot be read as a Word file: BadZipFile"),
    "blank.docx": (lambda: word(), "blank.docx holds no text"),
    "empty.txt": (lambda: b" \n", "empty.txt holds no text"),
    "latin.md": (lambda: b"caf\xe9 au lait", "latin.md is no UTF-8 text: byte 3 cannot be read; save it as UTF-8"),
    "binary.txt": (lambda: b"a\x00b", "binary.txt is no text: it has zero bytes"),
    "odd.jsonl": (lambda: b'{"text": "a"}\n{"messages": "hi"}\n', "odd.jsonl, row 2: messages is no list of turns"),
    "keys.jsonl": (lambda: b'{"story": "a"}\n', r"keys.jsonl, row 1 has the keys \['story'\]; it needs messages, or prompt"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, name: str) -> None:
    make, said = HOSTILE[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(InputError, match=said):
        read_texts([tmp_path / name])


def test_all_bad_files_are_told_at_once_or_left_out_where_asked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(WORDS)
    for name in ("scan.pdf", "latin.md"):
        (tmp_path / name).write_bytes(HOSTILE[name][0]())
    with pytest.raises(InputError) as caught:
        read_texts([tmp_path])
    assert len(str(caught.value).splitlines()) == 2
    found = read_texts([tmp_path], unreadable="leave-out")
    assert (found.rows, found.files) == ([{"text": WORDS}], 1)
    assert [each.split(" ")[0] for each in found.left_out] == [str(tmp_path / "latin.md"), str(tmp_path / "scan.pdf")]


def test_an_unknown_ending_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("text")
    with pytest.raises(InputError, match=r"a.xyz ends in '.xyz'; texts are read from .txt, "):
        read_texts([tmp_path / "a.xyz"])
    with pytest.raises(InputError, match=r"none.pdf does not exist"):
        read_texts([tmp_path / "none.pdf"])
    with pytest.raises(InputError, match="holds no file that ends in"):
        read_texts([tmp_path])


@pytest.mark.parametrize(("duplicates", "kept"), [("keep", 5), ("exact", 4), ("normalised", 3), ("near", 2)])
def test_a_text_comes_once_by_the_measure_asked_for(tmp_path: Path, duplicates: documents.Duplicates, kept: int) -> None:
    texts = [WORDS, WORDS, WORDS.upper() + "!", WORDS.replace("old", "cold"), "Another one altogether, about a goose."]
    for n, text in enumerate(texts):
        (tmp_path / f"{n}.txt").write_text(text)
    found = read_texts([tmp_path], duplicates=duplicates)
    assert (len(found.rows), found.duplicates) == (kept, 5 - kept)
    assert found.rows[0] == {"text": WORDS}


def test_a_library_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pypdf", None)
    (tmp_path / "a.pdf").write_bytes(pdf("text"))
    with pytest.raises(InputError, match=r"a.pdf is read with pypdf, which is not installed; pip install 'ramify\[documents\]'"):
        read_texts([tmp_path])
