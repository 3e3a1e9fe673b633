"""Constraints on the whole text of a completion, enforced on the logits of one row.

`compile_constraint` turns a config's json_schema, regex, choices or grammar, and its required and forbidden words,
into a Constraint: the state of one row, which says at every step which tokens stay. They combine: what stays is what
all of them keep, and EOS stays only where all of them may end. Words beside a regex or choices are compiled into one
language with it, so that no dead end exists; beside a schema, a grammar, or a regex too complex for that, a row may
come to a dead end (`dead`), which the engine reports as an error.
"""

import weakref
from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ramify.decoding.config import GenerationConfig
from ramify.decoding.grammars import Grammar, TooComplexError, compile_choices, compile_lark, compile_regex, compile_schema
from ramify.decoding.words import ForbiddenWords, RequiredWords, TokenBytes, fold
from ramify.errors import ConstraintError

__all__ = ["Constraint", "Vocabulary", "compile_constraint"]


class Vocabulary(Protocol):
    """What constraints know of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """V, the width of the logits."""

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes of each id; b"" for special tokens and for ids without a token."""

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The ids that end a completion."""

    @property
    def llguidance(self) -> Any:
        """The llguidance.LLTokenizer of this vocabulary; expensive to make, so kept."""

    def encode(self, text: str, /) -> list[int]:
        """Token ids of plain text; nothing added, no special token parsed."""


class Constraint:
    """The constraint of one row and how far the row has come. `advance` is called with every token generated."""

    def __init__(
        self,
        *,
        grammar: Grammar | None,
        required: RequiredWords | None,
        forbidden: ForbiddenWords | None,
        eos_token_ids: Sequence[int],
        width: int,
        forces: bool,
    ) -> None:
        self.grammar, self.required, self.forbidden = grammar, required, forbidden
        self.eos_token_ids = tuple(eos_token_ids)
        self.width = width
        self.dead = False
        """True once nothing can be generated any more: no token fulfils all parts at once."""
        self._forces = forces
        self._started = False

    @property
    def satisfied(self) -> bool:
        """Whether the completion may end here, so that EOS is among the tokens kept."""
        if self.dead or (self.forbidden is not None and self.forbidden.broken):
            return False
        if self.grammar is not None and not self.grammar.satisfied:
            return False
        return self.required is None or self.required.satisfied

    def keep(self, budget: int) -> Tensor | None:
        """The tokens that stay, (V,) bool, with `budget` tokens still allowed, the coming one included.

        None restricts nothing. All False means a dead end, and `dead` is then True. Raises ConstraintError when the
        row has just started and its budget cannot hold the required words.
        """
        if not self._started and self.required is not None and budget < self.required.cost:
            raise _too_short(self.required, budget, "this row may generate")
        parts: list[NDArray[np.bool_]] = []
        if self.grammar is not None:
            parts.append(self.grammar.keep())
        if self.forbidden is not None:
            parts.append(self.forbidden.keep(budget))
        if self.required is not None and self._forces:
            forced = self.required.keep(budget)
            parts += [] if forced is None else [forced]
        satisfied = self.satisfied
        if not parts and satisfied:
            return None
        keep = np.logical_and.reduce(parts) if parts else np.ones(self.width, dtype=np.bool_)
        keep[list(self.eos_token_ids)] = satisfied
        self.dead = not keep.any()
        return torch.from_numpy(keep)

    def advance(self, token_id: int) -> None:
        """The row's next token is `token_id`. EOS moves nothing."""
        self._started = True
        if token_id in self.eos_token_ids:
            return
        for part in (self.grammar, self.required, self.forbidden):
            if part is not None:
                part.advance(token_id)

    def copy(self) -> Self:
        """The same row, free to go its own way; a beam's child."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.grammar = None if self.grammar is None else self.grammar.copy()
        twin.forbidden = None if self.forbidden is None else self.forbidden.copy()
        twin.required = None if self.required is None else self.required.copy(twin.forbidden)
        return twin


def compile_constraint(config: GenerationConfig, vocabulary: Vocabulary) -> Constraint | None:
    """The constraint of a row that has generated nothing, or None when the config asks for none.

    Raises ConstraintError when it cannot be enforced: a schema keyword, an invalid or endless grammar, a language
    without any text, a model without EOS, or a max_new_tokens too small for the required words.
    """
    if not config.constrained:
        return None
    required = () if config.strategy == "forced_beam" else config.required_words or ()
    forbidden = config.forbidden_words or ()
    for phrase in required:
        for other in forbidden:
            if fold(other) in fold(phrase):
                raise ConstraintError(
                    f"required_words holds {phrase!r}, which contains {other!r} of forbidden_words; leave one out"
                )
    eos = () if config.ignore_eos else config.eos_token_id or vocabulary.eos_token_ids
    language, merged = _language(config, vocabulary, required, forbidden)
    if language is not None and not eos:
        raise ConstraintError("this model has no EOS token, so a grammar could never end; give eos_token_id")
    tokens = _token_bytes(vocabulary) if not merged and (required or forbidden) else None
    banned = _banned(forbidden, vocabulary, tokens) if tokens is not None and forbidden else None
    wanted = RequiredWords(required, tokens, vocabulary, banned) if tokens is not None and required else None
    most = config.budget(1)
    if wanted is not None and most is not None and most < wanted.cost:
        raise _too_short(wanted, most, "max_new_tokens or max_length allows")
    return Constraint(
        grammar=language,
        required=wanted,
        forbidden=banned,
        eos_token_ids=eos,
        width=vocabulary.vocab_size,
        forces=language is None,
    )


def _language(
    config: GenerationConfig, vocabulary: Vocabulary, required: Sequence[str], forbidden: Sequence[str]
) -> tuple[Grammar | None, bool]:
    """The grammar asked for, and whether the words are part of it already."""
    if config.json_schema is not None:
        return compile_schema(config.json_schema, vocabulary), False
    if config.regex is not None:
        try:
            return compile_regex(config.regex, vocabulary, required=required, forbidden=forbidden), True
        except TooComplexError:
            return compile_regex(config.regex, vocabulary), False
    if config.choices is not None:
        return compile_choices(config.choices, vocabulary, required=required, forbidden=forbidden), True
    if config.grammar is not None:
        return compile_lark(config.grammar, vocabulary), False
    return None, False


def _too_short(required: RequiredWords, budget: int, what: str) -> ConstraintError:
    return ConstraintError(
        f"required_words takes {required.cost} tokens to spell ({', '.join(map(repr, required.phrases))}) and {what} "
        f"{budget}; allow at least {required.cost}, or leave some words out"
    )


# What is worked out once for a vocabulary: the layout of its bytes (0.3 s for 151,936 tokens), and the automata and
# masks of the forbidden words last used.
_LAYOUTS: "weakref.WeakKeyDictionary[Vocabulary, TokenBytes]" = weakref.WeakKeyDictionary()
_BANNED: "weakref.WeakKeyDictionary[Vocabulary, dict[tuple[str, ...], ForbiddenWords]]" = weakref.WeakKeyDictionary()
_MOST_BANNED = 16


def _token_bytes(vocabulary: Vocabulary) -> TokenBytes:
    if vocabulary not in _LAYOUTS:
        _LAYOUTS[vocabulary] = TokenBytes(vocabulary.token_bytes, vocabulary.vocab_size)
    return _LAYOUTS[vocabulary]


def _banned(phrases: Sequence[str], vocabulary: Vocabulary, tokens: TokenBytes) -> ForbiddenWords:
    known = _BANNED.setdefault(vocabulary, {})
    key = tuple(phrases)
    if key not in known:
        while len(known) >= _MOST_BANNED:
            known.pop(next(iter(known)), None)
        known[key] = ForbiddenWords(phrases, tokens)
    return known[key].copy()
