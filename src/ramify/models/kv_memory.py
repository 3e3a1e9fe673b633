"""Memory for keys and values: in one piece for a whole segment, and back with the system when there is much of it.

Segments come in every size and go at every time. From the process's heap, a tensor a layer, they left it full of holes too small
for the tensors of the next forward pass: in 2,000 rows of a batch it grew by 200 MiB that nobody used. So a segment has a
mapping of its own, and a few free ones wait to be used again, for a page's first use costs the system more than ours.
"""

import mmap
import sys
from collections import deque
from contextlib import suppress

import torch
from torch import Tensor

__all__ = ["Memory"]

SMALLEST_BYTES = 2**16
"""Below this a mapping, which has whole pages, is not worth its calls."""
FREE_BYTES = 2**24
"""What may wait to be used again, for all segments together."""
PRIVATE = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}


class Memory:
    """Gives and takes flat tensors of one type and device. Used by one thread."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self._free: deque[tuple[int, Tensor]] = deque()
        """With their lengths: asking a hundred tensors for theirs takes a millisecond."""
        self._free_bytes = 0

    def take(self, count: int) -> Tensor:
        """(count,) or up to a quarter more, of any content."""
        size_bytes = count * self.dtype.itemsize
        if self.device.type == "cpu" and size_bytes >= SMALLEST_BYTES:
            fitting = [(length, place) for place, (length, _) in enumerate(self._free) if count <= length <= count * 5 // 4]
            if fitting:
                return self._pop(min(fitting)[1])
            with suppress(OSError):  # no memory, or too many mappings: the heap has some, or says what is wrong
                return torch.frombuffer(mmap.mmap(-1, size_bytes, **PRIVATE), dtype=self.dtype)
        return torch.empty(count, dtype=self.dtype, device=self.device)

    def give_back(self, memory: Tensor) -> None:
        """Take back what nobody reads any more; it will be given to others, or to the system."""
        if self.device.type != "cpu" or not SMALLEST_BYTES <= memory.nbytes <= FREE_BYTES:
            return
        self._free.append((len(memory), memory))
        self._free_bytes += memory.nbytes
        while self._free_bytes > FREE_BYTES:
            self._pop(0)

    def _pop(self, place: int) -> Tensor:
        _, memory = self._free[place]
        del self._free[place]
        self._free_bytes -= memory.nbytes
        return memory
