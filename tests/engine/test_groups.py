"""Diverse beams on models whose every probability is written down. Equality with transformers 4.49 stands in tests/oracles."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.scripts import Ids, Written
from ramify.engine.model import Model
from ramify.errors import ConstraintError
from ramify.models.scripted import ScriptedBackend

slowly = settings(deadline=None, derandomize=True, max_examples=30)

TABLE: Any = {
    "a": {"b": 0.5, "c": 0.4, "<eos>": 0.1},
    "ab": {"<eos>": 0.9, "a": 0.1},
    "ac": {"b": 0.7, "<eos>": 0.3},
    "acb": {"<eos>": 0.6, "c": 0.4},
}
TWO: dict[str, Any] = {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 1.0, "num_return_sequences": 2}


def completions(table: Any = None, **fields: Any) -> list[Any]:
    with Model(ScriptedBackend(TABLE if table is None else table)) as model:
        return model.completions("a", **(TWO | fields))


def test_a_later_group_shuns_what_an_earlier_one_has_just_taken() -> None:
    # The second group sees b at log .5 - 1, below c.
    found = completions(max_new_tokens=1)
    assert [(r.text, r.finish_reason) for r in found] == [("b", "length"), ("c", "length")]
    assert [r.beam_score for r in found] == pytest.approx([math.log(0.5), math.log(0.4)], abs=1e-6)


def test_a_penalty_too_small_to_matter_still_counts_in_the_score() -> None:
    found = completions(max_new_tokens=1, diversity_penalty=0.1)
    assert [r.text for r in found] == ["b", "b"]
    assert [r.beam_score for r in found] == pytest.approx([math.log(0.5), math.log(0.5) - 0.1], abs=1e-6)


def test_every_beam_of_the_earlier_groups_counts() -> None:
    # Groups of one: the third sees b and c once each; with the fourth all three have been taken, b and c by one group each.
    found = completions(max_new_tokens=1, num_beams=4, num_beam_groups=4, num_return_sequences=4, diversity_penalty=3.0)
    assert [(r.text, round(r.beam_score, 4)) for r in found] == [
        ("b", round(math.log(0.5), 4)),
        ("c", round(math.log(0.4), 4)),
        ("", round(math.log(0.1), 4)),
        ("", round(math.log(0.1), 4)),
    ]


def test_the_measures_after_the_processors_know_the_group() -> None:
    first, second = completions(max_new_tokens=1, diversity_penalty=0.1, logprobs=3)
    penalised = math.exp(math.log(0.5) - 0.1)
    assert first.logprobs[0].processed.logprob == pytest.approx(math.log(0.5), abs=1e-6)
    assert second.logprobs[0].processed.logprob == pytest.approx(math.log(penalised / (penalised + 0.5)), abs=1e-6)
    assert second.logprobs[0].raw == first.logprobs[0].raw


@pytest.mark.parametrize(("pad", "text", "reason"), [(None, "cbc", "length"), (0, "cb", "eos")])
def test_a_group_that_is_done_stands_for_the_padding_token(pad: int | None, text: str, reason: str) -> None:
    # The first group finishes "b" with its second token. Without a padding token of its own the model pads with EOS, which the
    # second group then sees at log .6 - 1, below c at log .4.
    found = completions(max_new_tokens=3, early_stopping=True, pad_token_id=pad)
    assert [(r.text, r.finish_reason) for r in found] == [("b", "eos"), (text, reason)]


def naive(
    written: Written, beams: int, groups: int, longest: int, penalty: float, stop: bool | str, length_penalty: float
) -> list[tuple[float, Ids]]:
    """The search on lists, from the prompt (0,): rank and ids, best first."""
    width = beams // groups
    live: list[list[tuple[float, Ids]]] = [[(0.0, ())] for _ in range(groups)]
    finished: list[list[tuple[float, Ids]]] = [[] for _ in range(groups)]
    done = [False] * groups
    for length in range(1, longest + 1):
        taken = [0] * (written.eos + 1)
        for g in range(groups):
            if done[g]:
                taken[written.eos] += width
                continue
            after = [(score, ids, written.logprobs((0, *ids)).tolist()) for score, ids in live[g]]
            grown = [(score + p - penalty * taken[t], (*ids, t)) for score, ids, said in after for t, p in enumerate(said)]
            grown = sorted(grown, reverse=True)[: 2 * width]
            finished[g] += [(score / length**length_penalty, ids) for score, ids in grown[:width] if ids[-1] == written.eos]
            finished[g] = sorted(finished[g], reverse=True)[:width]
            live[g] = [(score, ids) for score, ids in grown if ids[-1] != written.eos][:width]
            if len(finished[g]) == width:
                reach = longest if stop == "never" and length_penalty > 0 else length
                done[g] = stop is True or finished[g][-1][0] >= grown[0][0] / reach**length_penalty
            if length == longest and not done[g]:
                cut = [(score / length**length_penalty, ids) for score, ids in live[g]]
                finished[g] = sorted(finished[g] + cut, reverse=True)[:width]
            for _, ids in live[g]:
                taken[ids[-1]] += 1
    return sorted((found for group in finished for found in group), reverse=True)


@slowly
@given(
    st.sampled_from([(3, 4), (4, 5), (7, 3)]),
    st.integers(0, 10_000),
    st.sampled_from([(2, 2), (4, 2), (6, 3), (3, 3)]),
    st.sampled_from([0.3, 1.0, 5.0]),
    st.sampled_from([True, False, "never"]),
    st.sampled_from([-0.5, 0.5, 1.0, 2.0]),
)
def test_the_groups_follow_their_rule(
    size: tuple[int, int], seed: int, shape: tuple[int, int], penalty: float, stop: bool | str, length_penalty: float
) -> None:
    (words, longest), (beams, groups) = size, shape
    written = Written(words, seed)
    expected = naive(written, beams, groups, longest, penalty, stop, length_penalty)
    with written.model() as model:
        found = model.completions(
            (0,),
            num_beams=beams,
            num_beam_groups=groups,
            diversity_penalty=penalty,
            num_return_sequences=len(expected),
            max_new_tokens=longest,
            early_stopping=stop,
            length_penalty=length_penalty,
        )
    assert [r.generated_token_ids for r in found] == [ids for _, ids in expected]
    assert [r.beam_score for r in found] == pytest.approx([rank for rank, _ in expected], abs=1e-4)


@slowly
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 4]))
def test_a_great_penalty_makes_the_groups_begin_with_different_tokens(seed: int, groups: int) -> None:
    fields: Any = {"num_beams": groups, "num_beam_groups": groups, "num_return_sequences": groups, "max_new_tokens": 1}
    with Written(7, seed).model() as model:
        # A token that ends a beam is taken by nobody, so all groups may end alike; here none may end.
        found = model.completions((0,), diversity_penalty=50.0, min_new_tokens=1, **fields)
    assert len({r.generated_token_ids for r in found}) == groups


@pytest.mark.parametrize("cached", [True, False])
def test_constraints_and_stop_strings_hold_in_every_group(cached: bool) -> None:
    found = completions({}, regex="(b|c)a?", max_new_tokens=3, use_cache=cached)
    assert {r.text for r in found} <= {"b", "c", "ba", "ca"}
    assert [r.finish_reason for r in found] == ["eos", "eos"]
    found = completions(stop_strings=["b"], max_new_tokens=3, use_cache=cached)
    # The token that ends a beam is not taken: the first group goes on with c, which the second one then shuns.
    assert [(r.text, r.finish_reason, r.stop_string) for r in found] == [("", "stop", "b"), ("", "stop", "b")]


def test_constraints_that_leave_no_group_a_token_are_reported() -> None:
    with pytest.raises(ConstraintError):
        completions({"a": {"a": 1.0}}, regex="b+")


def test_a_time_limit_gives_what_there_is() -> None:
    found = completions(max_time=1e-9, max_new_tokens=3)
    assert [(r.text, r.finish_reason) for r in found] == [("b", "time"), ("c", "time")]


def test_the_groups_free_what_they_held() -> None:
    backend = ScriptedBackend(TABLE)
    with Model(backend) as model:
        model.completions("a", max_new_tokens=3, logprobs=0, **TWO)
        assert backend.size_bytes() == 0
