"""Memory that a step gives back stays with the process for the next step.

glibc returns large pieces to the operating system at once, and a step asks for the same pieces again: touching a new page
takes about 2.7 µs of a virtual machine's processor, a fifth of a step of Qwen2-0.5B's shape.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["kept_memory"]

TRIM, MAP = -1, -3
"""glibc's numbers for M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
LARGEST = 128 << 20
"""Larger pieces (a gradient of a vocabulary) are returned as ever: among others they would leave gaps that nothing fits."""
USUAL = 32 << 20
"""What glibc itself comes to when pieces of that size are given back, and the most that some of it takes."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """While it lasts no piece of up to LARGEST bytes is returned; then all that is free is. Without glibc it does nothing."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    if not libc.mallopt(MAP, LARGEST):
        libc.mallopt(MAP, USUAL)
    libc.mallopt(TRIM, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(MAP, USUAL)
        libc.mallopt(TRIM, 2 * USUAL)
        libc.malloc_trim(0)
