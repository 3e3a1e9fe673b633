# ruff: noqa: E501 (wordings are kept one to a line)
"""TinyStories as training material: the held-out split, and requests that a story answers."""

import hashlib
import json
import random
import re
from collections import Counter
from pathlib import Path

from recipes.tiny.stories import STORYTELLER, article
from recipes.tiny.words import HELD_OUT_ANIMALS, HELD_OUT_NAMES, name

__all__ = ["is_held_out", "natural_pair", "read_stories"]

FILES = ("tinystories.jsonl", "tinystories_more.jsonl")
_KEPT_OUT = re.compile(
    r"\b(" + "|".join([*HELD_OUT_NAMES, *(f"{animal}s?" for animal in HELD_OUT_ANIMALS)]) + r")\b", re.IGNORECASE
)
_NAMED = re.compile(r"\b(an?) ((?:[a-z]+,? ){0,2})([a-z]+) (?:named|called|whose name was) ([A-Z][a-z]+)\b")
_TWO = re.compile(r"\b([A-Z][a-z]{1,9}) and ([A-Z][a-z]{1,9}) (?:were|are|like|love|liked|loved|went|lived)\b")
_COMMON = frozenset(
    [
        "The",
        "One",
        "Once",
        "He",
        "She",
        "They",
        "It",
        "But",
        "And",
        "So",
        "Then",
        "When",
        "Mom",
        "Dad",
        "Mum",
        "Mommy",
        "Daddy",
        "Mama",
        "Papa",
        "Grandma",
        "Grandpa",
        "Every",
    ]
)
_STOP = frozenset(["there", "their", "they", "them", "this", "that", "with", "from", "have", "were", "what", "when", "then", "said", "very", "would", "could", "their", "about", "into", "away", "back", "like", "wanted", "want", "went", "came", "come", "happy", "little", "time", "girl", "named", "saw", "your", "mom", "day", "one", "once", "upon", "other", "more", "some", "looked", "because", "good", "will", "didn", "asked", "just", "home", "help", "play", "playing", "played", "friend", "friends", "after"])  # fmt: skip


def clean(text: str) -> str:
    """Straight quotes and plain dashes, as most of the corpus has them."""
    for curly, plain in (("“", '"'), ("”", '"'), ("’", "'"), ("‘", "'"), ("–", "-"), ("—", "-"), ("…", "...")):
        text = text.replace(curly, plain)
    return text.strip()


def is_held_out(text: str) -> bool:
    """One story in fifty, by the hash of its text: never trained on."""
    return hashlib.sha256(text.encode()).digest()[0] % 50 == 0


def read_stories(folder: Path) -> tuple[list[str], list[str]]:
    """(training, held out). Stories that name a held-out name or animal are in neither."""
    training: list[str] = []
    held: list[str] = []
    for file in FILES:
        for line in (folder / file).read_text(encoding="utf-8").splitlines():
            text = clean(json.loads(line)["text"])
            if not _KEPT_OUT.search(text):
                (held if is_held_out(text) else training).append(text)
    return training, held


def renamed(rng: random.Random, text: str, old: str) -> tuple[str, str]:
    """The story with its hero called otherwise everywhere; (text, new name). As is where the new name occurs already."""
    new = name(rng, invented=0.5)
    if re.search(rf"\b{new}\b", text) or old in _COMMON:
        return text, old
    return re.sub(rf"\b{old}\b", new, text), new


def natural_pair(rng: random.Random, text: str, *, by_hero: float = 0.8) -> list[dict[str, str]]:
    """A request that this story answers: by its hero (with probability `by_hero` where it has one that can be named), its first
    sentence, some of its words, or none of these.
    """
    system = (
        STORYTELLER if rng.random() < 0.6 else rng.choice(("", "You tell short stories for children.", "You are a storyteller."))
    )
    opening = text[:250]
    found = _NAMED.search(opening)
    asks_for_hero = rng.random() < by_hero
    kind = rng.random()
    if asks_for_hero and found and found.group(4) not in _COMMON:
        _, adjectives, what, old = found.groups()
        text, new = renamed(rng, text, old) if rng.random() < 0.8 else (text, old)
        words = f"{adjectives}{what}"
        phrase = f"{article(words)} {words}"
        ask = rng.choice(("Generate me a short story about {A} named {N}.", "Write a story about {A} named {N}.", "Tell me a story about {A} named {N}.",
                          "Write a short story about {A} called {N}.", "I want a story about {A} named {N}.", "A story about {A} named {N}, please."))  # fmt: skip
        return _chat(ask.format(A=phrase, N=new), text, system)
    pair = _TWO.search(opening)
    if asks_for_hero and pair and not _COMMON & set(pair.groups()):
        first, second = pair.groups()
        if rng.random() < 0.6:
            text, first = renamed(rng, text, first)
            text, second = renamed(rng, text, second) if first != second else (text, second)
        ask = rng.choice(
            (
                "Tell me a story about {a} and {b}.",
                "Write a short story about {a} and {b}.",
                "Generate me a story about {a} and {b}.",
            )
        )
        return _chat(ask.format(a=first, b=second), text, system)
    if kind < 0.45:
        common = [w for w, _ in Counter(re.findall(r"[a-z]{4,}", text)).most_common(25) if w not in _STOP]
        if len(common) >= 3:
            chosen = rng.sample(common[:12], 3)
            ask = rng.choice(
                (
                    "Write a story with the words {w}.",
                    "Tell me a story that has these words: {w}.",
                    "Use the words {w} in a story.",
                )
            )
            return _chat(ask.format(w=", ".join(chosen)), text, system)
    sentences = re.split(r"(?<=[.!?\"])\s+", text)
    cut = rng.randint(1, 3)
    if kind < 0.9 and len(sentences) > cut + 2:
        start = " ".join(sentences[:cut])
        rest = text[len(start) :].lstrip() if text.startswith(start) else ""
        if rest:
            ask = rng.choice(
                (
                    "Continue this story: {s}",
                    "Continue the story.\n{s}",
                    "How does this story go on? {s}",
                    "Finish this story: {s}",
                )
            )
            return _chat(ask.format(s=start), rest, system)
    ask = rng.choice(
        ("Tell me a story.", "Write a short story.", "Generate me a short story.", "Once upon a time", "Tell me a bedtime story.")
    )
    return _chat(ask, text, system)


def _chat(user: str, assistant: str, system: str) -> list[dict[str, str]]:
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return [{"role": "system", "content": system}, *turns] if system else turns
