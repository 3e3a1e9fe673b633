"""How much a text says twice, and how much several texts say the same."""

import zlib
from collections.abc import Sequence

from ramify.errors import InputError
from ramify.quality.words import words

__all__ = ["compression_ratio", "distinct_n", "diversity", "longest_repeated_span", "rep_n", "self_bleu"]


def distinct_n(text: str | Sequence[str], n: int) -> float:
    """The share of n-grams of words that are different, from above 0 to 1; 1 where there is no n-gram.

    text: one, or several whose n-grams are pooled (none goes across two texts).
    Source: Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models".
    """
    if n < 1:
        raise InputError(f"n is {n}; it must be a whole number >= 1")
    grams = [gram for one in ([text] if isinstance(text, str) else text) for gram in _grams(words(one), n)]
    return len(set(grams)) / len(grams) if grams else 1.0


def rep_n(text: str, n: int = 4) -> float:
    """The share of n-grams of words that stood before: 1 - distinct_n, from 0 to below 1; 0 where there is no n-gram.

    Source: Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training" (seq-rep-n).
    """
    return 1.0 - distinct_n(text, n)


def diversity(text: str) -> float:
    """The product of distinct_n for n = 2, 3, 4: from above 0 to 1, 1 where no two words stand together twice.

    Source: Su et al. 2022, "A Contrastive Framework for Neural Text Generation".
    """
    return distinct_n(text, 2) * distinct_n(text, 3) * distinct_n(text, 4)


def longest_repeated_span(text: str) -> int:
    """Words in the longest run that stands twice without overlapping itself; 0 where every word is new."""
    said = words(text)
    low, high = 0, len(said) // 2  # a run of `low` repeats; none longer than `high` can
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _repeats(said, middle) else (low, middle - 1)
    return low


def compression_ratio(text: str) -> float:
    """UTF-8 bytes over bytes of their DEFLATE compression (zlib, level 9), above 0; the more repeats, the higher; 1 for no text.

    A short text does not compress and is below 1: compare texts of one length.
    Source: Shaib et al. 2024, "Standardizing the Measurement of Text Diversity".
    """
    data = text.encode("utf-8", errors="surrogatepass")
    return len(data) / len(zlib.compress(data, 9)) if data else 1.0


def self_bleu(texts: Sequence[str]) -> list[float]:
    """For each text its BLEU against the others as references, from 0 (nothing shared) to 1 (the same).

    Raises InputError for fewer than two texts. Empty texts share everything with each other and nothing with the rest.
    Source: Zhu et al. 2018, "Texygen"; sacrebleu's sentence BLEU over 100.
    """
    if len(texts) < 2:
        raise InputError(f"{len(texts)} text was given; what texts share takes at least two")
    from ramify.quality.references import bleu

    found = []
    for place, text in enumerate(texts):
        others = [*texts[:place], *texts[place + 1 :]]
        # A text that stands among its references has BLEU 1 by definition; sacrebleu gives an empty one 0.
        found.append(1.0 if text in others else bleu(text, others) / 100)
    return found


def _grams(said: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(said[start : start + n]) for start in range(len(said) - n + 1)]


def _repeats(said: list[str], size: int) -> bool:
    first: dict[tuple[str, ...], int] = {}
    return any(start - first.setdefault(gram, start) >= size for start, gram in enumerate(_grams(said, size)))
