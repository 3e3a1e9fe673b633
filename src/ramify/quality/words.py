"""Words, sentences and entities of a text, without any library of a language.

A word is a run of letters, digits and apostrophes, lowercased, in any script; a character of Chinese, Japanese kanji or
kana is a word by itself, as those scripts write no spaces. Punctuation is none. A sentence ends with . ! ? … or their
full-width kin before white space or the end, or with an empty line.
"""

import re
import unicodedata

__all__ = ["STOP_WORDS", "entities", "sentences", "stem", "words"]

_ALONE = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
_WORD = re.compile(rf"{_ALONE}|(?:(?!{_ALONE})[^\W_])+(?:['’](?:(?!{_ALONE})[^\W_])+)*")
_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+[”’」』]*|\n\s*\n|$)", re.DOTALL)

_SAYS_NOTHING = """
a about above after again against all also am an and any are aren't as at be because been before being below between both
but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each else ever every few for from
further get gets got had hadn't has hasn't have haven't having he he'd he'll he's her here hers herself him himself his how i
i'd i'll i'm i've if in into is isn't it it's its itself just let let's like me more most much must my myself no nor not now
of off on once one only or other our ours ourselves out over own said same says she she'd she'll she's should so some such
than that that's the their theirs them themselves then there there's these they they'd they'll they're they've this those
through to too under until up upon us very was wasn't we we'd we'll we're we've were weren't what when where which while who
whom whose why will with won't would wouldn't yes yet you you'd you'll you're you've your yours yourself day time went came
go come made make saw see
"""
STOP_WORDS = frozenset(_SAYS_NOTHING.split())
"""English words that say nothing of what a sentence is about. In other languages every word counts."""


def words(text: str) -> list[str]:
    """The words in order, lowercased, in Unicode's composed form."""
    return [found.replace("’", "'") for found in _WORD.findall(unicodedata.normalize("NFC", text).lower())]


def sentences(text: str) -> list[str]:
    """The sentences in order, without the white space around them; those without any word are left out."""
    return [part.strip() for part in _SENTENCE.findall(text) if words(part)]


def entities(sentence: str) -> frozenset[str]:
    """What a sentence is about: its words but STOP_WORDS, with plural and possessive endings taken off."""
    return frozenset(stem(word) for word in words(sentence) if word not in STOP_WORDS)


def stem(word: str) -> str:
    """An English word without its plural or possessive ending."""
    word = word.removesuffix("'s").removesuffix("'")
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + instead
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word
