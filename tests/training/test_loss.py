"""The loss, against a cross-entropy computed by hand."""

import math

import torch
from torch import Tensor

from ramify.training.batches import pad
from ramify.training.examples import Example, completion_example
from ramify.training.loss import select_learned, summed_loss, token_logprobs
from ramify.training.models import new_model
from ramify.training.trainers import evaluate


def loss_of(hidden: Tensor, weight: Tensor, labels: Tensor, bias: Tensor | None = None, chunk: int | None = None) -> Tensor:
    selected, targets = select_learned(hidden, labels)
    return summed_loss(selected, weight, targets, bias=bias, chunk=chunk)


def test_the_loss_equals_a_cross_entropy_done_by_hand() -> None:
    # Two tokens, hidden states that are logits already: softmax of (0, ln 3) is (1/4, 3/4).
    hidden = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0], [5.0, 5.0]]])
    labels = torch.tensor([[-100, 1, 0]])
    total = loss_of(hidden, torch.eye(2), labels)
    assert len(select_learned(hidden, labels)[1]) == 2
    assert math.isclose(float(total), -math.log(3 / 4) - math.log(1 / 2), rel_tol=1e-6)


def test_a_position_predicts_the_label_after_it() -> None:
    hidden = torch.arange(8.0).view(2, 4, 1)
    selected, targets = select_learned(hidden, torch.tensor([[-100, -100, 7, 2], [-100, 5, -100, -100]]))
    assert selected.squeeze(1).tolist() == [1.0, 2.0, 4.0]
    assert targets.tolist() == [7, 2, 5]


def test_every_learned_token_weighs_the_same_in_whatever_chunks() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 9, 4, generator=generator)
    weight = torch.randn(11, 4, generator=generator)
    labels = torch.randint(0, 11, (3, 9), generator=generator)
    whole, parts = loss_of(hidden, weight, labels), loss_of(hidden, weight, labels, chunk=5)
    assert len(select_learned(hidden, labels)[1]) == 24
    assert torch.allclose(whole, parts)


def test_padding_changes_no_loss() -> None:
    model = new_model(vocab_size=20, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16)
    short, long = completion_example([1, 5], [7], 2), completion_example([1, 4], [9, 8, 7, 6, 5, 4], 2)
    alone = evaluate(model, [short]) * short.learned + evaluate(model, [long]) * long.learned
    assert math.isclose(evaluate(model, [short, long]), alone / (short.learned + long.learned), rel_tol=1e-5)


def test_the_loss_equals_the_models_own_on_full_logits() -> None:
    model = new_model(vocab_size=20, hidden_size=8, layers=2, heads=2, kv_heads=2, intermediate_size=16)
    examples = [completion_example([1, 5, 6], [7, 8], 2), Example((1, 9, 2), (1, 9, 2))]
    token_ids = pad(examples).token_ids
    with torch.no_grad():
        logprobs = model(input_ids=token_ids).logits.log_softmax(-1)
    by_hand = [logprobs[0, 2, 7], logprobs[0, 3, 8], logprobs[0, 4, 2], logprobs[1, 0, 9], logprobs[1, 1, 2]]
    assert math.isclose(evaluate(model, examples), -float(torch.stack(by_hand).mean()), rel_tol=1e-5)


def reference(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(N,) log p by torch's own operations, with all logits at once."""
    return (hidden @ weight.T + bias).log_softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1)


def test_gradients_are_those_of_a_loss_over_all_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(2, 6, 4, generator=generator), torch.randn(11, 4, generator=generator)
    bias, scale = torch.randn(11, generator=generator), torch.randn(7, generator=generator)
    labels = torch.randint(0, 11, (2, 6), generator=generator)
    labels[0, 2:4] = labels[1, 3] = -100
    parts = [part.requires_grad_() for part in (hidden, weight, bias)]

    def gradients(made: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(made, parts))

    selected, targets = select_learned(hidden, labels)
    expected = gradients(-reference(selected, weight, bias, targets).sum() / 3)
    for got, want in zip(gradients(loss_of(hidden, weight, labels, bias, chunk=3) / 3), expected, strict=True):
        assert torch.allclose(got, want, atol=1e-5)
    selected, targets = select_learned(hidden, labels)
    expected = gradients((reference(selected, weight, bias, targets) * scale).sum())
    selected, targets = select_learned(hidden, labels)
    made = token_logprobs(selected, weight, targets, bias=bias, chunk=3)
    assert torch.allclose(made, reference(selected, weight, bias, targets), atol=1e-5)
    for got, want in zip(gradients((made * scale).sum()), expected, strict=True):
        assert torch.allclose(got, want, atol=1e-5)


def test_a_frozen_projection_gets_no_gradient_and_is_not_asked_for_one() -> None:
    hidden, weight = torch.randn(1, 4, 4).requires_grad_(), torch.randn(11, 4)
    loss_of(hidden, weight, torch.tensor([[1, 2, 3, 4]])).backward()
    assert hidden.grad is not None
    assert weight.grad is None
