"""Who goes out and who stays, on samples that one can look over."""

from typing import Any

import pytest

from ramify.exchange.selection import Rules, Selected, select
from ramify.exchange.templates import ExportTemplate, FacetShare
from ramify.store.facets import EffectiveFacet
from ramify.store.walking import Candidate, Judged, PromptFacts, Said


def facet(**values: Any) -> EffectiveFacet:
    known: dict[str, Any] = {"good_rating": 7, "bad_rating": 5, "min_logprob": None, "mean_logprob": None, "target_model": "tiny"}
    return EffectiveFacet(name="f", chain=("f",), sources={}, **{**known, **values})


def rules(kind: str, lowest: float | None = None, under: EffectiveFacet | None = None, **values: Any) -> Rules:
    template = ExportTemplate(kind=kind, facets=(FacetShare(name="f"),), **values)
    return Rules.of(template, under or facet(), "tiny", lowest)


def one(number: int, rating: int | None = None, **values: Any) -> Candidate:
    known: dict[str, Any] = {
        "id": number,
        "prompt_id": 1,
        "model": "tiny",
        "fingerprint": "",
        "text_hash": bytes([number]),
        "truncated": False,
        "archived": False,
        "token_count": 3,
        "by_hand": False,
        "rating": rating,
        "approved": False,
        "scored": False,
        "mean_logprob": None,
        "min_logprob": None,
        "p10_logprob": None,
        "p50_logprob": None,
        "sum_logprob": None,
    }
    return Candidate(**{**known, **values})


def sample(
    *candidates: Candidate, said: tuple[tuple[int, int], ...] = (), ties: tuple[tuple[int, int], ...] = (), **more: Any
) -> Judged:
    preferences = tuple([Said(b, w, False) for b, w in said] + [Said(b, w, True) for b, w in ties])
    known: dict[str, Any] = {
        "id": 1,
        "title": "",
        "group": "",
        "archived": False,
        "prompts": {i: PromptFacts(i, True, False) for i in (1, 2)},
    }
    return Judged(candidates=candidates, preferences=preferences, **{**known, **more})


def chosen(found: Selected) -> list[int]:
    return [pick.chosen.id for pick in found.picks if pick.chosen is not None]


def pairs(found: Selected) -> list[tuple[int, int]]:
    return [(pick.chosen.id, pick.rejected.id) for pick in found.picks if pick.chosen and pick.rejected]


# ---------------------------------------------------------------- sft


def test_the_best_rated_goes_out_and_the_reasons_of_the_others_are_told() -> None:
    found = select(sample(one(1, 8), one(2, 9), one(3, 6), one(4)), rules("sft"))
    assert chosen(found) == [2]
    assert dict(found.reasons) == {"rated below 7": 1, "not rated": 1, "enough of the sample": 1}


def test_several_a_sample_in_the_order_of_their_ratings() -> None:
    assert chosen(select(sample(one(1, 8), one(2, 9), one(3, 7)), rules("sft", per_sample=2))) == [2, 1]


def test_a_preference_comes_before_a_rating() -> None:
    assert chosen(select(sample(one(1, 8), one(2, 9), said=((1, 2),)), rules("sft", per_sample=2))) == [1, 2]


def test_what_is_preferred_to_something_good_is_good() -> None:
    assert chosen(select(sample(one(1, 3), one(2, 9), said=((1, 2),)), rules("sft"))) == [1]


def test_the_unrated_who_won_and_never_lost_are_good() -> None:
    found = select(sample(one(1), one(2), one(3), said=((1, 2), (2, 3))), rules("sft", per_sample=5))
    assert chosen(found) == [1]
    assert dict(found.reasons) == {"another is preferred to it": 2}


def test_the_approved_one_is_first_whatever_its_rating() -> None:
    assert chosen(select(sample(one(1, 9), one(2, 1, approved=True)), rules("sft"))) == [2]


def test_preferences_in_a_circle_end() -> None:
    found = select(sample(one(1, 9), one(2, 9), one(3, 9), said=((1, 2), (2, 3), (3, 1))), rules("sft", per_sample=3))
    assert sorted(chosen(found)) == [1, 2, 3]


def test_truncated_archived_and_equal_ones_stay_unless_asked() -> None:
    these = (one(1, 9, truncated=True), one(2, 9, archived=True), one(3, 8), one(4, 8, text_hash=bytes([3])))
    found = select(sample(*these), rules("sft", per_sample=9))
    assert chosen(found) == [3]
    assert dict(found.reasons) == {"truncated": 1, "archived": 1, "equal to another of the sample": 1}
    assert chosen(select(sample(*these), rules("sft", per_sample=9, truncated=True, archived=True))) == [1, 2, 3]


def test_an_archived_sample_stays() -> None:
    assert select(sample(one(1, 9), archived=True), rules("sft")) == Selected((), {"the sample is archived": 1})


def test_logprobs_must_reach_the_thresholds_of_the_facet_or_the_template() -> None:
    under = facet(mean_logprob=-1.0, min_logprob=-5.0)
    these = (
        one(1, 9),
        one(2, 9, scored=True, mean_logprob=-2.0, min_logprob=-3.0),
        one(3, 9, scored=True, mean_logprob=-0.5, min_logprob=-6.0),
        one(4, 7, scored=True, mean_logprob=-1.0, min_logprob=-5.0),
    )
    found = select(sample(*these), rules("sft", under=under, per_sample=9))
    assert chosen(found) == [4]
    assert dict(found.reasons) == {"not measured by tiny": 1, "mean logprob is too low": 1, "least logprob is too low": 1}
    assert chosen(select(sample(*these), rules("sft", under=under, mean_logprob=-2.5, per_sample=9))) == [2, 4]


def test_a_percentile_leaves_out_what_lies_below() -> None:
    these = (one(1, 9, scored=True, mean_logprob=-2.0), one(2, 8, scored=True, mean_logprob=-1.0))
    assert chosen(select(sample(*these), rules("sft", lowest=-1.5))) == [2]


def test_on_policy_is_what_the_target_made_alone() -> None:
    these = (one(1, 9, model="other"), one(2, 9, by_hand=True), one(3, 7))
    found = select(sample(*these), rules("sft", on_policy=True))
    assert (chosen(found), dict(found.reasons)) == ([3], {"not made by tiny alone": 2})


def test_what_is_too_long_stays() -> None:
    from dataclasses import replace

    short = replace(rules("sft"), fits=lambda each: each.id != 1)
    assert chosen(select(sample(one(1, 9), one(2, 7)), short)) == [2]


# ---------------------------------------------------------------- dpo


def test_explicit_pairs_come_first_and_ratings_make_the_others() -> None:
    found = select(sample(one(1, 9), one(2, 7), one(3, 2), said=((2, 1),)), rules("dpo"))
    assert pairs(found) == [(2, 1), (1, 3), (2, 3)]


def test_a_pair_that_was_compared_is_not_made_by_ratings() -> None:
    assert pairs(select(sample(one(1, 9), one(2, 2), ties=((1, 2),)), rules("dpo"))) == []
    assert pairs(select(sample(one(1, 2), one(2, 9), said=((1, 2),)), rules("dpo"))) == [(1, 2)]


def test_those_who_contradict_each_other_decide_nothing() -> None:
    found = select(sample(one(1, 9), one(2, 2), said=((1, 2), (2, 1))), rules("dpo"))
    assert (pairs(found), found.reasons["preferences contradict each other"]) == ([], 1)


def test_chosen_must_be_good_and_the_margin_kept() -> None:
    assert pairs(select(sample(one(1, 6), one(2, 2)), rules("dpo"))) == []
    assert pairs(select(sample(one(1, 8), one(2, 7), one(3, 5)), rules("dpo", margin=3))) == [(1, 3)]


def test_a_truncated_one_is_neither_chosen_nor_rejected() -> None:
    assert pairs(select(sample(one(1, 9), one(2, 2, truncated=True), said=((1, 2),)), rules("dpo"))) == []


def test_equal_texts_and_other_revisions_make_no_pair() -> None:
    found = select(sample(one(1, 9), one(2, 2, text_hash=bytes([1])), one(3, 2, prompt_id=2)), rules("dpo"))
    assert pairs(found) == []
    assert dict(found.reasons) == {"chosen and rejected are equal": 1, "they answer different revisions of the prompt": 1}


def test_as_many_pairs_a_sample_as_asked_for() -> None:
    assert pairs(select(sample(one(1, 9), one(2, 5), one(3, 2)), rules("dpo", per_sample=1))) == [(1, 3)]


# ---------------------------------------------------------------- kto


def labels(found: Selected) -> dict[int, bool]:
    return {pick.chosen.id: pick.label for pick in found.picks if pick.chosen}


def test_ratings_are_labels_and_between_them_is_none() -> None:
    found = select(sample(one(1, 7), one(2, 5), one(3, 6), one(4)), rules("kto"))
    assert labels(found) == {1: True, 2: False}
    assert dict(found.reasons) == {"rated between 5 and 7": 1, "neither rated nor compared clearly": 1}


def test_comparisons_label_the_unrated() -> None:
    found = select(sample(one(1), one(2), one(3), said=((1, 2), (2, 3))), rules("kto"))
    assert labels(found) == {1: True, 3: False}


def test_a_rating_against_a_preference_labels_neither() -> None:
    found = select(sample(one(1, 2), one(2, 9), said=((1, 2),)), rules("kto"))
    assert (labels(found), found.reasons["its rating contradicts a preference"]) == ({}, 2)


def test_bad_ones_need_no_logprobs() -> None:
    under = facet(mean_logprob=-1.0)
    assert labels(select(sample(one(1, 9), one(2, 1)), rules("kto", under=under))) == {2: False}


# ---------------------------------------------------------------- templates


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "ppo"}, "kind is 'ppo'; it must be one of sft"),
        ({"kind": "dpo"}, "name the facet under which they are"),
        ({"kind": "kto", "form": "openai", "facets": ["f"]}, "openai has no form for kto; these have one: trl"),
        ({"kind": "sft", "facets": ["f", "f"]}, "a facet is named twice"),
        ({"kind": "sft", "facets": [{"name": "f", "count": 1, "share": 0.5}]}, "has a count and a share"),
        ({"kind": "sft", "validation": 1.0}, "validation is 1.0"),
        ({"kind": "sft", "mean_logprob": 1.0}, "it must be at most 0"),
        ({"kind": "sft", "colour": "red"}, "a template has no 'colour'"),
        ({}, "the template has no kind"),
    ],
)
def test_a_template_that_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    from ramify.exchange.templates import template

    with pytest.raises(ValueError, match=said):
        template(values)


def test_a_template_is_its_json_form() -> None:
    from ramify.exchange.templates import template

    made = ExportTemplate(
        kind="dpo", form="alpaca", facets=(FacetShare(name="a", count=3), FacetShare(name="b", share=0.5, order="random")), seed=7
    )
    assert template(made.to_data()) == made
