"""Attention over a tree of keys and values, for models of the transformers library.

The rows of a batch arrive packed in one (1, H, T, D) sequence. Each row attends its own path of segments; a segment shared
by several rows is read once, with all their queries folded into one call, and the parts are merged by their log-sum-exp.
Source of the merge: Juravsky et al. 2024, "Hydragen"; Dao et al. 2022, "FlashAttention" (the log-sum-exp of a block).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.models.kv_cache import KVBranch, KVCache, Segment

__all__ = ["NAME", "BatchPlan", "attend", "register", "windows_seen"]

NAME = "ramify_tree"

NOTHING = float(np.finfo(np.float32).min)
"""The log-sum-exp of a row where it sees nothing; minus infinity would leave no number of two such."""

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default

windows_seen: set[int] = set()
"""The sliding windows that models handed over, for the trial at load."""


@dataclass(slots=True)
class _Row:
    """One row's new tokens: [start, start + count) of the packed sequence, after `past` tokens of its branch."""

    branch: KVBranch
    start: int
    count: int
    past: int
    path: list[tuple[Segment, int]] = field(default_factory=list)
    """What the new tokens see in full: the path without the tokens of this forward."""


class _Part:
    """A segment, how much of it is seen, and by whom: the one row, or the first and the index of several."""

    __slots__ = ("_views", "first", "index", "segment", "used")

    def __init__(self, segment: Segment, used: int, members: list[int]) -> None:
        self.segment, self.used, self.first = segment, used, members[0]
        self.index = torch.tensor(members) if len(members) > 1 else None
        # All layers' at once, where they lie in one block: (1, H_kv, used, D), keys and values by turns.
        block = segment.block
        self._views = None if block is None else block[..., :used, :].flatten(0, 1).unsqueeze(1).unbind(0)

    def keys_values(self, layer: int) -> tuple[Tensor, Tensor]:
        """(1, H_kv, used, D) each."""
        if self._views is not None:
            return self._views[2 * layer], self._views[2 * layer + 1]
        return _seen(self.segment, self.used, layer)


@dataclass(slots=True)
class _Level:
    """Parts of paths of which no row has two: each is attended by its rows, and the results are put in the rows' order."""

    parts: list[_Part]
    order: Tensor | None
    """Where each row's result stands among the parts', one behind them for rows that have no part here; None: in order."""

    @classmethod
    def of(cls, parts: list[tuple[Segment, int, list[int]]], rows: int) -> "_Level":
        found = sum(len(members) for _, _, members in parts)
        at = [found] * rows
        for place, i in enumerate(i for _, _, members in parts for i in members):
            at[i] = place
        shown = [_Part(segment, used, members) for segment, used, members in parts]
        return cls(shown, None if found == rows and at == list(range(rows)) else torch.tensor(at))


class BatchPlan:
    """Which packed tokens belong to which branch; made once per forward, read by every layer."""

    def __init__(self, cache: KVCache, branches: list[KVBranch], counts: list[int]) -> None:
        self.cache = cache
        self.rows: list[_Row] = []
        start = 0
        for branch, count in zip(branches, counts, strict=True):
            past = branch.length
            cache.make_room(branch, count)
            row = _Row(branch, start, count, past)
            *before, (segment, used) = branch.path
            row.path = [*before, (segment, used - count)] if used > count else before
            self.rows.append(row)
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
        levels: list[list[tuple[Segment, int, list[int]]]] = []
        for segment, used, members in groups.values():
            level = max(taken[i] for i in members)
            for i in members:
                taken[i] = level + 1
            if level == len(levels):
                levels.append([])
            levels[level].append((segment, used, members))
        self.levels = [_Level.of(parts, len(self.steps)) for parts in levels]
        self.longest = max((row.past + row.count for row in self.rows), default=0)
        self._places: list[Any] = []
        self._folded_of: Tensor | None = None
        self._folded: tuple[Tensor, tuple[Tensor, ...]] | None = None

    def positions(self) -> Tensor:
        """(T,): each token's position in its own branch."""
        if self.only_steps:
            return torch.tensor([row.past for row in self.rows])
        return torch.cat([torch.arange(r.past, r.past + r.count) for r in self.rows])

    def folded(self, query: Tensor, kv_heads: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The steps' queries by the keys that they share, (B, H_kv, H / H_kv, D), and each row's, (1, …). query: (H, T, D).

        Views of a buffer that is the same in all layers are made once.
        """
        if self._folded is not None and self._folded_of is query:
            return self._folded
        steps = query.transpose(0, 1) if self.only_steps else query[:, self.step_index].transpose(0, 1)
        rows, heads, width = steps.shape
        folded = steps.reshape(rows, kv_heads, heads // kv_heads, width)
        found = folded, folded.split_with_sizes([1] * rows)
        if folded.data_ptr() == query.data_ptr():
            self._folded, self._folded_of = found, query
        return found

    def keep(self, layer: int, keys_values: Any) -> None:
        """Store all rows' new keys and values: a numpy array (T, 2, H_kv, D). For segments that are blocks in memory."""
        if not self._places:
            for row in self.rows:
                segment, used = row.branch.path[-1]
                assert segment.block is not None, "a segment without a block"
                self._places.append(segment.block.numpy()[:, :, :, used - row.count : used])
        for row, place in zip(self.rows, self._places, strict=True):
            if row.count == 1:
                place[layer, :, :, 0] = keys_values[row.start]
            else:
                place[layer] = keys_values[row.start : row.start + row.count].transpose(1, 2, 0, 3)


def register() -> None:
    """Make the attention known to transformers under `NAME`, with masks left to it. Doing it twice is harmless."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, tree_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    ramify_plan: BatchPlan,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query: (1, H, T, D); key, value: (1, H_kv, T, D). Returns ((1, T, H, D_v), None), as transformers wants it.

    Keys and values are kept, and attention is computed, in float32 whatever the model's precision: in bfloat16 the way in which
    a row's path is cut into segments, and so who shares it, would show in every third digit.
    """
    plan, precision = ramify_plan, query.dtype
    query, key, value = query.float(), key.float(), value.float()
    layer: int = module.layer_idx  # type: ignore[assignment]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    for row in plan.rows:
        end = row.start + row.count
        plan.cache.write(row.branch, layer, key[0, :, row.start : end], value[0, :, row.start : end])
    out = attend(plan, layer, query[0], key[0], value[0], scale=scale, window=sliding_window, softcap=softcap, sinks=s_aux)
    return out.unsqueeze(0).to(precision), None


def attend(
    plan: BatchPlan,
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """The rows' new tokens over their paths, whose keys and values are kept already.

    query: (H, T, D); key, value: (H_kv, T, D), the new ones; all float32. Returns (T, H, D_v).
    """
    if window is not None:
        windows_seen.add(window)
    plain = softcap is None and sinks is None and key.shape[-1] == value.shape[-1] and query.device.type == "cpu"

    def fits(row: _Row) -> bool:
        return plain and (window is None or row.past + row.count <= window)

    if plan.only_steps and plain and (window is None or plan.longest <= window):
        return _decode(plan, layer, query, scale)
    out = torch.empty((plan.total, query.shape[0], value.shape[-1]), device=query.device)
    if any(map(fits, plan.steps)):
        out[plan.step_index] = _decode(plan, layer, query, scale)
    for row in plan.rows:
        # Which way a row goes depends on the row alone.
        fitting = fits(row)
        if fitting and row.count == 1:
            continue
        end = row.start + row.count
        q = query[:, row.start : end]
        if fitting:
            out[row.start : end] = _prefill(row, layer, q, key[:, row.start : end], value[:, row.start : end], scale)
        else:
            out[row.start : end] = _dense(row, layer, q, scale, window, softcap, sinks)
    return out


def _flash(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    """The processor's fused attention, which also returns the log-sum-exp. (1, H, Tq, D) -> (1, H, Tq, D), (1, H, Tq) float32."""
    out, lse = _FUSED(query, key, value, 0.0, causal, scale=scale)
    return out, lse


def _decode(plan: BatchPlan, layer: int, query: Tensor, scale: float) -> Tensor:
    """Rows of one new token. query: (H, T, D), of which the plan's steps are computed. Returns (B, H, D)."""
    kv_heads = plan.levels[0].parts[0].keys_values(layer)[0].shape[1]
    folded, singles = plan.folded(query, kv_heads)
    rows, _, group, width = folded.shape
    heads = kv_heads * group
    if len(plan.levels) == 1 and plan.levels[0].order is None and all(part.index is None for part in plan.levels[0].parts):
        # Nothing to merge, so no log-sum-exp is needed.
        found = [
            F.scaled_dot_product_attention(singles[part.first], *part.keys_values(layer), scale=scale)
            for part in plan.levels[0].parts
        ]
        return torch.cat(found).view(rows, heads, width)
    outs, weights = [], []
    for level in plan.levels:
        found, logs = [], []
        for part in level.parts:
            keys, values = part.keys_values(layer)
            if part.index is None:
                attended, lse = _flash(singles[part.first], keys, values, scale, False)
            else:
                members = len(part.index)
                queries = folded[part.index].transpose(0, 1).reshape(1, kv_heads, members * group, width)
                attended, lse = _flash(queries, keys, values, scale, False)
                attended = attended[0].view(kv_heads, members, group, width).transpose(0, 1)
                lse = lse[0].view(kv_heads, members, group).transpose(0, 1)
            found.append(attended)
            logs.append(lse)
        if level.order is not None:  # what a row without a part here gets: nothing, with no weight
            found.append(torch.zeros((1, kv_heads, group, width)))
            logs.append(torch.full((1, kv_heads, group), NOTHING))
        out, weight = (found[0], logs[0]) if len(found) == 1 else (torch.cat(found), torch.cat(logs))
        outs.append(out if level.order is None else out[level.order])
        weights.append(weight if level.order is None else weight[level.order])
    return _merged(outs, weights).reshape(rows, heads, width)


def _merged(outs: list[Tensor], weights: list[Tensor]) -> Tensor:
    """One after the other by their log-sum-exp, (B, H_kv, G, D) each and (B, H_kv, G): a row gets the same bits whoever has parts
    where it has none. numpy's, whose operations start sooner."""
    out, weight = outs[0].numpy(), weights[0].numpy()
    with np.errstate(over="ignore"):
        for i, (other, its) in enumerate(zip(outs[1:], weights[1:], strict=True), 2):
            apart, its_weight = other.numpy(), its.numpy()
            share = np.float32(1) / (np.float32(1) + np.exp(its_weight - weight))
            out = apart + (out - apart) * share[..., None]
            if i < len(outs):
                weight = np.logaddexp(weight, its_weight)
    return torch.from_numpy(out)


def _seen(segment: Segment, used: int, layer: int) -> tuple[Tensor, Tensor]:
    keys, values = segment.keys[layer], segment.values[layer]
    assert keys is not None, "a layer was read before it was written"
    assert values is not None
    return keys[:, :used].unsqueeze(0), values[:, :used].unsqueeze(0)


def _prefill(row: _Row, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """A row of several new tokens. query: (H, n, D); key, value: (H_kv, n, D), the new ones. Returns (n, H, D)."""
    heads, count, width = query.shape
    kv_heads = key.shape[0]
    group = heads // kv_heads
    wide_key = key.repeat_interleave(group, dim=0) if group > 1 else key
    wide_value = value.repeat_interleave(group, dim=0) if group > 1 else value
    own, own_lse = _flash(query.unsqueeze(0), wide_key.unsqueeze(0), wide_value.unsqueeze(0), scale, True)
    if not row.path:
        return own[0].transpose(0, 1)
    parts, weights = [own[0]], [own_lse[0].reshape(heads, count)]
    folded = query.reshape(1, kv_heads, group * count, width)
    for segment, used in row.path:
        attended, lse = _flash(folded, *_seen(segment, used, layer), scale, False)
        parts.append(attended.reshape(heads, count, width))
        weights.append(lse.reshape(heads, count))
    shares = torch.softmax(torch.stack(weights), dim=0).unsqueeze(-1)  # (S, H, n, 1)
    return (shares * torch.stack(parts)).sum(0).transpose(0, 1)


def _dense(
    row: _Row,
    layer: int,
    query: Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """The general case, written out: windows, capped logits, attention sinks, any device. query: (H, n, D) -> (n, H, D_v)."""
    keys = torch.cat([s.keys[layer][:, :used] for s, used in row.branch.path], dim=1)  # type: ignore[index]
    values = torch.cat([s.values[layer][:, :used] for s, used in row.branch.path], dim=1)  # type: ignore[index]
    heads, count, width = query.shape
    group = heads // keys.shape[0]
    if window is not None and keys.shape[1] > window + count:
        keys, values = keys[:, -(window + count) :], values[:, -(window + count) :]
    total = keys.shape[1]
    folded = query.reshape(keys.shape[0], group * count, width)
    logits = (folded @ keys.transpose(1, 2) * scale).view(keys.shape[0], group, count, total)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    at = torch.arange(total - count, total, device=query.device).unsqueeze(1)
    seen = torch.arange(total, device=query.device).unsqueeze(0)
    keep = seen <= at
    if window is not None:
        keep &= seen > at - window
    logits = logits.masked_fill(~keep, -torch.inf)
    if sinks is not None:  # a learnt logit per head that takes probability and gives nothing
        sink = sinks.float().view(keys.shape[0], group, 1, 1).expand(-1, -1, count, 1)
        probabilities = torch.softmax(torch.cat([logits, sink], dim=-1), dim=-1)[..., :-1]
    else:
        probabilities = torch.softmax(logits, dim=-1)
    out = probabilities.view(keys.shape[0], group * count, total) @ values
    return out.view(heads, count, values.shape[-1]).transpose(0, 1)
