"""What several new tokens of one branch see: those before them, and each its own elders among them."""

import torch
from torch import Tensor

from ramify.models.kv_cache import KVBranch

__all__ = ["Fresh"]

MOST_MASKED = 2**15
"""New tokens times the tokens that they see, up to which one call with a mask takes less than two and their merge."""


class Fresh:
    """What a row of several new tokens sees: the segment in which they stand, as far as each may look, and those before in full.

    What stands before them in their own segment is seen in the same call through a mask, unless that is so much that a mask
    would cost more than a second call.
    """

    __slots__ = ("_group", "_segment", "_span", "_views", "before", "mask")

    def __init__(self, branch: KVBranch, count: int, group: int) -> None:
        """count: the new tokens, which the branch counts already. group: queries to a head of keys."""
        *before, (segment, used) = branch.path
        past = used - count
        self.mask: Tensor | None = None
        """(new tokens, seen tokens), 0 or -inf; None: as many are seen as are new."""
        if past and count * used <= MOST_MASKED:
            self.mask = torch.full((count, used), -torch.inf).triu_(past + 1)
            past = 0
        self.before = [*before, (segment, past)] if past else before
        self._segment, self._span, self._group = segment, slice(past, used), group
        block = segment.block
        self._views = None if block is None else self._grouped(block.flatten(0, 1)).unbind(0)

    def keys_values(self, layer: int) -> tuple[Tensor, Tensor]:
        """(H_kv, H / H_kv, seen, D) each, those of one head of keys all the same memory."""
        if self._views is not None:
            return self._views[2 * layer], self._views[2 * layer + 1]
        keys, values = self._segment.keys[layer], self._segment.values[layer]
        assert keys is not None, "a layer was read before it was written"
        assert values is not None
        return self._grouped(keys), self._grouped(values)

    def _grouped(self, stored: Tensor) -> Tensor:
        """(..., H_kv, capacity, D) -> (..., H_kv, H / H_kv, seen, D)."""
        seen = stored[..., self._span, :].unsqueeze(-3)
        return seen.expand(*seen.shape[:-3], self._group, *seen.shape[-2:])
