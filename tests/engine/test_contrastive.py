"""Contrastive search on models whose every probability is written down.

The scripted model's hidden states are one-hot: a token is like its own earlier occurrences (similarity 1), and like no other (0).
Equality with transformers 4.49 stands in tests/oracles.
"""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.scripts import Ids, Written
from ramify.engine.model import Model
from ramify.errors import ConfigError, ConstraintError
from ramify.models.scripted import ScriptedBackend

slowly = settings(deadline=None, derandomize=True, max_examples=30)

# The likeliest token repeats the prompt's; after "ab" the likeliest ends.
TABLE: Any = {
    "a": {"a": 0.6, "b": 0.3, "c": 0.1},
    "aa": {"a": 0.9, "c": 0.1},
    "aaa": {"<eos>": 1.0},
    "aac": {"<eos>": 1.0},
    "ab": {"<eos>": 0.5, "c": 0.4, "b": 0.1},
    "abc": {"a": 0.7, "<eos>": 0.3},
}


def complete(table: Any = None, prompt: str = "a", **fields: Any) -> Any:
    with Model(ScriptedBackend(TABLE if table is None else table)) as model:
        return model.complete(prompt, **({"penalty_alpha": 0.5, "top_k": 2} | fields))


def test_a_token_that_repeats_loses_to_a_new_one() -> None:
    # a: .5 * .6 - .5 = -.2; b: .5 * .3 = .15. Then EOS .25 against c .2.
    result = complete()
    assert (result.text, result.finish_reason, result.beam_score) == ("b", "eos", None)


def test_a_small_alpha_leaves_the_likeliest() -> None:
    # a: .9 * .6 - .1 = .44; b: .9 * .3 = .27. Then a: .9 * .9 - .1 against c: .09. Then EOS is the only one possible.
    assert complete(penalty_alpha=0.1).text == "aa"


def test_top_k_bounds_the_candidates() -> None:
    # With three candidates c (.1) competes too and b still wins; after "ab" EOS and c are new, b is not.
    assert complete(top_k=3).token_ids == (1, 3)


def test_an_impossible_token_does_not_compete() -> None:
    # a: .4 - .6 = -.2; another token would have 0, were it possible.
    assert complete({"a": {"a": 1.0}, "aa": {"a": 1.0}}, penalty_alpha=0.6, max_new_tokens=2).text == "aa"


def naive(written: Written, prompt: Ids, alpha: float, top_k: int, longest: int) -> Ids:
    """The search on lists."""
    ids: Ids = ()
    while len(ids) < longest and written.eos not in ids:
        said = (*prompt, *ids)
        after = sorted(((math.exp(p), -t) for t, p in enumerate(written.logprobs(said).tolist())), reverse=True)[:top_k]
        best = max(after, key=lambda pair: (1 - alpha) * pair[0] - alpha * (-pair[1] in said))
        ids = (*ids, -best[1])
    return ids


@slowly
@given(
    st.integers(1, 7),
    st.integers(0, 10_000),
    st.sampled_from([0.01, 0.2, 0.6, 1.0]),
    st.integers(2, 9),
    st.integers(1, 8),
    st.booleans(),
)
def test_the_search_follows_its_rule(words: int, seed: int, alpha: float, top_k: int, longest: int, cached: bool) -> None:
    written = Written(words, seed)
    with written.model() as model:
        found = model.complete((0, 0), penalty_alpha=alpha, top_k=top_k, max_new_tokens=longest, use_cache=cached)
    expected = naive(written, (0, 0), alpha, top_k, longest)
    assert (found.generated_token_ids, found.finish_reason) == (expected, "eos" if written.eos in expected else "length")


def test_each_token_is_measured_in_its_own_distribution_before_and_after_the_processors() -> None:
    # The penalty of 4 takes a, which the prompt has, from .6 to .6 ** 4 = .1296: its logit is negative here, and is multiplied.
    result = complete(repetition_penalty=4.0, max_new_tokens=1, logprobs=2)
    (token,) = result.logprobs
    assert (token.text, token.raw.rank, token.processed.rank) == ("b", 2, 1)
    assert token.raw.logprob == pytest.approx(math.log(0.3), abs=1e-6)
    assert token.processed.logprob == pytest.approx(math.log(0.3 / (0.1296 + 0.3 + 0.1)), abs=1e-6)
    assert [a.text for a in token.processed.alternatives] == ["b", "a"]
    assert [math.exp(a.logprob) for a in token.raw.alternatives] == pytest.approx([0.6, 0.3], abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"max_new_tokens": 1}, "b", "length"),
        ({"stop_strings": ["b"]}, "", "stop"),
        ({"stop_strings": ["b"], "include_stop_str_in_output": True}, "b", "stop"),
        ({"stop_token_ids": [1]}, "b", "stop"),
        ({"max_time": 1e-9}, "b", "time"),
        ({"min_new_tokens": 2}, "bc", "length"),
        ({"ignore_eos": True, "max_new_tokens": 3}, "bc", "length"),
        ({"choices": ["cc", "ca"], "max_new_tokens": 3}, "ca", "eos"),
        ({"suppress_tokens": [1]}, "ca", "length"),
    ],
)
def test_stopping_lengths_and_constraints_hold(fields: dict[str, Any], text: str, reason: str) -> None:
    result = complete({**TABLE, "ac": {"c": 0.5, "a": 0.5}}, **({"max_new_tokens": 2} | fields))
    assert (result.text, result.finish_reason) == (text, reason)


def test_constraints_that_leave_no_token_are_reported() -> None:
    with pytest.raises(ConstraintError):
        complete({"a": {"a": 1.0}}, regex="b+")


def test_several_completions_would_be_the_same_one_and_are_refused() -> None:
    with (
        Model(ScriptedBackend(TABLE)) as model,
        pytest.raises(ConfigError, match="all of them would be the same one"),
    ):
        model.completions("a", n=3, penalty_alpha=0.5, top_k=2)


def test_it_frees_what_it_held_and_computes_each_candidate_once() -> None:
    backend = ScriptedBackend(TABLE)
    with Model(backend) as model:
        model.complete("a", penalty_alpha=0.5, top_k=2, logprobs=0)
        assert (backend.size_bytes(), backend.forward_passes, backend.tokens_computed) == (0, 3, 5)
