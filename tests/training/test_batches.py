"""Which rows make a step, and how they lie in a batch."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.training.batches import Steps, Trunk, pack, pad, plan_epoch
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
    from ramify.models.weights import load_folder

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


def siblings() -> list[Example]:
    """Three completions of one prompt of 20 tokens, one of another, in an order of their own."""
    long = [1, *range(4, 19), 4, 5, 6, 7]
    rows = [completion_example(long, [10 + n, 9, 8][: n + 1], 2) for n in range(3)]
    return [rows[0], completion_example([1, 5], [7], 2), rows[1], rows[2]]


def test_rows_of_one_prompt_lie_behind_it_and_each_predicts_its_own_first_token() -> None:
    made = pack(siblings())
    prompt, last = [1, *range(4, 19), 4, 5, 6], 7
    own = [[last, 10, 2], [last, 11, 9, 2], [last, 12, 9, 8, 2]]
    assert made.token_ids.tolist() == [[*prompt, *own[0], *own[1], *own[2], 1, 5, 7, 2]]
    assert made.trunks == (Trunk(19, (3, 4, 5), (0, 2, 3)), Trunk(0, (4,), (1,)))
    assert made.labels.tolist() == [
        [*[-100] * 19, -100, 10, 2, -100, 11, 9, 2, -100, 12, 9, 8, 2, -100, -100, 7, 2],
    ]
    assert made.position_ids.tolist() == [[*range(19), 19, 20, 21, *range(19, 23), *range(19, 24), 0, 1, 2, 3]]
    assert made.rows.tolist() == [0, 0, 2, 2, 2, 3, 3, 3, 3, 1, 1]


@pytest.mark.parametrize("sliding", [None, 3])
def test_a_shared_prompt_changes_no_loss_and_no_gradient(sliding: int | None) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    rows, found = siblings(), []
    for packing in (False, True):
        torch.manual_seed(0)
        shape = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 16}
        model = MistralForCausalLM(MistralConfig(**shape, num_key_value_heads=2, sliding_window=sliding))
        reader = Reader(model, packing=packing)
        batch = pack(rows) if packing else pad(rows)
        logprobs = reader.row_logprobs(batch)
        (logprobs * torch.tensor([1.0, -2.0, 3.0, 0.5])).sum().backward()
        found.append((logprobs, {name: p.grad for name, p in model.named_parameters()}))
    (padded, gradients), (packed, others) = found
    assert torch.allclose(packed, padded, rtol=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(others[name], gradient, atol=1e-5), name


def test_rows_of_one_prompt_go_together_where_asked() -> None:
    prompts = [n % 5 for n in range(20)]
    how = config(batch_size=4, packing=True, together=True)
    for epoch in (0, 1):
        passes = plan_epoch([3] * 20, how, epoch, prompts)
        assert sorted(row for rows in passes for row in rows) == list(range(20))
        assert all(len({prompts[row] for row in rows}) == 1 for rows in passes)
    assert plan_epoch([3] * 20, how, 0, prompts) != plan_epoch([3] * 20, how, 1, prompts)


def test_computing_activations_again_changes_no_gradient() -> None:
    found = []
    for again in (False, True):
        model = new_model(vocab_size=20, hidden_size=8, layers=2, heads=2, kv_heads=1, intermediate_size=16)
        if again:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        reader = Reader(model.train(), packing=True)
        loss, _ = Completions(siblings(), packing=True).measure(reader, [0, 1, 2, 3])
        loss.backward()
        found.append([loss, *(p.grad for p in model.parameters())])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))
