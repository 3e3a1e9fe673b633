"""Whether the sentences of a text hang together: each takes up what came before it."""

import itertools
import math
from collections.abc import Callable, Sequence

from ramify.errors import InputError
from ramify.quality.words import STOP_WORDS, entities, sentences, stem, words

__all__ = ["Embed", "coherence"]

Embed = Callable[[list[str]], Sequence[Sequence[float]]]
"""Sentences -> one vector for each, all of one length."""

BACKWARD = frozenset({"he", "she", "it", "they", "him", "her", "them", "his", "its", "their"})
"""Pronouns of the third person: they point to somebody who was named before."""
LEANING = frozenset({"then", "but", "so", "and", "because", "after", "suddenly", "finally", "also", "later", "when", "that"})
"""Words that a text does not begin with, as they lean on a sentence before."""

LONGEST = 100
"""Words of a sentence; a longer stretch counts 0."""


def coherence(text: str, embed: Embed | None = None) -> float:
    """How well the sentences take up what came before, from 0 to 1: the mean over sentences; 0 for a text without any.

    A sentence counts 1 / d when the nearest sentence before it that names an entity of it is d back; 1 when it has a pronoun
    of the third person; 0 when it does neither, and 0 when it introduces ("a dog") what was there already. The first one
    counts 1, unless it leans on something before it: a pronoun without any entity, a pronoun or a "then" as its first word.
    A stretch of more than LONGEST words without an end counts 0.
    With `embed` the result is the mean of this and of the cosines of neighbouring sentences, negative ones as 0.
    Pronouns and articles are English; in other languages entities alone count.
    Source: Barzilay & Lapata 2008, "Modeling Local Coherence" (continuity of entities); Prince 1981, "Toward a Taxonomy of
    Given-New Information" (what is introduced). Raises InputError for vectors that do not fit the sentences.
    """
    said = sentences(text)
    if not said:
        return 0.0
    about = [entities(sentence) for sentence in said]
    held = [_opens(said[0], about[0])]
    known = set(about[0])
    for place in range(1, len(said)):
        held.append(0.0 if _introduced(said[place]) & known else _link(said[place], about, place))
        known |= about[place]
    # Words without an end are no sentence, and babble has few ends.
    held = [0.0 if len(words(sentence)) > LONGEST else one for sentence, one in zip(said, held, strict=True)]
    found = sum(held) / len(held)
    if embed is None or len(said) < 2:
        return found
    vectors = [[float(value) for value in vector] for vector in embed(said)]
    if len(vectors) != len(said) or len({len(vector) for vector in vectors}) != 1:
        raise InputError(f"embed gave {len(vectors)} vectors for {len(said)} sentences; give one for each, all of one length")
    alike = [max(0.0, _cosine(a, b)) for a, b in itertools.pairwise(vectors)]
    return (found + sum(alike) / len(alike)) / 2


def _opens(sentence: str, about: frozenset[str]) -> float:
    said = words(sentence)
    leans = said[0] in BACKWARD or said[0] in LEANING or (not about and not BACKWARD.isdisjoint(said))
    return 0.0 if leans else 1.0


def _link(sentence: str, about: Sequence[frozenset[str]], place: int) -> float:
    if not BACKWARD.isdisjoint(words(sentence)):
        return 1.0
    return next((1 / back for back in range(1, place + 1) if about[place] & about[place - back]), 0.0)


def _introduced(sentence: str) -> set[str]:
    """What stands after an article "a" or "an", up to three words on."""
    said, found = words(sentence), set()
    for place, word in enumerate(said):
        if word in ("a", "an"):
            for after in said[place + 1 : place + 4]:
                if after in STOP_WORDS:
                    break
                found.add(stem(after))
    return found


def _cosine(a: list[float], b: list[float]) -> float:
    size = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / size if size else 0.0
