"""A run's numbers as they come: log.jsonl, TensorBoard's event files, and small curves for a terminal.

log.jsonl is the one that counts: a resumed run drops its lines past the step it resumes from, for those steps are done again.
Event files are written here, in TensorBoard's own format (records of protocol buffers with a CRC-32C each), so that no
TensorBoard is needed to train.
"""

import json
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["EventFile", "Log", "curve", "read_log"]

BARS = "▁▂▃▄▅▆▇█"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's log; [] where there is none yet."""
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def curve(values: Sequence[float], width: int = 40) -> str:
    """Values as bars, least to largest, the later ones to the right; more values than `width` are averaged."""
    if not values:
        return ""
    if len(values) > width:
        bounds = [round(i * len(values) / width) for i in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]
    least, most = min(values), max(values)
    height = (most - least) or 1.0
    return "".join(BARS[int((value - least) / height * (len(BARS) - 1) + 0.5)] for value in values)


class Log:
    """Where a run's lines go."""

    def __init__(self, folder: Path, step: int, report: Callable[[dict[str, Any]], None]) -> None:
        self.path, self.report = folder / "log.jsonl", report
        kept = [line for line in read_log(folder) if line["step"] <= step] if step else []
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self.events = EventFile(folder / "tensorboard")

    def write(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.events.write(int(line["step"]), _scalars(line))
        self.report(line)


def _scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """{"train/loss": …, "validation/held/loss": …} of a line."""
    found: dict[str, float] = {}
    for name, value in line.items():
        if name == "validation":
            for rows, measured in value.items():
                of = measured if isinstance(measured, Mapping) else {"loss": measured}
                found |= {f"validation/{rows}/{key}": float(each) for key, each in of.items()}
        elif name not in ("step", "seconds", "tokens") and isinstance(value, int | float):
            found[f"train/{name}"] = float(value)
    return found


class EventFile:
    """One of TensorBoard's event files, made at the first write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Path | None = None

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """One event with these values."""
        if not scalars:
            return
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            now = time.time()
            self._file = self._folder / f"events.out.tfevents.{now:.6f}.ramify"
            self._append(_double(1, now) + _bytes(3, b"brain.Event:2"))
        values = b"".join(_bytes(1, _bytes(1, name.encode()) + _float(2, value)) for name, value in scalars.items())
        self._append(_double(1, time.time()) + _varint_field(2, step) + _bytes(5, values))

    def _append(self, event: bytes) -> None:
        assert self._file is not None
        length = struct.pack("<Q", len(event))
        record = length + struct.pack("<I", _masked_crc(length)) + event + struct.pack("<I", _masked_crc(event))
        with self._file.open("ab") as file:
            file.write(record)


# Protocol buffers: a field's number and kind, then its value.


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _varint_field(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _table() -> list[int]:
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # Castagnoli's polynomial, reflected
        found.append(value)
    return found


_CRC = _table()


def _masked_crc(data: bytes) -> int:
    """CRC-32C, turned and shifted as TensorFlow's records want it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF
