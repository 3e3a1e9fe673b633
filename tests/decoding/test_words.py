import itertools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.vocabularies import SPECIAL, SmallVocabulary
from decoding.walks import VOCABULARY, compiled, walk
from ramify.decoding.config import GenerationConfig
from ramify.decoding.constraints import compile_constraint
from ramify.decoding.words import Automaton, ForbiddenWords, TokenBytes, fold
from ramify.errors import ConstraintError

phrases = st.lists(st.text(alphabet="abAé", min_size=1, max_size=4), min_size=1, max_size=3)
PIECES = [b"", b"a", b"b", b"ab", b"ba", b"aab", b"A", b"\xc3", b"\xa9", b"\xc3\xa9a", b"bab", b" "]
TOKENS = TokenBytes(PIECES, len(PIECES) + 2)


def occurs(phrase: str, data: bytes) -> bool:
    return fold(phrase) in data.lower()


@given(phrases, st.binary(max_size=1).flatmap(lambda _: st.lists(st.sampled_from(PIECES), max_size=8)))
def test_the_automaton_finds_what_a_search_finds(words: list[str], pieces: list[bytes]) -> None:
    automaton = Automaton([fold(word) for word in words])
    data = b"".join(pieces)
    _, seen = automaton.run(0, data)
    assert [bool(seen >> index & 1) for index in range(len(words))] == [occurs(word, data) for word in words]


@settings(max_examples=150)
@given(phrases, st.lists(st.integers(0, len(PIECES) - 1), max_size=6))
def test_the_tokens_kept_are_those_that_complete_no_forbidden_phrase(words: list[str], ids: list[int]) -> None:
    row = ForbiddenWords(words, TOKENS)
    for token in ids:
        row.advance(token)
    text = b"".join(PIECES[token] for token in ids)
    broken = any(occurs(word, text) for word in words)
    wanted = [not broken and not any(occurs(word, text + piece) for word in words) for piece in [*PIECES, b"", b""]]
    assert row.keep(9).tolist() == wanted
    assert row.broken == broken


@pytest.mark.parametrize("words", [["aba"], ["ab", "bb"], ["aé", "BA"], ["aaaa", "aab"]])
def test_every_path_of_allowed_tokens_is_free_of_the_forbidden_phrases(words: list[str]) -> None:
    paths = 0

    def follow(row: ForbiddenWords, text: bytes, depth: int) -> None:
        nonlocal paths
        assert not any(occurs(word, text) for word in words)
        paths += 1
        if depth:
            for token in np.flatnonzero(row.keep(depth))[: len(PIECES)].tolist():
                child = row.copy()
                child.advance(token)
                follow(child, text + PIECES[token] if token < len(PIECES) else text, depth - 1)

    follow(ForbiddenWords(words, TOKENS), b"", 3)
    assert paths > 100


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([["never"], ["the cat", "VER"], ["é"], ["e", "in"]]), st.integers(0, 10**6))
def test_forbidden_words_never_appear_whatever_the_tokenization(words: list[str], seed: int) -> None:
    # A taste for the very pieces that spell them, in all their ways.
    spelling = {piece for word in words for i, j in itertools.combinations(range(9), 2) if (piece := word.encode()[i:j])}
    ids, why = walk(compiled(forbidden_words=words), seed, 60, lambda piece: 50.0 if piece.lower() in spelling else 0.2)
    assert why in ("eos", "length")
    assert not any(occurs(word, b"".join(VOCABULARY.token_bytes[token] for token in ids)) for word in words)


def test_a_special_token_between_does_not_hide_a_forbidden_word() -> None:
    row = compiled(forbidden_words=["ab"])
    a, b = VOCABULARY.encode("a")[0], VOCABULARY.encode("b")[0]
    row.advance(a)
    row.advance(SPECIAL.index("<s>"))
    keep = row.keep(5)
    assert keep is not None
    assert not keep[b]
    assert keep[VOCABULARY.eos_token_ids[0]]


def test_a_forbidden_word_put_in_by_hand_leaves_the_row_dead() -> None:
    row = compiled(forbidden_words=["ab"])
    for token in VOCABULARY.encode("ab"):
        row.advance(token)
    keep = row.keep(5)
    assert keep is not None
    assert not keep.any()
    assert row.dead


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.sampled_from(["cat", "The Cat", "never", "é!", "ring", "x y"]), min_size=1, max_size=4, unique=True),
    st.integers(0, 10**6),
    st.integers(0, 12),
)
def test_required_words_are_always_there(words: list[str], seed: int, spare: int) -> None:
    constraint = compiled(required_words=words)
    assert constraint.required is not None
    ids, why = walk(constraint, seed, constraint.required.cost + spare)
    text = b"".join(VOCABULARY.token_bytes[token] for token in ids)
    assert why in ("eos", "length")
    assert all(occurs(word, text) for word in words)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 20))
def test_required_and_forbidden_words_together(seed: int, spare: int) -> None:
    # " cat" alone is forbidden, so the word must be spelled after something else.
    constraint = compiled(required_words=["cat", "ring"], forbidden_words=[" cat", "z", "catr"])
    assert constraint.required is not None
    ids, why = walk(constraint, seed, constraint.required.cost + 3 + spare)
    text = b"".join(VOCABULARY.token_bytes[token] for token in ids)
    assert why in ("eos", "length")
    assert all(occurs(word, text) for word in ("cat", "ring"))
    assert not any(occurs(word, text) for word in (" cat", "z", "catr"))


def test_forced_words_take_the_order_that_the_forbidden_ones_leave() -> None:
    # Nothing that may stand between the two words is allowed after "cat", so "ring" comes first.
    between = [f"t{mark}ring" for mark in (" ", "\n", ", ", "; ", "", " - ")]
    constraint = compiled(required_words=["cat", "ring"], forbidden_words=between)
    assert constraint.required is not None
    for seed in range(10):
        ids, why = walk(constraint, seed, constraint.required.cost)
        text = VOCABULARY.text(ids)
        assert why in ("eos", "length")
        assert 0 <= text.find("ring") < text.find("cat")


def test_a_row_is_free_until_the_budget_is_only_just_enough() -> None:
    constraint = compiled(required_words=["cat"])
    assert constraint.required is not None
    assert constraint.required.cost == 3  # " ", "ca", "t"
    keep = constraint.keep(4)
    assert keep is not None
    assert (~keep).nonzero().flatten().tolist() == [2, 3]  # everything but EOS
    spelled = []
    for budget in (3, 2, 1):
        keep = constraint.keep(budget)
        assert keep is not None
        (token,) = keep.nonzero().flatten().tolist()
        spelled.append(VOCABULARY.token_bytes[token])
        constraint.advance(token)
    assert spelled == [b" ", b"ca", b"t"]
    assert constraint.satisfied
    assert constraint.keep(1) is None


def test_a_word_that_appeared_by_itself_is_not_spelled_again() -> None:
    constraint = compiled(required_words=["the cat", "cat"])
    for token in VOCABULARY.encode("THE CAT"):
        constraint.advance(token)
    assert constraint.satisfied
    assert constraint.keep(1) is None


def test_copies_go_their_own_way() -> None:
    constraint = compiled(required_words=["a"], forbidden_words=["bb"])
    twin = constraint.copy()
    for token in VOCABULARY.encode("ab"):
        twin.advance(token)
    (b,) = VOCABULARY.encode("b")
    kept, twin_kept = constraint.keep(50), twin.keep(50)
    assert kept is not None
    assert twin_kept is not None
    assert (constraint.satisfied, twin.satisfied) == (False, True)
    assert (bool(kept[b]), bool(twin_kept[b])) == (True, False)


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"required_words": ["never ever"], "max_new_tokens": 2},
        r"required_words takes 4 tokens to spell \('never ever'\) and max_new_tokens or max_length allows 2; allow at least 4",
    ),
    ({"required_words": ["never"], "max_length": 2}, "takes 2 tokens .* allows 1"),
    ({"required_words": ["concatenate"], "forbidden_words": ["CAT"]}, "'concatenate', which contains 'CAT'"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_words_that_cannot_be_had_are_refused_beforehand(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        compiled(**fields)


def test_a_row_without_room_for_its_words_is_refused_at_its_first_step() -> None:
    with pytest.raises(ConstraintError, match=r"takes 3 tokens .* this row may generate 2"):
        compiled(required_words=["cat"]).keep(2)


def test_a_word_that_the_vocabulary_cannot_spell_is_refused() -> None:
    class Letters(SmallVocabulary):
        def __init__(self) -> None:
            super().__init__()
            self.token_bytes = tuple(piece if piece.isascii() else b"" for piece in self.token_bytes)

    with pytest.raises(ConstraintError, match="'é', which this model's vocabulary cannot spell"):
        compile_constraint(GenerationConfig(required_words=("é",)), Letters())


def test_a_tokenizer_that_changes_the_text_is_not_trusted_to_spell_it() -> None:
    class Lossy(SmallVocabulary):
        def encode(self, text: str, /) -> list[int]:
            return super().encode(text.replace("t", "d"))

    constraint = compile_constraint(GenerationConfig(required_words=("cat",)), Lossy())
    assert constraint is not None
    assert constraint.required is not None
    spelled = [b"".join(VOCABULARY.token_bytes[token] for token in ids) for ids in constraint.required.spellings[0]]
    assert spelled[0] == b" cat"
    assert all(b"cat" in data for data in spelled)


def test_nothing_to_constrain_is_no_constraint() -> None:
    assert compile_constraint(GenerationConfig(), VOCABULARY) is None
    assert compile_constraint(GenerationConfig(num_beams=2, required_words=("cat",)), VOCABULARY) is None


def test_ignoring_eos_makes_it_a_token_like_any_other() -> None:
    constraint = compiled(required_words=["cat"], ignore_eos=True)
    keep = constraint.keep(50)
    assert keep is not None
    assert keep.all()


def test_the_layout_of_a_vocabulary_holds_every_byte_once() -> None:
    pieces = [bytes(random.Random(seed).choices(b"abc", k=seed % 7)) for seed in range(50)]
    tokens = TokenBytes(pieces, 60)
    assert sum(len(column) for column in tokens.columns) == sum(map(len, pieces))
    assert tokens.completing(Automaton([b"c"]), 0).tolist() == [b"c" in piece for piece in pieces] + [False] * 10
