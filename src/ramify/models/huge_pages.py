"""Weights in pages of 2 MB, so that reading them all at every step does not look up an address each 4 KB.

Packed weights lie wherever torch's libraries put them, so what is gathered is whatever memory was taken while a model was loaded.
Linux 6.1 and later do it; elsewhere nothing happens.
"""

import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Span", "gather", "mapped"]

Span = tuple[int, int]
"""Addresses, half-open."""

PAGE_BYTES = 2**21
MADV_COLLAPSE = 25


def mapped() -> list[Span]:
    """The process's own memory: private, writable, of no file; in ascending order."""
    maps = Path("/proc/self/maps")
    if sys.platform != "linux" or not maps.exists():
        return []
    found = []
    for line in maps.read_text().splitlines():
        addresses, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and (not name or name[0] == "[heap]"):
            start, end = (int(each, 16) for each in addresses.split("-"))
            found.append((start, end))
    return found


def gather(before: Iterable[Span], but: Iterable[Span] = ()) -> int:
    """Put what was mapped since `before` into pages of 2 MB, but for some spans. Returns how many bytes lie in such now.

    It copies, some 0.3 GB a second. A page of which nothing is used is left as it is; what loading has freed goes back first.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "madvise"):
        return 0
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    gathered = 0
    for start, end in without(mapped(), sorted((*before, *but))):
        for page in range(-(-start // PAGE_BYTES) * PAGE_BYTES, end - PAGE_BYTES + 1, PAGE_BYTES):
            gathered += PAGE_BYTES * (libc.madvise(page, PAGE_BYTES, MADV_COLLAPSE) == 0)
    return gathered


def without(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """What of `spans` lies in none of `others`; both in ascending order."""
    left, cuts = [], list(others)
    for start, end in spans:
        for first, last in cuts:
            if first >= end:
                break
            if last > start:
                if first > start:
                    left.append((start, first))
                start = max(start, last)
        if start < end:
            left.append((start, end))
    return left
