"""Segments of one size side by side, so that a step attends those of many rows in one call.

A slab is a mapping cut into slots of one capacity; a slot holds all layers' keys and values of one segment. Slots at regular
distances are one strided tensor, whatever branches they belong to. What lies behind a segment's tokens is read there too, and
weighs nothing: so a slot holds numbers from the start, never what memory happened to be.
"""

import heapq
import math
import mmap
import sys
from contextlib import suppress

import torch

__all__ = ["CAPACITIES", "Slab", "Slabs"]

CAPACITIES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Tokens of a slot. Few, so that rows of about one length share a slab."""
MOST_SLOTS = 64
MOST_BYTES = 2**27
"""Of a slab's addresses; memory is taken slot by slot, when it is written."""
WARM_BYTES = 2**24
"""Free slots may hold so much of the system's memory, all slabs together."""
PRIVATE = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}


class Slab:
    """block: (slots, L, 2, H_kv, capacity, D) float32."""

    __slots__ = ("block", "capacity", "flat", "free", "layer_numbers", "mapping", "slot_numbers", "warm")

    def __init__(self, layers: int, heads: int, width: int, capacity: int) -> None:
        self.capacity = capacity
        whole_pages = math.lcm(mmap.PAGESIZE // 4, width)  # so that a slot can go back, and begins with a vector
        self.slot_numbers = -(-layers * 2 * heads * capacity * width // whole_pages) * whole_pages
        slots = max(1, min(MOST_SLOTS, MOST_BYTES // self.slot_bytes))
        self.mapping = mmap.mmap(-1, slots * self.slot_bytes, **PRIVATE)
        whole = torch.frombuffer(self.mapping, dtype=torch.float32)
        shape = (slots, layers, 2, heads, capacity, width)
        head = capacity * width
        self.layer_numbers = 2 * heads * head
        self.block = whole.as_strided(shape, (self.slot_numbers, self.layer_numbers, heads * head, head, width, 1))
        self.flat = whole.numpy()
        self.free = list(range(slots))
        self.warm: set[int] = set()
        """Free slots that may hold something."""

    @property
    def slot_bytes(self) -> int:
        return 4 * self.slot_numbers

    def rest(self, slot: int) -> None:
        """Give the slot's memory back to the system; it reads as zeros then."""
        self.warm.discard(slot)
        if hasattr(mmap, "MADV_DONTNEED"):
            with suppress(OSError):
                self.mapping.madvise(mmap.MADV_DONTNEED, slot * self.slot_bytes, self.slot_bytes)
                return
        self.block[slot].zero_()


class Slabs:
    """All slabs of one cache. Used by one thread."""

    def __init__(self, layers: int, heads: int, width: int) -> None:
        self._shape = layers, heads, width
        self._of: dict[int, list[Slab]] = {}
        self._warm_bytes = 0

    def take(self, tokens: int) -> tuple[Slab, int] | None:
        """A slot for at least so many tokens, all numbers; None where such segments have memory of their own."""
        capacity = next((each for each in CAPACITIES if each >= tokens), None)
        if capacity is None:
            return None
        slabs = self._of.setdefault(capacity, [])
        # The emptiest: who comes together is together.
        slab = max(slabs, key=lambda each: len(each.free), default=None)
        if slab is None or not slab.free:
            try:
                slab = Slab(*self._shape, capacity)
            except OSError:  # no address space, or too many mappings
                return None
            slabs.append(slab)
        slot = heapq.heappop(slab.free)
        if slot in slab.warm:
            slab.warm.discard(slot)
            self._warm_bytes -= slab.slot_bytes
            slab.block[slot].zero_()
        return slab, slot

    def give_back(self, slab: Slab, slot: int) -> None:
        """Take back what nobody reads any more; an empty slab goes where there is another one."""
        heapq.heappush(slab.free, slot)
        slab.warm.add(slot)
        self._warm_bytes += slab.slot_bytes
        slabs = self._of[slab.capacity]
        if len(slab.free) == len(slab.block) and len(slabs) > 1:
            slabs.remove(slab)
            self._warm_bytes -= slab.slot_bytes * len(slab.warm)
        elif self._warm_bytes > WARM_BYTES:
            self._warm_bytes -= slab.slot_bytes
            slab.rest(slot)
