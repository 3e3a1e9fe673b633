"""The decoder of the Llama family in our own steps, against the library's own: losses, gradients, and what is not computed."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ramify.training import half_layers, projecting
from ramify.training.batches import pack, pad
from ramify.training.examples import Example
from ramify.training.models import LoraConfig, add_adapter
from ramify.training.norming import NormAgain
from ramify.training.reader import Reader

SHAPE = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24,
}  # fmt: skip


def llama(**more: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SHAPE, **more))


def mistral() -> Any:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=6))


def qwen2() -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=6, max_window_layers=1))


MODELS: dict[str, Callable[[], Any]] = {
    "llama": llama,
    "llama with every bias, tied": lambda: llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "mistral, sliding": mistral,
    "qwen2, some layers sliding": qwen2,
}


def made(name: str, *, rank: int = 0, targets: str | tuple[str, ...] = "all-linear", dropout: float = 0.0) -> Any:
    """Whose biases, norms and adapters all say something."""
    torch.manual_seed(0)
    model = MODELS[name]()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    if rank:
        model = add_adapter(model, LoraConfig(rank=rank, targets=targets, dropout=dropout))
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.data = 0.1 * torch.randn_like(parameter)
    return model.train()


def rows() -> list[Example]:
    """Three completions of a prompt, a short row, and one of which two stretches are learned."""
    chance = random.Random(1)

    def ids(count: int) -> list[int]:
        return [chance.randrange(3, 40) for _ in range(count)]

    prompt = ids(20)
    found = [(prompt + ids(count), {*range(20, 20 + count)}) for count in (3, 5, 2)]
    found += [(ids(9), {*range(4, 9)}), (ids(30), {*range(8, 12), *range(25, 30)})]
    return [Example(tuple(row), tuple(id_ if n in learned else -100 for n, id_ in enumerate(row))) for row, learned in found]


def by_the_library(model: Any) -> Tensor:
    """The summed loss, row for row, over all logits."""
    total = torch.zeros(())
    for row in rows():
        logits = model(input_ids=torch.tensor([row.token_ids]), use_cache=False).logits[0, :-1]
        total = total + cross_entropy(logits, torch.tensor(row.labels[1:]), ignore_index=-100, reduction="sum")
    return total


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def agree(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=2e-5 * float(gradient.abs().max()) + 1e-7), name


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_the_librarys(name: str, rank: int, packing: bool) -> None:
    model = made(name, rank=rank)
    expected = by_the_library(model)
    its = gradients(model, expected)
    reader = Reader(model, packing=packing)
    assert reader.frugal
    loss, count = reader.loss(pack(rows()) if packing else pad(rows()))
    assert count == 24
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    agree(gradients(model, loss), its)


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("down_proj",), ("k_proj", "gate_proj", "o_proj")])
def test_an_adapter_over_some_layers_only(targets: tuple[str, ...]) -> None:
    model = made("llama", rank=3, targets=targets)
    its = gradients(model, by_the_library(model))
    agree(gradients(model, Reader(model, packing=True).loss(pack(rows()))[0]), its)


def test_only_some_weights_are_trained() -> None:
    model = made("llama with every bias, tied")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.endswith(
            ("layers.1.mlp.up_proj.weight", "layers.2.self_attn.q_proj.bias", "layers.2.input_layernorm.weight")
        )
    its = gradients(model, by_the_library(model))
    assert len(its) == 3
    agree(gradients(model, Reader(model).loss(pad(rows()))[0]), its)


def test_passes_add_up_and_activations_computed_again_change_nothing() -> None:
    model = made("qwen2, some layers sliding", rank=4)
    its = {name: 2 * gradient for name, gradient in gradients(model, by_the_library(model)).items()}
    model.zero_grad()
    reader = Reader(model, packing=True)
    reader.loss(pack(rows()))[0].backward()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    reader.loss(pack(rows()))[0].backward()
    agree({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, its)


def test_an_adapter_switched_off_says_nothing() -> None:
    model = made("mistral, sliding", rank=4)
    reader = Reader(model)
    with torch.no_grad():
        on = reader.loss(pad(rows()))[0].item()
        with model.disable_adapter():
            off, expected = reader.loss(pad(rows()))[0].item(), by_the_library(model).item()
    assert off == pytest.approx(expected, rel=1e-5)
    assert abs(on - off) > 1e-2


def test_bfloat16_is_as_near_as_the_librarys() -> None:
    model = made("llama", rank=4)
    exact = gradients(model, by_the_library(model))
    with torch.autocast("cpu", torch.bfloat16):
        its = by_the_library(model)
    its = gradients(model, its)
    mine = gradients(model, Reader(model, packing=True, bf16=True).loss(pack(rows()))[0])

    def off(found: dict[str, Tensor]) -> float:
        return float(sum((found[name] - exact[name]).norm() ** 2 for name in exact)) ** 0.5

    assert mine.keys() == its.keys()
    assert off(mine) < 2 * off(its)


def test_models_that_are_otherwise_go_the_librarys_way() -> None:
    assert not Reader(made("llama", rank=4, dropout=0.1)).frugal
    assert not Reader(llama(hidden_act="gelu")).frugal
    assert not Reader(llama(attention_dropout=0.1)).frugal
    assert not Reader(llama(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4})).frugal
    assert not Reader(made("llama"), compile=True).frugal


def test_a_decoder_that_says_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = half_layers._turned
    monkeypatch.setattr(half_layers, "_turned", lambda heads, cosine, sine: turned(heads, cosine, 1.5 * sine))
    model = made("llama")
    expected = by_the_library(model).item()
    reader = Reader(model, packing=True)
    assert not reader.frugal
    assert reader.loss(pack(rows()))[0].item() == pytest.approx(expected, rel=1e-5)


def test_prompt_tokens_have_no_query_and_no_mlp_in_the_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    project = projecting.project

    def watched(x: Tensor, weights: Any, scale: float) -> Any:
        seen.append((len(x), len(weights[0])))
        return project(x, weights, scale)

    model = made("llama")
    reader = Reader(model, packing=True)
    monkeypatch.setattr(half_layers, "project", watched)
    reader.loss(pack(rows()))
    tokens = 19 + 4 + 6 + 3 + 9 + 30
    every = [(tokens, 16), (tokens, 8), (tokens, 8), (tokens, 16), (tokens, 24), (tokens, 24), (tokens, 16)]
    assert seen == [*every, *every, (24, 16), (tokens, 8), (tokens, 8), (24, 16), (24, 24), (24, 24), (24, 16)]


def test_the_way_back_is_gone_once_only() -> None:
    reader = Reader(made("llama"))
    for loss in (reader.loss(pad(rows()))[0], reader.logprobs(pad(rows())).sum()):
        loss.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="once only"):
            loss.backward()


def test_a_batch_of_which_nothing_is_learned_has_no_loss() -> None:
    batch = pack([Example((5, 6, 7), (-100, -100, -100))])
    assert Reader(made("llama"), packing=True).loss(batch)[0].item() == 0.0


@pytest.mark.parametrize("fused", [False, True])
def test_a_norm_computed_again_has_the_gradients_of_the_librarys(fused: bool) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    torch.manual_seed(0)
    norm, x, gradient = LlamaRMSNorm(6), torch.randn(5, 6, requires_grad=True), torch.randn(5, 6)
    norm.weight.data += 0.3 * torch.randn(6)
    expected = norm(x)
    expected.backward(gradient)
    again = NormAgain(x.detach(), norm.weight.detach(), norm.variance_epsilon, torch.float32, fused=fused)
    assert torch.allclose(again.normed, expected, atol=1e-6)
    assert again.back(None, True, True) == (None, None)
    of_x, of_weight = again.back(gradient, True, True)
    assert of_x is not None
    assert of_weight is not None
    assert torch.allclose(of_x, x.grad, atol=1e-5)
    assert torch.allclose(of_weight, norm.weight.grad, atol=1e-5)
