"""Memory in pages of 2 MB: which of it, and that it holds what it held."""

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from ramify.models import huge_pages
from ramify.models.huge_pages import PAGE_BYTES, without


def huge_bytes(start: int, end: int) -> int:
    """Bytes of [start, end) that the system says lie in such pages."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            low, high = (int(each, 16) for each in first.split("-"))
            inside = low < end and start < high
        elif inside and first == "AnonHugePages:":
            total += 1024 * int(line.split()[1])
    return total


def gathers() -> bool:
    """Whether this system can."""
    probe = mmap.mmap(-1, 2 * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    probe[:] = bytes([1]) * len(probe)
    start = np.frombuffer(probe, dtype=np.uint8).ctypes.data
    try:
        probe.madvise(huge_pages.MADV_COLLAPSE, -start % PAGE_BYTES, PAGE_BYTES)
    except OSError:
        return False
    return True


def test_spans_lose_what_lies_in_others():
    assert without([(0, 10), (20, 30)], [(2, 4), (8, 22), (25, 26)]) == [(0, 2), (4, 8), (22, 25), (26, 30)]
    assert without([(0, 10)], [(0, 10)]) == []
    assert without([(0, 10)], [(1, 9), (2, 3)]) == [(0, 1), (9, 10)]
    assert without([(5, 10)], [(0, 5), (10, 12)]) == [(5, 10)]
    assert without([(5, 10)], []) == [(5, 10)]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pages are what they are")
def test_new_memory_is_gathered_unless_it_is_left_out_and_holds_what_it_held():
    before = huge_pages.mapped()
    memory = mmap.mmap(-1, 6 * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)  # a system may give such pages unasked
    numbers = np.frombuffer(memory, dtype=np.uint64)
    numbers[:] = np.arange(len(numbers), dtype=np.uint64)
    memory.madvise(mmap.MADV_HUGEPAGE)
    start = numbers.ctypes.data
    end = start + numbers.nbytes
    assert any(low <= start and end <= high for low, high in huge_pages.mapped())
    already = huge_bytes(start, end)  # of neighbours in the same mapping
    gathered = huge_pages.gather(before, but=[(start, start + 3 * PAGE_BYTES)])
    assert np.array_equal(numbers, np.arange(len(numbers), dtype=np.uint64))
    if not gathers():
        assert gathered == 0
        pytest.skip("this system gathers nothing")
    assert gathered >= 2 * PAGE_BYTES
    assert 2 * PAGE_BYTES <= huge_bytes(start, end) - already <= 3 * PAGE_BYTES
    assert huge_pages.gather(huge_pages.mapped()) == 0
