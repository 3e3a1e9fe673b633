"""Batches of nearly equal length."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.training.batching import Batches, pad_batch, plan_epoch
from ramify.training.examples import Example

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@given(lengths=LENGTHS, size=st.integers(1, 200), seed=st.integers(0, 5))
def test_every_row_comes_once_an_epoch_and_no_batch_is_too_large(lengths: list[int], size: int, seed: int) -> None:
    batches = plan_epoch(lengths, size, seed=seed, epoch=0)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= size


@settings(max_examples=30)
@given(lengths=LENGTHS, seed=st.integers(0, 5))
def test_the_order_depends_on_the_seed_and_the_epoch_alone(lengths: list[int], seed: int) -> None:
    examples = [Example(tuple([row + 4] * length), tuple([row + 4] * length)) for row, length in enumerate(lengths)]
    walked = Batches(examples, 50, seed=seed)
    seen = [walked[number][0].tolist() for number in range(12)]
    assert Batches(examples, 50, seed=seed)[11][0].tolist() == seen[11]


def test_rows_are_padded_on_the_right_and_padding_is_not_learned() -> None:
    token_ids, labels = pad_batch([Example((1, 5), (-100, 5)), Example((1, 6, 7), (-100, 6, 7))], multiple=4)
    assert token_ids.tolist() == [[1, 5, 0, 0], [1, 6, 7, 0]]
    assert labels.tolist() == [[-100, 5, -100, -100], [-100, 6, 7, -100]]
