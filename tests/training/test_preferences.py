"""Which of two completions wins: the one that gained on the model before, or the likelier one."""

import math

import pytest
import torch

from ramify.training.batches import pad
from ramify.training.examples import completion_example
from ramify.training.gathering import TrainingRow
from ramify.training.models import new_model
from ramify.training.objectives import Pairs, PreferenceConfig
from ramify.training.reader import Reader

ROWS = [
    TrainingRow(
        name=f"row {n}",
        chosen=completion_example([1, n], [n + 1, n + 2], 2),
        rejected=completion_example([1, n], [n + 3], 2),
        prompt_length=2,
    )
    for n in range(4, 12)
]


def test_at_the_start_no_pair_is_won_by_gain_and_each_by_likelihood_as_the_model_ranks_it() -> None:
    model = new_model(vocab_size=20, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16)
    with torch.no_grad():
        model.get_input_embeddings().weight *= 40  # so that it has preferences of its own
    reader = Reader(model)
    chosen, rejected = (
        reader.row_logprobs(pad(side)).detach() for side in ([r.chosen for r in ROWS], [r.examples[1] for r in ROWS])
    )
    ranked = int((chosen > rejected).sum())
    assert 0 < ranked < len(ROWS)
    told = {}
    for reference in (True, False):
        pairs = Pairs(ROWS, PreferenceConfig(beta=0.5, reference=reference))
        pairs.prepare(reader)
        _, told[reference] = pairs.measure(reader, range(len(ROWS)))
    assert told[True]["loss"] == pytest.approx(len(ROWS) * math.log(2), abs=1e-4)
    assert told[True]["margin"] == pytest.approx(0, abs=1e-4)
    assert told[False]["loss"] == pytest.approx(float(torch.log1p(torch.exp(-0.5 * (chosen - rejected))).sum()), rel=1e-4)
    assert told[False]["accuracy"] == ranked
    assert told[False]["margin"] == pytest.approx(float(0.5 * (chosen - rejected).sum()), rel=1e-4)
