import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.store.ranking import SPREAD, Comparison, rank

GAMES = st.lists(
    st.builds(
        lambda pair, tie, weight: Comparison(*pair, tie=tie, weight=weight),
        st.permutations([1, 2, 3, 4]).map(lambda order: (order[0], order[1])),
        st.booleans(),
        st.sampled_from([0.5, 1.0, 2.0]),
    ),
    max_size=12,
)


def posterior(strengths: dict[int, float], games: list[Comparison]) -> float:
    total = -sum(value**2 for value in strengths.values()) / (2 * SPREAD**2)
    for game in games:
        gap = strengths[game.better] - strengths[game.worse]
        won, lost = -math.log1p(math.exp(-gap)), -math.log1p(math.exp(gap))
        total += game.weight * ((won + lost) / 2 if game.tie else won)
    return total


@settings(deadline=None, max_examples=50)
@given(GAMES)
def test_no_other_strengths_explain_the_games_better(games: list[Comparison]) -> None:
    found = {entry.item: entry.strength for entry in rank([1, 2, 3, 4], games).strengths}
    best = posterior(found, games)
    for item, step in itertools.product(found, (-0.01, 0.01)):
        assert posterior({**found, item: found[item] + step}, games) < best


def test_without_games_everything_is_average_and_the_order_given() -> None:
    found = rank([3, 1, 2], [])
    assert [(s.item, s.strength, s.error, s.comparisons) for s in found.strengths] == [(i, 0.0, SPREAD, 0) for i in (3, 1, 2)]
    assert found.chance(3, 2) == 0.5
    assert rank([], []).strengths == ()


def test_uncertainty_falls_with_games_and_agrees_with_the_curvature() -> None:
    one, many = (rank([1, 2], [Comparison(1, 2), Comparison(2, 1)] * n) for n in (1, 50))
    assert one.strengths[0].error > many.strengths[0].error
    precision = np.array([[0.5, -0.5], [-0.5, 0.5]]) + np.eye(2) / SPREAD**2  # two even games: 2 · p (1 - p)
    assert np.allclose(one.covariance, np.linalg.inv(precision))


def test_who_always_won_has_a_finite_strength_and_a_tie_moves_towards_each_other() -> None:
    won = rank([1, 2], [Comparison(1, 2)] * 5)
    tied = rank([1, 2], [Comparison(1, 2)] * 5 + [Comparison(1, 2, tie=True)] * 5)
    assert won.chance(1, 2) > tied.chance(1, 2) > 0.5


@pytest.mark.parametrize(
    ("games", "expected"),
    [
        ([], (1, 2)),
        ([(1, 2)], (1, 3)),  # both unknown against 3; the better-ranked is asked first
        ([(1, 2), (1, 3)], (2, 3)),
        ([(1, 2), (1, 3), (2, 3)], None),
    ],
)
def test_the_next_pair_is_one_not_asked_that_is_near_even_and_little_known(
    games: list[tuple[int, int]], expected: tuple[int, int] | None
) -> None:
    found = rank([1, 2, 3], [Comparison(*game) for game in games]).next_pair(skip=[frozenset(game) for game in games])
    assert found == expected or (games == [(1, 2)] and found in ((1, 3), (3, 2)))


def test_true_strengths_are_found_again_from_many_games() -> None:
    true, rng = {1: 1.0, 2: 0.0, 3: -1.0}, np.random.default_rng(0)
    games = []
    for a, b in itertools.combinations(true, 2):
        wins = rng.random(600) < 1 / (1 + math.exp(true[b] - true[a]))
        games += [Comparison(a, b) if won else Comparison(b, a) for won in wins]
    found = {s.item: (s.strength, s.error) for s in rank([3, 2, 1], games).strengths}
    assert list(found) == [1, 2, 3]
    for item, value in true.items():
        assert abs(found[item][0] - value) < 3 * found[item][1]
