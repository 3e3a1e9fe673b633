"""The keys and values of branches: runs of tokens, shared by every branch that passes through them.

A branch is a path of (segment, tokens used). Forking copies the path, never the tensors. Only the last segment of a path
grows, and only while no other branch looks at it; otherwise a short tail is copied and a long one is left shared with a new
segment behind it. So beams, which fork at every token, copy a few tokens a step instead of growing a chain of one-token
segments.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["KVBranch", "KVCache", "Segment"]

COPY_BELOW_TOKENS = 64
"""A shared tail shorter than this is copied when its branch grows."""

SMALLEST_CAPACITY_TOKENS = 16


class Segment:
    """A run of tokens. keys[layer], values[layer]: (H_kv, capacity, D), of which the first `length` tokens are filled.

    block: (L, 2, H_kv, capacity, D) where all layers are alike and lie in one tensor; keys and values are views of it then.
    """

    __slots__ = ("block", "capacity", "keys", "length", "refs", "values")

    def __init__(self, num_layers: int, capacity: int) -> None:
        self.keys: list[Tensor | None] = [None] * num_layers
        self.values: list[Tensor | None] = [None] * num_layers
        self.block: Tensor | None = None
        self.capacity = capacity
        self.length = 0
        self.refs = 1

    def size_bytes(self) -> int:
        if self.block is not None:
            return self.block.nbytes
        return sum(t.nbytes for t in (*self.keys, *self.values) if t is not None)

    def take(self, block: Tensor) -> None:
        """Live in `block` from now on."""
        self.block = block
        views = block.flatten(0, 1).unbind(0)
        self.keys[:], self.values[:] = views[0::2], views[1::2]


@dataclass(slots=True, eq=False)
class KVBranch:
    """A path through the segments. `length` counts the tokens of the whole path."""

    path: list[tuple[Segment, int]]
    length: int
    freed: bool = False


class KVCache:
    """Allocates segments and counts their bytes."""

    def __init__(self, num_layers: int, shape: tuple[int, int] | None = None) -> None:
        """shape: (H_kv, D) of every layer's keys and values, where they are alike, in float32 and on a processor.

        A segment is one block then."""
        self.num_layers = num_layers
        self._shape = shape
        self._size_bytes = 0

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
            stored_keys = self._allocate(keys, segment.capacity)
            stored_values = self._allocate(values, segment.capacity)
            segment.keys[layer], segment.values[layer] = stored_keys, stored_values
        start = used - keys.shape[1]
        stored_keys[:, start:used] = keys
        stored_values[:, start:used] = values

    def _segment(self, tokens: int) -> Segment:
        segment = Segment(self.num_layers, _capacity(tokens))
        if self._shape is not None:
            segment.take(self._block(segment.capacity))
        return segment

    def _block(self, capacity: int) -> Tensor:
        assert self._shape is not None
        heads, width = self._shape
        block = torch.empty((self.num_layers, 2, heads, capacity, width), dtype=torch.float32)
        self._size_bytes += block.nbytes
        return block

    def _allocate(self, like: Tensor, capacity: int) -> Tensor:
        tensor = torch.empty((like.shape[0], capacity, like.shape[2]), dtype=like.dtype, device=like.device)
        self._size_bytes += tensor.nbytes
        return tensor

    def _release(self, segment: Segment) -> None:
        segment.refs -= 1
        if segment.refs == 0:
            self._size_bytes -= segment.size_bytes()

    def _copy_tail(self, segment: Segment, used: int, room: int) -> Segment:
        copy = self._segment(room)
        if copy.block is not None and segment.block is not None:
            copy.block[..., :used, :] = segment.block[..., :used, :]
            return copy
        for ours, theirs in ((copy.keys, segment.keys), (copy.values, segment.values)):
            for layer, stored in enumerate(theirs):
                if stored is not None:
                    ours[layer] = tensor = self._allocate(stored, copy.capacity)
                    tensor[:, :used] = stored[:, :used]
        return copy

    def _grow(self, segment: Segment, used: int, capacity: int) -> None:
        segment.capacity = _capacity(capacity)
        if segment.block is not None:
            block = self._block(segment.capacity)
            block[..., :used, :] = segment.block[..., :used, :]
            self._size_bytes -= segment.block.nbytes
            segment.take(block)
            return
        for tensors in (segment.keys, segment.values):
            for layer, stored in enumerate(tensors):
                if stored is not None:
                    tensors[layer] = tensor = self._allocate(stored, segment.capacity)
                    tensor[:, :used] = stored[:, :used]
                    self._size_bytes -= stored.nbytes


def _capacity(tokens: int) -> int:
    return -(-tokens // SMALLEST_CAPACITY_TOKENS) * SMALLEST_CAPACITY_TOKENS


def _check_alive(branch: KVBranch) -> None:
    if branch.freed:
        raise ValueError("this branch was freed; fork one that is alive")
