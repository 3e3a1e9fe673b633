import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import InputError
from ramify.store.packing import (
    alternative_columns,
    pack_alternatives,
    pack_candidates,
    pack_ids,
    pack_measures,
    unpack_alternatives,
    unpack_candidates,
    unpack_ids,
    unpack_measures,
)

IDS = st.integers(0, (1 << 24) - 1)
LOGPROBS = st.one_of(st.floats(-4000, 0), st.just(-math.inf))


@given(st.lists(IDS))
def test_ids_come_back_and_take_three_bytes(ids: list[int]) -> None:
    assert unpack_ids(pack_ids(ids)) == tuple(ids)
    assert len(pack_ids(ids)) == 3 * len(ids)


@given(st.lists(st.tuples(LOGPROBS, st.integers(1, (1 << 24) - 1), st.floats(0, 16))))
def test_measures_come_back_within_half_a_millionth(measures: list[tuple[float, int, float]]) -> None:
    packed = pack_measures(measures)
    assert len(packed) == 10 * len(measures)
    for (logprob, rank, entropy), found in zip(measures, unpack_measures(packed), strict=True):
        assert found[0] == logprob or abs(found[0] - logprob) <= 5.0001e-7
        assert found[1] == rank
        assert abs(found[2] - entropy) <= 5.0001e-7


@given(st.lists(st.tuples(LOGPROBS, IDS.filter(bool), st.floats(0, 16))))
def test_packing_what_was_unpacked_changes_nothing(measures: list[tuple[float, int, float]]) -> None:
    packed = pack_measures(measures)
    assert pack_measures(unpack_measures(packed)) == packed


@given(st.lists(st.lists(st.tuples(IDS, LOGPROBS), max_size=5), max_size=6))
def test_alternatives_come_back_token_by_token(rows: list[list[tuple[int, float]]]) -> None:
    found = unpack_alternatives(pack_alternatives(rows), len(rows))
    assert [[i for i, _ in row] for row in found] == [[i for i, _ in row] for row in rows]
    for row, expected in zip(found, rows, strict=True):
        for (_, value), (_, logprob) in zip(row, expected, strict=True):
            assert value == logprob or abs(value - logprob) <= 5.0001e-7


@given(st.lists(st.tuples(IDS, st.floats(-1000, 0, width=32))))
def test_candidates_of_a_beam_are_exact_in_float32(candidates: list[tuple[int, float]]) -> None:
    assert unpack_candidates(pack_candidates(candidates)) == tuple(candidates)


@pytest.mark.parametrize("ids", [[-1], [1 << 24]])
def test_an_id_that_no_vocabulary_has_is_refused(ids: list[int]) -> None:
    with pytest.raises(InputError, match="16777215"):
        pack_ids(ids)


@pytest.mark.parametrize("logprob", [0.5, math.nan, math.inf])
def test_a_logprob_that_is_none_is_refused(logprob: float) -> None:
    with pytest.raises(InputError, match="at most 0"):
        pack_measures([(logprob, 1, 0.0)])


def test_columns_of_some_alternatives_are_those_of_the_rows() -> None:
    rows = [[(1, -0.5), (2, -1.0)], [], [(3, -0.25)], [(4, -0.5), (5, -0.75), (6, -2.0)]]
    packed = pack_alternatives(rows)
    assert packed is not None
    for start in range(5):
        for end in range(start + 1, 5):
            for most in (1, 2, 9):
                wanted = [row[:most] for row in rows[start:end]]
                flat = [pair for row in wanted for pair in row]
                expected = ([len(row) for row in wanted], [i for i, _ in flat], [value for _, value in flat])
                assert alternative_columns(packed, start, end, most) == expected
