"""Files under a password: AES-256-GCM over 64 KiB pieces, written and read as streams, so that no plain text touches the disk.

Layout: "RAMIFYENC1\\n", 16 bytes of salt, 8 bytes of nonce prefix, then pieces. A piece is its length (4 bytes, big-endian), and
the encrypted bytes with their 16-byte tag. Its nonce is the prefix and the piece's number; what is authenticated with it says
whether it is the last, so that a file cut short is noticed. The key is scrypt (n=2^15, r=8, p=1) of the password and the salt.
"""

import io
import os
from typing import BinaryIO

from ramify.errors import InputError

__all__ = ["MAGIC", "Decrypted", "Encrypted"]

MAGIC = b"RAMIFYENC1\n"
PIECE = 64 * 1024
SALT, PREFIX, TAG = 16, 8, 16


def _cipher(password: str, salt: bytes) -> "object":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    if not password:
        raise InputError("the password is empty; give one of at least one character")
    return AESGCM(Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(password.encode()))


class Encrypted(io.RawIOBase):
    """A stream to write to; closing it writes the last piece, and leaves the stream underneath open."""

    def __init__(self, under: BinaryIO, password: str) -> None:
        self._under, self._pending, self._number = under, bytearray(), 0
        salt, self._prefix = os.urandom(SALT), os.urandom(PREFIX)
        self._aes = _cipher(password, salt)
        under.write(MAGIC + salt + self._prefix)

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self._pending += data
        while len(self._pending) > PIECE:
            self._piece(bytes(self._pending[:PIECE]), last=False)
            del self._pending[:PIECE]
        return len(data)

    def _piece(self, plain: bytes, *, last: bool) -> None:
        nonce = self._prefix + self._number.to_bytes(4, "big")
        sealed = self._aes.encrypt(nonce, plain, b"last" if last else b"more")  # type: ignore[attr-defined]
        self._under.write(len(sealed).to_bytes(4, "big") + sealed)
        self._number += 1

    def close(self) -> None:
        if not self.closed:
            self._piece(bytes(self._pending), last=True)
        super().close()


class Decrypted(io.RawIOBase):
    """A stream to read from. Raises InputError for a wrong password, and for a file that was changed or cut short."""

    def __init__(self, under: BinaryIO, password: str) -> None:
        head = under.read(len(MAGIC) + SALT + PREFIX)
        if len(head) != len(MAGIC) + SALT + PREFIX or not head.startswith(MAGIC):
            raise InputError("this is no file that Ramify encrypted")
        self._under, self._prefix, self._number = under, head[-PREFIX:], 0
        self._aes = _cipher(password, head[len(MAGIC) : -PREFIX])
        self._ready, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            self._ready = self._next()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _next(self) -> bytes:
        from cryptography.exceptions import InvalidTag

        length = int.from_bytes(self._under.read(4), "big")
        sealed = self._under.read(length) if TAG <= length <= PIECE + TAG else b""
        if len(sealed) < TAG or len(sealed) != length:
            raise InputError("the encrypted file was cut short or changed")
        nonce = self._prefix + self._number.to_bytes(4, "big")
        self._number += 1
        for word in (b"more", b"last"):
            try:
                plain: bytes = self._aes.decrypt(nonce, sealed, word)  # type: ignore[attr-defined]
            except InvalidTag:
                continue
            self._ended = word == b"last"
            if self._ended and self._under.read(1):
                raise InputError("there is something after the end of the encrypted file")
            return plain
        raise InputError("the password is wrong, or the encrypted file was changed")

    def close(self) -> None:
        self._under.close()
        super().close()
