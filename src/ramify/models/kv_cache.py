"""The keys and values of branches: runs of tokens, shared by every branch that passes through them.

A branch is a path of (segment, tokens used). Forking copies the path, never the tensors. Only the last segment of a path
grows. Where other branches look at it too, the first to go on from a short tail's end has the room behind it, and for others
it is copied; a long tail is left shared with a new segment behind it. So beams, which fork at every token, copy a few tokens
a step instead of growing a chain of one-token segments.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.models.kv_memory import Memory
from ramify.models.kv_slabs import Slab, Slabs

__all__ = ["KVBranch", "KVCache", "Segment"]

COPY_BELOW_TOKENS = 64
"""A shared tail shorter than this is copied when its branch grows."""

SMALLEST_CAPACITY_TOKENS = 16

SPARE_TOKENS = 32
"""Room behind a long run, so that a short answer to a prompt does not make it move."""

Stored = list[Tensor | None]
"""A tensor a layer; None in a layer that was never written."""


class Segment:
    """A run of tokens. keys[layer], values[layer]: (H_kv, capacity, D), of which the first `length` tokens are filled.

    block: (L, 2, H_kv, capacity, D), all of them at once, where the cache was told that all layers are alike. slab: where it is a
    slot, unless it has memory of its own.
    """

    __slots__ = ("block", "capacity", "keys", "length", "memory", "refs", "slab", "slot", "values")

    def __init__(self, num_layers: int, capacity: int) -> None:
        self.keys: Stored = [None] * num_layers
        self.values: Stored = [None] * num_layers
        self.memory: Tensor | None = None
        """In which all of them lie, where the cache knew their shapes."""
        self.block: Tensor | None = None
        self.slab: Slab | None = None
        self.slot = 0
        self.capacity = capacity
        self.length = 0
        self.refs = 1

    def size_bytes(self) -> int:
        if self.block is not None:
            return self.block.nbytes
        return sum(t.nbytes for t in (*self.keys, *self.values) if t is not None)


@dataclass(slots=True, eq=False)
class KVBranch:
    """A path through the segments. `length` counts the tokens of the whole path."""

    path: list[tuple[Segment, int]]
    length: int
    freed: bool = False


class KVCache:
    """Allocates segments and counts their bytes."""

    def __init__(self, num_layers: int, shape: tuple[int, int] | None = None) -> None:
        """shape: (H_kv, D) of every layer's keys and values, where they are alike, in float32 and on a processor; every segment
        has a block then.
        """
        self.num_layers = num_layers
        self._size_bytes = 0
        self._alike = shape
        self._memory = Memory(torch.float32, torch.device("cpu")) if shape else None
        self._slabs = Slabs(num_layers, *shape) if shape else None
        self._shapes = {(layer, is_keys): shape for layer in range(num_layers) for is_keys in (True, False)} if shape else {}
        """(H_kv, D) of the keys (True) and values (False) of every layer that was written once."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments that some branch still holds."""
        return self._size_bytes

    def root(self) -> KVBranch:
        return KVBranch([], 0)

    def fork(self, branch: KVBranch, at: int | None = None) -> KVBranch:
        """The first `at` tokens of `branch`, sharing its segments."""
        _check_alive(branch)
        at = branch.length if at is None else at
        if not 0 <= at <= branch.length:
            raise ValueError(f"cannot fork at token {at} of a branch of {branch.length}")
        path: list[tuple[Segment, int]] = []
        left = at
        for segment, used in branch.path:
            if left == 0:
                break
            path.append((segment, min(used, left)))
            segment.refs += 1
            left -= path[-1][1]
        return KVBranch(path, at)

    def free(self, branch: KVBranch) -> None:
        _check_alive(branch)
        for segment, _ in branch.path:
            self._release(segment)
        branch.path = []
        branch.freed = True

    def make_room(self, branch: KVBranch, count: int) -> None:
        """Give `branch` a last segment of its own with space for `count` more tokens, and count them as filled.

        The caller writes their keys and values with `write` before anything reads them.
        """
        _check_alive(branch)
        if branch.path:
            segment, used = branch.path[-1]
            if segment.refs == 1:
                segment.length = used  # nobody else sees what lay beyond
            elif used == segment.length < COPY_BELOW_TOKENS and used + count <= segment.capacity:
                pass  # nobody has gone on from there: the first who does has the room behind it, the others copy
            elif used < COPY_BELOW_TOKENS:
                segment = self._copy_tail(segment, used, used + count)
                self._release(branch.path[-1][0])
            else:
                segment, used = self._segment(count), 0
                branch.path.append((segment, 0))
        else:
            segment, used = self._segment(count), 0
            branch.path.append((segment, 0))
        if used + count > segment.capacity:
            self._grow(segment, used, max(used + count, segment.capacity + segment.capacity // 2))
        segment.length = used + count
        branch.path[-1] = (segment, used + count)
        branch.length += count

    def write(self, branch: KVBranch, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store the last tokens' keys and values. keys: (H_kv, count, D_k), values: (H_kv, count, D_v)."""
        segment, used = branch.path[-1]
        stored_keys, stored_values = segment.keys[layer], segment.values[layer]
        if stored_keys is None or stored_values is None:
            stored_keys = segment.keys[layer] = self._learn(segment, layer, True, keys)
            stored_values = segment.values[layer] = self._learn(segment, layer, False, values)
        start = used - keys.shape[1]
        stored_keys[:, start:used] = keys
        stored_values[:, start:used] = values

    def _segment(self, tokens: int) -> Segment:
        """Room for at least so many tokens."""
        spare = SPARE_TOKENS if tokens >= COPY_BELOW_TOKENS else 0
        segment = Segment(self.num_layers, _capacity(tokens + spare))
        self._allocate(segment)
        return segment

    def _allocate(self, segment: Segment) -> None:
        """Give a segment the memory of all its layers, in one piece, and before the forward pass: tensors that stay, each made
        among those that come and go with its layer, would leave holes all over the heap."""
        if self._memory is None:
            return
        if self._slabs is not None and (found := self._slabs.take(segment.capacity)) is not None:
            segment.slab, segment.slot = found
            segment.capacity = segment.slab.capacity
            segment.block = segment.slab.block[segment.slot]
            views = segment.block.flatten(0, 1).unbind(0)
            segment.keys, segment.values = list(views[0::2]), list(views[1::2])
            self._size_bytes += segment.size_bytes()
            return
        per_token = sum(heads * width for heads, width in self._shapes.values())
        segment.memory = memory = self._memory.take(per_token * segment.capacity)
        segment.capacity = len(memory) // per_token // SMALLEST_CAPACITY_TOKENS * SMALLEST_CAPACITY_TOKENS
        if self._alike is not None:
            heads, width = self._alike
            parts = memory[: per_token * segment.capacity].view(-1, heads, segment.capacity, width)
            segment.block = parts.view(self.num_layers, 2, *parts.shape[1:])
            each = parts.unbind(0)
            segment.keys, segment.values = list(each[0::2]), list(each[1::2])
        else:
            start = 0
            for (layer, is_keys), (heads, width) in self._shapes.items():
                shape, strides = (heads, segment.capacity, width), (segment.capacity * width, width, 1)
                (segment.keys if is_keys else segment.values)[layer] = memory.as_strided(shape, strides, start)
                start += heads * segment.capacity * width
        self._size_bytes += segment.size_bytes()

    def _learn(self, segment: Segment, layer: int, is_keys: bool, like: Tensor) -> Tensor:
        """Memory for a layer that no segment had yet; those to come have it from the start."""
        heads, _, width = like.shape
        if self._memory is None:
            self._memory = Memory(like.dtype, like.device)
        if (like.dtype, like.device) == (self._memory.dtype, self._memory.device):
            self._shapes[layer, is_keys] = heads, width
        tensor = torch.empty((heads, segment.capacity, width), dtype=like.dtype, device=like.device)
        self._size_bytes += tensor.nbytes
        return tensor

    def _release(self, segment: Segment) -> None:
        segment.refs -= 1
        if segment.refs == 0:
            self._size_bytes -= segment.size_bytes()
            self._give_back(segment)

    def _give_back(self, segment: Segment) -> None:
        if segment.slab is not None and self._slabs is not None:
            self._slabs.give_back(segment.slab, segment.slot)
        segment.slab = None
        if segment.memory is not None and self._memory is not None:
            self._memory.give_back(segment.memory)
        segment.memory = None

    def _copy_tail(self, segment: Segment, used: int, tokens: int) -> Segment:
        copy = self._segment(tokens)
        self._fill(copy, segment, used)
        return copy

    def _grow(self, segment: Segment, used: int, tokens: int) -> None:
        larger = Segment(self.num_layers, _capacity(tokens))
        self._allocate(larger)
        self._fill(larger, segment, used)
        self._size_bytes -= segment.size_bytes()
        self._give_back(segment)
        segment.keys, segment.values = larger.keys, larger.values
        segment.memory, segment.block, segment.capacity = larger.memory, larger.block, larger.capacity
        segment.slab, segment.slot = larger.slab, larger.slot

    def _fill(self, segment: Segment, source: Segment, used: int) -> None:
        """Copy the first `used` tokens."""
        if segment.block is not None and source.block is not None:
            segment.block[..., :used, :] = source.block[..., :used, :]
            return
        for mine, theirs, is_keys in ((segment.keys, source.keys, True), (segment.values, source.values, False)):
            for layer, stored in enumerate(theirs):
                if stored is not None:
                    tensor = mine[layer]
                    if tensor is None:
                        tensor = mine[layer] = self._learn(segment, layer, is_keys, stored)
                    tensor[:, :used] = stored[:, :used]


def _capacity(tokens: int) -> int:
    return -(-tokens // SMALLEST_CAPACITY_TOKENS) * SMALLEST_CAPACITY_TOKENS


def _check_alive(branch: KVBranch) -> None:
    if branch.freed:
        raise ValueError("this branch was freed; fork one that is alive")
