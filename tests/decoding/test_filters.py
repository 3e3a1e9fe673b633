import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation import logits_process as theirs

from ramify.decoding import filters


def logits_of(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


def kept(logits: Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


@st.composite
def batches(draw: st.DrawFn) -> Tensor:
    """(B, V) of random logits; at times some are -inf, at times many tie."""
    rows, width = draw(st.integers(1, 4)), draw(st.integers(5, 60))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = torch.randn(rows, width, generator=generator) * draw(st.sampled_from([0.3, 1.0, 4.0]))
    if draw(st.booleans()):
        logits = logits.round()
    if draw(st.booleans()):
        logits[:, torch.rand(width, generator=generator) < 0.3] = -math.inf
        logits[:, draw(st.integers(0, width - 1))] = 0.0
    return logits


def assert_same(mine: Tensor, other: Tensor) -> None:
    assert torch.equal(mine.isneginf(), other.isneginf())
    torch.testing.assert_close(mine, other, atol=1e-6, rtol=0)


# Bounds are chosen away from round numbers: where a mass is within 1e-6 of the bound the two round differently.
CASES: list[tuple[str, Callable[[Tensor, int], Tensor], Callable[[int], Any]]] = [
    ("temperature", lambda x, _: filters.temperature(x, 0.7), lambda _: theirs.TemperatureLogitsWarper(0.7)),
    ("top_k", lambda x, n: filters.top_k(x, 3, n), lambda n: theirs.TopKLogitsWarper(3, min_tokens_to_keep=n)),
    ("top_k beyond V", lambda x, n: filters.top_k(x, 99, n), lambda n: theirs.TopKLogitsWarper(99, min_tokens_to_keep=n)),
    *[
        (
            f"top_p {p}",
            lambda x, n, p=p: filters.top_p(x, p, min_keep=n),
            lambda n, p=p: theirs.TopPLogitsWarper(p, min_tokens_to_keep=n),
        )
        for p in (0.0137, 0.3719, 0.7131, 0.9517)
    ],
    *[
        (
            f"min_p {p}",
            lambda x, n, p=p: filters.min_p(x, p, n),
            lambda n, p=p: theirs.MinPLogitsWarper(p, min_tokens_to_keep=n),
        )
        for p in (0.0213, 0.4137)
    ],
    *[
        (
            f"typical_p {p}",
            lambda x, n, p=p: filters.typical_p(x, p, n),
            lambda n, p=p: theirs.TypicalLogitsWarper(p, min_tokens_to_keep=n),
        )
        for p in (0.2137, 0.7131)
    ],
    *[
        (
            f"epsilon {e}",
            lambda x, n, e=e: filters.epsilon_cutoff(x, e, n),
            lambda n, e=e: theirs.EpsilonLogitsWarper(e, min_tokens_to_keep=n),
        )
        for e in (0.0317, 0.91)
    ],
    *[
        (
            f"eta {e}",
            lambda x, n, e=e: filters.eta_cutoff(x, e, n),
            lambda n, e=e: theirs.EtaLogitsWarper(e, min_tokens_to_keep=n),
        )
        for e in (0.0317, 0.91)
    ],
]


@pytest.mark.parametrize(("mine", "other"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@settings(max_examples=60, deadline=None)
@given(logits=batches(), min_keep=st.sampled_from([1, 1, 3]))
def test_each_filter_equals_transformers_and_leaves_its_input_alone(
    mine: Callable[[Tensor, int], Tensor], other: Callable[[int], Any], logits: Tensor, min_keep: int
) -> None:
    before = logits.clone()
    found = mine(logits, min_keep)
    assert_same(found, other(min_keep)(None, logits.clone()))
    assert torch.equal(logits, before)
    assert found.isfinite().any(dim=-1).all()


@pytest.mark.parametrize("mine", [case[1] for case in CASES], ids=[case[0] for case in CASES])
@settings(max_examples=25, deadline=None)
@given(logits=batches())
def test_a_row_alone_equals_the_same_row_in_a_batch(mine: Callable[[Tensor, int], Tensor], logits: Tensor) -> None:
    whole = mine(logits, 1)
    for row in range(len(logits)):
        assert torch.equal(whole[row : row + 1], mine(logits[row : row + 1], 1))


def test_the_two_nucleus_rules_on_the_specifications_example() -> None:
    logits = logits_of(0.5, 0.3, 0.2)
    assert kept(filters.top_p(logits, 0.6, "inclusive")) == [[0, 1]]
    assert kept(filters.top_p(logits, 0.6, "exclusive")) == [[0]]


@pytest.mark.parametrize(
    ("p", "inclusive", "exclusive"),
    [
        (0.1, [0], [0]),
        (0.5, [0], [0]),
        (0.79, [0, 1], [0]),
        (0.8, [0, 1], [0, 1]),
        (0.81, [0, 1, 2], [0, 1]),
        (1.0, [0, 1, 2], [0, 1, 2]),
    ],
)
def test_a_mass_that_is_meant_to_reach_p_reaches_it(p: float, inclusive: list[int], exclusive: list[int]) -> None:
    logits = logits_of(0.5, 0.3, 0.2)
    assert kept(filters.top_p(logits, p, "inclusive")) == [inclusive]
    assert kept(filters.top_p(logits, p, "exclusive")) == [exclusive]


@settings(max_examples=60, deadline=None)
@given(logits=batches(), p=st.floats(0.01, 0.99))
def test_the_nuclei_are_what_their_definitions_say(logits: Tensor, p: float) -> None:
    probabilities = logits.softmax(-1).double()
    for row, whole in enumerate(probabilities):
        for rule in ("inclusive", "exclusive"):
            found = filters.top_p(logits, p, rule)[row].isfinite()
            mass, least = float(whole[found].sum()), float(whole[found].min())
            assert float(whole[~found].max() if (~found).any() else 0) <= least + 1e-9
            if rule == "inclusive":
                assert mass >= p - 2e-6
                assert int(found.sum()) == 1 or mass - least < p + 2e-6
            else:
                assert mass <= p + 2e-6 or int(found.sum()) == 1
                rest = whole.masked_fill(found, 0).max()
                assert mass + float(rest) > p - 2e-6


def test_a_wide_flat_nucleus_equals_the_definition() -> None:
    # 40,000 tokens: neither of the short prefixes that are tried first holds the mass.
    logits = torch.linspace(0, 1e-3, 40_000)[torch.randperm(40_000, generator=torch.Generator().manual_seed(1))][None]
    probabilities = logits.softmax(-1, dtype=torch.float64).sort(descending=True).values
    wanted = int((probabilities.cumsum(-1) < 0.9317).sum()) + 1
    found = filters.top_p(logits, 0.9317)
    assert abs(int(found.isfinite().sum()) - wanted) <= 1
    assert found.isfinite().sum() == (logits >= found[found.isfinite()].min()).sum()


def test_top_k_keeps_every_token_that_ties_with_the_kth() -> None:
    assert kept(filters.top_k(torch.tensor([[3.0, 1.0, 2.0, 2.0, 0.0]]), 2)) == [[0, 2, 3]]


def test_min_p_keeps_a_tie_at_the_bound() -> None:
    assert kept(filters.min_p(torch.tensor([[0.0, math.log(0.5), math.log(0.4999)]]), 0.5)) == [[0, 1]]


def test_typical_p_may_drop_the_likeliest_token() -> None:
    # Surprisals 0.92 and six times 2.30; the entropy 1.75 is nearer to the six.
    logits = logits_of(0.4, *[0.1] * 6)
    assert kept(filters.typical_p(logits, 0.3)) == [[1, 2, 3, 4, 5, 6]]


def test_epsilon_and_eta_keep_the_likeliest_token_when_all_fall_short() -> None:
    logits = logits_of(0.3, 0.4, 0.3)
    assert kept(filters.epsilon_cutoff(logits, 0.9)) == [[1]]
    # The bound is sqrt(0.9) * exp(-1.089) = 0.32.
    assert kept(filters.eta_cutoff(logits, 0.9)) == [[1]]


@pytest.mark.parametrize("value", [1e-320, 1e-40, 1e-30, 1e300])
def test_an_extreme_temperature_gives_no_nan(value: float) -> None:
    found = filters.temperature(torch.tensor([[1.0, 2.0, -math.inf, 0.0]]), value).softmax(-1)
    third = 1 / 3
    wanted = [0.0, 1.0, 0.0, 0.0] if value < 1 else [third, third, 0.0, third]
    torch.testing.assert_close(found, torch.tensor([wanted]))
