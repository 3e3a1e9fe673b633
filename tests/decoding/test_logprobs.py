import math
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.decoding.logprobs import measure


def test_measures_of_a_distribution_one_can_do_in_the_head() -> None:
    logits = torch.tensor([[0.25, 0.5, 0.25, 0.0]]).log()
    found = measure(logits, torch.tensor([2]), 3)
    torch.testing.assert_close(found.logprobs, torch.tensor([math.log(0.25)]))
    torch.testing.assert_close(found.entropies, torch.tensor([1.5 * math.log(2)]))
    assert found.ranks.tolist() == [2]
    assert found.top_ids.tolist() == [[1, 0, 2]]
    torch.testing.assert_close(found.top_logprobs.exp(), torch.tensor([[0.5, 0.25, 0.25]]))


def test_tied_tokens_share_a_rank_and_the_lowest_ids_come_first() -> None:
    found = measure(torch.zeros(2, 50), torch.tensor([49, 0]), 3)
    assert found.ranks.tolist() == [1, 1]
    assert found.top_ids.tolist() == [[0, 1, 2]] * 2


def test_a_removed_token_has_logprob_minus_infinity_and_the_last_rank() -> None:
    found = measure(torch.tensor([[0.0, -math.inf, 0.0]]), torch.tensor([1]))
    assert found.logprobs.tolist() == [-math.inf]
    assert found.ranks.tolist() == [3]
    torch.testing.assert_close(found.entropies, torch.tensor([math.log(2)]))
    assert found.top_ids.shape == found.top_logprobs.shape == (1, 0)


def test_the_entropy_of_a_certain_token_is_zero_and_not_minus_zero() -> None:
    for logits in (torch.tensor([[0.0, -math.inf]]), torch.tensor([[60.0, 0.0, 0.0]])):
        found = float(measure(logits, torch.tensor([0])).entropies)
        assert (abs(found) < 1e-9, math.copysign(1.0, found)) == (True, 1.0)


def test_more_alternatives_than_tokens_are_all_tokens() -> None:
    assert measure(torch.tensor([[0.0, 1.0]]), torch.tensor([0]), 9).top_ids.tolist() == [[1, 0]]


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 4), width=st.integers(1, 60), k=st.integers(0, 8), ties=st.booleans())
def test_measures_equal_their_definitions(seed: int, rows: int, width: int, k: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, width, generator=generator) * 3
    logits = logits.round() if ties else logits
    chosen = torch.randint(0, width, (rows,), generator=generator)
    before = logits.clone()
    found = measure(logits, chosen, k)
    distribution: Any = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(found.entropies, distribution.entropy(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.logprobs, distribution.log_prob(chosen), atol=1e-6, rtol=1e-6)
    for row in range(rows):
        order = sorted(range(width), key=lambda token: (-float(logits[row, token]), token))
        assert found.top_ids[row].tolist() == order[: min(k, width)]
        assert found.ranks[row] == 1 + sum(float(value) > float(logits[row, chosen[row]]) for value in logits[row])
    assert torch.equal(logits, before)


def test_a_row_of_a_wide_vocabulary_measures_the_same_alone_and_in_a_batch() -> None:
    logits = torch.randn(4, 50_000, generator=torch.Generator().manual_seed(0)) * 3
    whole = measure(logits, torch.arange(4), 2)
    for row in range(4):
        alone = measure(logits[row : row + 1], torch.tensor([row]), 2)
        assert whole.entropies[row] == alone.entropies[0]
        assert whole.logprobs[row] == alone.logprobs[0]
