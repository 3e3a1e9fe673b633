"""Opening what was given: plain, gzip, bzip2, xz, zip and encrypted files, never more in memory than a buffer.

Nothing is unpacked onto the disk, so a member's name can lead nowhere; one that tries (`../x`, `/x`) is refused all the same.
"""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from ramify.errors import InputError
from ramify.exchange.encryption import MAGIC, Decrypted

__all__ = ["BOMB_BYTES", "BOMB_RATIO", "RECORD_BYTES", "Opened", "opened", "read_whole", "size_of"]

RECORD_BYTES = 32 * 1024 * 1024
"""The largest record, in bytes of the file; a longer one is reported and passed over."""

BOMB_BYTES, BOMB_RATIO = 256 * 1024 * 1024, 200
"""A packed file may unpack to more than so many bytes only at a smaller ratio than this; JSON packs at 3 to 20."""

PACKED: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda file: cast(BinaryIO, gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast(BinaryIO, bz2.BZ2File(file)),
    b"\xfd7zXZ\x00": lambda file: cast(BinaryIO, lzma.LZMAFile(file)),  # noqa: SIM115 - closed with the file under it
}
SUFFIXES = (".gz", ".bz2", ".xz", ".enc")


class Opened:
    """A file to read from, its name without what packing added, and how far along its packed bytes we are."""

    def __init__(self, name: str, stream: BinaryIO, under: BinaryIO) -> None:
        self.name, self.stream, self._under = name, stream, under

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    def position(self) -> int:
        """Bytes of the file on disk that were read so far."""
        try:
            return self._under.tell()
        except ValueError:
            return 0


class _Watched(io.RawIOBase):
    """What comes out of a packed file. Raises InputError where it is damaged, or swells beyond all measure."""

    def __init__(self, stream: BinaryIO, under: BinaryIO, name: str) -> None:
        self._stream, self._under, self._name, self._out = stream, under, name, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{self._name} is damaged or cut short: {error}") from None
        self._out += len(data)
        if self._out > BOMB_BYTES and self._out > BOMB_RATIO * max(1, self._under.tell()):
            raise InputError(
                f"{self._name} unpacks to more than {BOMB_RATIO} times its size; unpack it yourself if it is meant to be so"
            )
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def opened(path: Path, *, password: str | None = None) -> Iterator[list[Opened]]:
    """The files in a path: one, or the members of a zip, whose streams are to be read one after the other.

    Raises InputError for what cannot be opened: not there, a wrong password, a damaged archive, a member with a bad name.
    """
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(path.open("rb"))
        except IsADirectoryError:
            raise InputError(f"{path} is a folder; name the files, or give it with --as hf") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        name, stream = path.name, cast(BinaryIO, raw)
        for _ in range(4):  # An encrypted, packed file is two layers; nobody means more than that.
            head = stream.peek(16)[:16] if isinstance(stream, io.BufferedReader) else b""
            pack = next((make for sign, make in PACKED.items() if head.startswith(sign)), None)
            if head.startswith(MAGIC):
                if password is None:
                    raise InputError(f"{path} is encrypted; give its password (--password-file, or RAMIFY_PASSWORD)")
                stream = cast(BinaryIO, io.BufferedReader(Decrypted(stream, password)))
            elif pack is not None:
                stream = cast(BinaryIO, io.BufferedReader(_Watched(pack(stream), cast(BinaryIO, raw), str(path)), 1 << 18))
            else:
                break
            for suffix in SUFFIXES:
                name = name.removesuffix(suffix)
        if head.startswith(b"PK\x03\x04"):
            yield _members(stack, path, stream, cast(BinaryIO, raw), password)
        else:
            yield [Opened(name, stream, cast(BinaryIO, raw))]


def _members(stack: ExitStack, path: Path, stream: BinaryIO, raw: BinaryIO, password: str | None) -> list[Opened]:
    if not stream.seekable():
        raise InputError(f"{path} is a zip inside another packing; unpack it first")
    try:
        archive = stack.enter_context(zipfile.ZipFile(stream))
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{path} is no readable zip: {error}") from None
    found = []
    for info in archive.infolist():
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0:1]:
            raise InputError(f"{path} has a member named {info.filename!r}, which leads out of it; nothing was read")
        if info.is_dir() or any(part.startswith((".", "__MACOSX")) for part in parts.parts):
            continue
        found.append(Opened(info.filename, cast(BinaryIO, _Member(archive, info, raw, str(path), password)), raw))
    if not found:
        raise InputError(f"{path} has no files in it")
    return found


class _Member(io.BufferedReader):
    """A member of a zip, opened when it is first read."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, raw: BinaryIO, name: str, password: str | None) -> None:
        def stream() -> BinaryIO:
            key = None if password is None else password.encode()
            return cast(BinaryIO, archive.open(info, pwd=key if info.flag_bits & 1 else None))

        super().__init__(_Late(stream, info.compress_size, f"{name}:{info.filename}"), 1 << 18)


class _Late(io.RawIOBase):
    def __init__(self, make: Callable[[], BinaryIO], packed_bytes: int, name: str) -> None:
        self._make, self._packed, self._name, self._stream, self._out = make, packed_bytes, name, cast(BinaryIO, None), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        try:
            if self._stream is None:
                self._stream = self._make()
            data = self._stream.read(len(buffer))
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{self._name} cannot be read: {error}") from None
        self._out += len(data)
        if self._out > BOMB_BYTES and self._out > BOMB_RATIO * max(1, self._packed):
            raise InputError(
                f"{self._name} unpacks to more than {BOMB_RATIO} times its size; unpack it yourself if it is meant to be so"
            )
        buffer[: len(data)] = data
        return len(data)


def read_whole(path: Path) -> bytes:
    """The bytes of a file that describes others. Raises InputError where it is larger than a record may be."""
    with path.open("rb") as file:
        data = file.read(RECORD_BYTES + 1)
    if len(data) > RECORD_BYTES:
        raise InputError(f"it is larger than {RECORD_BYTES // 1024 // 1024} MiB")
    return data


def size_of(path: Path) -> int:
    """Bytes on disk; 0 where nobody knows."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
