"""The decoder of the Llama family (Llama, Mistral, Qwen2) as training reads it, by the half layers of `half_layers.py`.

All tokens of a batch lie in one row. In the last layer only those that predict something have queries and an MLP; of the others
it needs keys and values. Models, adapters and settings that are not named here go the library's own way, and who uses this one
compares what both say first.
"""

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding as embed
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from ramify.training.batches import Batch
from ramify.training.half_layers import FromHeads, How, ToHeads
from ramify.training.projecting import usable, weights_of

__all__ = ["FrugalDecoder"]

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
STILL_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Whose angles do not depend on how long a text has become."""
PROJECTIONS = (("self_attn", "q_proj"), ("self_attn", "k_proj"), ("self_attn", "v_proj"), ("self_attn", "o_proj"),
               ("mlp", "gate_proj"), ("mlp", "up_proj"), ("mlp", "down_proj"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reach:
    """Queries of one stretch of tokens, and which keys they see."""

    queries: int
    """How many; of some none is wanted."""
    begins: int
    """The stretch whose keys come before its own; -1: none."""
    keep: Tensor | None
    """(queries, keys); None: causal."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of a batch lie in one row of N tokens."""

    sizes: tuple[int, ...]
    """Of stretches whose tokens see one another; together N."""
    begins: tuple[int, ...]
    """Of each the stretch that it goes on from; -1: none."""
    square: tuple[int, int] | None
    """(B, T), where all are alike and go on from none."""

    @classmethod
    def of(cls, batch: Batch) -> "Layout":
        if not batch.packed:
            rows, length = batch.token_ids.shape
            return cls((length,) * rows, (-1,) * rows, (rows, length))
        sizes, begins = list[int](), list[int]()
        for trunk in batch.trunks:
            first = -1
            if trunk.shared:
                first = len(sizes)
                sizes.append(trunk.shared)
                begins.append(-1)
            sizes += trunk.branches
            begins += [first] * len(trunk.branches)
        alike = len(set(sizes)) == 1 and max(begins) == -1
        return cls(tuple(sizes), tuple(begins), (len(sizes), sizes[0]) if alike else None)

    def reaches(self, window: int | None, keep: Sequence[int] | None, device: torch.device) -> list[Reach]:
        """For every stretch; keep: the tokens whose queries are wanted, in order, None for all."""
        found, at = list[Reach](), 0
        for size, begin in zip(self.sizes, self.begins, strict=True):
            before = self.sizes[begin] if begin >= 0 else 0
            known = before + size
            if keep is None:
                count, places = size, None
            else:
                own = keep[bisect_left(keep, at) : bisect_left(keep, at + size)]
                count, places = len(own), [before + place - at for place in own]
            causal = places is None and not before and (window is None or known <= window)
            mask = None
            if count and not causal:
                asked = torch.arange(before, known) if places is None else torch.tensor(places)
                back = (asked.unsqueeze(1) - torch.arange(known)).to(device)
                mask = back >= 0 if window is None else (back >= 0) & (back < window)
            found.append(Reach(count, begin, mask))
            at += size
        return found


class FrugalDecoder:
    """From a batch to the hidden states that predict its learned tokens."""

    def __init__(self, model: Any) -> None:
        """Use `of`."""
        self._decoder = model.model
        self._windows = [_window(layer.self_attn) for layer in self._decoder.layers]
        self._width = int(self._decoder.layers[0].self_attn.head_dim)
        self._tied = model.get_output_embeddings().weight is self._decoder.embed_tokens.weight

    @classmethod
    def of(cls, model: Any) -> "FrugalDecoder | None":
        """model: a causal LM of the library. None for one that is not of the family, or not of its usual parts."""
        if type(model).__name__ not in FAMILY or not type(model).__module__.startswith("transformers.models."):
            return None
        decoder = model.model
        if type(decoder.embed_tokens) is not torch.nn.Embedding:
            return None
        if decoder.rotary_emb.rope_type not in STILL_ROTATIONS or getattr(model.config, "attention_dropout", None):
            return None
        for layer in decoder.layers:
            if type(layer.mlp.act_fn).__name__ not in ("SiLU", "SiLUActivation"):
                return None
            if not all(usable(getattr(getattr(layer, part), name)) for part, name in PROJECTIONS):
                return None
        return cls(model)

    def __call__(self, batch: Batch, keep: Tensor) -> Tensor:
        """keep: (M,) places in the batch's tokens laid row behind row. Returns (M, D)."""
        layout = Layout.of(batch)
        ids = batch.token_ids.reshape(-1)
        if batch.packed:
            positions = batch.position_ids
        else:
            rows, length = batch.token_ids.shape
            positions = torch.arange(length, device=ids.device).repeat(rows).unsqueeze(0)
        embedding = self._decoder.embed_tokens
        # Tied, its gradient is added to the output projection's: few rows of it, and not a second one of the vocabulary's size.
        x = embed(ids, embedding.weight, embedding.padding_idx, sparse=self._tied)
        precision = _precision(self._decoder.layers[0].input_layernorm.weight)
        with _no_autocast(ids.device.type):
            cosines, sines = (each[0] for each in self._decoder.rotary_emb(x, positions))
            known: dict[int | None, list[Reach]] = {}
            last = len(self._windows) - 1
            wanted: list[int] = keep.tolist()
            for number, (layer, window) in enumerate(zip(self._decoder.layers, self._windows, strict=True)):
                if number == last:
                    reaches, kept, square = layout.reaches(window, wanted, ids.device), keep, None
                else:
                    if window not in known:
                        known[window] = layout.reaches(window, None, ids.device)
                    reaches, kept, square = known[window], None, layout.square
                if layer.training and getattr(layer, "gradient_checkpointing", False):
                    x = checkpoint(
                        self._layer, layer, x, kept, cosines, sines, reaches, layout, square, precision, use_reentrant=False
                    )
                else:
                    x = self._layer(layer, x, kept, cosines, sines, reaches, layout, square, precision)
            return self._decoder.norm(x)  # type: ignore[no-any-return]

    def _layer(
        self,
        layer: Any,
        x: Tensor,
        keep: Tensor | None,
        cosines: Tensor,
        sines: Tensor,
        reaches: Sequence[Reach],
        layout: Layout,
        square: tuple[int, int] | None,
        precision: torch.dtype,
    ) -> Tensor:
        weights = [weights_of(getattr(getattr(layer, part), name)) for part, name in PROJECTIONS]
        first, second = layer.input_layernorm, layer.post_attention_layernorm
        how = How(first.variance_epsilon, tuple(each[4] for each in weights[:3]), self._width, precision)
        query, key, value = ToHeads.apply(  # type: ignore[no-untyped-call]
            x, keep, cosines, sines, how, first.weight, *(part for each in weights[:3] for part in each[:4])
        )
        mixed = _attended(query, key, value, reaches, layout, square, float(layer.self_attn.scaling))
        how = How(second.variance_epsilon, tuple(each[4] for each in weights[3:]), self._width, precision)
        if keep is not None:
            x = x.index_select(0, keep)
        return FromHeads.apply(  # type: ignore[no-untyped-call,no-any-return]
            x, mixed, how, second.weight, *(part for each in weights[3:] for part in each[:4])
        )


def _attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    reaches: Sequence[Reach],
    layout: Layout,
    square: tuple[int, int] | None,
    scale: float,
) -> Tensor:
    """query: (M, H, width); key, value: (N, G, width). Returns (M, H x width)."""
    if square is not None:
        heads = [each.view(*square, -1, each.shape[-1]).transpose(1, 2) for each in (query, key, value)]
        made = _mixed(heads, reaches[0].keep, scale)
        return made.transpose(1, 2).flatten(2).flatten(0, 1)
    # Cut in one operation each: on the way back the pieces are laid behind one another again.
    asked = torch.split(query, [reach.queries for reach in reaches])
    keys, values = torch.split(key, list(layout.sizes)), torch.split(value, list(layout.sizes))
    mixed = []
    for own, reach in enumerate(reaches):
        if not reach.queries:
            continue
        seen = [keys[own], values[own]]
        if reach.begins >= 0:
            seen = [torch.cat([part[reach.begins], part[own]]) for part in (keys, values)]
        heads = [each.transpose(0, 1).unsqueeze(0) for each in (asked[own], *seen)]
        made = _mixed(heads, reach.keep, scale)
        mixed.append(made[0].transpose(0, 1).reshape(reach.queries, -1))
    return torch.cat(mixed) if mixed else query.flatten(1)


def _mixed(heads: Sequence[Tensor], keep: Tensor | None, scale: float) -> Tensor:
    """heads: (B, H, M, width) of queries, (B, G, N, width) of keys and of values."""
    query, key, value = heads
    grouped = query.shape[1] // key.shape[1]
    if grouped > 1 and query.device.type != "cpu" and (keep is not None or query.dtype == torch.float32):
        # Of the fast ways on an accelerator those that take a mask or float32 know no groups.
        key, value = key.repeat_interleave(grouped, 1), value.repeat_interleave(grouped, 1)
        grouped = 1
    return scaled_dot_product_attention(query, key, value, keep, is_causal=keep is None, scale=scale, enable_gqa=grouped > 1)


def _window(attention: Any) -> int | None:
    """What the library hands its attention function: Mistral reads it from its configuration, Llama has none."""
    if type(attention).__name__ == "LlamaAttention":
        return None
    window: int | None = getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))
    return window


def _precision(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def _no_autocast(device: str) -> AbstractContextManager[Any]:
    """What it asks for is done by the blocks themselves."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
