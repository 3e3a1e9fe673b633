import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ramify.decoding import choose
from ramify.decoding.choose import RowRandom


def draws(logits: Tensor, *uniforms: float) -> list[int]:
    rows = logits.expand(len(uniforms), -1)
    return choose.categorical(rows, torch.tensor(uniforms, dtype=torch.float64)).tolist()


def test_the_lowest_id_wins_a_tie() -> None:
    assert choose.argmax(torch.tensor([[0.0, 2.0, 2.0], [1.0, 1.0, 1.0]])).tolist() == [1, 0]


def test_a_draw_is_the_inverse_of_the_cumulative_distribution() -> None:
    logits = torch.tensor([0.5, 0.25, 0.0, 0.25]).log()
    assert draws(logits, 0.0, 0.49, 0.5, 0.74, 0.75, 0.999999) == [0, 0, 1, 1, 3, 3]


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf])
    assert draws(logits, 0.0, 0.5 - 1e-12, 0.5, 1 - 2**-53) == [1, 1, 3, 3]
    # So unlikely that float32 has no number for it.
    assert draws(torch.tensor([0.0, -200.0]), 1 - 2**-53) == [0]


def test_rounding_at_the_very_end_still_draws_a_token_with_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4096, 100, generator=generator) * 15  # weights so far apart that the order of summing matters
    logits[:, 70:] = -math.inf
    drawn = choose.categorical(logits, torch.full((4096,), 1 - 2**-53, dtype=torch.float64))
    assert int(drawn.max()) < 70
    assert logits.gather(1, drawn[:, None]).isfinite().all()


@settings(max_examples=100, deadline=None)
@given(
    width=st.sampled_from([1, 3, 60, 127, 128, 129, 1000]),
    seed=st.integers(0, 2**31),
    uniform=st.one_of(st.floats(0, 1, exclude_max=True), st.just(1 - 2**-53), st.just(0.0)),
    share=st.sampled_from([0.0, 0.5, 0.98]),
)
def test_a_draw_equals_a_plain_cumulative_sum(width: int, seed: int, uniform: float, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(width, generator=generator) * 4
    logits[torch.rand(width, generator=generator) < share] = -math.inf
    logits[width // 2] = 0.0
    weights = (logits - logits.max()).exp().double().numpy()
    cumulative = np.cumsum(weights) / weights.sum()
    found = draws(logits, uniform)[0]
    assert weights[found] > 0
    assert cumulative[found] >= uniform - 1e-9
    assert cumulative[found] - weights[found] / weights.sum() <= uniform + 1e-9


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 9), width=st.sampled_from([5, 300, 1024]))
def test_a_row_draws_the_same_alone_and_in_a_batch(seed: int, rows: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, width, generator=generator) * 3
    uniforms = torch.rand(rows, generator=generator, dtype=torch.float64)
    before = logits.clone()
    whole = choose.categorical(logits, uniforms)
    alone = [choose.categorical(logits[row : row + 1], uniforms[row : row + 1]) for row in range(rows)]
    assert whole.tolist() == torch.cat(alone).tolist()
    assert torch.equal(logits, before)


@pytest.mark.parametrize("width", [5, 700, 5000, 5 * 128 * 8 + 3])
@pytest.mark.parametrize("k", [1, 8, 60])
def test_the_largest_of_many_are_those_of_all_sorted(width: int, k: int) -> None:
    torch.manual_seed(width)
    values = torch.randn(width)
    values[torch.randperm(width)[: width // 2]] = -math.inf
    found, places = choose.largest(values, k)
    ordered = values.sort(descending=True).values[:k]
    assert torch.equal(found, ordered)
    assert torch.equal(values[places], found)
    assert len(set(places.tolist())) == min(k, width)


def test_draws_follow_the_distribution() -> None:
    wanted = [0.6, 0.3, 0.1]
    logits = torch.tensor([wanted]).log().expand(20_000, -1)
    counts = torch.bincount(choose.categorical(logits, choose.uniforms(range(20_000), [0] * 20_000)), minlength=3)
    torch.testing.assert_close(counts / 20_000, torch.tensor(wanted), atol=0.015, rtol=0)


def test_draw_t_of_a_seed_depends_on_the_seed_and_t_alone() -> None:
    row = RowRandom(7)
    first = [row.uniform() for _ in range(5)]
    assert [RowRandom(7, step).uniform() for step in range(5)] == first
    assert choose.uniforms([7] * 5, range(5)).tolist() == first
    other = RowRandom(7)
    other.uniforms(1000)  # however many numbers a draw takes, the next draw is the next draw
    assert other.uniform() == first[1]
    assert RowRandom(8).uniform() != first[0]
    assert all(0 <= number < 1 for number in first)


def test_a_copied_row_goes_on_as_the_original_would() -> None:
    row = RowRandom(3)
    row.uniform()
    twin = row.copy()
    assert [row.uniform() for _ in range(3)] == [twin.uniform() for _ in range(3)]


def test_the_random_numbers_of_a_seed_never_change() -> None:
    # A stored seed must give the same text in every version: these are Philox4x64-10's, fixed for ever.
    assert [round(RowRandom(0, step).uniform(), 12) for step in range(3)] == [0.011546754286, 0.211859544033, 0.660168652963]


def test_neighbouring_seeds_and_steps_are_independent() -> None:
    numbers = np.array([[RowRandom(seed, step).uniform() for step in range(60)] for seed in range(60)])
    assert abs(numbers.mean() - 0.5) < 0.03
    correlations = [np.corrcoef(numbers[i], numbers[i + 1])[0, 1] for i in range(59)]
    assert abs(float(np.mean(correlations))) < 0.06


def test_gumbel_top_k_draws_without_replacement_in_the_order_of_successive_draws() -> None:
    probabilities = [0.5, 0.3, 0.2]
    logits = torch.tensor([probabilities]).log()
    drawn: Counter[tuple[int, ...]] = Counter()
    for seed in range(4000):
        uniforms = torch.from_numpy(RowRandom(seed).uniforms(3))[None]
        drawn[tuple(choose.gumbel_top_k(logits, uniforms, 2)[1][0].tolist())] += 1
    for (first, second), count in drawn.items():
        wanted = probabilities[first] * probabilities[second] / (1 - probabilities[first])
        assert count / 4000 == pytest.approx(wanted, abs=0.03)
    assert len(drawn) == 6


def test_gumbel_top_k_puts_removed_tokens_last() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf]])
    values, ids = choose.gumbel_top_k(logits, torch.tensor([[0.9, 0.0, 0.5]], dtype=torch.float64), 3)
    assert ids[0, 0] == 1
    assert values.isneginf().tolist() == [[False, True, True]]
