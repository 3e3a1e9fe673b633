"""Which of a forward pass's tokens belong to which branch, and how the rows that decode are attended in few calls.

A segment that several rows share is attended once, with all their queries folded into one call; segments that are neighbouring
slots of a slab (`kv_slabs.py`) are attended in one call, each by its own row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.models.fresh_tokens import Fresh
from ramify.models.kernels import bare
from ramify.models.kv_cache import KVBranch, KVCache, Segment
from ramify.models.kv_slabs import CAPACITIES, Slab

__all__ = ["Abreast", "BatchPlan", "Row", "flash", "seen"]

_FUSED = bare(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default)

SEEN_TOKENS = 16
"""A slot is attended in steps of so many tokens, alone as in company, so that no sum depends on another row's length."""

IDLE_TOKENS = 192
"""What attending a call's first slot costs more than another, in tokens of a slot that nobody attends; three slots at most."""

_SEEN_MOST = max(CAPACITIES)
_SEEN = torch.cat([torch.zeros(_SEEN_MOST), torch.full((_SEEN_MOST,), -torch.inf)])
"""From `_SEEN_MOST - n` on: n tokens that are seen, then those that are not."""


@dataclass(slots=True)
class Row:
    """One row's new tokens: [start, start + count) of the packed sequence, after `past` tokens of its branch."""

    branch: KVBranch
    start: int
    count: int
    past: int
    fresh: Fresh | None = None
    """What several new tokens see; known from the first layer on."""


class _Part:
    """A segment, how much of it is seen, and by whom."""

    __slots__ = ("_views", "index", "rows", "segment", "used")

    def __init__(self, segment: Segment, used: int, rows: list[int]) -> None:
        self.segment, self.used, self.rows = segment, used, rows
        self.index = torch.tensor(rows) if len(rows) > 1 else None
        # All layers' at once, where they lie in one block: (1, H_kv, used, D), keys and values by turns.
        block = segment.block
        self._views = None if block is None else block[..., :used, :].flatten(0, 1).unsqueeze(1).unbind(0)

    def keys_values(self, layer: int) -> tuple[Tensor, Tensor]:
        """(1, H_kv, used, D) each."""
        if self._views is not None:
            return self._views[2 * layer], self._views[2 * layer + 1]
        return seen(self.segment, self.used, layer)

    def attend(self, layer: int, folded: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """folded: (B, H_kv, G, D), all rows' queries. Returns (rows, H_kv, G, D) and their log-sum-exp."""
        keys, values = self.keys_values(layer)
        if self.index is None:
            asking = folded if len(folded) == 1 else folded[self.rows[0] : self.rows[0] + 1]
            return flash(asking, keys, values, scale, False)
        _, kv_heads, group, width = folded.shape
        members = len(self.rows)
        asking = folded if members == len(folded) else folded[self.index]
        queries = asking.transpose(0, 1).reshape(1, kv_heads, members * group, width)
        attended, lse = flash(queries, keys, values, scale, False)
        return (
            attended[0].view(kv_heads, members, group, width).transpose(0, 1),
            lse[0].view(kv_heads, members, group).transpose(0, 1),
        )


class Abreast:
    """Neighbouring slots of one slab, each attended by a row of its own, in one call.

    Between them may stand slots that nobody attends: somebody's query is asked there, and the answer left.
    """

    __slots__ = ("_first", "_index", "_mask", "_views", "rows")

    def __init__(self, slab: Slab, members: list[tuple[int, int, int]], group: int) -> None:
        """members: (slot, tokens seen, row), by slot. group: queries that share a head of keys."""
        start, end = members[0][0], members[-1][0] + 1
        longest = max(used for _, used, _ in members)
        seen = min(slab.capacity, -(-longest // SEEN_TOKENS) * SEEN_TOKENS)
        self._views = slab.block[start:end, ..., :seen, :].flatten(1, 2).unbind(1)
        self.rows = [-1] * (end - start)
        lengths, rows = [seen] * (end - start), [members[0][2]] * (end - start)
        for slot, used, row in members:
            lengths[slot - start], rows[slot - start], self.rows[slot - start] = used, row, row
        self._mask: Tensor | None = None
        if any(length < seen for length in lengths):
            found = [_SEEN[_SEEN_MOST - length : _SEEN_MOST - length + seen] for length in lengths]
            mask = found[0] if len(found) == 1 else torch.stack(found)
            self._mask = mask.view(-1, 1, 1, seen).expand(-1, -1, group, -1)
        self._first = self.rows[0]
        in_order = self.rows == list(range(self._first, self._first + len(self.rows)))
        self._index = None if in_order else np.array(rows)

    def attend(self, layer: int, folded: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """As a part does, a row a slot."""
        out, lse = _FUSED(*self._asked(layer, folded), 0.0, False, attn_mask=self._mask, scale=scale)
        return out, lse

    def alone(self, layer: int, folded: Tensor, scale: float) -> Tensor:
        """The same where there is nothing to merge it with."""
        return F.scaled_dot_product_attention(*self._asked(layer, folded), attn_mask=self._mask, scale=scale)

    def _asked(self, layer: int, folded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query = folded
        if self._index is not None:
            query = torch.from_numpy(folded.numpy()[self._index])
        elif len(self.rows) < len(folded):
            query = folded[self._first : self._first + len(self.rows)]
        return query, self._views[2 * layer], self._views[2 * layer + 1]


def _abreast(members: list[tuple[Segment, int, int]], group: int) -> tuple[list[Abreast], list[_Part]]:
    """(segment, tokens seen, row) of one slab, by nearness: a call a neighbourhood; who finds his slot taken goes alone."""
    runs: list[list[tuple[int, int, int]]] = []
    others: list[_Part] = []
    slab = members[0][0].slab
    assert slab is not None
    farthest = 1 + min(3, IDLE_TOKENS // slab.capacity)
    for segment, used, row in sorted(members, key=lambda each: each[0].slot):
        if runs and runs[-1][-1][0] == segment.slot:
            others.append(_Part(segment, used, [row]))
        elif runs and segment.slot - runs[-1][-1][0] <= farthest:
            runs[-1].append((segment.slot, used, row))
        else:
            runs.append([(segment.slot, used, row)])
    return [Abreast(slab, run, group) for run in runs], others


@dataclass(slots=True)
class _Level:
    """Parts of paths of which no row has two: each is attended by its rows, and the results are put in the rows' order."""

    parts: list[_Part | Abreast]
    order: Any
    """Where each row's result stands among the parts', a numpy array; one behind them for a row without; None: in order."""
    whole: bool
    """Whether every row has a part here."""

    @classmethod
    def of(cls, found: list[tuple[Segment, int, list[int]]], rows: int, group: int) -> "_Level":
        parts: list[_Part | Abreast] = []
        slabs: dict[int, list[tuple[Segment, int, int]]] = {}
        for segment, used, members in found:
            if segment.slab is not None and len(members) == 1:
                slabs.setdefault(id(segment.slab), []).append((segment, used, members[0]))
            else:
                parts.append(_Part(segment, used, members))
        for each in slabs.values():
            together, others = _abreast(each, group)
            parts += [*together, *others]
        total = sum(len(part.rows) for part in parts)
        at = [total] * rows
        for place, i in enumerate(i for part in parts for i in part.rows):
            if i >= 0:
                at[i] = place
        in_order = total == rows and at == list(range(rows))
        return cls(parts, None if in_order else np.array(at), max(at) < total)


class BatchPlan:
    """Which packed tokens belong to which branch; made once per forward, read by every layer."""

    def __init__(self, cache: KVCache, branches: list[KVBranch], counts: list[int]) -> None:
        self.cache = cache
        self.rows: list[Row] = []
        start = 0
        for branch, count in zip(branches, counts, strict=True):
            past = branch.length
            cache.make_room(branch, count)
            self.rows.append(Row(branch, start, count, past))
            start += count
        self.total = start
        self.steps = [row for row in self.rows if row.count == 1]
        self.only_steps = len(self.steps) == len(self.rows)
        self.step_index = torch.tensor([row.start for row in self.steps], dtype=torch.long)
        # Decoding rows see their whole path, the token just written included.
        groups: dict[tuple[int, int], tuple[Segment, int, list[int]]] = {}
        for i, row in enumerate(self.steps):
            for segment, used in row.branch.path:
                groups.setdefault((id(segment), used), (segment, used, []))[2].append(i)
        taken = [0] * len(self.steps)
        self._found: list[list[tuple[Segment, int, list[int]]]] = []
        levels = self._found
        for segment, used, members in groups.values():
            level = max(taken[i] for i in members)
            for i in members:
                taken[i] = level + 1
            if level == len(levels):
                levels.append([])
            levels[level].append((segment, used, members))
        self._levels: list[_Level] = []
        self.longest = max((row.past + row.count for row in self.rows), default=0)
        self._places: list[tuple[Row, Any]] | None = None
        self._slots: list[tuple[Any, int, Any, Any]] = []
        self._folded_of: Tensor | None = None
        self._folded: Tensor | None = None

    def positions(self) -> Tensor:
        """(T,): each token's position in its own branch."""
        if self.only_steps:
            return torch.tensor([row.past for row in self.rows])
        return torch.cat([torch.arange(r.past, r.past + r.count) for r in self.rows])

    def levels(self, group: int) -> list[_Level]:
        """What decoding rows attend. group: queries that share a head of keys, the same in every layer."""
        if not self._levels:
            self._levels = [_Level.of(found, len(self.steps), group) for found in self._found]
        return self._levels

    def folded(self, query: Tensor, kv_heads: int) -> Tensor:
        """The steps' queries by the keys that they share, (B, H_kv, H / H_kv, D). query: (H, T, D).

        A view of a buffer that is the same in all layers is made once.
        """
        if self._folded is not None and self._folded_of is query:
            return self._folded
        steps = query.transpose(0, 1) if self.only_steps else query[:, self.step_index].transpose(0, 1)
        rows, heads, width = steps.shape
        folded = steps.reshape(rows, kv_heads, heads // kv_heads, width)
        if folded.data_ptr() == query.data_ptr():
            self._folded, self._folded_of = folded, query
        return folded

    def keep(self, layer: int, keys_values: Any) -> None:
        """Store all rows' new keys and values: a numpy array (T, 2, H_kv, D). For segments that are blocks in memory."""
        if self._places is None:
            self._places, self._slots = self._kept(keys_values.shape[2], keys_values.shape[3])
        for flat, stride, index, rows in self._slots:
            flat[index + layer * stride] = keys_values if rows is None else keys_values[rows]
        for row, place in self._places:
            if row.count == 1:
                place[layer, :, :, 0] = keys_values[row.start]
            else:
                place[layer] = keys_values[row.start : row.start + row.count].transpose(1, 2, 0, 3)

    def _kept(self, heads: int, width: int) -> tuple[list[tuple[Row, Any]], list[tuple[Any, int, Any, Any]]]:
        """Where the new keys and values go: places of rows; and of single tokens in slabs, a slab at a time, its vectors
        (N, D), how many a layer has, which ones, (R, 2, H_kv), and whose they are, None for all."""
        places: list[tuple[Row, Any]] = []
        slabs: dict[int, list[tuple[Row, Segment, int]]] = {}
        for row in self.rows:
            segment, used = row.branch.path[-1]
            assert segment.block is not None, "a segment without a block"
            if row.count == 1 and segment.slab is not None:
                slabs.setdefault(id(segment.slab), []).append((row, segment, used))
            else:
                places.append((row, segment.block.numpy()[:, :, :, used - row.count : used]))
        slots = []
        for members in slabs.values():
            slab = members[0][1].slab
            assert slab is not None
            first = np.array([segment.slot * slab.slot_numbers // width + used - 1 for _, segment, used in members])
            inside = np.arange(2 * heads).reshape(2, heads) * slab.capacity
            rows = None if len(members) == self.total else np.array([row.start for row, _, _ in members])
            slots.append((slab.flat.reshape(-1, width), slab.layer_numbers // width, first[:, None, None] + inside, rows))
        return places, slots


def flash(
    query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The processor's fused attention, which also returns the log-sum-exp. (B, H, Tq, D) -> (B, H, Tq, D), (B, H, Tq) float32."""
    out, lse = _FUSED(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
    return out, lse


def seen(segment: Segment, used: int, layer: int) -> tuple[Tensor, Tensor]:
    keys, values = segment.keys[layer], segment.values[layer]
    assert keys is not None, "a layer was read before it was written"
    assert values is not None
    return keys[:, :used].unsqueeze(0), values[:, :used].unsqueeze(0)
