"""int8 layers: what they compute, and that a row knows nothing of its neighbours."""

import pytest
import torch
from tests import models_made_here
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from ramify.models import kernels
from ramify.models.base import Extension
from ramify.models.loading import resolve
from ramify.models.transformers import TransformersBackend

LEVELS = kernels._int8_levels()
pytestmark = pytest.mark.skipif(not LEVELS, reason="this processor has no int8 layer")


def layer(bias: bool = True) -> tuple[kernels.Int8Linear, Tensor, Tensor | None]:
    torch.manual_seed(0)
    stock = torch.nn.Linear(192, 96, bias=bias).requires_grad_(False)
    return kernels.Int8Linear(stock.weight, stock.bias, LEVELS), stock.weight, stock.bias


def test_the_layer_multiplies_what_both_sides_were_rounded_to() -> None:
    packed, weight, bias = layer()
    assert bias is not None
    x = torch.randn(2, 5, 192)
    scale = weight.abs().amax(1, keepdim=True) / LEVELS
    size = x.abs().amax(-1, keepdim=True)
    expected = (torch.round(x / size * LEVELS) / LEVELS * size) @ (torch.round(weight / scale) * scale).t() + bias
    torch.testing.assert_close(packed(x), expected, atol=2e-3, rtol=0)
    assert float((packed(x) - (x @ weight.t() + bias)).abs().max()) > 1e-3


def test_the_largest_products_do_not_overflow() -> None:
    weight = torch.ones(8, 4096)
    weight[1::2] = -1
    packed = kernels.Int8Linear(weight, None, LEVELS)
    x = torch.stack([torch.ones(4096), -torch.ones(4096)])
    torch.testing.assert_close(packed(x), x @ weight.t(), rtol=1e-4, atol=0)


def test_a_loud_neighbour_changes_nothing() -> None:
    packed, _, _ = layer()
    x = torch.randn(33, 192)
    x[::2] *= 1e4
    together = packed(x)
    for i in range(33):
        assert torch.equal(packed(x[i : i + 1])[0], together[i])


def test_a_row_of_zeros_gives_the_bias_and_a_row_with_nan_gives_nan() -> None:
    packed, _, bias = layer()
    assert bias is not None
    x = torch.zeros(3, 192)
    x[1, 7] = torch.nan
    x[2, 7] = torch.inf
    out = packed(x)
    assert torch.equal(out[0], bias)
    assert out[1].isnan().all()
    assert not out[2].isfinite().any()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_model_in_int8_is_near_the_exact_one_and_says_what_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve(models_made_here.folder(name))
    exact, coarse = (TransformersBackend.load(folder, name="m", fingerprint="f", precision=p) for p in ("float32", "int8"))
    assert (coarse.info.dtype, coarse.info.batch_invariant, coarse.info.shares_trunks) == ("int8", False, True)
    ids = [5, 9, 40, 17, 33, 60, 21, 8]
    near = exact.extend([Extension(exact.root(), ids, len(ids))]).logits
    for exact_layer in (torch.nn.Linear, kernels.Dense, Conv1D):
        monkeypatch.setattr(exact_layer, "forward" if issubclass(exact_layer, torch.nn.Module) else "__call__", None)
    far = coarse.extend([Extension(coarse.root(), ids, len(ids))]).logits
    difference = (near - far)[near.isfinite()]
    assert 0 < float(difference.abs().max()) < 0.3 * float(near[near.isfinite()].std())


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_layers_joined_are_the_layers_side_by_side(bias: bool, alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_one_thread", lambda: alone)
    x = torch.randn(7, 192)
    for kind in (lambda: layer(bias)[0], lambda: torch.nn.Linear(192, 96, bias=bias).requires_grad_(False)):
        layers = [kind() for _ in range(3)]
        apart = torch.cat([one(x) for one in layers], dim=-1)
        whole, rest = kernels.joined(*layers), torch.randn(7, 288)
        torch.testing.assert_close(whole(kernels.Seen.of(x)), apart, atol=1e-5, rtol=1e-5)
        there, added = torch.empty_like(rest), rest.clone()
        whole.into(kernels.Seen.of(there), kernels.Seen.of(x))
        whole.onto(kernels.Seen.of(added), kernels.Seen.of(x))
        torch.testing.assert_close(there, apart, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(added, apart + rest, atol=1e-5, rtol=1e-5)
        # What lay apart goes on, as a part of the whole.
        torch.testing.assert_close(torch.cat([one(x) for one in layers], dim=-1), apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_few_elements_and_many_are_rounded_to_the_same_bits(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kernels.joined(layer(bias)[0], layer(bias)[0])
    x, rest = torch.randn(5, 192), torch.randn(5, 192)
    x[1] *= 1e-3
    x[2] = 0
    found = []
    for many in (0, 10**9):
        monkeypatch.setattr(kernels, "MANY", many)
        there, added = torch.empty_like(rest), rest.clone()
        whole.into(kernels.Seen.of(there), kernels.Seen.of(x))
        whole.onto(kernels.Seen.of(added), kernels.Seen.of(x))
        found.append(torch.stack([whole(kernels.Seen.of(x)), there, added]))
    assert torch.equal(*found)


def test_a_branch_decodes_alike_alone_and_among_others() -> None:
    folder = resolve(models_made_here.folder("llama"))
    backend = TransformersBackend.load(folder, name="m", fingerprint="f", precision="int8")
    torch.manual_seed(1)
    texts = torch.randint(4, 60, (9, 12)).tolist()

    def decoded(chosen: list[list[int]]) -> Tensor:
        branches = [backend.root() for _ in chosen]
        out = [backend.extend([Extension(b, ids[:8]) for b, ids in zip(branches, chosen, strict=True)]).logits.clone()]
        for at in range(8, 12):
            out.append(backend.extend([Extension(b, [ids[at]]) for b, ids in zip(branches, chosen, strict=True)]).logits.clone())
        return torch.stack(out, dim=1)

    together = decoded(texts)
    for i, ids in enumerate(texts):
        torch.testing.assert_close(decoded([ids])[0], together[i], atol=1e-4, rtol=0)
