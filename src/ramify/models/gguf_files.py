"""GGUF files: which one a name means, what its head says, and whether it is whole. Nothing here needs llama.cpp.

A head is read by hand, value by value, because a vocabulary of 150,000 strings is only passed over. The layout is that of
ggml's own description, versions 2 and 3: magic, version, counts, metadata, tensors' descriptions, padding, data.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ramify.errors import InputError, ModelNotFoundError
from ramify.models.places import place_of

__all__ = ["PREFIX", "GGUFFile", "is_gguf", "read"]

PREFIX = "gguf:"
SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
LONGEST_LIST = 64
"""Lists of up to this many entries are kept; longer ones are vocabularies."""

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9

# ggml's types: elements a block, bytes a block. Types that are not here are left to llama.cpp to judge.
_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    30: (1, 2),
}
TYPE_NAMES = {0: "float32", 1: "float16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 10: "q2_k", 11: "q3_k"}
TYPE_NAMES |= {12: "q4_k", 13: "q5_k", 14: "q6_k", 30: "bfloat16"}


@dataclass(frozen=True, kw_only=True)
class GGUFFile:
    """A model in one GGUF file, or in the numbered parts of one."""

    name: str
    """As it was asked for."""
    path: Path
    """The file, or the first of its parts."""
    parts: tuple[Path, ...]
    metadata: Mapping[str, Any] = field(repr=False)
    """The head's values; lists of more than 64 entries are left out."""
    tensors: Mapping[str, int] = field(repr=False)
    """Every tensor's type, as ggml numbers them."""

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unnamed"))

    @property
    def precision(self) -> str:
        """The type that most of its matrices' bytes have: "float32", "q8_0" and the like."""
        kinds = [kind for name, kind in self.tensors.items() if name.endswith("weight") and "norm" not in name]
        most = max(set(kinds), key=kinds.count, default=0)
        return TYPE_NAMES.get(most, f"type {most}")

    @property
    def float32_only(self) -> bool:
        return all(kind == 0 for kind in self.tensors.values())


def is_gguf(target: str) -> bool:
    """Whether a name means a GGUF file: `gguf:…`, a path that ends in .gguf, or a folder with such files and no config.json."""
    if target.startswith(PREFIX) or target.endswith(".gguf"):
        return True
    if target.startswith("hf:") or not target:
        return False
    folder = place_of(target)
    return folder.is_dir() and not (folder / "config.json").is_file() and any(folder.glob("*.gguf"))


def read(target: str) -> GGUFFile:
    """Find the file and read its head.

    target: with or without `gguf:`, a file (its .gguf may be left out), or a folder that holds one.
    Raises ModelNotFoundError (no such file, several in a folder, a part is missing), InputError (no GGUF, cut short).
    """
    path = _find(target)
    parts = _parts(path)
    metadata, tensors = _head(parts[0])
    for part in parts[1:]:
        tensors |= _head(part)[1]
    return GGUFFile(name=target, path=parts[0], parts=parts, metadata=metadata, tensors=tensors)


def _find(target: str) -> Path:
    text = target.removeprefix(PREFIX)
    if not text:
        raise ModelNotFoundError(f"{target!r} names no file; give gguf:PATH, such as gguf:models/story-q8_0.gguf")
    path = place_of(text)
    if path.is_dir():
        return _only_one(path, target)
    if path.is_file():
        return path.resolve()
    ended = path.with_name(path.name + ".gguf")
    if ended.is_file():
        return ended.resolve()
    beside = sorted(path.parent.glob("*.gguf"))[:8] if path.parent.is_dir() else []
    there = f"; {str(path.parent)!r} holds {', '.join(file.name for file in beside)}" if beside else ""
    raise ModelNotFoundError(f"there is no file {text!r}{there}")


def _only_one(folder: Path, target: str) -> Path:
    files = [
        file for file in sorted(folder.glob("*.gguf")) if (match := SPLIT.fullmatch(file.name)) is None or match[2] == "00001"
    ]
    if len(files) == 1:
        return files[0].resolve()
    if not files:
        raise ModelNotFoundError(f"the folder {target!r} holds no file that ends in .gguf")
    names = ", ".join(f"{PREFIX}{folder / file.stem}" for file in files[:8]) + (" …" if len(files) > 8 else "")
    raise ModelNotFoundError(f"the folder {target!r} holds {len(files)} GGUF models; name one of them: {names}")


def _parts(path: Path) -> tuple[Path, ...]:
    match = SPLIT.fullmatch(path.name)
    if match is None:
        return (path,)
    parts = tuple(path.with_name(f"{match[1]}-{i:05d}-of-{match[3]}.gguf") for i in range(1, int(match[3]) + 1))
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ModelNotFoundError(f"{path.name!r} is one of {match[3]} parts, and {', '.join(missing)} is not beside it")
    return parts


# The head of a file.


class _CutError(Exception):
    pass


def _head(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(4)
            if magic != b"GGUF":
                raise InputError(
                    f"{str(path)!r} is no GGUF file: it begins with {magic!r} and not with b'GGUF'. Was another file renamed, or "
                    "a page saved in its place? Copy or download it again"
                )
            reader = _Reader(file)
            version = reader.number("I")
            if version not in (2, 3):
                raise InputError(f"{str(path)!r} is GGUF version {version}; versions 2 and 3 are read: convert the model again")
            tensor_count, pairs = reader.number("Q"), reader.number("Q")
            metadata = {reader.string(): reader.value(reader.number("I")) for _ in range(pairs)}
            tensors, needed = reader.tensors(tensor_count)
            begin = _aligned(file.tell(), int(metadata.get("general.alignment", 32)))
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    except (_CutError, UnicodeDecodeError, struct.error, KeyError, MemoryError, OverflowError) as error:
        raise InputError(f"{str(path)!r} is cut short, or damaged, in its head; copy or download it again") from error
    if needed and begin + needed > size:  # a file without tensors, a vocabulary alone, is not padded
        raise InputError(
            f"{str(path)!r} is cut short: its head asks for {begin + needed:,} bytes and {size:,} are there; copy or download it "
            "again"
        )
    return metadata, tensors


def _aligned(offset: int, to: int) -> int:
    return -(-offset // to) * to


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self._take(struct.calcsize(f"<{kind}")))[0]

    def string(self) -> str:
        return self._take(self.number("Q")).decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _LIST:
            return self.number(_NUMBERS[kind])
        inner, count = self.number("I"), self.number("Q")
        if count <= LONGEST_LIST:
            return [self.value(inner) for _ in range(count)]
        if inner in _NUMBERS:
            self._skip(count * struct.calcsize(f"<{_NUMBERS[inner]}"))
            return None
        for _ in range(count):
            if inner == _STRING:
                self._skip(self.number("Q"))
            else:
                self.value(inner)
        return None

    def tensors(self, count: int) -> tuple[dict[str, int], int]:
        """The tensors' types, and how many bytes of data their descriptions ask for."""
        kinds: dict[str, int] = {}
        needed = 0
        for _ in range(count):
            name = self.string()
            elements = 1
            for _ in range(self.number("I")):
                elements *= self.number("Q")
            kind, offset = self.number("I"), self.number("Q")
            kinds[name] = kind
            each, size = _BLOCKS.get(kind, (1, 0))
            needed = max(needed, offset + elements // each * size)
        return kinds, needed

    def _take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise _CutError
        return data

    def _skip(self, count: int) -> None:
        self._file.seek(count - 1, 1)
        self._take(1)
