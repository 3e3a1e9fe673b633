"""Beam search with forced words: some beams are pushed, token by token, into the words that a completion must contain.

Sources: Anderson et al. 2017, "Guided Open Vocabulary Image Captioning with Constrained Beam Search"; Post & Vilar 2018, "Fast
Lexically Constrained Decoding" (banks). Banks, pushes and endings are those of transformers 4.49; that the words do come is ours.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import zip_longest

import torch
from torch import Tensor

from ramify.decoding.stopping import FinishReason
from ramify.decoding.words import Automaton, fold
from ramify.engine.beams import Beam, Candidate, Hypothesis, Search
from ramify.engine.groups import Finished
from ramify.engine.tasks import Steps
from ramify.errors import ConstraintError, InputError
from ramify.models.base import TextCodec

__all__ = ["Forced", "Progress", "Words"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a completion has come with its words."""

    pending: tuple[int, ...]
    """Words not begun, by number, in the order in which they are looked for."""
    current: int | None = None
    """The word being spelled, of which the tokens `rest` are still to come."""
    rest: tuple[int, ...] = ()
    state: int = 0
    """Of the automaton that reads the text."""
    apart: bool = False
    """Whether nothing stands before the next token, or white space does, so that a word needs no space of its own."""

    @property
    def done(self) -> bool:
        return not self.pending and self.current is None


class Words:
    """The required words of one request, and how tokens bring a completion nearer to them.

    A word is there when its tokens have come in a row, or when its text has in whatever tokens; A-Z count as a-z in the text,
    and the prompt does not count. Only one word is spelled at a time, and a token that breaks it off begins no other one.
    Where text precedes a word is pushed with a space before it, as when sampling; after white space, and where nothing
    precedes, without one too.
    """

    def __init__(
        self,
        ids: Sequence[Sequence[int]],
        texts: Sequence[str] = (),
        token_bytes: Sequence[bytes] = (),
        *,
        bare: Sequence[Sequence[int]] | None = None,
        apart: bool = False,
    ) -> None:
        """ids: the tokens that each word is pushed in, its space among them. bare: the same without that space.

        texts: the words themselves; without them only the tokens count. apart: as Progress has it, where nothing is generated.
        """
        self.ids = tuple(map(tuple, ids))
        self.bare = self.ids if bare is None else tuple(map(tuple, bare))
        self.longest = max(map(len, self.ids + self.bare))
        self._automaton = Automaton([fold(text) for text in texts]) if texts else None
        self._bytes = token_bytes
        self._apart = apart

    @classmethod
    def of(cls, words: Sequence[str], codec: TextCodec, prompt_ids: Sequence[int] = (), *, spaced: bool = True) -> "Words":
        """Each word with a space before it and as written; only as written where it begins with white space itself.

        spaced: False where a grammar says what stands between words.
        A word inside another one appears with it and is not pushed. Raises ConstraintError for a word that cannot be spelled.
        """
        ids, bare, texts = [], [], []
        folded = [fold(word) for word in words]
        for i, word in enumerate(words):
            if folded[i] in folded[:i] or any(folded[i] in other and folded[i] != other for other in folded):
                continue
            spelt = _spelt(word, codec)
            if spelt is None:
                raise ConstraintError(f"required_words holds {word!r}, which this model's vocabulary cannot spell; leave it out")
            bare.append(spelt)
            ids.append(spelt if not spaced or word[:1].isspace() else _spelt(" " + word, codec) or spelt)
            texts.append(word)
        apart = not prompt_ids or codec.token_bytes[prompt_ids[-1]][-1:] in _APART
        return cls(ids, texts, codec.token_bytes, bare=bare, apart=apart)

    @property
    def begin(self) -> Progress:
        return Progress(tuple(range(len(self.ids))), apart=self._apart)

    def after(self, progress: Progress, token_id: int) -> Progress:
        """The progress with one more token."""
        if progress.done:
            return progress
        pending, current, rest, state, seen = progress.pending, progress.current, progress.rest, progress.state, 0
        if current is None:
            begun = next(((i, spelt) for i, spelt in self._beginnings(progress) if spelt[0] == token_id), None)
            if begun is not None:
                current, rest = begun[0], begun[1][1:]
                pending = tuple(i for i in pending if i != current)
        elif rest[0] == token_id:
            rest = rest[1:]
        else:
            pending, current, rest = (*pending, current), None, ()
        apart = progress.apart
        if self._automaton is not None:
            piece = self._bytes[token_id]
            state, seen = self._automaton.run(state, piece)
            apart = piece[-1:] in _APART if piece else apart
        pending = tuple(i for i in pending if not seen >> i & 1)
        if current is not None and (not rest or seen >> current & 1):
            current, rest = None, ()
        return Progress(pending, current, rest, state, apart)

    def pushes(self, progress: Progress) -> list[int]:
        """The tokens that bring a completion nearer: the next of the word being spelled, else the first of every pending word."""
        if progress.current is not None:
            return [progress.rest[0]]
        return list(dict.fromkeys(spelt[0] for _, spelt in self._beginnings(progress)))

    def bank(self, progress: Progress) -> int:
        """Beams compete within their bank: the longest word's length for each word begun, less what the present one lacks."""
        return (len(self.ids) - len(progress.pending)) * self.longest - len(progress.rest)

    def cost(self, progress: Progress) -> int:
        """Tokens it takes to spell what is missing: each word after a space, but the next one without where that is shorter."""
        saved = max((len(self.ids[i]) - len(self.bare[i]) for i in progress.pending), default=0)
        whole = sum(len(self.ids[i]) for i in progress.pending) + len(progress.rest)
        return whole - max(0, saved) if progress.apart and progress.current is None else whole

    def _beginnings(self, progress: Progress) -> Iterator[tuple[int, tuple[int, ...]]]:
        """The pending words, and how each may be spelled here."""
        for i in progress.pending:
            if progress.apart:
                yield i, self.bare[i]
            yield i, self.ids[i]


_APART = (b"", b" ", b"\n", b"\t", b"\r")
"""How the bytes before a word end where it needs no space; special tokens, which have none, begin something new."""


def _spelt(text: str, codec: TextCodec) -> list[int] | None:
    """The tokens of a text; None where they do not hold it."""
    try:
        ids = codec.encode(text)
    except InputError:
        return None
    return ids if fold(text) in fold(codec.decode(ids)) else None


class Forced(Search):
    """Beams that end only when all required words are there.

    Each step adds, to the `num_beams` likeliest continuations, every live beam pushed one token on towards its words; of all
    these the best of each bank go on in turn, fullest bank first, until `num_beams` are chosen. Where none of them would have
    room to spell what it lacks, and nothing has finished, the last place goes to the best that has. At the length limit all
    live beams are finished; those that hold their words come first.
    Raises ConstraintError where the words do not fit into the tokens allowed, and where bans or other constraints kept them out.
    """

    def search(self) -> Steps:
        beams = self.config.num_beams
        self._words = self.words()
        self._progress: dict[tuple[int, ...], Progress] = {(): self._words.begin}
        self._check_room()
        answers = yield from self.begin()
        logits = answers[-1].logits[-1:]
        fulfilled = Finished(self, beams)
        while True:
            scores = self.logprobs(logits, self.live) + torch.tensor([[b.score] for b in self.live], device=logits.device)
            found = self.candidates(scores, self.live, max(2, 1 + len(self.eos)) * beams)
            for candidate in found[:beams]:
                if candidate.ends == "eos" and self._progress[candidate.parent.ids].done:
                    fulfilled.add(candidate)
            self.finished = fulfilled.hypotheses
            if found and fulfilled.closed(found[0].score, len(found[0].ids)):
                self._drop_live()
                return
            going = self._deal([candidate for candidate in found if candidate.ends != "eos"][:beams], scores)
            if not going or going[0].ends == "length":
                self._drop_live()
                self._cut(going, fulfilled)
                return
            progress = [self._after(candidate) for candidate in going]
            logits = yield from self.descend(going)
            self._progress = {beam.ids: so_far for beam, so_far in zip(self.live, progress, strict=True)}
            if self.out_of_time:
                return

    def words(self) -> Words:
        """What is required."""
        ruled = any(getattr(self.config, name) is not None for name in ("json_schema", "regex", "choices", "grammar"))
        return Words.of(self.config.required_words or (), self.backend.codec, self.request.prompt_ids, spaced=not ruled)

    def best(self, reason: FinishReason) -> list[Hypothesis]:
        """Those that hold their words first, finished ones before live ones, and each kind by rank."""
        live = [Hypothesis(b.ids, self.rank(b.score, len(b.ids)), reason) for b in self.live if b.ids]
        found = sorted(self.finished, key=lambda h: -h.rank) + sorted(live, key=lambda h: -h.rank)
        if not found:
            return super().best(reason)
        return sorted(found, key=lambda h: not reduce(self._words.after, h.ids, self._words.begin).done)[: self.request.count]

    def _check_room(self) -> None:
        cost, room = self._words.cost(self._words.begin), self.request.room
        if cost > room:
            words = ", ".join(map(repr, self.config.required_words or ()))
            raise ConstraintError(
                f"required_words takes {cost} tokens to spell ({words}) and max_new_tokens, max_length or the context window "
                f"allows {room}; allow at least {cost}, or leave some words out"
            )

    def _after(self, candidate: Candidate) -> Progress:
        return self._words.after(self._progress[candidate.parent.ids], candidate.token_id)

    def _deal(self, likeliest: Sequence[Candidate], scores: Tensor) -> list[Candidate]:
        """Who goes on: the best of every bank, fullest bank first, then the second best of every bank, and so on.

        scores: (K, V), accumulated.
        """
        pushed = self._pushed(scores, {candidate.ids for candidate in likeliest})
        chosen = list(likeliest)
        if pushed:
            banks: dict[int, list[Candidate]] = {}
            for candidate in sorted([*likeliest, *pushed], key=lambda c: -c.score):
                banks.setdefault(self._words.bank(self._after(candidate)), []).append(candidate)
            turns = zip_longest(*(banks[bank] for bank in sorted(banks, reverse=True)))
            chosen = [candidate for turn in turns for candidate in turn if candidate is not None][: self.config.num_beams]
        if not self.finished and not any(map(self._can_hold, chosen)):
            able = list(filter(self._can_hold, [*likeliest, *pushed, *self._kept(scores)]))
            if able:
                chosen[self.config.num_beams - 1 :] = [max(able, key=lambda c: c.score)]
        return chosen

    def _pushed(self, scores: Tensor, known: set[tuple[int, ...]]) -> list[Candidate]:
        """Every live beam with each token that brings it nearer to its words, less those known already."""
        pushes = ((beam, token_id) for beam in self.live for token_id in self._words.pushes(self._progress[beam.ids]))
        return self._grown(scores, ((beam, token_id) for beam, token_id in pushes if (*beam.ids, token_id) not in known))

    def _kept(self, scores: Tensor) -> list[Candidate]:
        """Every live beam that holds its words, with the likeliest token that does not end it."""
        rows = scores.clone()
        rows[:, list(self.eos)] = -math.inf
        likeliest: list[int] = rows.argmax(dim=-1).tolist()
        pairs = zip(self.live, likeliest, strict=True)
        return self._grown(rows, ((beam, token_id) for beam, token_id in pairs if self._progress[beam.ids].done))

    def _grown(self, scores: Tensor, wanted: Iterable[tuple[Beam, int]]) -> list[Candidate]:
        """Candidates of these beams with these tokens, impossible ones left out."""
        rows = {id(beam): row for beam, row in zip(self.live, scores, strict=True)}
        found = []
        for beam, token_id in wanted:
            score = float(rows[id(beam)][token_id])
            if score > -math.inf:
                found.append(Candidate(beam, token_id, score, *self.ending(beam.ids, token_id)))
        return found

    def _can_hold(self, candidate: Candidate) -> bool:
        """Whether there is room left to spell what is missing."""
        return len(candidate.ids) + self._words.cost(self._after(candidate)) <= self.request.room

    def _cut(self, cut: Sequence[Candidate], fulfilled: Finished) -> None:
        """Finish the beams that the length limit cut; those that lack words fill up the places behind those that do not."""
        lacking = Finished(self, self.config.num_beams)
        for candidate in cut:
            (fulfilled if self._after(candidate).done else lacking).add(candidate)
        if not fulfilled.hypotheses:
            raise ConstraintError(
                f"the other settings leave the beams no way to required_words {list(self.config.required_words or ())}; "
                "loosen bans and constraints, allow more tokens, or raise num_beams"
            )
        self.finished = fulfilled.hypotheses + lacking.hypotheses
