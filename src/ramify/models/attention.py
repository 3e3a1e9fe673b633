"""Attention over a tree of keys and values, for models of the transformers library.

The rows of a batch arrive packed in one (1, H, T, D) sequence. Each row attends its own path of segments; a segment shared
by several rows is read once, with all their queries folded into one call, and the parts are merged by their log-sum-exp.
Source of the merge: Juravsky et al. 2024, "Hydragen"; Dao et al. 2022, "FlashAttention" (the log-sum-exp of a block).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ramify.models.batch_plan import Abreast, BatchPlan, Row, flash, seen
from ramify.models.fresh_tokens import Fresh
from ramify.models.kernels import Array

__all__ = ["NAME", "BatchPlan", "attend", "register", "windows_seen"]

NAME = "ramify_tree"

ONE = np.float32(1)
NOTHING = float(np.finfo(np.float32).min)
"""The log-sum-exp of a row where it sees nothing; minus infinity would leave no number of two such."""

windows_seen: set[int] = set()
"""The sliding windows that models handed over, for the trial at load."""


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
    with np.errstate(over="ignore"):
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

    def fits(row: Row) -> bool:
        return plain and (window is None or row.past + row.count <= window)

    if plan.only_steps and plain and (window is None or plan.longest <= window):
        return _decode(plan, layer, query, key.shape[0], scale)
    out = torch.empty((plan.total, query.shape[0], value.shape[-1]), device=query.device)
    if any(map(fits, plan.steps)):
        out[plan.step_index] = _decode(plan, layer, query, key.shape[0], scale)
    kv_heads, counts = key.shape[0], [row.count for row in plan.rows]
    queries = torch.unflatten(query, 0, (kv_heads, -1)).split_with_sizes(counts, 2)
    places = torch.unflatten(out, 1, (kv_heads, -1)).permute(1, 2, 0, 3).split_with_sizes(counts, 2)
    for row, asking, place in zip(plan.rows, queries, places, strict=True):
        # Which way a row goes depends on the row alone.
        fitting = fits(row)
        if fitting and row.count == 1:
            continue
        if fitting:
            place.copy_(_prefill(row, layer, asking, scale))
        else:
            end = row.start + row.count
            out[row.start : end] = _dense(row, layer, query[:, row.start : end], scale, window, softcap, sinks)
    return out


def _decode(plan: BatchPlan, layer: int, query: Tensor, kv_heads: int, scale: float) -> Tensor:
    """Rows of one new token. query: (H, T, D), of which the plan's steps are computed. Returns (B, H, D)."""
    folded = plan.folded(query, kv_heads)
    rows, _, group, width = folded.shape
    heads = kv_heads * group
    levels = plan.levels(group)
    if len(levels) == 1 and all(isinstance(part, Abreast) for part in levels[0].parts):
        # Nothing to merge, so no log-sum-exp is needed.
        found = [part.alone(layer, folded, scale) for part in levels[0].parts if isinstance(part, Abreast)]
        out = found[0] if len(found) == 1 else torch.cat(found)
        order = levels[0].order
        return (out if order is None else torch.from_numpy(out.numpy()[order])).reshape(rows, heads, width)
    outs: list[Array] = []
    weights: list[Array] = []
    for level in levels:
        found, logs = [], []
        for part in level.parts:
            attended, lse = part.attend(layer, folded, scale)
            found.append(attended)
            logs.append(lse)
        if not level.whole:  # what a row without a part here gets: nothing, with no weight
            found.append(torch.zeros((1, kv_heads, group, width)))
            logs.append(torch.full((1, kv_heads, group), NOTHING))
        out, weight = (found[0], logs[0]) if len(found) == 1 else (torch.cat(found), torch.cat(logs))
        outs.append(out.numpy() if level.order is None else out.numpy()[level.order])
        weights.append(weight.numpy() if level.order is None else weight.numpy()[level.order])
    return _merged(outs, weights).reshape(rows, heads, width)


def _merged(outs: list[Array], weights: list[Array]) -> Tensor:
    """One after the other by their log-sum-exp, (B, H_kv, G, D) each and (B, H_kv, G): a row gets the same bits whoever has parts
    where it has none. numpy's, whose operations start sooner. An exponential that overflows is meant; callers silence it."""
    out, weight = outs[0], weights[0]
    for i, (apart, its_weight) in enumerate(zip(outs[1:], weights[1:], strict=True), 2):
        share = np.subtract(its_weight, weight)
        np.exp(share, out=share)
        share += ONE
        np.divide(ONE, share, out=share)
        out = out - apart
        out *= share[..., None]
        out += apart
        if i < len(outs):
            weight = np.logaddexp(weight, its_weight)
    return torch.from_numpy(out)


def _prefill(row: Row, layer: int, query: Tensor, scale: float) -> Tensor:
    """A row of several new tokens. query: (H_kv, H / H_kv, n, D). Returns the like."""
    kv_heads, group, count, width = query.shape
    fresh = row.fresh
    if fresh is None:
        fresh = row.fresh = Fresh(row.branch, count, group)
    own, own_lse = flash(query, *fresh.keys_values(layer), scale, fresh.mask is None, fresh.mask)
    if not fresh.before:
        return own
    parts, weights = [own], [own_lse]
    folded = query.reshape(1, kv_heads, group * count, width)
    for segment, used in fresh.before:
        attended, lse = flash(folded, *seen(segment, used, layer), scale, False)
        parts.append(attended.reshape(query.shape))
        weights.append(lse.reshape(query.shape[:-1]))
    shares = torch.softmax(torch.stack(weights), dim=0).unsqueeze(-1)  # (S, H_kv, H / H_kv, n, 1)
    return (shares * torch.stack(parts)).sum(0)


def _dense(
    row: Row,
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
