"""Beams on models whose every probability is written down: both rules, word by word as they are stated.

That wide beams equal exhaustive search stands in tests/oracles/test_exhaustive_search.py.
"""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.scripts import Ids, Written
from ramify.engine.model import Model
from ramify.models.scripted import ScriptedBackend

slowly = settings(deadline=None, derandomize=True, max_examples=40)
PENALTIES = st.sampled_from([-0.5, 0.0, 0.5, 1.0, 2.0])
SIZES = st.sampled_from([(2, 4), (3, 3), (4, 5), (7, 4)])

Found = list[tuple[float, Ids, str]]
"""Rank, ids and finish reason, best first."""


def standard(written: Written, prompt: Ids, beams: int, longest: int, stop: bool | str, penalty: float) -> Found:
    """The standard rule on lists: nothing shared, nothing batched."""
    live: list[tuple[float, Ids]] = [(0.0, ())]
    finished: Found = []
    while True:
        grown = [(score + p, (*ids, t)) for score, ids in live for t, p in enumerate(written.logprobs((*prompt, *ids)).tolist())]
        grown = sorted(grown, reverse=True)[: 2 * beams]
        length = len(grown[0][1])
        for score, ids in grown[:beams]:
            if ids[-1] == written.eos or length == longest:
                finished.append((score / length**penalty, ids, "eos" if ids[-1] == written.eos else "length"))
        finished = sorted(finished, reverse=True)[:beams]
        live = [(score, ids) for score, ids in grown if ids[-1] != written.eos][:beams]
        if length == longest or not live:
            return finished
        if len(finished) == beams:
            reach = longest if stop == "never" and penalty > 0 else length
            if stop is True or finished[-1][0] >= live[0][0] / reach**penalty:
                return finished


def early_stopped(written: Written, prompt: Ids, beams: int, longest: int, penalty: float, more: int) -> Found:
    """The early-stopped rule on lists. `more` counts in every length."""
    live: list[tuple[float, Ids]] = [(0.0, ())]
    finished: Found = []
    for length in range(1, longest + 1):
        grown: list[tuple[float, Ids]] = []
        for score, ids in live:
            after = sorted(((p, t) for t, p in enumerate(written.logprobs((*prompt, *ids)).tolist())), reverse=True)
            for p, token in after[:beams]:
                if token == written.eos:
                    finished.append(((score + p) / (length + more) ** penalty, (*ids, token), "eos"))
                else:
                    grown.append((score + p, (*ids, token)))
        live = sorted(grown, reverse=True)[:beams]
        if len(finished) >= beams or not live:
            break
    best = sorted(finished, reverse=True)
    return best + [(score / (len(ids) + more) ** penalty, ids, "length") for score, ids in live]


def shown(results: list[Any]) -> list[tuple[Ids, str]]:
    return [(r.generated_token_ids, r.finish_reason) for r in results]


def ranks(results: list[Any]) -> list[float]:
    return [r.beam_score for r in results]


@slowly
@given(SIZES, st.integers(0, 10_000), st.integers(2, 4), st.sampled_from([True, False, "never"]), PENALTIES)
def test_standard_beams_follow_their_rule_at_any_width(
    size: tuple[int, int], seed: int, beams: int, stop: bool | str, penalty: float
) -> None:
    words, longest = size
    written, prompt = Written(words, seed), (0, 1)
    expected = standard(written, prompt, beams, longest, stop, penalty)
    with written.model() as model:
        found = model.completions(
            prompt,
            num_beams=beams,
            num_return_sequences=len(expected),
            max_new_tokens=longest,
            early_stopping=stop,
            length_penalty=penalty,
        )
    assert shown(found) == [(ids, reason) for _, ids, reason in expected]
    assert ranks(found) == pytest.approx([rank for rank, _, _ in expected], abs=1e-4)


@slowly
@given(SIZES, st.integers(0, 10_000), st.integers(1, 4), PENALTIES, st.sampled_from(["generated", "prompt_and_generated"]))
def test_early_stopped_beams_follow_their_rule_at_any_width(
    size: tuple[int, int], seed: int, beams: int, penalty: float, counts: str
) -> None:
    words, longest = size
    written, prompt = Written(words, seed), (0, 1)
    more = len(prompt) if counts == "prompt_and_generated" else 0
    if beams == 1:
        penalty, more, counts = 1.0, 0, "generated"  # nothing else is accepted where nothing is ranked
    expected = early_stopped(written, prompt, beams, longest, penalty, more)[:beams]
    with written.model() as model:
        found = model.completions(
            prompt,
            num_beams=beams,
            num_return_sequences=len(expected),
            max_new_tokens=longest,
            length_penalty=penalty,
            beam_rule="early_stopped",
            beam_length=counts,
        )
    assert shown(found) == [(ids, reason) for _, ids, reason in expected]
    assert ranks(found) == pytest.approx([rank for rank, _, _ in expected], abs=1e-4)


@slowly
@given(SIZES, st.integers(0, 10_000), st.integers(2, 4), PENALTIES, st.sampled_from(["standard", "early_stopped"]))
def test_a_beam_score_is_the_sum_of_its_logprobs_over_its_length_to_the_penalty(
    size: tuple[int, int], seed: int, beams: int, penalty: float, rule: str
) -> None:
    words, longest = size
    with Written(words, seed).model() as model:
        found = model.completions(
            (0,), num_beams=beams, max_new_tokens=longest, length_penalty=penalty, beam_rule=rule, logprobs=0
        )
    for result in found:
        assert result.logprobs is not None
        assert [t.token_id for t in result.logprobs] == list(result.generated_token_ids)
        total = sum(t.logprob for t in result.logprobs)
        assert result.beam_score == pytest.approx(total / len(result.generated_token_ids) ** penalty, abs=1e-4)


# Greedy goes wrong at the first token: b is likelier than c, and c as a whole than anything that begins with b.
TRAP: Any = {
    "a": {"b": 0.6, "c": 0.4},
    "ab": {"a": 0.4, "b": 0.3, "c": 0.3},
    "aba": {"<eos>": 1.0},
    "abb": {"<eos>": 1.0},
    "abc": {"<eos>": 1.0},
    "ac": {"<eos>": 1.0},
}


def test_two_beams_find_what_greedy_misses() -> None:
    with Model(ScriptedBackend(TRAP)) as model:
        assert model.complete("a").text == "ba"
        found = model.completions("a", num_beams=2, num_return_sequences=2)
    assert [r.text for r in found] == ["c", "ba"]
    assert ranks(found) == pytest.approx([math.log(0.4) / 2, math.log(0.6 * 0.4) / 3], abs=1e-6)


def test_a_length_penalty_can_turn_the_order() -> None:
    with Model(ScriptedBackend(TRAP)) as model:
        found = model.completions("a", num_beams=2, num_return_sequences=2, length_penalty=3.0)
    assert [r.text for r in found] == ["ba", "bb"]
    assert ranks(found) == pytest.approx([math.log(0.6 * 0.4) / 27, math.log(0.6 * 0.3) / 27], abs=1e-6)


@pytest.mark.parametrize("fields", [{"beam_rule": "early_stopped"}, {}])
def test_beams_free_what_they_held(fields: dict[str, Any]) -> None:
    backend = ScriptedBackend(TRAP)
    with Model(backend) as model:
        model.completions("a", num_beams=4, num_return_sequences=3, **fields)
        assert backend.size_bytes() == 0
