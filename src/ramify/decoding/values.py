"""What one setting may hold: a check takes what was given and returns it in its one stored form, or raises UnfitError.

Python's bool is an int and a str is a sequence; both are refused wherever a number or a list is meant,
because `top_k=True` and `choices="yes"` are mistakes.
"""

import copy
import json
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = [
    "Check",
    "UnfitError",
    "biases",
    "decay",
    "flag",
    "id_sequences",
    "ids",
    "ids_or_one",
    "integer",
    "number",
    "one_of",
    "schema",
    "sequence_biases",
    "strings",
    "text",
]


class UnfitError(Exception):
    """The value is not one of those allowed; whoever knows the setting's name says which are."""


Check = Callable[[Any], Any]


def integer(low: int, high: int | None = None) -> Check:
    """A whole number in [low, high]."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise UnfitError
        found = int(value)
        if found < low or (high is not None and found > high):
            raise UnfitError
        return found

    return check


def number(low: float, high: float = math.inf, *, above: bool = False, below: bool = False) -> Check:
    """A finite number in [low, high]; `above` and `below` leave the bound itself out."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise UnfitError
        found = float(value)
        if not math.isfinite(found) or found < low or found > high:
            raise UnfitError
        if (above and found == low) or (below and found == high):
            raise UnfitError
        return found

    return check


def flag(value: Any) -> bool:
    """True or False, and nothing that merely looks like them."""
    if not isinstance(value, bool):
        raise UnfitError
    return value


def text(value: Any) -> str:
    """A string with at least one character, none of them half of one (a lone surrogate)."""
    if not isinstance(value, str) or not value:
        raise UnfitError
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnfitError from error
    return value


def one_of(*allowed: Any) -> Check:
    """One of these values, of the same type."""

    def check(value: Any) -> Any:
        for candidate in allowed:
            if type(value) is type(candidate) and value == candidate:
                return candidate
        raise UnfitError

    return check


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence | set | frozenset):
        raise UnfitError
    found = sorted(value) if isinstance(value, set | frozenset) else list(value)
    if not found:
        raise UnfitError
    return found


def strings(*, one: bool) -> Check:
    """A list of non-empty strings; with `one`, a single string stands for a list of one."""

    def check(value: Any) -> tuple[str, ...]:
        if one and isinstance(value, str):
            value = [value]
        return tuple(dict.fromkeys(text(item) for item in _listed(value)))

    return check


_id = integer(0)


def ids(value: Any) -> tuple[int, ...]:
    """A list of token ids, at least one."""
    return tuple(dict.fromkeys(_id(item) for item in _listed(value)))


def ids_or_one(value: Any) -> tuple[int, ...]:
    """One token id or a list of them."""
    return (_id(value),) if isinstance(value, numbers.Integral) else ids(value)


def id_sequences(value: Any) -> tuple[tuple[int, ...], ...]:
    """A list of token id lists, each with at least one id."""
    return tuple(dict.fromkeys(tuple(_id(item) for item in _listed(entry)) for entry in _listed(value)))


def _key(value: Any) -> int:
    # JSON objects have string keys, and OpenAI's clients send ids so.
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return int(_id(value))


def biases(value: Any) -> dict[int, float]:
    """Token id to a bias in [-100, 100]; ids may be decimal strings."""
    if not isinstance(value, Mapping) or not value:
        raise UnfitError
    bound = number(-100, 100)
    return {_key(token): bound(bias) for token, bias in value.items()}


def sequence_biases(value: Any) -> tuple[tuple[tuple[int, ...], float], ...]:
    """transformers' two forms, {(ids): bias} and [[[ids], bias], …]; a bias may be -inf."""
    pairs = list(value.items()) if isinstance(value, Mapping) else _listed(value)
    found: dict[tuple[int, ...], float] = {}
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise UnfitError
        sequence, bias = pair
        bias = -math.inf if bias == "-inf" else bias  # JSON has no such number
        if bias != -math.inf:
            bias = number(-1e6, 1e6)(bias)
        key = tuple(_id(item) for item in _listed(sequence))
        if key in found:
            raise UnfitError
        found[key] = bias
    if not found:
        raise UnfitError
    return tuple(found.items())


def decay(value: Any) -> tuple[int, float]:
    """(start, factor): how many generated tokens pass before EOS is favoured, and the factor's base."""
    pair = _listed(value)
    if len(pair) != 2:
        raise UnfitError
    return _id(pair[0]), number(0, above=True)(pair[1])


def schema(value: Any) -> dict[str, Any] | bool | str:
    """A JSON Schema as a dict, a bool, or their JSON text; kept as given, dicts copied."""
    if isinstance(value, str):
        try:
            found = json.loads(text(value))
        except (ValueError, RecursionError) as error:
            raise UnfitError from error
        if not isinstance(found, dict | bool):
            raise UnfitError
        return value
    if isinstance(value, bool):
        return value
    if not isinstance(value, Mapping):
        raise UnfitError
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        return copy.deepcopy(dict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise UnfitError from error
