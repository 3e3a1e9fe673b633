"""Files of text for a model or tokenizer from scratch: plain text, Markdown, PDF, Word; JSON Lines of rows; folders of these.

A file is one text, Markdown as it is written. PDF goes through pypdf, Word through python-docx (extra `documents`). What holds no
text, is locked or broken, or grows beyond all measure when unpacked is named with what to do; nothing is guessed.
"""

import codecs
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ramify.errors import InputError
from ramify.exchange.duplicates import Seen
from ramify.training.rows import check_row, read_rows, texts_of

__all__ = ["READERS", "Duplicates", "Texts", "Unreadable", "read_texts"]

Duplicates = Literal["keep", "exact", "normalised", "near"]
Unreadable = Literal["refuse", "leave-out"]
UNPACKED_BYTES = 256 << 20
"""Of a Word file's parts together: python-docx holds them all in memory."""


@dataclass(kw_only=True)
class Texts:
    """What files held."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """{"text": …}, {"prompt": …, "completion": …} or {"messages": […]}, in the order of the files."""
    names: list[str] = field(default_factory=list)
    """Where each row is from."""
    files: int = 0
    left_out: list[str] = field(default_factory=list)
    """Files that were not read, each with the reason."""
    duplicates: int = 0


def read_texts(paths: Sequence[Path], *, duplicates: Duplicates = "exact", unreadable: Unreadable = "refuse") -> Texts:
    """Every row of the files; of a folder every file beneath it whose ending is known.

    duplicates: which rows of equal content stay out: keep (none do), exact, normalised (but for case, space and punctuation) or
    near. unreadable: what becomes of a file that cannot be used. Raises InputError, naming all bad files at once.
    """
    if duplicates not in get_args(Duplicates):
        raise InputError(f"duplicates is {duplicates!r}; it must be one of {', '.join(get_args(Duplicates))}")
    if unreadable not in get_args(Unreadable):
        raise InputError(f"unreadable is {unreadable!r}; it must be one of {', '.join(get_args(Unreadable))}")
    found = Texts()
    again = _Again(duplicates)
    problems: list[str] = []
    for file in _files(paths):
        try:
            for name, row in _rows_of(file):
                if again(row, name):
                    found.duplicates += 1
                else:
                    found.rows.append(row)
                    found.names.append(name)
        except InputError as error:
            problems.append(str(error))
            continue
        found.files += 1
    if problems and unreadable == "refuse":
        more = f"\nand {len(problems) - 10} more" if len(problems) > 10 else ""
        raise InputError("\n".join(problems[:10]) + more)
    found.left_out = problems
    if not found.rows:
        raise InputError(f"there is no text in {', '.join(map(str, paths))}")
    return found


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; give a file or folder of {_endings()}")
        if not path.is_dir():
            yield path
            continue
        inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in READERS and each.is_file())
        if not inside:
            raise InputError(f"{path} holds no file that ends in {_endings()}")
        yield from inside


def _rows_of(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise InputError(f"{file} ends in {file.suffix or 'nothing'!r}; texts are read from {_endings()}")
    if reader is _rows:
        for number, row in enumerate(read_rows(file), start=1):
            name = f"{file}, row {number}"
            check_row(row, name)
            yield name, row
        return
    try:
        text = reader(file)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
    if not text.strip():
        raise InputError(f"{file} holds no text")
    yield str(file), {"text": text}


class _Again:
    """Whether a row has come by before."""

    def __init__(self, duplicates: Duplicates) -> None:
        self._letters: set[bytes] | None = None if duplicates == "keep" else set()
        self._seen = Seen(duplicates) if duplicates in ("normalised", "near") else None

    def __call__(self, row: dict[str, Any], name: str) -> bool:
        if self._letters is None:
            return False
        text = "\x00".join(texts_of(row))
        letters = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        if letters in self._letters:
            return True
        self._letters.add(letters)
        return self._seen is not None and self._seen.twin(text, name) is not None


# ---------------------------------------------------------------- one file


def _rows(file: Path) -> str:
    raise AssertionError(f"{file} is read row by row")


def _plain(file: Path) -> str:
    data = file.read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no UTF-8 text: byte {error.start} cannot be read; save it as UTF-8") from None
    if "\x00" in text:
        raise InputError(f"{file} is no text: it has zero bytes")
    return text.replace("\r\n", "\n")


def _pdf(file: Path) -> str:
    try:
        import pypdf
    except ImportError:
        raise _missing(file, "pypdf") from None
    try:
        reader = pypdf.PdfReader(io.BytesIO(file.read_bytes()))
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputError(f"{file} is locked with a password; save it without one")
        pages = [page.extract_text().strip() for page in reader.pages]
    except (InputError, OSError):
        raise
    except Exception as error:  # a broken file raises whatever its bytes lead to
        raise InputError(f"{file} cannot be read as PDF: {_said(error)}") from None
    if not any(pages):
        scanned = "; they may be scanned pictures, which need text recognition first" if pages else ""
        raise InputError(f"{file} has {len(pages)} pages without text{scanned}")
    return "\n\n".join(page for page in pages if page)


def _word(file: Path) -> str:
    try:
        import docx
        from docx.table import Table
    except ImportError:
        raise _missing(file, "python-docx") from None
    data = file.read_bytes()
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(
            f"{file} is locked with a password, or in the form of Word before 2007; save it anew as .docx without one"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            size = sum(part.file_size for part in parts.infolist())
        if size > UNPACKED_BYTES:
            raise InputError(f"{file} unpacks to {size >> 20} MiB; {UNPACKED_BYTES >> 20} MiB are read at most")
        blocks = []
        for block in docx.Document(io.BytesIO(data)).iter_inner_content():
            if isinstance(block, Table):
                blocks += ["\t".join(cell.text for cell in row.cells) for row in block.rows]
            else:
                blocks.append(block.text)
    except (InputError, OSError):
        raise
    except Exception as error:
        raise InputError(f"{file} cannot be read as a Word file: {_said(error)}") from None
    return "\n".join(blocks).strip()


READERS: dict[str, Callable[[Path], str]] = {
    ".txt": _plain, ".text": _plain, ".md": _plain, ".markdown": _plain, ".pdf": _pdf, ".docx": _word, ".jsonl": _rows,
}  # fmt: skip


def _endings() -> str:
    return ", ".join(READERS)


def _missing(file: Path, library: str) -> InputError:
    return InputError(f"{file} is read with {library}, which is not installed; pip install 'ramify[documents]'")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
