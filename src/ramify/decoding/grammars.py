"""Languages through llguidance: JSON Schema, regular expression, choices, Lark grammar.

Each is validated before it is used: what llguidance would only warn of, what matches no text or only the empty one,
and what can never end are refused with ConstraintError.
"""

import json
import random
import re
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from ramify.decoding.lark import count_rules, endless_rules
from ramify.decoding.schemas import endless_references, misspelt, neutralised, unenforced, unfinished_patterns
from ramify.decoding.words import fold
from ramify.errors import ConstraintError

if TYPE_CHECKING:
    from ramify.decoding.constraints import Vocabulary

__all__ = ["Grammar", "TooComplexError", "compile_choices", "compile_lark", "compile_regex", "compile_schema"]

_TRIAL_TOKENS = 48
_MOST_RULES = 1000
"""llguidance follows rules that refer to rules by recursion: 4,000 in a row overflow the stack and end the process."""


class TooComplexError(ConstraintError):
    """The language is sound, but following it takes more than llguidance allows."""


class Grammar:
    """One row's place in a language."""

    def __init__(self, matcher: LLMatcher, width: int, eos_token_ids: Sequence[int]) -> None:
        self._matcher = matcher
        self._width = width
        self._eos_token_ids = list(eos_token_ids)

    @property
    def satisfied(self) -> bool:
        """Whether the text so far is a whole sentence of the language."""
        if self._matcher.is_error():
            return False
        return bool(self._matcher.is_accepting() or self._matcher.is_stopped())

    def keep(self) -> NDArray[np.bool_]:
        """(V,) bool: the tokens that can still lead to a sentence. EOS is never among them; ask `satisfied`."""
        if self._matcher.is_error() or self._matcher.is_stopped():
            return np.zeros(self._width, dtype=np.bool_)
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        found = np.unpackbits(bits, bitorder="little")[: self._width]
        # The tokenizer may know fewer ids than the logits have columns.
        keep = np.zeros(self._width, dtype=np.bool_)
        keep[: len(found)] = found
        keep[self._eos_token_ids] = False
        return keep

    def advance(self, token: int) -> None:
        """The row's next token is `token`; one that `keep` left out is a dead end from then on."""
        self._matcher.consume_token(token)

    def trouble(self) -> str:
        """Follow some text a little way; the error met, or "". Finds patterns that explode only once they are used."""
        choose = random.Random(0)
        for _ in range(_TRIAL_TOKENS):
            allowed = np.flatnonzero(self.keep())
            if not len(allowed):
                break
            self.advance(int(allowed[choose.randrange(len(allowed))]))
        return str(self._matcher.get_error()) if self._matcher.is_error() else ""

    def copy(self) -> Self:
        """The same place, free to go its own way."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._matcher = self._matcher.deep_copy()
        return twin


def compile_schema(schema: Mapping[str, Any] | bool | str, vocabulary: "Vocabulary") -> Grammar:
    """JSON that fits the schema, with at most one space between its parts.

    One, so that a model may write `"key": value` as it was taught: forced to do without, small ones put the space into the value.
    Not more, because a model that is free to write spaces may do nothing else until its budget ends.
    The schema's own `x-guidance` options cannot loosen this.
    """
    try:
        found = json.loads(schema) if isinstance(schema, str) else schema
        return _compile_schema({} if found is True else found, vocabulary)
    except RecursionError:
        raise ConstraintError("json_schema nests, or refers from part to part, too deeply to be followed; flatten it") from None


def _compile_schema(found: Mapping[str, Any] | bool, vocabulary: "Vocabulary") -> Grammar:
    if isinstance(found, bool):
        raise ConstraintError("json_schema is false, which no JSON fits; give a schema that allows something")
    found = dict(found)
    endless = endless_references(found)
    if endless:
        raise ConstraintError(
            f"json_schema can never end: every value of {endless[0]!r} contains another one of the same kind; "
            "make that part optional, or allow null beside it"
        )
    ignored = unenforced(found)
    if ignored:
        raise ConstraintError(f"json_schema uses {', '.join(ignored)}, which cannot be enforced; leave that out")
    for pattern in unfinished_patterns(found):
        raise ConstraintError(f"json_schema has the pattern {pattern[-100:]!r}, which ends in a backslash that escapes nothing")
    for key, known in misspelt(found):
        raise ConstraintError(f"json_schema uses {key!r}, which is no keyword; did you mean {known!r}?")
    options: Any = {"whitespace_flexible": True, "whitespace_pattern": " ?", "lenient": False, "coerce_one_of": False}
    return _compiled("json_schema", LLMatcher.grammar_from_json_schema(neutralised(found), overrides=options), vocabulary)


def compile_regex(
    regex: str, vocabulary: "Vocabulary", *, required: Sequence[str] = (), forbidden: Sequence[str] = ()
) -> Grammar:
    """Text that the regular expression matches whole (Rust's syntax: no look-around, no back-references), that
    contains every required phrase and no forbidden one. Raises TooComplexError where that is too much at once."""
    if not required and not forbidden:
        return _compiled("regex", LLMatcher.grammar_from_regex(regex), vocabulary)
    _refuse_invalid("regex", LLMatcher.grammar_from_regex(regex), vocabulary)
    terms = [_terminal(regex)]
    terms += [f"/(?s:.*){_anycase(phrase)}(?s:.*)/" for phrase in required]
    if forbidden:
        terms.append(f"~/(?s:.*)({'|'.join(_anycase(phrase) for phrase in forbidden)})(?s:.*)/")
    names = [name for name, given in (("required_words", required), ("forbidden_words", forbidden)) if given]
    grammar = LLMatcher.grammar_from_lark("start: TEXT\nTEXT: " + " & ".join(terms))
    return _compiled(f"regex with {' and '.join(names)}", grammar, vocabulary)


def compile_choices(
    choices: Sequence[str], vocabulary: "Vocabulary", *, required: Sequence[str] = (), forbidden: Sequence[str] = ()
) -> Grammar:
    """One of the texts, of those that contain every required phrase and no forbidden one."""
    left = [
        choice
        for choice in choices
        if all(fold(phrase) in fold(choice) for phrase in required)
        and not any(fold(phrase) in fold(choice) for phrase in forbidden)
    ]
    if not left:
        raise ConstraintError(
            f"none of choices {list(choices)} is left by required_words {list(required)} and forbidden_words "
            f"{list(forbidden)}; change one of them"
        )
    regex = "|".join("".join(_escaped(character) for character in choice) for choice in left)
    return _compiled("choices", LLMatcher.grammar_from_regex(f"({regex})"), vocabulary)


def compile_lark(grammar: str, vocabulary: "Vocabulary") -> Grammar:
    """A sentence of the Lark grammar (llguidance's dialect), from its rule `start`."""
    rules = count_rules(grammar)
    if rules > _MOST_RULES:
        raise ConstraintError(f"grammar has {rules} rules and terminals; at most {_MOST_RULES} can be followed: write it shorter")
    _refuse_invalid("grammar", LLMatcher.grammar_from_lark(grammar), vocabulary)
    endless = endless_rules(grammar)
    if endless:
        raise ConstraintError(
            f"grammar can never end in rule {endless[0]!r}: each of its alternatives needs itself again; "
            "give it an alternative that stops"
        )
    return _compiled("grammar", LLMatcher.grammar_from_lark(grammar), vocabulary)


# Grammars compiled for a vocabulary, so that the rows of a batch compile theirs once.
_COMPILED: "weakref.WeakKeyDictionary[Vocabulary, dict[str, Grammar]]" = weakref.WeakKeyDictionary()
_MOST_COMPILED = 64


def _compiled(name: str, grammar: str, vocabulary: "Vocabulary") -> Grammar:
    known = _COMPILED.setdefault(vocabulary, {})
    if grammar not in known:
        while len(known) >= _MOST_COMPILED:
            known.pop(next(iter(known)), None)
        known[grammar] = _validated(name, grammar, vocabulary)
    return known[grammar].copy()


def _validated(name: str, grammar: str, vocabulary: "Vocabulary") -> Grammar:
    _refuse_invalid(name, grammar, vocabulary)
    matcher = LLMatcher(vocabulary.llguidance, grammar, log_level=0)
    found = Grammar(matcher, vocabulary.vocab_size, vocabulary.eos_token_ids)
    if matcher.is_error() or not found.keep().any():
        if found.satisfied:
            raise ConstraintError(f"{name} allows only the empty text; give one that allows a token")
        if matcher.is_error() and not matcher.get_error().startswith("NoExtension"):
            raise TooComplexError(f"{name} is too complex to follow ({_one_line(matcher.get_error())}); simplify it")
        raise ConstraintError(f"{name} allows no text at all; give one that some text fits")
    trouble = found.copy().trouble()
    if trouble:
        raise TooComplexError(f"{name} is too complex to follow ({_one_line(trouble)}); simplify it")
    return found


def _refuse_invalid(name: str, grammar: str, vocabulary: "Vocabulary") -> None:
    # Warnings tell of what would not be enforced.
    wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar, vocabulary.llguidance)
    if wrong or messages:
        raise ConstraintError(f"{name} cannot be enforced: {_one_line(messages[0])}. Change or leave out that part")


def _one_line(message: str) -> str:
    return re.sub(r"\s*\n\s*", "; ", message.split("<state>")[0].strip())[:500].rstrip(".")


def _terminal(regex: str) -> str:
    """The regular expression as llguidance writes it in a Lark grammar."""
    lark = json.loads(LLMatcher.grammar_from_regex(regex))["grammars"][0]["lark_grammar"]
    return str(lark).removeprefix("start: ")


def _escaped(character: str) -> str:
    if character.isalnum() or character in " _":
        return character
    return f"\\x{{{ord(character):X}}}"


def _anycase(phrase: str) -> str:
    return "".join(
        f"[{character.lower()}{character.upper()}]" if character.isascii() and character.isalpha() else _escaped(character)
        for character in phrase
    )
