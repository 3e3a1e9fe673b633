"""Bans that depend on the history and leave no token: one rule for every strategy."""

from typing import Any

import pytest

from ramify.engine.model import Model
from ramify.errors import ConstraintError
from ramify.models.scripted import ScriptedBackend

ALONE: list[dict[str, Any]] = [{}, {"do_sample": True, "seed": 1}, {"penalty_alpha": 0.6, "top_k": 2}]
BEAMS: list[dict[str, Any]] = [
    {"num_beams": 2},
    {"num_beams": 2, "do_sample": True, "seed": 1},
    {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 3.0},
    {"num_beams": 2, "beam_rule": "early_stopped"},
]


def model(table: Any = None) -> Model:
    return Model(ScriptedBackend(table or {}))


@pytest.mark.parametrize("how", ALONE + BEAMS)
def test_bans_that_leave_no_token_end_with_an_error_that_names_them(how: dict[str, Any]) -> None:
    with model() as equal:
        with pytest.raises(ConstraintError, match="no_repeat_ngram_size is 1 and forbids every token that could come after 3"):
            equal.complete("a", no_repeat_ngram_size=1, ignore_eos=True, max_new_tokens=9, **how)
        assert sorted(equal.complete("a", no_repeat_ngram_size=1, ignore_eos=True, max_new_tokens=3, **how).token_ids) == [
            1,
            2,
            3,
        ]
        sequences = [[0, i] for i in range(4)]
        with pytest.raises(ConstraintError, match=r"bad_words_ids is .* forbids every token that could come after 0"):
            equal.complete("a", bad_words_ids=sequences, **how)
        assert equal.complete("a", bad_words_ids=sequences[:3], **how).finish_reason == "eos"
        # What was asked for by name outranks a ban.
        assert equal.complete("a", bad_words_ids=sequences, choices=["b"], **how).text == "b"
        forced = equal.complete("a", bad_words_ids=sequences, forced_eos_token_id=3, max_new_tokens=1, **how)
        assert forced.finish_reason == "eos"


# After "b" nothing may come, and "b" is far likelier than "c".
TABLE: Any = {"a": {"b": 0.9, "c": 0.1}, "ac": {"a": 0.5, "<eos>": 0.5}}
AFTER_B = [[1, i] for i in range(4)]


@pytest.mark.parametrize("how", BEAMS)
def test_a_beam_with_nothing_left_is_given_up_and_the_others_go_on(how: dict[str, Any]) -> None:
    with model(TABLE) as written:
        found = written.completions("a", bad_words_ids=AFTER_B, max_new_tokens=2, **how)
    assert [(r.token_ids[0], len(r.token_ids)) for r in found] == [(2, 2)]


@pytest.mark.parametrize("how", ALONE)
def test_what_keeps_no_beams_has_nowhere_else_to_go(how: dict[str, Any]) -> None:
    with model({"a": {"b": 1.0}}) as written, pytest.raises(ConstraintError, match=r"bad_words_ids is .* after 1 generated"):
        written.complete("a", bad_words_ids=AFTER_B, max_new_tokens=2, **how)


def test_beams_with_required_words_go_round_a_ban_too() -> None:
    with model(TABLE) as written:
        found = written.complete("a", required_words=["c"], bad_words_ids=AFTER_B, num_beams=2, max_new_tokens=3)
        assert found.token_ids[0] == 2
