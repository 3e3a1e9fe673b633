"""Words and phrases that a completion must contain, or must never contain, whatever their tokenization.

One rule of matching for both: a phrase occurs where its UTF-8 bytes stand in the generated text, A-Z and a-z
alike (other letters exactly). It need not stand alone: forbidding "cat" forbids "concatenate" too. The prompt does
not count. Text is matched as bytes by an Aho-Corasick automaton, so it does not matter how the bytes are cut into
tokens, nor that special tokens stand between them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ramify.errors import ConstraintError

if TYPE_CHECKING:
    from ramify.decoding.constraints import Vocabulary

__all__ = ["Automaton", "ForbiddenWords", "RequiredWords", "TokenBytes", "fold"]


def fold(text: str) -> bytes:
    """The bytes that are matched: UTF-8 with A-Z lowered."""
    return text.encode("utf-8").lower()


class Automaton:
    """Aho-Corasick over folded bytes. State 0 is the start; `ends[state]` has bit i when phrase i ends there.

    Source: Aho & Corasick 1975, "Efficient String Matching".
    """

    def __init__(self, phrases: Sequence[bytes]) -> None:
        children: list[dict[int, int]] = [{}]
        self.ends = [0]
        for index, phrase in enumerate(phrases):
            state = 0
            for byte in phrase:
                if byte not in children[state]:
                    children[state][byte] = len(children)
                    children.append({})
                    self.ends.append(0)
                state = children[state][byte]
            self.ends[state] |= 1 << index
        self.next = np.zeros((len(children), 256), dtype=np.int32)
        # Breadth first: a state's row is its longest proper suffix's row, overlaid with its own children.
        suffix = [0] * len(children)
        queue = [0]
        for state in queue:
            if state:
                self.next[state] = self.next[suffix[state]]
                self.ends[state] |= self.ends[suffix[state]]
            for byte, child in children[state].items():
                suffix[child] = int(self.next[suffix[state], byte]) if state else 0
                self.next[state, byte] = child
                queue.append(child)
        # A-Z move as a-z do.
        self.next[:, ord("A") : ord("Z") + 1] = self.next[:, ord("a") : ord("z") + 1]

    def run(self, state: int, data: bytes) -> tuple[int, int]:
        """Read `data` from `state`. Returns the new state and the set (bits) of phrases that ended on the way."""
        seen = 0
        for byte in data:
            state = int(self.next[state, byte])
            seen |= self.ends[state]
        return state, seen


class TokenBytes:
    """The bytes of every token, laid out so that all tokens can be read at once, byte by byte."""

    def __init__(self, token_bytes: Sequence[bytes], width: int) -> None:
        self.width = width
        self.pieces = [*token_bytes[:width], *[b""] * (width - len(token_bytes))]
        lengths = np.fromiter((len(piece) for piece in self.pieces), dtype=np.int64, count=width)
        self.longest_first = np.argsort(-lengths, kind="stable")
        self.columns: list[NDArray[np.uint8]] = []
        for place in range(int(lengths.max(initial=0))):
            living = self.longest_first[: int((lengths > place).sum())]
            self.columns.append(np.fromiter((self.pieces[token][place] for token in living), np.uint8, len(living)))
        self.ids: dict[bytes, int] = {}
        for token, piece in enumerate(self.pieces):
            if piece:
                self.ids.setdefault(piece, token)

    def completing(self, automaton: Automaton, state: int) -> NDArray[np.bool_]:
        """Which tokens, read from `state`, complete some phrase. (V,) bool."""
        ending = np.array(automaton.ends) != 0
        states = np.full(self.width, state, dtype=np.int32)
        hit = np.zeros(self.width, dtype=np.bool_)
        for column in self.columns:
            living = automaton.next[states[: len(column)], column]
            states[: len(column)] = living
            hit[: len(column)] |= ending[living]
        found = np.empty_like(hit)
        found[self.longest_first] = hit
        return found

    def spell(self, text: str, encoded: Sequence[int]) -> tuple[int, ...] | None:
        """Token ids whose bytes contain `text`: the tokenizer's own where they do, else the longest pieces in turn."""
        if all(0 <= token < self.width and self.pieces[token] for token in encoded) and (
            fold(text) in b"".join(self.pieces[token] for token in encoded).lower()
        ):
            return tuple(encoded)
        data, found = text.encode("utf-8"), []
        while data:
            size = next((size for size in range(min(len(data), len(self.columns)), 0, -1) if data[:size] in self.ids), 0)
            if not size:
                return None
            found.append(self.ids[data[:size]])
            data = data[size:]
        return tuple(found)


class ForbiddenWords:
    """The forbidden phrases of one row; rows share the automaton and the masks already worked out."""

    satisfied = True

    def __init__(self, phrases: Sequence[str], tokens: TokenBytes) -> None:
        self.automaton = Automaton([fold(phrase) for phrase in phrases])
        self.tokens = tokens
        self.state = 0
        self.broken = False
        self._masks: dict[int, NDArray[np.uint8]] = {}

    def keep(self, budget: int) -> NDArray[np.bool_]:
        """(V,) bool: the tokens after which no forbidden phrase has occurred."""
        if self.broken:
            return np.zeros(self.tokens.width, dtype=np.bool_)
        if self.state not in self._masks:
            # A bit a token: 19 kB for 151,936 of them, so every state can be kept.
            self._masks[self.state] = np.packbits(~self.tokens.completing(self.automaton, self.state))
        return np.unpackbits(self._masks[self.state], count=self.tokens.width).view(np.bool_)

    def advance(self, token: int) -> None:
        """The row's next token is `token`."""
        self.state, seen = self.automaton.run(self.state, self.tokens.pieces[token])
        self.broken = self.broken or bool(seen)

    def admits(self, data: bytes) -> bool:
        """Whether `data` may come next without completing a forbidden phrase."""
        return not self.automaton.run(self.state, data)[1]

    def copy(self) -> Self:
        """The same row, free to go its own way."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


class RequiredWords:
    """The required phrases of one row.

    EOS is forbidden until all have appeared. When the tokens still allowed are only just enough to spell the missing
    ones, each after a space, they are spelled by force.
    """

    # What may stand before a forced phrase; the later ones are tried where a forbidden phrase is in the way.
    _BEFORE = (" ", "\n", ", ", "; ", "", " - ")

    def __init__(
        self, phrases: Sequence[str], tokens: TokenBytes, vocabulary: "Vocabulary", forbidden: ForbiddenWords | None
    ) -> None:
        folded = [fold(phrase) for phrase in phrases]
        # A phrase inside another one appears with it.
        kept = [
            index
            for index, phrase in enumerate(folded)
            if not any(
                phrase in other and (len(phrase), -index) < (len(other), -place)
                for place, other in enumerate(folded)
                if place != index
            )
        ]
        self.phrases = [phrases[index] for index in kept]
        self.automaton = Automaton([folded[index] for index in kept])
        self.tokens = tokens
        self.spellings = [self._spellings(phrase, vocabulary) for phrase in self.phrases]
        self.state = 0
        self.missing = (1 << len(self.phrases)) - 1
        self.forbidden = forbidden
        self._plan: tuple[int, ...] = ()

    def _spellings(self, phrase: str, vocabulary: "Vocabulary") -> list[tuple[int, ...]]:
        marks = ("", *self._BEFORE) if phrase[:1].isspace() else self._BEFORE
        found = [self.tokens.spell(text, vocabulary.encode(text)) for text in (mark + phrase for mark in marks)]
        spelled = list(dict.fromkeys(ids for ids in found if ids is not None))
        if not spelled:
            raise ConstraintError(f"required_words holds {phrase!r}, which this model's vocabulary cannot spell; leave it out")
        return spelled

    @property
    def satisfied(self) -> bool:
        """Whether every phrase has appeared."""
        return not self.missing

    @property
    def cost(self) -> int:
        """How many tokens spelling the missing phrases takes, each after a space."""
        return sum(len(self.spellings[index][0]) for index in self._missing())

    def _missing(self) -> Iterator[int]:
        return (index for index in range(len(self.phrases)) if self.missing >> index & 1)

    def _reserve(self) -> int:
        """The cost with the dearest of the other ways, which forbidden phrases may make necessary."""
        if self.forbidden is None:
            return self.cost
        return sum(max(len(ids) for ids in self.spellings[index]) for index in self._missing())

    def keep(self, budget: int) -> NDArray[np.bool_] | None:
        """(V,) bool, or None while the row is free; all False when the words no longer fit. `budget` counts the
        coming token."""
        if not self.missing:
            return None
        if not self._plan:
            if budget > self._reserve():
                return None
            self._plan = self._spelled_out(budget)
        keep = np.zeros(self.tokens.width, dtype=np.bool_)
        keep[list(self._plan[:1])] = True
        return keep

    def _spelled_out(self, budget: int) -> tuple[int, ...]:
        """Token ids that spell what is missing within the budget and around the forbidden phrases; () if none do."""
        tries = 2000  # of orders and separators; far beyond what any sensible list needs

        def search(missing: tuple[int, ...], words: ForbiddenWords | None, left: int) -> tuple[int, ...] | None:
            nonlocal tries
            if not missing:
                return ()
            for index in missing:
                for ids in self.spellings[index]:
                    tries -= 1
                    if tries < 0 or len(ids) > left:
                        continue
                    data = b"".join(self.tokens.pieces[token] for token in ids)
                    if words is not None and not words.admits(data):
                        continue
                    after = None if words is None else words.copy()
                    if after is not None:
                        for token in ids:
                            after.advance(token)
                    rest = search(tuple(other for other in missing if other != index), after, left - len(ids))
                    if rest is not None:
                        return ids + rest
            return None

        return search(tuple(self._missing()), self.forbidden, budget) or ()

    def advance(self, token: int) -> None:
        """The row's next token is `token`."""
        self.state, seen = self.automaton.run(self.state, self.tokens.pieces[token])
        self.missing &= ~seen
        self._plan = self._plan[1:] if self._plan[:1] == (token,) else ()

    def copy(self, forbidden: ForbiddenWords | None = None) -> Self:
        """The same row, free to go its own way, beside its copy of the forbidden phrases."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.forbidden = forbidden
        return twin
