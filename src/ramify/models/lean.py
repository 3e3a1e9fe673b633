"""The decoder of the Llama family (Llama, Mistral, Qwen2, Qwen3) on a processor, in few operations.

A small model is bound by what it costs to start operations: on two cores of 2021 one of torch's takes 5 µs and, with the weights
streaming through the caches, 10 to 80; one of numpy's takes 1. So attention is torch's, and everything between it and the
matrix products is numpy's, in buffers that both see. Queries, keys and values are one product, the gate and what it gates
another. Weights are the library's, whose own modules go on as views of them. Only those named here are taken, only with the
parts that they usually have, and the backend compares what they say with the library at load.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ramify.models.attention import attend
from ramify.models.batch_plan import BatchPlan
from ramify.models.kernels import Array, Seen, joined, without_overrides

__all__ = ["LeanDecoder"]

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
STILL_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Whose angles do not depend on how long a text has become."""

FEWEST_ANGLES = 1024


class _Norm:
    """The library's RMS norm."""

    __slots__ = ("epsilon", "share", "weight")

    def __init__(self, norm: Any) -> None:
        self.weight: Array = norm.weight.numpy()
        self.share = np.float32(1 / len(self.weight))
        self.epsilon = np.float32(norm.variance_epsilon)

    def __call__(self, x: Array, out: Array) -> None:
        """x: (..., D); out may be x itself."""
        sizes = np.einsum("...d,...d->...", x, x)
        sizes *= self.share
        sizes += self.epsilon
        np.sqrt(sizes, out=sizes)
        np.divide(x, sizes[..., None], out=out)
        out *= self.weight


class _Layer:
    __slots__ = ("down", "gate_up", "key_norm", "norm", "out", "query_key_value", "query_norm", "scale", "second_norm", "window")

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norm, self.second_norm = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self.query_norm = _Norm(attention.q_norm) if hasattr(attention, "q_norm") else None
        self.key_norm = _Norm(attention.k_norm) if hasattr(attention, "k_norm") else None
        self.query_key_value = joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = joined(attention.o_proj)
        self.gate_up = joined(mlp.gate_proj, mlp.up_proj)
        self.down = joined(mlp.down_proj)
        self.scale = float(attention.scaling)
        self.window = _window(attention)


def _window(attention: Any) -> int | None:
    """What the library hands its attention function: Mistral reads it from its configuration, Llama has none."""
    if type(attention).__name__ == "LlamaAttention":
        return None
    window: int | None = getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))
    return window


class _Desk:
    """Where T tokens are worked on. Each buffer is seen by torch and by numpy."""

    def __init__(self, tokens: int, queries: int, kept: int, width: int, size: int, inner: int) -> None:
        """queries, kept: heads of queries, and of keys and of values. size: of the hidden states; inner: of the MLP's."""
        self.tokens = tokens
        self.x, self.normed = Seen.empty(tokens, size), Seen.empty(tokens, size)
        self.mixed = Seen.empty(tokens, (queries + 2 * kept) * width)
        self.gate_up, self.active = Seen.empty(tokens, 2 * inner), Seen.empty(tokens, inner)
        self.gate, self.up = self.gate_up.array[:, :inner], self.gate_up.array[:, inner:]
        heads = self.mixed.array.reshape(tokens, queries + 2 * kept, width)
        self.query_array, self.key_array = heads[:, :queries], heads[:, queries : queries + kept]
        self.kept = heads[:, queries:].reshape(tokens, 2, kept, width)
        self.turned = heads[:, : queries + kept].reshape(tokens, queries + kept, 2, width // 2)
        self.swapped = self.turned[:, :, ::-1]
        self.once, self.again = np.empty_like(self.turned), np.empty_like(self.turned)
        by_head = self.mixed.tensor.view(tokens, -1, width).transpose(0, 1)
        self.query, self.key, self.value = by_head.split_with_sizes((queries, kept, kept))


class LeanDecoder:
    """What a model of the library computes, over a tree of keys and values."""

    def __init__(self, model: Any) -> None:
        """Use `of`."""
        decoder, config = model.model, model.config
        self.layers = [_Layer(layer) for layer in decoder.layers]
        self.norm = _Norm(decoder.norm)
        tied = decoder.embed_tokens.weight is model.lm_head.weight if hasattr(model.lm_head, "weight") else False
        self.head = joined(model.lm_head)
        if tied:  # with what it has become: nothing is stored twice
            decoder.embed_tokens.weight = model.lm_head.weight
        self.embedding: Array = decoder.embed_tokens.weight.numpy()
        self.heads, self.kv_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self.width, self.inner = int(decoder.layers[0].self_attn.head_dim), int(config.intermediate_size)
        self._rotation = decoder.rotary_emb
        self._cosines = self._sines = np.empty((0, 1, 2, self.width // 2), dtype=np.float32)
        self._know_angles(FEWEST_ANGLES)
        self._desk: _Desk | None = None

    @classmethod
    def of(cls, model: Any) -> "LeanDecoder | None":
        """The same model in few operations; None for one that is not of the family, or not of its usual parts and float32."""
        if type(model).__name__ not in FAMILY or not type(model).__module__.startswith("transformers.models."):
            return None
        decoder = model.model
        weight = decoder.embed_tokens.weight
        if decoder.rotary_emb.rope_type not in STILL_ROTATIONS or weight.dtype != torch.float32 or weight.device.type != "cpu":
            return None
        if any(type(layer.mlp.act_fn).__name__ not in ("SiLU", "SiLUActivation") for layer in decoder.layers):
            return None
        return cls(model)

    def __call__(self, ids: list[int], wanted: Tensor | None, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """ids: of the T tokens. wanted: (N,) positions, None for all.

        Returns their logits (N, V), and the last hidden states (T, D), which the next call overwrites.
        """
        desk = self._desk_for(len(ids))
        self._know_angles(plan.longest)
        positions = plan.positions().numpy()
        cosines, sines = self._cosines[positions], self._sines[positions]
        x, normed = desk.x.array, desk.normed.array
        x[...] = self.embedding[ids]
        with np.errstate(all="ignore"), without_overrides():  # as torch does: infinity is a number
            for i, layer in enumerate(self.layers):
                layer.norm(x, normed)
                layer.query_key_value.into(desk.mixed, desk.normed)
                if layer.query_norm is not None and layer.key_norm is not None:
                    layer.query_norm(desk.query_array, desk.query_array)
                    layer.key_norm(desk.key_array, desk.key_array)
                np.multiply(desk.turned, cosines, out=desk.once)
                np.multiply(desk.swapped, sines, out=desk.again)
                np.add(desk.once, desk.again, out=desk.turned)
                plan.keep(i, desk.kept)
                found = attend(plan, i, desk.query, desk.key, desk.value, scale=layer.scale, window=layer.window)
                layer.out.onto(desk.x, Seen.of(found.view(desk.tokens, -1)))
                layer.second_norm(x, normed)
                layer.gate_up.into(desk.gate_up, desk.normed)
                _gated(desk.gate, desk.up, desk.active.array)
                layer.down.onto(desk.x, desk.active)
            self.norm(x, normed)
            states = desk.normed.tensor
            return self.head(desk.normed if wanted is None else Seen.of(states[wanted])), states

    def _desk_for(self, tokens: int) -> _Desk:
        """The last one, where it has the size: steps of the same rows follow one another."""
        if self._desk is None or self._desk.tokens != tokens:
            size = self.embedding.shape[1]
            self._desk = _Desk(tokens, self.heads, self.kv_heads, self.width, size, self.inner)
        return self._desk

    def _know_angles(self, positions: int) -> None:
        """Have the rotation of so many positions. The first half of the sines is negative: turning needs no other sign."""
        known = len(self._cosines)
        if positions <= known:
            return
        at = torch.arange(max(positions, 2 * known)).unsqueeze(0)
        cosines, sines = (each[0].numpy() for each in self._rotation(torch.empty(0), at))
        self._cosines, self._sines = (each.reshape(-1, 1, 2, self.width // 2).copy() for each in (cosines, sines))
        self._sines[:, :, 0] *= -1


def _gated(gate: Array, up: Array, out: Array) -> None:
    """SiLU of the gate, times what it gates."""
    np.negative(gate, out=out)
    np.exp(out, out=out)
    out += 1
    np.divide(gate, out, out=out)
    out *= up
