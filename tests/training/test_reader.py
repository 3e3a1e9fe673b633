"""The loss is each architecture's own, whatever lies between its hidden states and its logits."""

import pytest
import torch

import models_made_here
from ramify.models.loading import resolve
from ramify.models.weights import load_folder
from ramify.training.batches import pad
from ramify.training.examples import completion_example
from ramify.training.objectives import Completions
from ramify.training.reader import Reader

ROWS = [completion_example([1, 9, 12, 30], [40, 41, 42], 2), completion_example([1, 9], [50, 51, 52, 53], 2)]


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "mistral", "gemma2", "bloom", "mamba"])
def test_the_loss_and_its_gradients_are_the_models_own(name: str) -> None:
    model = load_folder(resolve(models_made_here.folder(name))).eval()
    batch = pad(ROWS)
    labels = batch.labels
    logits = model(input_ids=batch.token_ids, use_cache=False).logits[:, :-1].float()
    kept = labels[:, 1:] != -100
    expected = -logits.log_softmax(-1)[kept].gather(1, labels[:, 1:][kept].unsqueeze(1)).sum()
    expected.backward()
    gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    reader = Reader(model)
    loss, count = reader.loss(batch)
    loss.backward()
    assert count == 9
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    for key, parameter in model.named_parameters():
        if key in gradients:
            assert parameter.grad is not None
            assert torch.allclose(parameter.grad, gradients[key], atol=2e-3 * float(gradients[key].abs().max()) + 1e-5), key
    with torch.no_grad():
        assert float(-reader.logprobs(batch).sum()) == pytest.approx(expected.item(), rel=1e-4)
    assert reader.whole == (name == "gemma2")  # its logits are capped


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "mistral"])
def test_packed_rows_of_real_architectures_have_the_padded_loss(name: str) -> None:
    model = load_folder(resolve(models_made_here.folder(name))).eval()
    with torch.no_grad():
        padded, _ = Completions(ROWS).measure(Reader(model), [0, 1])
        packed, _ = Completions(ROWS, packing=True).measure(Reader(model, packing=True), [0, 1])
    assert packed.item() == pytest.approx(padded.item(), rel=1e-5)
