"""Which texts to let through, and why the others not."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ramify.errors import ConfigError, InputError
from ramify.quality.coherence import coherence
from ramify.quality.grounding import CHECKED, ungrounded
from ramify.quality.profanity import RUDE, find_rude, starred
from ramify.quality.repetition import rep_n

__all__ = ["CHECKS", "Filtered", "OutputFilter"]

CHECKS = {
    "min_length": "the text, without white space around it, has at least so many characters",
    "max_repetition": "at most this share of its 4-grams of words stood before (rep_n)",
    "profanity_filter": "it has no rude word of an English list, or of the list given; those it has are starred out",
    "coherence_threshold": "its sentences take up what came before to this degree at least (coherence)",
    "factuality_check": "written sums and dates are right; with sources, numbers, names and quotations stand in them",
}
"""The keys of a filter, and what each really checks."""


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """What came of a text."""

    text: str
    """The text; rude words starred out where they were looked for, nothing else changed."""
    passed: bool
    """Whether every check holds."""
    reasons: tuple[str, ...]
    """Why it did not pass, a line for each finding; () when it did. The key of the check comes first."""
    checked: Mapping[str, str]
    """The checks that were made, and what each looked at."""

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return self.passed


class OutputFilter:
    """Checks of one text. Keys that are absent, False or None are not checked."""

    @staticmethod
    def filter(text: str, config: Mapping[str, Any], *, sources: str | Sequence[str] = ()) -> Filtered:
        """Check a text. sources: texts that its numbers, names and quotations must stand in, for factuality_check.

        Raises ConfigError for an unknown key, a value out of range, and sources that no check reads.
        """
        if not isinstance(text, str):
            raise InputError(f"the text is a {type(text).__name__}; give text")
        wanted = _checked(config)
        given = (sources,) if isinstance(sources, str) else tuple(sources)
        if given and "factuality_check" not in wanted:
            raise ConfigError("sources are given and factuality_check is not asked for; ask for it, or leave them out")
        reasons: list[str] = []
        told = {name: CHECKS[name] for name in wanted}
        if "min_length" in wanted and (size := len(text.strip())) < wanted["min_length"]:
            reasons.append(f"min_length: {size} characters, and {wanted['min_length']} are the least")
        if "max_repetition" in wanted and (repeated := rep_n(text)) > wanted["max_repetition"]:
            reasons.append(f"max_repetition: {repeated:.3f} of its 4-grams stood before; {wanted['max_repetition']} is the most")
        if "profanity_filter" in wanted:
            rude = RUDE if wanted["profanity_filter"] is True else wanted["profanity_filter"]
            spans = find_rude(text, rude)
        else:
            spans = []
        reasons += [
            f"profanity_filter: {starred(text[start:end], [(0, end - start)])!r} at character {start}" for start, end in spans
        ]
        if "coherence_threshold" in wanted and (holds := coherence(text)) < wanted["coherence_threshold"]:
            reasons.append(f"coherence_threshold: coherence is {holds:.3f}, and {wanted['coherence_threshold']} is the least")
        if "factuality_check" in wanted:
            told["factuality_check"] = CHECKED[bool(given)]
            reasons += [f"factuality_check: {found.passage!r}: {found.why}" for found in ungrounded(text, given)]
        return Filtered(text=starred(text, spans), passed=not reasons, reasons=tuple(reasons), checked=told)


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise ConfigError(f"the filter is a {type(config).__name__}; give a mapping with some of {', '.join(CHECKS)}")
    wanted: dict[str, Any] = {}
    for name, value in config.items():
        if name not in CHECKS:
            near = difflib.get_close_matches(str(name), CHECKS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the checks are {', '.join(CHECKS)}"
            raise ConfigError(f"{name!r} is not a check; {hint}", (str(name),))
        if value is None or value is False:
            continue
        wanted[name] = _allowed(name, value)
    return wanted


def _allowed(name: str, value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "min_length":
        fits, allowed = isinstance(value, int) and number and value >= 0, "a whole number >= 0 (characters)"
    elif name in ("max_repetition", "coherence_threshold"):
        fits, allowed = number and 0 <= value <= 1, "a number from 0 to 1"
    elif name == "factuality_check":
        fits, allowed = value is True, "True or False"
    else:
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        fits = value is True or (listed and bool(value) and all(isinstance(word, str) and word.strip() for word in value))
        allowed = "True, False, or a list of words"
    if not fits:
        raise ConfigError(f"{name} is {value!r}; it must be {allowed}", (name,))
    return value
