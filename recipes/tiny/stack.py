"""A Llama in few operations, its layers' weights in stacks: for training on an accelerator, where a small model is bound by how
many operations are started and not by their size.

It is transformers' LlamaForCausalLM with tied embeddings, operation for operation; `named` gives the weights by its names.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout, embedding, linear, rms_norm, scaled_dot_product_attention, silu

from ramify.training.muon import Muon

__all__ = ["Stack"]

EPS = 1e-6
BASE = 10_000.0


class Stack:
    """Weights in float32 that the optimizers move, and their copies in `dtype` that compute."""

    def __init__(
        self, shape: dict[str, int], vocab_size: int, *, device: torch.device, dtype: torch.dtype, seed: int, drop: float = 0.0
    ) -> None:
        """shape: as in `ramify.training.scratch_plans.PRESETS`. drop: dropout behind the embeddings and each half of a layer."""
        width, self.layers, self.heads = shape["hidden_size"], shape["layers"], shape["heads"]
        self.groups, self.size, inner = shape["kv_heads"], width // shape["heads"], shape["intermediate_size"]
        self.drop, self.training = drop, True
        rows = (self.heads + 2 * self.groups) * self.size
        made = torch.Generator().manual_seed(seed)

        def normal(*sizes: int) -> Tensor:
            return (torch.randn(*sizes, generator=made) * 0.02).to(device)

        n = self.layers
        self.weights = {
            "embed": normal(vocab_size, width), "qkv": normal(n, rows, width), "out": normal(n, width, self.heads * self.size),
            "gate_up": normal(n, 2 * inner, width), "down": normal(n, width, inner),
            "attention_norm": torch.ones(n, width, device=device), "mlp_norm": torch.ones(n, width, device=device),
            "norm": torch.ones(width, device=device),
        }  # fmt: skip
        self.copies = {name: weight.to(dtype, copy=True).requires_grad_() for name, weight in self.weights.items()}
        turns = BASE ** (-torch.arange(0, self.size, 2, device=device).float() / self.size)
        angles = torch.outer(torch.arange(2048, device=device).float(), turns)
        self._cos, self._sin = (part(torch.cat([angles, angles], 1)).to(dtype) for part in (torch.cos, torch.sin))

    # --- reading

    def hidden(self, ids: Tensor) -> Tensor:
        """(B, T) token ids to (B, T, D)."""
        copies = self.copies
        by_layer = [copies[name].unbind(0) for name in ("attention_norm", "qkv", "out", "mlp_norm", "gate_up", "down")]
        rows, length = ids.shape
        cos, sin = self._cos[:length], self._sin[:length]
        x = self._dropped(embedding(ids, copies["embed"]))
        for attention_norm, qkv, out, mlp_norm, gate_up, down in zip(*by_layer, strict=True):
            mixed = linear(rms_norm(x, x.shape[-1:], attention_norm, EPS), qkv)
            mixed = mixed.view(rows, length, -1, self.size).transpose(1, 2)
            queries, keys, values = self._turned(mixed, cos, sin)
            seen = scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
            x = x + self._dropped(linear(seen.transpose(1, 2).reshape(rows, length, -1), out))
            x = x + self._dropped(_gated(rms_norm(x, x.shape[-1:], mlp_norm, EPS), gate_up, down))
        return rms_norm(x, x.shape[-1:], copies["norm"], EPS)

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) to (…, V)."""
        return linear(hidden, self.copies["embed"])

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.drop, self.training) if self.drop else x

    def _turned(self, mixed: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H + 2G, T, d), queries and keys turned by their places, to three."""
        both, values = mixed.split([self.heads + self.groups, self.groups], dim=1)
        left, right = both.chunk(2, dim=-1)
        both = both * cos + torch.cat([-right, left], -1) * sin
        return both[:, : self.heads], both[:, self.heads :], values

    # --- writing

    @torch.no_grad()
    def written(self, count: int, begin: int, end: int, most: int, *, fewest: float = 0.04) -> Tensor:
        """(count, T) token ids drawn at temperature 1, each row on after its end; ends where fewer than `fewest` go on."""
        device, copies = self._cos.device, self.copies
        shape = (self.layers, count, self.groups, most, self.size)
        keys, values = (torch.empty(shape, dtype=self._cos.dtype, device=device) for _ in range(2))
        token = torch.full((count,), begin, device=device)
        said, alive = [token], torch.ones(count, dtype=torch.bool, device=device)
        for at in range(most - 1):
            x = copies["embed"][token]
            cos, sin = self._cos[at], self._sin[at]
            for n in range(self.layers):
                mixed = linear(rms_norm(x, x.shape[-1:], copies["attention_norm"][n], EPS), copies["qkv"][n])
                turned = self._turned(mixed.view(count, -1, 1, self.size), cos, sin)
                keys[n, :, :, at], values[n, :, :, at] = turned[1][:, :, 0], turned[2][:, :, 0]
                queries = turned[0].reshape(count, self.groups, -1, self.size) * self.size**-0.5
                weights = (queries @ keys[n, :, :, : at + 1].mT).float().softmax(-1).to(queries.dtype)
                x = x + linear((weights @ values[n, :, :, : at + 1]).reshape(count, -1), copies["out"][n])
                x = x + _gated(rms_norm(x, x.shape[-1:], copies["mlp_norm"][n], EPS), copies["gate_up"][n], copies["down"][n])
            logits = self.logits(rms_norm(x, x.shape[-1:], copies["norm"], EPS)).float()
            mass = logits.softmax(-1).cumsum(-1)
            drawn = torch.rand(count, 1, device=device) * mass[:, -1:]
            token = torch.searchsorted(mass, drawn).squeeze(1).clamp(max=mass.shape[1] - 1)
            said.append(token)
            alive &= token != end
            if at % 32 == 31 and alive.float().mean() < fewest:
                break
        return torch.stack(said, 1)

    # --- learning

    def optimizers(self, rate: float, matrix_rate: float, decay: float) -> list[torch.optim.Optimizer]:
        """Muon for the layers' matrices, each by itself; AdamW for the rest. Norms do not decay."""
        rest = [self.weights[name] for name in ("attention_norm", "mlp_norm", "norm")]
        groups: list[dict[str, Any]] = [
            {"params": [self.weights["embed"]], "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}
        ]  # fmt: skip
        fused = self._cos.device.type == "cuda"
        self._matrices = _matrices(self, self.weights)
        made = [
            torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), eps=1e-10, fused=fused),
            Muon(self._matrices, matrix_rate, weight_decay=decay),
        ]
        for optimizer in made:
            for group in optimizer.param_groups:
                group["base_lr"] = group["lr"]
        return made

    def move(self, optimizers: Sequence[torch.optim.Optimizer], clip: float = 1.0) -> None:
        """One step from the copies' gradients."""
        names = list(self.weights)
        found = [self.copies[name].grad for name in names]
        gradients = {name: grad.float() for name, grad in zip(names, found, strict=True) if grad is not None}
        torch.nn.utils.clip_grads_with_norm_(
            (weights := [_with(self.weights[name], gradients[name]) for name in names]),
            clip,
            torch.nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None]),
        )
        for matrix, gradient in zip(self._matrices, _matrices(self, gradients), strict=True):
            matrix.grad = gradient
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_([self.copies[name] for name in names], [self.weights[name] for name in names])
        for copy in self.copies.values():
            copy.grad = None

    def named(self) -> dict[str, Tensor]:
        """The weights by the names that transformers gives them."""
        heads, groups = self.heads * self.size, self.groups * self.size
        found = {"model.embed_tokens.weight": self.weights["embed"], "model.norm.weight": self.weights["norm"]}
        for n in range(self.layers):
            layer = f"model.layers.{n}"
            parts = zip("qkv", self.weights["qkv"][n].split([heads, groups, groups]), strict=True)
            found |= {f"{layer}.self_attn.{letter}_proj.weight": part for letter, part in parts}
            halves = zip(("gate", "up"), self.weights["gate_up"][n].chunk(2), strict=True)
            found |= {f"{layer}.mlp.{half}_proj.weight": part for half, part in halves}
            found[f"{layer}.self_attn.o_proj.weight"] = self.weights["out"][n]
            found[f"{layer}.mlp.down_proj.weight"] = self.weights["down"][n]
            found[f"{layer}.input_layernorm.weight"] = self.weights["attention_norm"][n]
            found[f"{layer}.post_attention_layernorm.weight"] = self.weights["mlp_norm"][n]
        return found


def _with(weight: Tensor, gradient: Tensor) -> Tensor:
    weight.grad = gradient
    return weight


def _matrices(stack: Stack, held: dict[str, Tensor]) -> list[Tensor]:
    """Stacks of the matrices that Muon makes orthogonal, each (L, M, N)."""
    heads, groups = stack.heads * stack.size, stack.groups * stack.size
    found = [*held["qkv"].split([heads, groups, groups], dim=1), *held["gate_up"].chunk(2, dim=1)]
    return [*found, held["out"], held["down"]]


def _gated(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    gate, up = linear(x, gate_up).chunk(2, dim=-1)
    return linear(silu(gate) * up, down)
