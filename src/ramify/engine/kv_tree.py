"""Which prefixes are remembered, so that no prompt is computed twice; and which branches a request holds, so that none leaks."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from ramify.models.base import Backend, Trunk

__all__ = ["Branches", "KVTree"]

BLOCK_TOKENS = 8
"""Prefixes are looked up in steps of this many tokens, then matched token by token."""

COMPARED = 16
"""Of those that share a block, so many are looked at token by token, the newest: thousands may begin with the same words, and
what is missed is less than a block."""


class _Kept:
    """A finished branch that later requests may grow from."""

    __slots__ = ("branch", "ids", "keys")

    def __init__(self, branch: Trunk, ids: tuple[int, ...], keys: list[int]) -> None:
        self.branch = branch
        self.ids = ids
        self.keys = keys


class KVTree:
    """Remembers finished branches, least recently used first to go, within a budget of bytes."""

    def __init__(self, backend: Backend, budget_bytes: int) -> None:
        self.backend = backend
        self.budget_bytes = budget_bytes
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._by_prefix: dict[int, dict[int, _Kept]] = {}

    def open(self, ids: Sequence[int]) -> Trunk:
        """A branch with the longest remembered prefix of `ids`, one token short of all at most; its length says how many."""
        kept, length = self._longest(tuple(ids))
        if kept is None:
            return self.backend.root()
        self._kept.move_to_end(id(kept))
        return self.backend.fork(kept.branch, min(length, len(ids) - 1))

    def remembered(self, ids: tuple[int, ...]) -> int:
        """How many first tokens of `ids` a branch would begin with."""
        return self._longest(ids)[1]

    def keep(self, branch: Trunk, ids: Sequence[int]) -> None:
        """Take over a branch whose tokens are `ids`, for later requests."""
        ids = tuple(ids)
        keys = _block_keys(ids)
        if not keys or not self.backend.info.shares_trunks:
            self.backend.free(branch)
            return
        covering, length = self._longest(ids)
        if covering is not None and length == len(ids):
            self._kept.move_to_end(id(covering))
            self.backend.free(branch)
            return
        if covering is not None and length == len(covering.ids):
            self._forget(covering)
        kept = _Kept(branch, ids, keys)
        self._kept[id(kept)] = kept
        for key in keys:
            self._by_prefix.setdefault(key, {})[id(kept)] = kept
        self.shrink()

    def shrink(self) -> None:
        """Forget the least recently used until the budget holds."""
        while self._kept and self.backend.size_bytes() > self.budget_bytes:
            self._forget(next(iter(self._kept.values())))

    def clear(self) -> None:
        """Forget everything."""
        while self._kept:
            self._forget(next(iter(self._kept.values())))

    def _longest(self, ids: tuple[int, ...]) -> tuple[_Kept | None, int]:
        """Of those that share the most blocks, the one that shares the most tokens, and how many."""
        found: dict[int, _Kept] = {}
        depth = 0
        for depth, key in enumerate(_block_keys(ids), 1):
            deeper = self._by_prefix.get(key)
            if not deeper:
                depth -= 1
                break
            found = deeper
        best, length, shared = None, 0, depth * BLOCK_TOKENS
        for kept in islice(reversed(found.values()), COMPARED):
            # Its first blocks are equal, or their hashes are.
            common = shared + common_length(kept.ids[shared : shared + BLOCK_TOKENS], ids[shared : shared + BLOCK_TOKENS])
            if common > length and kept.ids[:common] == ids[:common]:
                best, length = kept, common
                if length == len(ids):
                    break
        return best, length

    def _forget(self, kept: _Kept) -> None:
        del self._kept[id(kept)]
        for key in kept.keys:
            sharing = self._by_prefix[key]
            del sharing[id(kept)]
            if not sharing:
                del self._by_prefix[key]
        self.backend.free(kept.branch)


class Branches:
    """The branches one request holds. Closing frees whatever is left, however the request ended."""

    def __init__(self, tree: KVTree) -> None:
        self._tree = tree
        self._held: dict[int, Trunk] = {}

    def open(self, ids: Sequence[int], *, reuse: bool = True) -> Trunk:
        """A branch to grow `ids` on; its length says how many of them it has already."""
        return self._hold(self._tree.open(ids) if reuse else self._tree.backend.root())

    def fork(self, branch: Trunk, at: int | None = None) -> Trunk:
        return self._hold(self._tree.backend.fork(branch, at))

    def free(self, branch: Trunk) -> None:
        del self._held[id(branch)]
        self._tree.backend.free(branch)

    def keep(self, branch: Trunk, ids: Sequence[int]) -> None:
        """Leave a branch, whose tokens are `ids`, to later requests."""
        del self._held[id(branch)]
        self._tree.keep(branch, ids)

    def close(self) -> None:
        for branch in self._held.values():
            self._tree.backend.free(branch)
        self._held.clear()

    def _hold(self, branch: Trunk) -> Trunk:
        self._held[id(branch)] = branch
        return branch


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many first elements are equal."""
    limit = min(len(a), len(b))
    if a[:limit] == b[:limit]:
        return limit
    low, high = 0, limit  # a[:low] is common, a[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle
    return low


def _block_keys(ids: tuple[int, ...]) -> list[int]:
    keys, key = [], 0
    for start in range(0, len(ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        key = hash((key, ids[start : start + BLOCK_TOKENS]))
        keys.append(key)
    return keys
