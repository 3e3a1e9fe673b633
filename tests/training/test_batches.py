"""Which rows make a step, and how they lie in a batch."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.training.batches import Steps, pack, pad, plan_epoch
from ramify.training.config import TrainConfig
from ramify.training.examples import Example, completion_example
from ramify.training.models import new_model
from ramify.training.objectives import Completions
from ramify.training.reader import Reader

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def config(**fields: Any) -> TrainConfig:
    return TrainConfig(**{"max_steps": 1} | fields)


@given(lengths=LENGTHS, size=st.integers(1, 200), seed=st.integers(0, 5), packing=st.booleans())
def test_every_row_comes_once_an_epoch_and_no_pass_is_too_large(lengths: list[int], size: int, seed: int, packing: bool) -> None:
    passes = plan_epoch(lengths, config(tokens_per_step=size, seed=seed, packing=packing), 0)
    assert sorted(row for rows in passes for row in rows) == list(range(len(lengths)))
    for rows in passes:
        sizes = [lengths[row] for row in rows]
        assert len(rows) == 1 or (sum(sizes) if packing else len(rows) * max(sizes)) <= size


@settings(max_examples=30)
@given(lengths=LENGTHS, seed=st.integers(0, 5))
def test_the_order_depends_on_the_seed_and_the_epoch_alone(lengths: list[int], seed: int) -> None:
    how = config(tokens_per_step=50, seed=seed)
    walked = Steps(lengths, how)
    seen = [walked[number] for number in range(12)]
    assert Steps(lengths, how)[11] == seen[11]


def test_rows_a_pass_passes_a_step_and_epochs_make_the_number_of_steps() -> None:
    how = {"batch_size": 2, "accumulation": 2, "shuffle": False, "max_steps": None}
    steps = Steps([3] * 9, config(**how, epochs=2.5))
    assert steps.epoch(0) == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8]]]
    assert steps[3] == steps[0]
    assert steps.last() == 3 + 3 + 2  # half of three, rounded to the even one
    assert Steps([3] * 9, config(**how | {"max_steps": 4}, epochs=2.5)).last() == 4
    assert Steps([3] * 9, config(batch_size=2, shuffle=False), devices=2)[0] == [[0, 1], [2, 3]]


def test_rows_are_padded_on_the_right_and_padding_is_not_learned() -> None:
    made = pad([Example((1, 5), (-100, 5)), Example((1, 6, 7), (-100, 6, 7))], multiple=4)
    assert made.token_ids.tolist() == [[1, 5, 0, 0], [1, 6, 7, 0]]
    assert made.labels.tolist() == [[-100, 5, -100, -100], [-100, 6, 7, -100]]
    assert made.rows.tolist() == [0, 1, 1]


def test_packed_rows_count_their_own_positions_and_learn_nothing_across_their_border() -> None:
    made = pack([Example((1, 5, 2), (-100, 5, 2)), Example((6, 7), (6, 7)), Example((1, 8), (-100, 8))])
    assert made.token_ids.tolist() == [[1, 5, 2, 6, 7, 1, 8]]
    assert made.labels.tolist() == [[-100, 5, 2, -100, 7, -100, 8]]  # 6 would be predicted by another row's end
    assert made.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 1]]
    assert made.rows.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("sliding", [None, 3])
def test_packing_changes_no_loss_and_no_gradient(sliding: int | None) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    rows = [completion_example([1, *range(4, 4 + n)], [10 + n, 9], 2) for n in range(6)]
    found = []
    for packing in (False, True):
        torch.manual_seed(0)
        shape = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 16}
        model = MistralForCausalLM(MistralConfig(**shape, num_key_value_heads=2, sliding_window=sliding))
        reader = Reader(model, packing=packing)
        loss, told = Completions(rows, packing=packing).measure(reader, [4, 0, 5, 1])
        loss.backward()
        assert told["weight"] == 12
        found.append((loss.item(), {name: p.grad for name, p in model.named_parameters()}))
    (padded, gradients), (packed, others) = found
    assert packed == pytest.approx(padded, rel=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(others[name], gradient, atol=1e-5), name


def test_a_model_that_cannot_be_packed_is_refused() -> None:
    import models_made_here
    from ramify.errors import UnsupportedError
    from ramify.models.loading import resolve
    from ramify.training.models import load_folder

    for name in ("mamba", "bloom", "gemma2"):
        with pytest.raises(UnsupportedError, match="cannot be packed"):
            Reader(load_folder(resolve(models_made_here.folder(name))), packing=True)


def test_rows_of_a_toy_alone_and_in_company_have_the_same_logprobs() -> None:
    model = new_model(vocab_size=20, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16)
    rows = [completion_example([1, 5], [7, 8, 9], 2), completion_example([1, 4, 6, 5], [7], 2)]
    reader = Reader(model)
    with torch.no_grad():
        alone = torch.cat([reader.row_logprobs(pad([row])) for row in rows])
        assert torch.allclose(reader.row_logprobs(pad(rows)), alone, atol=1e-5)
