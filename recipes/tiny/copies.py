"""Copying of words made from the tokenizer's own pieces, each piece as often as any other.

Names and kinds of animals follow the habits of a language, so most pieces are rare in them, and a model of this size takes
one rare piece for another when it copies a word that it has never met.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from recipes.tiny.payments import SYSTEM, amount, answer, request
from recipes.tiny.stories import ADJECTIVES, STORYTELLER, Hero, opening
from recipes.tiny.words import CURRENCIES, HELD_OUT_ANIMALS, HELD_OUT_NAMES, held_out_payment

__all__ = ["copy_pair", "maker_of_words", "write_copies"]

Chat = list[dict[str, str]]


def maker_of_words(tokenizer: Path, rng: random.Random) -> Callable[[], str]:
    """Words of two to four pieces in small letters, with nothing held out in them. tokenizer: a folder with tokenizer.json."""
    vocabulary = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).get_vocab()
    words = sorted(word for token in vocabulary if (word := token.replace("▁", "")).isalpha() and word.isascii())
    held_out = {word.lower() for word in (*HELD_OUT_NAMES, *HELD_OUT_ANIMALS)}

    def make() -> str:
        while True:
            made = "".join(rng.choice(words) for _ in range(rng.choice((1, 2, 2, 2, 3)))).lower()
            if 2 < len(made) < 16 and not any(word in made for word in held_out):
                return made

    return make


def copy_pair(rng: random.Random, word: Callable[[], str]) -> Chat:
    """A request that can only be answered by copying: a list, the first sentence of a story, a payment."""
    kind = rng.random()
    if kind < 0.35:
        items = [word().capitalize() if rng.random() < 0.4 else word() for _ in range(rng.randint(3, 12))]
        text = rng.choice((" ", ", ", "\n")).join(items)
        return _chat("", rng.choice(("Repeat: ", "Repeat this: ", "Say it again: ", "Copy: ")) + text, text)
    if kind < 0.8:
        who = Hero(word().capitalize(), word(), rng.choice(ADJECTIVES))
        asked = rng.choice(("Begin a story about {} named {}.", "Write the first sentence of a story about {} named {}."))
        return _chat(STORYTELLER, asked.format(who.phrase, who.name), opening(rng, who))
    names = [word().capitalize() for _ in range(rng.choice((1, 2)))]
    value, currency = amount(rng), rng.choice(list(CURRENCIES))
    contractor = " ".join(names)
    if held_out_payment(contractor, value, currency):
        return copy_pair(rng, word)
    return _chat(SYSTEM, request(rng, contractor, value, currency), answer(contractor, value, currency))


def write_copies(tokenizer: Path, file: Path, *, count: int = 24000, seed: int = 2026) -> int:
    """Write `count` rows; returns their number."""
    rng = random.Random(f"{seed}/copies")
    word = maker_of_words(tokenizer, rng)
    rows: list[dict[str, Any]] = [{"messages": copy_pair(rng, word)} for _ in range(count)]
    with file.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(rows)


def _chat(system: str, user: str, assistant: str) -> Chat:
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return [{"role": "system", "content": system}, *turns] if system else turns
