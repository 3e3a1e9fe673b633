"""Where input comes from and output goes to: a path, or any URL that fsspec opens (`s3://bucket/key`).

Output is written under a temporary name beside its own and renamed when it is whole, so a reader never sees half of it.
"""

import contextlib
import glob
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import psutil

from ramify.errors import ForbiddenError, InputError, WorkspaceError

__all__ = ["allowed", "check_output", "exists", "identity", "is_url", "local_copy", "written"]

SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://|memory:")
"""Not `file:`, which is a path."""


def is_url(path: str) -> bool:
    return bool(SCHEME.match(path)) and not path.startswith("file://")


def _plain(path: str) -> Path:
    """Raises InputError for what no path can be."""
    try:
        if "\0" in path:
            raise ValueError("a NUL character")
        path.encode()
        return Path(path.removeprefix("file://")).expanduser()
    except (ValueError, RuntimeError) as error:  # no text, or the home of nobody
        raise InputError(f"{path[:100]!r} is no path: {error}") from None


def _opened(url: str) -> tuple[Any, str]:
    """A file system and the path on it. Raises InputError for a scheme that nobody opens, or whose package is not here."""
    import fsspec

    try:
        system, inside = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise InputError(f"{url} cannot be opened: {error}; install what it names") from None
    except ValueError as error:
        raise InputError(f"{url} cannot be opened: {error}") from None
    return system, str(inside)


def _named(url: str, inside: str) -> None:
    if url.endswith("/") or not posixpath.basename(inside) or "/" not in inside.strip("/"):
        if url.startswith("memory:"):
            return
        raise InputError(f"{url} names a bucket or folder and no file in it; give a file, such as {url.rstrip('/')}/output.json")


def exists(path: str) -> bool:
    if not is_url(path):
        return _plain(path).exists()
    system, inside = _opened(path)
    with _told(path, "looked at"):
        return bool(system.exists(inside))


def check_output(path: str, *, overwrite: bool) -> None:
    """Before anything runs. Raises InputError where nothing could be written, or something would be lost."""
    if is_url(path):
        system, inside = _opened(path)
        _named(path, inside)
        with _told(path, "looked at"):
            there = bool(system.exists(inside))
    else:
        plain = _plain(path)
        if plain.is_dir():
            raise InputError(f"{path} is a folder; give a file in it, such as {plain / 'output.json'}")
        if not plain.parent.is_dir():
            raise InputError(f"there is no folder {plain.parent}; make it first")
        if not os.access(plain.parent, os.W_OK):
            raise InputError(f"nothing can be written in {plain.parent}; choose another folder")
        there = plain.exists()
    if there and not overwrite:
        raise InputError(f"there is a file {path} already; choose another name, or allow it with --overwrite")


def identity(path: str) -> str:
    """Says whether a file is still the one it was: its size, and its time or tag. Raises InputError where it is not there."""
    if not is_url(path):
        plain = _plain(path)
        if plain.is_dir():
            raise InputError(f"{path} is a folder; name the file")
        try:
            status = plain.stat()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        return f"{status.st_size}/{status.st_mtime_ns}"
    system, inside = _opened(path)
    _named(path, inside)
    with _told(path, "read"):
        info = system.info(inside)
    return f"{info.get('size')}/{info.get('ETag') or info.get('mtime') or info.get('LastModified') or info.get('created') or ''}"


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """The file on this machine: itself, or a copy that is removed at the end. Raises InputError."""
    if not is_url(path):
        if not _plain(path).exists():
            raise InputError(f"there is no file {path}")
        yield _plain(path)
        return
    system, inside = _opened(path)
    _named(path, inside)
    with tempfile.TemporaryDirectory(prefix="ramify-") as folder:
        copy = Path(folder) / posixpath.basename(inside)
        with _told(path, "read"):
            system.get_file(inside, str(copy))
        yield copy


@contextlib.contextmanager
def written(path: str, tag: str) -> Iterator[BinaryIO]:
    """A file that takes its name when the block ends without an error, and else leaves nothing.

    tag: what the temporary name carries, beside the process's number; who writes the same again after a crash removes what was
    left. Raises WorkspaceError where it cannot be written, with the reason: nothing is lost, the results are in the workspace.
    """
    if not is_url(path):
        with _written_here(_plain(path), tag) as file:
            yield file
        return
    system, inside = _opened(path)
    part = posixpath.join(posixpath.dirname(inside), f".{posixpath.basename(inside)}.{tag}.{os.getpid()}.part")
    done = False
    with _told(path, "written"):
        file = system.open(part, "wb")
        try:
            yield cast(BinaryIO, file)
            file.close()
            system.mv(part, inside)
            done = True
        finally:
            if not done:
                with contextlib.suppress(Exception):
                    file.close()
                with contextlib.suppress(Exception):
                    system.rm(part)


@contextlib.contextmanager
def _written_here(path: Path, tag: str) -> Iterator[BinaryIO]:
    part = path.with_name(f".{path.name}.{tag}.{os.getpid()}.part")
    for left in path.parent.glob(f".{glob.escape(path.name)}.{tag}.*.part"):
        if not psutil.pid_exists(int(left.suffixes[-2].strip("."))):
            left.unlink(missing_ok=True)
    try:
        with part.open("wb") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise WorkspaceError(
            f"{path} cannot be written: {error.strerror or error}. The results are kept in the workspace; free some space or "
            "choose another place, and `ramify batch retry` writes it"
        ) from error
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _told(path: str, what: str) -> Iterator[None]:
    """A file system's errors in our words; each has its own, and none is a defect of ours."""
    try:
        yield
    except (InputError, WorkspaceError):
        raise
    except FileNotFoundError:
        raise InputError(f"there is no {path}; does the bucket or folder exist?") from None
    except Exception as error:
        kind = WorkspaceError if what == "written" else InputError
        raise kind(f"{path} cannot be {what}: {type(error).__name__}: {error}") from error


# ---------------------------------------------------------------- who may name which


def allowed(path: str, roots: Sequence[str], *, option: str = "--batch-root") -> str:
    """The path, made absolute, where it lies under one of the roots. Raises ForbiddenError, which names no root's content."""
    found = _normal(path)
    for root in roots:
        base = _normal(root)
        if found == base or found.startswith(base.rstrip("/") + "/"):
            return found
    told = "it reads and writes under none" if not roots else f"it reads and writes only under {', '.join(roots)}"
    raise ForbiddenError(f"{path} is not open to requests of this server: {told}. {option} names a folder or URL", status=403)


def _normal(path: str) -> str:
    """Without `..`, and without links where it is a path."""
    if not is_url(path):
        try:
            return str(_plain(path).resolve())
        except (OSError, RuntimeError) as error:  # too long, or a ring of links
            raise InputError(f"{path[:100]!r} is no path: {error}") from None
    scheme, _, rest = path.partition("://")
    if ".." in rest.split("/") or "%" in rest or "::" in path:
        raise InputError(f"{path} goes up, or through another address; name the file itself")
    return f"{scheme.lower()}://{rest}"
