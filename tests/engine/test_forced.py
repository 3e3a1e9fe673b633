"""Beams with forced words: the words come, whatever the model would rather say, and else as in transformers 4.49."""

import json
import math
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.scripts import Written
from models_made_here import MAIN
from ramify.engine.forced import Forced, Progress, Words
from ramify.engine.model import Model
from ramify.errors import ConstraintError
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer

slowly = settings(deadline=None, derandomize=True, max_examples=40)
LETTERS = ScriptedTokenizer("abcdABCD")
WORDS = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3)
EXPECTED = json.loads((Path(__file__).parents[1] / "oracles" / "transformers_449.json").read_text(encoding="utf-8"))


def read(words: Words, ids: Any) -> Progress:
    return reduce(words.after, ids, words.begin)


# How far a completion has come.


def test_progress_spells_one_word_at_a_time() -> None:
    words = Words([[0, 1, 2], [3]])
    steps = [read(words, ids) for ids in [(), (0,), (0, 1), (0, 1, 2)]]
    seen = [(p.done, words.pushes(p), words.bank(p), words.cost(p)) for p in steps]
    assert seen == [(False, [0, 3], 0, 4), (False, [1], 1, 3), (False, [2], 2, 2), (False, [3], 3, 1)]
    assert read(words, (3, 0, 1, 2)) == read(words, (0, 1, 2, 3)) == Progress((), None)
    assert words.bank(read(words, (0, 1, 2, 3))) == 6


def test_a_word_that_is_broken_off_is_looked_for_after_the_others() -> None:
    words = Words([[0, 1], [2]])
    broken = read(words, (0, 2))
    # The 2 broke the first word off, and so it did not count for the second.
    assert (broken.pending, broken.current, words.pushes(broken)) == ((1, 0), None, [2, 0])


@slowly
@given(WORDS, st.lists(st.integers(0, 7), max_size=12))
def test_words_are_there_when_their_text_is(required: list[str], ids: list[int]) -> None:
    words, text = Words.of(required, LETTERS), LETTERS.decode(ids).lower()
    progress = read(words, ids)
    assert progress.done == all(word in text for word in required)
    assert (words.cost(progress) == 0) == progress.done == (words.pushes(progress) == [])


@slowly
@given(WORDS, st.lists(st.integers(0, 7), max_size=8))
def test_each_push_costs_one_token_and_fills_the_bank(required: list[str], ids: list[int]) -> None:
    words = Words.of(required, LETTERS)
    progress = read(words, ids)
    for token in words.pushes(progress):
        further = words.after(progress, token)
        assert words.cost(further) < words.cost(progress)
        assert words.bank(further) > words.bank(progress)


@slowly
@given(WORDS, st.lists(st.integers(0, 5), max_size=8), st.sampled_from([(), (4,), (0,)]))
def test_where_spaces_matter_some_push_costs_one_token_and_each_fills_the_bank(
    required: list[str], ids: list[int], prompt_ids: tuple[int, ...]
) -> None:
    # " abc" is one token and "abc" three: a word may be cheaper with its space, and dearer.
    words = Words.of(required, ScriptedTokenizer(["a", "b", "c", " ab", " ", " abc"]), prompt_ids)
    progress = read(words, ids)
    after = [words.after(progress, token) for token in words.pushes(progress)]
    assert progress.done or min(map(words.cost, after)) == words.cost(progress) - 1
    assert all(words.bank(further) > words.bank(progress) for further in after)


def test_a_word_counts_in_any_tokens() -> None:
    codec = ScriptedTokenizer([" ", "cat", " cat", "c", "a", "t"])
    words = Words.of(["cat"], codec)
    assert [read(words, ids).done for ids in ((1,), (2,), (3, 4, 5), (3, 4), (0, 3, 4, 5, 0))] == [True, True, True, False, True]
    assert not read(Words.of([" cat"], codec), (1,)).done


def test_a_word_is_pushed_with_a_space_where_text_precedes() -> None:
    codec = ScriptedTokenizer(["cat", " cat", "x", " ", "\n"])
    empty, after_text, after_space = (Words.of(["cat"], codec, prompt) for prompt in ((), (2,), (4,)))
    assert [words.pushes(words.begin) for words in (empty, after_text, after_space)] == [[0, 1], [1], [0, 1]]
    assert [empty.pushes(read(empty, ids)) for ids in ((2,), (2, 3), (2, 4), (5,))] == [[1], [0, 1], [0, 1], [0, 1]]
    own = Words.of([" cat"], codec, (2,))
    assert own.pushes(own.begin) == [1]
    ruled = Words.of(["cat"], codec, (2,), spaced=False)
    assert ruled.pushes(ruled.begin) == [0]


def test_a_word_inside_another_is_not_pushed_itself() -> None:
    assert Words.of(["a", "bab", "ab", "bab", "d"], LETTERS).ids == ((1, 0, 1), (3,))
    assert Words.of(["a", "A"], LETTERS).ids == ((0,),)


# What the beams find.

TABLE: Any = {
    "a": {"b": 0.6, "c": 0.3, "<eos>": 0.1},
    "ab": {"<eos>": 0.9, "c": 0.1},
    "ac": {"<eos>": 0.8, "b": 0.2},
    "abc": {"<eos>": 1.0},
    "acb": {"<eos>": 1.0},
}


def test_the_required_word_comes_by_its_best_way() -> None:
    with Model(ScriptedBackend(TABLE)) as model:
        found = model.completions("a", required_words=["c"], num_beams=2, num_return_sequences=2, length_penalty=0.0)
    assert [(r.text, r.finish_reason) for r in found] == [("c", "eos"), ("bc", "eos")]
    assert [r.beam_score for r in found] == pytest.approx([math.log(0.3 * 0.8), math.log(0.6 * 0.1)], abs=1e-6)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_required_word_stands_apart_with_beams_and_without(beams: int) -> None:
    # Without a rule every token is as likely as any other, so the word comes because it must.
    codec = ScriptedTokenizer(["She", "zebra", " zebra", "ze", "bra", *"\n ,;-"])
    with Model(ScriptedBackend({}, codec)) as model:
        for prompt, expected in (("She", " zebra"), ("Sheze", " zebra")):
            found = model.complete(prompt, required_words=["zebra"], num_beams=beams, max_new_tokens=1)
            assert found.text == expected


def test_a_grammar_says_whether_a_required_word_stands_apart() -> None:
    codec = ScriptedTokenizer(["She", "zebra", " zebra", " "])
    with Model(ScriptedBackend({}, codec)) as model:
        for pattern, expected in (("Shezebra", "Shezebra"), ("She zebra", "She zebra")):
            found = model.complete("She", required_words=["zebra"], regex=pattern, num_beams=3, max_new_tokens=4)
            assert found.text == expected


def test_the_prompt_does_not_count() -> None:
    with Model(ScriptedBackend({})) as model:
        assert "bb" in model.complete("bb", required_words=["bb"], num_beams=2, max_new_tokens=4).text


@slowly
@given(
    st.integers(0, 10_000), WORDS, st.integers(2, 5), st.integers(0, 2), st.sampled_from([True, False, "never"]), st.booleans()
)
def test_the_first_result_holds_its_words_wherever_they_fit(
    seed: int, required: list[str], beams: int, more: int, stop: bool | str, cached: bool
) -> None:
    written = Written(6, seed, scale=4.0)
    words = Words.of(required, written.codec)
    longest = words.cost(words.begin) + more
    with written.model() as model:
        fields: dict[str, Any] = {"num_beams": beams, "num_return_sequences": beams, "early_stopping": stop, "use_cache": cached}
        found = model.completions((5,), required_words=required, max_new_tokens=longest, logprobs=0, **fields)
        held = [all(word in r.text for word in required) for r in found]
        assert held[0]
        assert held == sorted(held, reverse=True)
        for result in found:
            total = sum(written.logprobs((5, *result.token_ids[:i]))[t] for i, t in enumerate(result.token_ids))
            assert result.beam_score == pytest.approx(total / len(result.token_ids), abs=1e-4)
        if longest - more > 1:
            with pytest.raises(ConstraintError, match="allow at least"):
                model.complete((5,), required_words=required, max_new_tokens=longest - more - 1, num_beams=beams)


def test_a_word_that_the_vocabulary_cannot_spell_is_refused() -> None:
    class Lossy(ScriptedTokenizer):
        def encode(self, text: str, *, special: bool = False) -> list[int]:
            return super().encode(text.replace("z", "a"), special=special)

    with Model(ScriptedBackend({}, Lossy())) as model, pytest.raises(ConstraintError, match="cannot spell"):
        model.complete("a", required_words=["bz"], num_beams=2, max_new_tokens=4)


def test_forbidden_words_and_patterns_hold_beside_required_ones() -> None:
    with Model(ScriptedBackend({})) as model:
        found = model.complete("a", required_words=["c"], forbidden_words=["bc", "cc"], num_beams=3, max_new_tokens=4)
        assert "c" in found.text
        assert "bc" not in found.text
        found = model.complete("a", required_words=["c"], regex="ab*ca", num_beams=3, max_new_tokens=6)
        assert (found.text[0], found.text[-2:], found.finish_reason) == ("a", "ca", "eos")


def test_settings_that_keep_the_words_out_are_reported() -> None:
    with Model(ScriptedBackend({})) as model:
        for fields in ({"bad_words_ids": [[2]]}, {"regex": "[ab]*"}, {"suppress_tokens": [2]}):
            with pytest.raises(ConstraintError, match="no way to required_words"):
                model.complete("a", required_words=["c"], num_beams=3, max_new_tokens=4, **fields)


def test_a_time_limit_gives_what_there_is() -> None:
    with Model(ScriptedBackend(TABLE)) as model:
        found = model.completions("a", required_words=["c"], num_beams=2, num_return_sequences=2, max_time=1e-9)
    assert [(r.text, r.finish_reason) for r in found] == [("c", "time"), ("b", "time")]


def test_the_beams_free_what_they_held() -> None:
    backend = ScriptedBackend(TABLE)
    with Model(backend) as model:
        model.complete("a", required_words=["c"], num_beams=3, logprobs=0)
        assert backend.size_bytes() == 0


# transformers 4.49 forces ids and does not know their text, so here only ids count for us too.


@pytest.mark.parametrize("name", MAIN)
def test_where_transformers_4_49_keeps_its_word_ours_answers_the_same(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model, equal = load(name), 0
    for case in EXPECTED[name]["cases"]:
        if "words" not in case:
            continue
        forced: list[list[int]] = case["force_words_ids"]
        monkeypatch.setattr(Forced, "words", lambda _, forced=forced: Words(forced))
        ours = model.completions(case["prompt_ids"], required_words=case["words"], **case["fields"])
        assert holds(ours[0].token_ids, forced)
        # 4.49 ranks what holds its words among what does not; ours has it first.
        kept = [row for row in zip(case["sequences"], case["scores"], strict=True) if holds(row[0], forced)]
        for mine, (ids, score) in zip(ours, kept, strict=False):
            # Of several endings 4.49 writes the first, whichever was chosen.
            ends, last = model.info.eos_token_ids, mine.token_ids[-1]
            assert (*mine.token_ids[:-1], ids[-1] if last in ends and ids[-1] in ends else last) == tuple(ids)
            assert mine.beam_score == pytest.approx(score, abs=1e-4)
            equal += 1
    assert equal >= 12


def holds(ids: Sequence[int], forced: list[list[int]]) -> bool:
    return all(any(list(ids[i : i + len(word)]) == word for i in range(len(ids))) for word in forced)
