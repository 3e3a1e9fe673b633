"""What a file says, whatever its format: a prompt, its answers, and which of them is better. Every reader ends here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ramify.errors import InputError
from ramify.exchange.kept import Kept, KeptAnswer
from ramify.store.records import Prompt

__all__ = ["IMPORTED", "Answer", "Entry", "Problem", "Record", "a_flag", "a_list", "a_text", "an_object"]

IMPORTED = "imported"
"""The model's name of an answer whose file does not say who wrote it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it stands in a file."""

    file: str
    line: int
    """Counted from 1; of a table, the row."""
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that cannot be read, and why."""

    file: str
    line: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A completion that a file brings."""

    text: str
    model: str | None = None
    """None: the file does not say."""
    good: bool | None = None
    """What the file thinks of it; None: nothing."""
    rating: int | None = None
    """0 to 10, where the file has numbers; it counts before `good`."""
    truncated: bool = False
    tags: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    kept: KeptAnswer | None = None
    """The whole completion, where it comes from a workspace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A prompt with its answers."""

    prompt: Prompt
    answers: tuple[Answer, ...] = ()
    better: tuple[tuple[int, int], ...] = ()
    """(better, worse): places in `answers`."""
    ties: tuple[tuple[int, int], ...] = ()
    title: str = ""
    group: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()
    kept: Kept | None = None


def a_text(value: Any, name: str) -> str:
    """The value. Raises InputError where it is no text."""
    if not isinstance(value, str):
        raise InputError(f"{name} is {_kind(value)}; it must be a text")
    return value


def a_list(value: Any, name: str) -> Sequence[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise InputError(f"{name} is {_kind(value)}; it must be a list")
    return value


def an_object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is {_kind(value)}; it must be an object")
    return value


def a_flag(value: Any, name: str) -> bool:
    """True or false, also as 1, 0, "true", "false", as tables write them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false", "1", "0", "yes", "no"):
        return value.strip().lower() in ("true", "1", "yes")
    raise InputError(f"{name} is {value!r}; it must be true or false")


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    return {"str": "a text", "bool": "true or false", "int": "a number", "float": "a number", "dict": "an object"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )
