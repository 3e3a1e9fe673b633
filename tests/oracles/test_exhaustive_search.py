"""Beams that are wide enough find what exhaustive search finds, on models whose every probability is written down."""

import zlib
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.model import Model
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer

Script = Callable[[tuple[int, ...]], "np.ndarray[Any, Any]"]

slowly = settings(deadline=None, derandomize=True, max_examples=20)


def script(seed: int, vocab: int) -> Script:
    """Logits that depend on every token so far."""

    def said(ids: tuple[int, ...]) -> "np.ndarray[Any, Any]":
        key = zlib.crc32(repr((seed, ids)).encode())
        return np.random.Generator(np.random.Philox(key=key)).normal(scale=1.5, size=vocab)

    return said


def model_of(words: int, seed: int) -> tuple[Model, Script]:
    codec = ScriptedTokenizer("abcdefgh"[:words])
    written = script(seed, codec.vocab_size)
    return Model(ScriptedBackend(written, codec)), written


def everything(written: Script, prompt: tuple[int, ...], words: int, longest: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every completion there is, with its log-probability in nats: it ends in EOS (id `words`) or has `longest` tokens."""
    for length in range(longest + 1):
        for body in product(range(words), repeat=length):
            ids = body if length == longest else (*body, words)
            total = 0.0
            for i, token in enumerate(ids):
                logits = np.asarray(written((*prompt, *ids[:i])), dtype=np.float64)
                total += float(logits[token] - np.log(np.exp(logits).sum()))
            yield ids, total


@slowly
@given(
    st.sampled_from([(2, 4), (3, 3), (1, 6), (5, 2), (2, 1)]),
    st.integers(0, 10_000),
    st.sampled_from([True, False, "never"]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.lists(st.integers(0, 0), min_size=1, max_size=3),
)
def test_beams_as_many_as_completions_return_all_of_them_in_order(
    size: tuple[int, int], seed: int, stop: bool | str, penalty: float, prompt: list[int]
) -> None:
    words, longest = size
    model, written = model_of(words, seed)
    ranked = sorted(
        ((total / len(ids) ** penalty, ids) for ids, total in everything(written, tuple(prompt), words, longest)), reverse=True
    )
    with model:
        found = model.completions(
            prompt,
            num_beams=len(ranked),
            num_return_sequences=len(ranked),
            max_new_tokens=longest,
            early_stopping=stop,
            length_penalty=penalty,
        )
    assert [result.generated_token_ids for result in found] == [ids for _, ids in ranked]
    assert [result.beam_score for result in found] == pytest.approx([score for score, _ in ranked], abs=1e-4)
    assert [result.finish_reason for result in found] == ["eos" if words in ids else "length" for _, ids in ranked]


@slowly
@given(
    st.sampled_from([(2, 4), (3, 3), (1, 6), (5, 2)]),
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from(["generated", "prompt_and_generated"]),
    st.lists(st.integers(0, 0), min_size=1, max_size=3),
)
def test_wide_early_stopped_beams_find_the_best_completion_that_ends(
    size: tuple[int, int], seed: int, penalty: float, counts: str, prompt: list[int]
) -> None:
    words, longest = size
    model, written = model_of(words, seed)
    more = len(prompt) if counts == "prompt_and_generated" else 0
    ended = [(ids, total) for ids, total in everything(written, tuple(prompt), words, longest) if words in ids]
    best, total = max(ended, key=lambda pair: pair[1] / (len(pair[0]) + more) ** penalty)
    with model:
        found = model.complete(
            prompt,
            num_beams=2 * len(ended) + 2,
            max_new_tokens=longest,
            length_penalty=penalty,
            beam_rule="early_stopped",
            beam_length=counts,
        )
    assert found.generated_token_ids == best
    assert found.beam_score == pytest.approx(total / (len(best) + more) ** penalty, abs=1e-4)


@slowly
@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from(["b", "ca", "aab"]))
def test_wide_beams_with_required_words_find_the_best_completion_that_has_them(seed: int, prompt: int, word: str) -> None:
    words, longest = 3, 4
    model, written = model_of(words, seed)
    needed = tuple("abc".index(letter) for letter in word)

    def has(ids: tuple[int, ...]) -> bool:
        return any(ids[i : i + len(needed)] == needed for i in range(len(ids)))

    given_ids = (0,) * prompt
    fulfilled = [(ids, total) for ids, total in everything(written, given_ids, words, longest) if has(ids)]
    best, total = max(fulfilled, key=lambda pair: pair[1] / len(pair[0]))
    with model:
        found = model.complete(list(given_ids), num_beams=130, max_new_tokens=longest, required_words=[word])
    assert found.generated_token_ids == best
    assert found.beam_score == pytest.approx(total / len(best), abs=1e-4)
