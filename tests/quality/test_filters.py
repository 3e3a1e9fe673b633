"""What a filter lets through, and what it says of the rest."""

from typing import Any

import pytest

from ramify.errors import ConfigError, InputError
from ramify.quality.filters import CHECKS, OutputFilter
from ramify.quality.grounding import ungrounded
from ramify.quality.profanity import find_rude

STORY = "Tom has a dog. The dog is red."


@pytest.mark.parametrize(
    ("text", "config", "reasons"),
    [
        (STORY, {}, []),
        (STORY, dict.fromkeys(CHECKS), []),
        ("  short  ", {"min_length": 6}, ["min_length: 5 characters, and 6 are the least"]),
        ("  short  ", {"min_length": 5}, []),
        ("no no no no no no", {"max_repetition": 0.3}, ["max_repetition: 0.667 of its 4-grams stood before; 0.3 is the most"]),
        ("What the hell, sh1t happens", {"profanity_filter": True}, ["profanity_filter: 's***' at character 15"]),
        ("Blue moons", {"profanity_filter": ["moon"]}, ["profanity_filter: 'm****' at character 5"]),
        (
            "Rain falls. Dogs bark.",
            {"coherence_threshold": 0.7},
            ["coherence_threshold: coherence is 0.500, and 0.7 is the least"],
        ),
        ("So 2 + 2 = 5.", {"factuality_check": True}, ["factuality_check: '2 + 2 = 5': it is 4"]),
        (STORY, {"min_length": 20, "max_repetition": 0.3, "profanity_filter": True, "coherence_threshold": 0.7}, []),
    ],
)
def test_a_text_passes_or_is_told_why(text: str, config: dict[str, Any], reasons: list[str]) -> None:
    found = OutputFilter.filter(text, config)
    assert list(found.reasons) == reasons
    assert found.passed == bool(found) == (not reasons)
    assert list(found.checked) == [name for name, value in config.items() if value]


def test_every_reason_is_given_and_only_rude_words_are_changed() -> None:
    found = OutputFilter.filter("Damn shit", {"profanity_filter": True, "min_length": 20})
    assert found.text == str(found) == "D*** s***"
    assert [reason.partition(":")[0] for reason in found.reasons] == ["min_length", "profanity_filter", "profanity_filter"]


@pytest.mark.parametrize("text", ["class assassin", "Scunthorpe", "cocktail", "shiitake", "Dickens", "bass", "grass"])
def test_innocent_words_stay(text: str) -> None:
    assert find_rude(text) == []


@pytest.mark.parametrize("text", ["fuck", "FUCKING", "f*ck", "sh1t", "$hit", "bullshit", "biiitch", "assholes"])
def test_rude_words_are_found_however_written(text: str) -> None:
    assert find_rude(text) == [(0, len(text))]


@pytest.mark.parametrize(
    ("text", "passages"),
    [
        ("12 + 30 = 42 and 2 × 3 + 1 = 7, 7 / 2 = 3.5, 10 / 3 = 3.33", []),
        ("12 + 30 = 43", ["12 + 30 = 43"]),
        ("1,000 - 1 = 998", ["1,000 - 1 = 998"]),
        ("2 + 3 * 4 = 20", ["2 + 3 * 4 = 20"]),
        ("on 30 February 2024", ["30 February 2024"]),
        ("on 29 February 2024, or 2023-02-29", ["2023-02-29"]),
        ("Friday, 27 November 2026 was cold", []),
        ("Monday, 27 November 2026 was cold", ["Monday, 27 November 2026"]),
        ("April 31st", ["April 31st"]),
        ("f(x) = 3, x = 2", []),
    ],
)
def test_sums_and_dates_are_checked_without_sources(text: str, passages: list[str]) -> None:
    assert [found.passage for found in ungrounded(text)] == passages


def test_numbers_names_and_quotations_must_stand_in_the_sources() -> None:
    source = "Mike Baker gets 100 rubles. He said: “I will pay it back soon.”"
    assert ungrounded("The sum for Mike is 100, and he said “I will pay it back”.", [source]) == []
    found = ungrounded("The sum for Anna is 250, and he said “I will never pay”.", [source])
    assert [(one.passage, one.why) for one in found] == [
        ("250", "this number stands in no source"),
        ("Anna", "this name stands in no source"),
        ("I will never pay", "this quotation stands in no source"),
    ]


def test_what_the_factuality_check_looked_at_is_said() -> None:
    without = OutputFilter.filter(STORY, {"factuality_check": True})
    within = OutputFilter.filter(STORY, {"factuality_check": True}, sources=STORY)
    assert "nothing about the world" in without.checked["factuality_check"]
    assert "stand in the sources" in within.checked["factuality_check"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"min_lenght": 3}, "did you mean min_length"),
        ({"min_length": -1}, "min_length is -1; it must be a whole number >= 0"),
        ({"min_length": True}, "min_length is True"),
        ({"max_repetition": 2}, "max_repetition is 2; it must be a number from 0 to 1"),
        ({"coherence_threshold": "high"}, "coherence_threshold is 'high'"),
        ({"profanity_filter": []}, "profanity_filter is"),
        ({"factuality_check": "yes"}, "factuality_check is 'yes'; it must be True or False"),
        ("strict", "the filter is a str"),
    ],
)
def test_what_cannot_be_checked_is_refused(config: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")):
        OutputFilter.filter(STORY, config)


def test_sources_that_nothing_reads_and_what_is_not_text_are_refused() -> None:
    with pytest.raises(ConfigError, match="sources are given and factuality_check is not"):
        OutputFilter.filter(STORY, {"min_length": 3}, sources=["a"])
    with pytest.raises(InputError, match="the text is a int"):
        OutputFilter.filter(3, {})  # type: ignore[arg-type]
