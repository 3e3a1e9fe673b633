"""Rude words in English, found whole: "class" and "Scunthorpe" hold none, "sh1t" and "f*cking" do."""

import re
from collections.abc import Sequence
from functools import cache

__all__ = ["RUDE", "find_rude", "starred"]

_ENGLISH = """
arse arsehole asshole bastard bitch bollocks bullshit cock cocksucker crap cunt damn dick dickhead douchebag dumbass fag
faggot fuck goddamn jackass jerkoff motherfucker nigger piss prick pussy retard shit slut tosser twat wank wanker whore
"""
RUDE = tuple(_ENGLISH.split())
"""What True stands for. It is short and English on purpose: give a list of your own where that is not enough."""

_ENDINGS = r"(?:s|es|ed|er|ers|ing|in|y|head|heads)?"
_LOOKS = {"a": "a@4", "b": "b8", "e": "e3", "i": "i1!", "o": "o0", "s": "s$5", "t": "t7", "l": "l1", "g": "g9"}
_VOWELS = "aeiou"


@cache
def _pattern(rude: tuple[str, ...]) -> "re.Pattern[str]":
    # Longest first, so that "bullshit" is found whole. A vowel may be starred out: f*ck.
    spelt = ["".join(_letter(character) for character in word.lower()) for word in sorted(rude, key=len, reverse=True)]
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(spelt)}){_ENDINGS}(?![^\W_])", re.IGNORECASE)


def _letter(character: str) -> str:
    looks = re.escape(_LOOKS.get(character, character)) + (r"*\#\-" if character in _VOWELS else "")
    return f"[{looks}]+"


def find_rude(text: str, rude: Sequence[str] = RUDE) -> list[tuple[int, int]]:
    """Where rude words stand, as half-open spans of characters, in order."""
    return [found.span() for found in _pattern(tuple(rude)).finditer(text)] if rude else []


def starred(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text with each span's characters but the first replaced by stars."""
    parts, at = [], 0
    for start, end in spans:
        parts += [text[at : start + 1], "*" * (end - start - 1)]
        at = end
    return "".join([*parts, text[at:]])
