"""Token ids and their measures as bytes, small and readable without Python.

- ids: 3 bytes a token, big-endian (no vocabulary reaches 16,777,216).
- measures: 10 bytes a token: 4 for -logprob in millionths of a nat (4,294,967,295 stands for minus infinity), 3 for the rank
  (capped at 16,777,215; 0 where nobody told it), 3 for the entropy in millionths of a nat (16,777,215 where nobody told it: no
  vocabulary of three-byte ids reaches it). Logprob and entropy are within 5e-7 of what was given, finer than float32
  at -8.
- alternatives: planes of counts, ids and logprobs, zlib over all. Measured on made-up prose-like distributions, 100 tokens a
  completion: 83 bytes a token for 20 alternatives, 20 for 5, that is 4.1 bytes each, where 7 bytes go in.

So a stored completion costs 3 bytes a token, 13 with chosen logprobs, and the views decode all of that in plain SQL.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ramify.errors import InputError

__all__ = [
    "UNTOLD",
    "Measures",
    "alternative_columns",
    "pack_alternatives",
    "pack_candidates",
    "pack_ids",
    "pack_measures",
    "unpack_alternatives",
    "unpack_candidates",
    "unpack_ids",
    "unpack_measures",
]

Measures = tuple[float, int, float]
"""logprob (nats), rank (1 is the likeliest; 0: not told), entropy (nats; nan: not told)."""

LARGEST = (1 << 24) - 1
NEVER = (1 << 32) - 1
UNTOLD = LARGEST
UNIT = 1_000_000.0


def _bytes3(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(N,) → (N, 3) big-endian."""
    return numbers.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]


def _numbers3(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N, 3) → (N,)."""
    wide = data.astype(np.int64)
    numbers: NDArray[np.int64] = (wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2]
    return numbers


def _micro(logprobs: NDArray[np.float64]) -> NDArray[np.int64]:
    """-logprob in millionths; infinity becomes NEVER. A logprob a hair above 0, which is rounding, counts as 0."""
    scaled = np.where(np.isneginf(logprobs), 0.0, -logprobs * UNIT)
    return np.where(np.isneginf(logprobs), NEVER, np.clip(np.rint(scaled), 0, NEVER - 1)).astype(np.int64)


def _nats(micro: NDArray[np.int64]) -> NDArray[np.float64]:
    # The division is what SQL does too, so views and records agree to the last bit; 0 - x keeps zero unsigned.
    return np.where(micro == NEVER, -np.inf, 0.0 - micro / UNIT)


def pack_ids(token_ids: Sequence[int]) -> bytes:
    """3 bytes a token. Raises InputError for ids outside 0 … 16,777,215."""
    ids = np.asarray(token_ids, dtype=np.int64).reshape(-1)
    if ids.size and (ids.min() < 0 or ids.max() > LARGEST):
        raise InputError(f"token ids run from {ids.min()} to {ids.max()}; they must be between 0 and {LARGEST}")
    return _bytes3(ids).tobytes()


def unpack_ids(packed: bytes) -> tuple[int, ...]:
    return tuple(_numbers3(np.frombuffer(packed, np.uint8).reshape(-1, 3)).tolist())


def pack_measures(measures: Sequence[Measures]) -> bytes:
    """10 bytes a token. Raises InputError for a logprob that is not a number or above 0."""
    table = np.asarray(measures, dtype=np.float64).reshape(-1, 3)
    if np.isnan(table[:, :2]).any() or (table[:, 0] > 1e-4).any():
        raise InputError("logprobs, ranks and entropies must be numbers, and logprobs at most 0")
    packed = np.empty((len(table), 10), np.uint8)
    packed[:, :4] = _micro(table[:, 0]).astype(">u4").view(np.uint8).reshape(-1, 4)
    packed[:, 4:7] = _bytes3(np.clip(table[:, 1], 0, LARGEST).astype(np.int64))
    entropies = np.nan_to_num(np.clip(np.rint(table[:, 2] * UNIT), 0, UNTOLD - 1), nan=UNTOLD)
    packed[:, 7:] = _bytes3(entropies.astype(np.int64))
    return packed.tobytes()


def unpack_measures(packed: bytes) -> list[Measures]:
    data = np.frombuffer(packed, np.uint8).reshape(-1, 10)
    micro = np.ascontiguousarray(data[:, :4]).view(">u4").reshape(-1).astype(np.int64)
    third = _numbers3(data[:, 7:])
    entropies = np.where(third == UNTOLD, np.nan, third / UNIT)
    return list(zip(_nats(micro).tolist(), _numbers3(data[:, 4:7]).tolist(), entropies.tolist(), strict=True))


def _plane(numbers: NDArray[np.int64], width: int) -> bytes:
    """Byte planes, highest first: equal high bytes stand together, which zlib likes."""
    return numbers.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 4 - width :].T.tobytes()


def _from_plane(data: bytes, count: int, width: int) -> NDArray[np.int64]:
    wide = np.zeros((count, 4), np.uint8)
    wide[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(width, count).T
    return wide.view(">u4").reshape(-1).astype(np.int64)


def pack_alternatives(rows: Sequence[Sequence[tuple[int, float]]]) -> bytes | None:
    """(token id, logprob) pairs of each token. None where no token has any. At most 65,535 a token."""
    flat = [pair for row in rows for pair in row]
    if not flat:
        return None
    pack_ids([token_id for token_id, _ in flat])
    ids = np.array([token_id for token_id, _ in flat], np.int64)
    steps = _micro(np.array([logprob for _, logprob in flat], np.float64))
    counts = np.array([len(row) for row in rows], np.int64)
    whole = b"".join((len(rows).to_bytes(4, "big"), _plane(counts, 2), _plane(ids, 3), _plane(steps, 4)))
    return zlib.compress(whole, 6)


def unpack_alternatives(packed: bytes | None, tokens: int) -> list[tuple[tuple[int, float], ...]]:
    """What was packed; for None, empty tuples for so many tokens."""
    if packed is None:
        return [()] * tokens
    whole = zlib.decompress(packed)
    rows = int.from_bytes(whole[:4], "big")
    counts = _from_plane(whole[4 : 4 + 2 * rows], rows, 2)
    total, at = int(counts.sum()), 4 + 2 * rows
    ids = _from_plane(whole[at : at + 3 * total], total, 3).tolist()
    values = _nats(_from_plane(whole[at + 3 * total :], total, 4)).tolist()
    pairs = list(zip(ids, values, strict=True))
    ends = np.cumsum(counts).tolist()
    return [tuple(pairs[end - count : end]) for end, count in zip(ends, counts.tolist(), strict=True)]


def alternative_columns(packed: bytes, start: int, end: int, most: int) -> tuple[list[int], list[int], list[float]]:
    """Of tokens [start, end): how many alternatives each has, at most `most`, and then all their ids and logprobs in a row."""
    whole = zlib.decompress(packed)
    rows = int.from_bytes(whole[:4], "big")
    counts = _from_plane(whole[4 : 4 + 2 * rows], rows, 2)
    total, at = int(counts.sum()), 4 + 2 * rows
    ends = np.cumsum(counts)
    shown = slice(int(ends[start - 1]) if start else 0, int(ends[end - 1]) if end else 0)
    # The place of each alternative in its own token's list says whether it is among the first.
    places = np.arange(total) - np.repeat(ends - counts, counts)
    keep = places[shown] < most
    ids = _from_plane(whole[at : at + 3 * total], total, 3)[shown][keep]
    values = _nats(_from_plane(whole[at + 3 * total :], total, 4)[shown][keep])
    return np.minimum(counts[start:end], most).tolist(), ids.tolist(), values.tolist()


def pack_candidates(candidates: Iterable[tuple[int, float]]) -> bytes:
    """What a model could say next at a node of a beam tree: ids, then logprobs as float32, which is what models give.

    Not rounded further: a tree ranked again from these numbers must equal a search run afresh.
    """
    pairs = list(candidates)
    values = np.array([logprob for _, logprob in pairs], ">f4").tobytes()
    return pack_ids([token_id for token_id, _ in pairs]) + values


def unpack_candidates(packed: bytes) -> tuple[tuple[int, float], ...]:
    count = len(packed) // 7
    values = np.frombuffer(packed[3 * count :], ">f4").astype(np.float64).tolist()
    return tuple(zip(unpack_ids(packed[: 3 * count]), values, strict=True))


ONE_LINE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
"""Made once: `json.dumps` with settings makes an encoder for each call."""


def to_json(value: Any) -> str:
    """One line, keys in order, bytes refused: equal values have equal text."""
    return ONE_LINE.encode(value)
