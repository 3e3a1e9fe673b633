"""Muon equals torch's, in the precision that the processor is fast in."""

import pytest
import torch

from ramify.training.muon import Muon, fast_precision, orthogonal

SHAPES = [(6, 10), (10, 6), (8, 8)]


def steps(make: object, count: int = 8) -> list[torch.Tensor]:
    """The parameters after some steps with the same random gradients."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    optimizer = make(parameters)  # type: ignore[operator]
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def torchs(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """torch's own, scaled as ours."""
    return torch.optim.Muon(parameters, lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")


def test_in_bfloat16_it_is_torchs_muon_bit_for_bit() -> None:
    ours = steps(lambda parameters: Muon(parameters, 0.05, weight_decay=0.1, precision=torch.bfloat16))
    for mine, its in zip(ours, steps(torchs), strict=True):
        assert torch.equal(mine, its)


def test_in_float32_it_differs_by_bfloat16s_rounding_alone() -> None:
    ours = steps(lambda parameters: Muon(parameters, 0.05, weight_decay=0.1, precision=torch.float32))
    for mine, its in zip(ours, steps(torchs), strict=True):
        assert (mine - its).abs().max() < 0.02 * its.abs().max()


@pytest.mark.parametrize("shape", SHAPES)
def test_an_update_is_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.3
    assert values.max() < 1.5
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_bfloat16_is_used_only_where_the_processor_has_it() -> None:
    expected = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
    assert fast_precision(torch.device("cpu")) == expected


def test_a_stack_of_matrices_moves_as_each_of_them_alone() -> None:
    torch.manual_seed(0)
    stack = torch.randn(3, 8, 5)
    gradients = torch.randn(2, 3, 8, 5)
    alone = [matrix.clone() for matrix in stack]
    both = [(Muon([stack], 0.1), [stack]), (Muon(alone, 0.1), alone)]
    for gradient in gradients:
        stack.grad = gradient
        for matrix, own in zip(alone, gradient, strict=True):
            matrix.grad = own
        for optimizer, _ in both:
            optimizer.step()
    torch.testing.assert_close(stack, torch.stack(alone), atol=1e-6, rtol=0)
