"""Files that come to be all at once: written under temporary names beside their own, flushed to disk, and renamed at the end.

Until then nothing of an earlier export is touched, and whatever goes wrong, the temporary files are removed.
"""

import hashlib
import io
import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from ramify.errors import InputError
from ramify.exchange.encryption import Encrypted

__all__ = ["Output", "Outputs"]


class Output:
    """One file. `write` takes bytes; `stream` is the same for libraries that want a file."""

    def __init__(self, path: Path, password: str | None) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._file = self.temporary.open("wb")
        self._sealed = Encrypted(cast(BinaryIO, self._file), password) if password is not None else None
        self._under: Any = self._sealed if self._sealed is not None else self._file
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        """Of what was written, before encryption."""
        self.rows = 0
        self.stream = cast(BinaryIO, _Stream(self))

    def write(self, data: bytes) -> None:
        self._under.write(data)
        self._hash.update(data)
        self.size_bytes += len(data)

    @property
    def sha256(self) -> str:
        """Of what was written, before encryption: equal content has an equal hash under any password."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        if self._sealed is not None:
            self._sealed.close()
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def discard(self) -> None:
        self._file.close()
        self.temporary.unlink(missing_ok=True)


class _Stream(io.RawIOBase):
    def __init__(self, output: Output) -> None:
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self._output.write(bytes(data))
        return len(data)

    def tell(self) -> int:
        return self._output.size_bytes


class Outputs:
    """A context: leaving it without an error puts every file in its place, the one made last last."""

    def __init__(self, *, overwrite: bool, password: str | None = None) -> None:
        self._overwrite, self._password = overwrite, password
        self.made: list[Output] = []

    def named(self, path: Path) -> Path:
        """As it will be called."""
        return path.with_name(f"{path.name}.enc") if self._password is not None and path.suffix != ".enc" else path

    def add(self, path: Path, *, replaces: bool = False) -> Output:
        """A file to be written. Raises InputError where one of that name is there and may not be replaced."""
        path = self.named(path)
        if path.exists() and not (self._overwrite or replaces):
            raise InputError(f"there is a file {path} already; choose another name, or allow it with --overwrite")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}; make it first")
        self.made.append(Output(path, self._password))
        return self.made[-1]

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                for each in self.made:
                    each.finish()
                for each in self.made:
                    os.replace(each.temporary, each.path)
        finally:
            for each in self.made:
                each.discard()
