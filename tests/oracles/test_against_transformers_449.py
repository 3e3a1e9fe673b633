"""Diverse beams, contrastive search and forced words answer as transformers 4.49 did, from the file that it wrote.

`transformers_449.json` is made by `make_transformers_449.py`; transformers 5 has dropped these strategies.
"""

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from models_made_here import MAIN
from oracles import reference
from oracles.reference import how_near
from ramify.engine.forced import Forced, Words

Load = Callable[[str], Any]
FILE = Path(__file__).with_name("transformers_449.json")


@cache
def expectations() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def kind(case: dict[str, Any]) -> str:
    if "words" in case:
        return "forced words"
    given = case["fields"]
    return "diverse" if "num_beam_groups" in given else "contrastive" if "penalty_alpha" in given else "plain"


def cases(name: str, of: str) -> list[dict[str, Any]]:
    found = [case for case in expectations()[name]["cases"] if kind(case) == of]
    assert found, f"{FILE.name} has no {of} case for {name}: make it again"
    return found


def ask(load: Load, name: str, case: dict[str, Any]) -> list[Any]:
    """Our answer to a case."""
    given = dict(case["fields"])
    if "words" in case:
        assert [reference.encode(name, word) for word in case["words"]] == case["force_words_ids"]
        given["required_words"] = case["words"]
    found: list[Any] = load(name).completions(case["prompt_ids"], **given)
    assert len(found) == len(case["sequences"])
    return found


def same(name: str, case: dict[str, Any], mine: Any, theirs: list[int], score: float | None) -> None:
    ids = list(mine.generated_token_ids)
    ends = reference.endings(name)
    if kind(case) != "contrastive" and ids[-1] in ends and theirs[-1] in ends:
        # 4.49's beams forget which of several endings was chosen and write the first one.
        ids[-1] = theirs[-1]
    near = how_near(name, case["prompt_ids"], ids, theirs) if ids != theirs else ""
    assert ids == theirs, f"{case['fields']} {case.get('words', '')}: {near}"
    assert mine.beam_score == (None if score is None else pytest.approx(score, abs=1e-4))


def assert_equal(load: Load, name: str, case: dict[str, Any]) -> None:
    scores = case["scores"] or [None] * len(case["sequences"])
    for mine, theirs, score in zip(ask(load, name, case), case["sequences"], scores, strict=True):
        same(name, case, mine, theirs, score)


def holds(ids: list[int], word: list[int]) -> bool:
    """Whether the word's tokens stand in a row: the only way in which 4.49 knows it."""
    return any(ids[i : i + len(word)] == word for i in range(len(ids)))


def fold(text: str) -> str:
    """A-Z as a-z: how required words are looked for."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


@pytest.mark.parametrize("name", MAIN)
def test_the_file_was_made_from_the_same_weights(name: str) -> None:
    said = expectations()[name]
    ours = reference.logits(name, said["probe_ids"])[-1][::16]
    torch.testing.assert_close(ours.float()[:-1], torch.tensor(said["every_16th_logit"][: len(ours) - 1]), atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", MAIN)
def test_plain_beams_of_the_file_are_those_of_today(load: Load, name: str) -> None:
    for case in cases(name, "plain"):
        assert_equal(load, name, case)


@pytest.mark.parametrize("name", MAIN)
def test_diverse_beams_equal_transformers_4_49(load: Load, name: str) -> None:
    for case in cases(name, "diverse"):
        assert_equal(load, name, case)


@pytest.mark.parametrize("name", MAIN)
def test_contrastive_search_equals_transformers_4_49(load: Load, name: str) -> None:
    for case in cases(name, "contrastive"):
        assert_equal(load, name, case)


@pytest.mark.parametrize("name", MAIN)
def test_beams_with_required_words_equal_transformers_4_49(load: Load, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # 4.49 is given ids and pushes them as they are; ours would put a space before a word.
    monkeypatch.setattr(
        Forced, "words", lambda search: Words.of(search.config.required_words or (), search.backend.codec, spaced=False)
    )
    compared = 0
    for case in cases(name, "forced words"):
        # 4.49 fills up with beams that lack their words, and sorts them among the others; here those that hold them come first.
        rows = zip(case["sequences"], case["scores"], strict=True)
        held = [(ids, score) for ids, score in rows if all(holds(ids, word) for word in case["force_words_ids"])]
        ours = ask(load, name, case)
        assert all(fold(word) in fold(ours[0].generated_text) for word in case["words"])
        for mine, (ids, score) in zip(ours, held, strict=False):
            same(name, case, mine, ids, score)
            compared += 1
    assert compared >= 15


@pytest.mark.parametrize("name", MAIN)
def test_the_best_beam_with_required_words_contains_them(load: Load, name: str) -> None:
    for words, beams in product((["sea"], [" cat", " the"], ["Sonic", "!"]), (2, 5)):
        result = load(name).complete("Once upon a time", required_words=words, num_beams=beams, max_new_tokens=20)
        assert [word for word in words if fold(word) not in fold(result.generated_text)] == []
