"""Where uploaded files lie until they are imported: in folders of the server's own, under names that lead nowhere."""

import os
import secrets
import shutil
import tempfile
import threading
import time
import unicodedata
from pathlib import Path

from ramify.api.errors import ApiError
from ramify.errors import InputError, NotFoundError

__all__ = ["Upload", "Uploads", "checked_name"]

IDLE_S = 3 * 3600.0
MOST, MOST_BYTES = 32, 4 * 2**30
"""Uploads at once, and bytes in all of them."""
NAME_BYTES = 200


def checked_name(name: str) -> str:
    """A file's name that can stand in any folder and means nothing there. Raises InputError that says what is wrong with it."""
    shown = repr(name[:100])
    if any(sign in name for sign in "/\\"):
        raise InputError(f"the file's name is {shown}; give the name alone, without folders")
    if not name.strip() or name.startswith(".") or name != name.strip():
        raise InputError(f"the file's name is {shown}; a name begins with no dot, and neither begins nor ends with a space")
    if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name):
        raise InputError(f"the file's name is {shown}; it must have no control characters")
    if len(name.encode()) > NAME_BYTES:
        raise InputError(f"the file's name has {len(name.encode())} bytes; at most {NAME_BYTES} are allowed")
    return name


class Upload:
    """Files that belong together, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.key = secrets.token_urlsafe(9)
        self.folder = folder / self.key
        self.folder.mkdir()
        self.sizes: dict[str, int] = {}
        self.used_at = time.monotonic()
        self.users = 0
        """Tasks that read it now."""
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Somebody reads it now; until `end` it stays as it is."""
        with self._lock:
            self.users += 1

    def end(self) -> None:
        with self._lock:
            self.users -= 1
        self.used_at = time.monotonic()

    def path(self, name: str) -> Path:
        """Raises NotFoundError for a file that was not uploaded."""
        if name not in self.sizes:
            raise NotFoundError(f"there is no file {name[:100]!r} in this upload; it has {', '.join(self.sizes) or 'none'}")
        return self.folder / name

    def shown(self, text: str) -> str:
        """A message without the folder: a user knows the files by the names he gave them."""
        return text.replace(f"{self.folder}{os.sep}", "").replace(str(self.folder), "the upload")

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Uploads:
    """By key. What nobody used for three hours goes, and the longest unused when there are too many."""

    def __init__(self) -> None:
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()
        self._folder: Path | None = None

    def folder(self) -> Path:
        """The server's own, for uploads and what is to be downloaded; nobody else can look into it."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="ramify-"))
            return self._folder

    def add(self) -> Upload:
        folder = self.folder()
        with self._lock:
            now = time.monotonic()
            idle = sorted((each for each in self._uploads.values() if not each.users), key=lambda each: each.used_at)
            for each in idle:
                if now - each.used_at > IDLE_S or len(self._uploads) >= MOST:
                    del self._uploads[each.key]
                    each.close()
            made = Upload(folder)
            self._uploads[made.key] = made
            return made

    def get(self, key: str) -> Upload:
        """Raises NotFoundError."""
        with self._lock:
            found = self._uploads.get(key)
            if found is None:
                raise NotFoundError(f"there is no upload {key[:50]!r}; it was left for hours, or the server began anew")
            found.used_at = time.monotonic()
            return found

    def drop(self, key: str) -> None:
        """Raises NotFoundError, ApiError 409 while it is being imported."""
        found = self.get(key)
        if found.users:
            raise ApiError(409, "the upload is being imported; cancel that first", code="busy")
        with self._lock:
            self._uploads.pop(key, None)
        found.close()

    def room(self) -> int:
        """Bytes that may still come."""
        with self._lock:
            return MOST_BYTES - sum(sum(each.sizes.values()) for each in self._uploads.values())

    def close(self) -> None:
        with self._lock:
            self._uploads.clear()
            folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
