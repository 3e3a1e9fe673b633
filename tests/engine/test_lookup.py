"""Guessed tokens are checked, never believed: with them a completion is the same, in fewer passes."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.lookup import Lookup
from ramify.engine.model import Model
from ramify.errors import ConfigError
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer


def test_a_guess_is_what_followed_the_same_tokens_last() -> None:
    lookup = Lookup([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3])
    assert lookup.draft([], 2) == [4, 9]  # after 1 2 3, which is longer than 2 3
    assert lookup.draft([7], 2) == []
    assert lookup.draft([2, 3], 4) == [7, 2, 3]  # after the last 2 3; it had nothing to say before
    assert Lookup([1]).draft([], 3) == []
    assert Lookup([4, 4, 4, 4]).draft([], 3) == [4]


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 5), st.integers(1, 7))
def test_a_lookup_that_grows_says_what_a_new_one_says(ids: list[int], most: int, step: int) -> None:
    grown = Lookup(ids[:step])
    for start in range(step, len(ids), step):
        said = grown.draft(ids[start : start + step], most)
        assert said == Lookup(ids[: start + step]).draft([], most)
        assert len(said) <= most


@pytest.fixture(scope="module")
def llama() -> Iterator[Any]:
    import models_made_here
    import ramify

    with ramify.load(str(models_made_here.folder("llama")), precision="float32") as model:
        yield model


def essence(result: Any) -> tuple[Any, ...]:
    return result.token_ids, result.text, result.finish_reason, result.stop_string


prompts = st.lists(st.integers(5, 12), min_size=1, max_size=40)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    st.lists(st.tuples(prompts, st.integers(0, 99), st.sampled_from([None, 0.3, 1.0])), min_size=1, max_size=4),
    st.sampled_from(
        [
            {},
            {"repetition_penalty": 1.3},
            {"no_repeat_ngram_size": 2},
            {"stop_strings": ["a", "e"]},
            {"regex": "( ?(sea|Sonic)){1,6}"},
            {"n": 3},
            {"ignore_eos": False, "min_new_tokens": 3},
        ]
    ),
    st.integers(1, 8),
)
def test_a_completion_is_the_same_with_guesses_greedy_or_sampled_alone_or_in_company(
    llama: Any, asked: list[tuple[list[int], int, float | None]], extra: dict[str, Any], most: int
) -> None:
    requests = []
    for prompt, seed, temperature in asked:
        fields: dict[str, Any] = {"max_new_tokens": 24, "ignore_eos": "regex" not in extra, "seed": seed} | extra
        fields |= {} if temperature is None else {"temperature": temperature}
        requests.append((prompt * 2, fields))
    plain = [llama.completions(prompt, **fields) for prompt, fields in requests]
    handles = [llama.submit(llama.request(p, prompt_lookup_num_tokens=most, **fields)) for p, fields in requests]
    guessed = [handle.future.result() for handle in handles]
    assert [[essence(r) for r in results] for results in guessed] == [[essence(r) for r in results] for results in plain]
    for mine, its in zip(guessed, plain, strict=True):
        assert [t.logprob for t in mine[-1].logprobs] == pytest.approx([t.logprob for t in its[-1].logprobs], abs=1e-4)
    # What was remembered of both runs is what was said.
    again = [llama.completions([*r[0].prompt_token_ids, *r[0].token_ids], max_new_tokens=4, seed=0) for r in guessed]
    fresh = [
        llama.completions([*r[0].prompt_token_ids, *r[0].token_ids], max_new_tokens=4, seed=0, use_cache=False) for r in guessed
    ]
    assert [essence(r[0]) for r in again] == [essence(r[0]) for r in fresh]


def test_a_text_that_repeats_takes_fewer_passes_and_gives_its_memory_back() -> None:
    words = "abcdefgh"
    said = [5, 1, 4, 2, 6, 3, 7, 0]

    def script(ids: tuple[int, ...]) -> list[float]:
        # Each token has its successor, so that the text goes round; EOS never comes.
        return [3.0 if i == said[(said.index(ids[-1]) + 1) % 8] else 0.0 for i in range(8)] + [-50.0]

    def run(**fields: Any) -> tuple[tuple[int, ...], int]:
        backend = ScriptedBackend(script, ScriptedTokenizer(words))
        with Model(backend) as model:
            made = model.complete(tuple(said), max_new_tokens=40, **fields)
            model.on_engine(model.engine.tree.clear).result()
            assert model.on_engine(backend.size_bytes).result() == 0
            return made.token_ids, backend.forward_passes

    plain, passes = run()
    assert (len(plain), passes) == (40, 40)
    assert run(prompt_lookup_num_tokens=7) == (plain, 7)
    drawn, passes = run(temperature=1.0, seed=3)
    guessed, fewer = run(temperature=1.0, seed=3, prompt_lookup_num_tokens=4)
    assert guessed == drawn
    assert fewer < passes


def test_a_stream_of_guessed_tokens_has_each_token_once(llama: Any) -> None:
    fields: dict[str, Any] = {"max_new_tokens": 24, "ignore_eos": True, "prompt_lookup_num_tokens": 6}
    events = list(llama.stream([5, 6, 7] * 9, **fields))
    whole = llama.complete([5, 6, 7] * 9, **fields)
    assert [event.token_ids for event in events] == [(i,) for i in whole.token_ids]
    assert "".join(event.text for event in events) == whole.text


@pytest.mark.parametrize(
    "other", [{"num_beams": 2}, {"penalty_alpha": 0.5, "top_k": 4}, {"guidance_scale": 2.0}, {"use_cache": False}], ids=str
)
def test_guesses_beside_what_cannot_check_them_are_refused(llama: Any, other: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"prompt_lookup_num_tokens is 3 and .*Leave one of them out") as refusal:
        llama.request([5], prompt_lookup_num_tokens=3, **other)
    assert refusal.value.fields[0] == "prompt_lookup_num_tokens"
