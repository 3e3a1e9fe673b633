"""Filters as data: and, or, not over what is known of samples and completions. They can be saved by name.

As JSON:

    {"all": [{"field": "rating", "facet": "legal", "op": ">=", "value": 8},
             {"not": {"field": "model", "op": "is", "value": "tiny"}},
             {"any": [{"field": "truncated", "op": "is", "value": true},
                      {"field": "text", "op": "matches", "value": "hedgehog"}]}]}

A condition on something that a row does not have (a logprob never measured, a rating never given) is false, and its `not` true.
In a list of samples, conditions on completions that stand together under one `all` speak of the same completion: "a completion
by tiny that is not rated 8". `not` in front of such a condition alone says that no completion is so.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.packing import to_json
from ramify.store.prompts import checked_text

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["FIELDS", "All", "Anything", "Filter", "Not", "SavedFilter", "SavedFilters", "Where", "parse", "to_data"]

NUMBER = ("=", "!=", "<", "<=", ">", ">=")
CHOICE = ("is", "in")
FLAG = ("is",)

FIELDS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    # field: (what it is known of, operators, kind of value)
    "text": ("completion", ("matches",), "words"),
    "model": ("completion", CHOICE, "text"),
    "fingerprint": ("completion", CHOICE, "text"),
    "finish_reason": ("completion", CHOICE, "text"),
    **dict.fromkeys(("truncated", "archived", "hidden", "draft", "scored"), ("completion", FLAG, "flag")),
    **dict.fromkeys(tables.LABELS, ("completion", CHOICE, "text")),
    "completion_tag": ("completion", CHOICE, "text"),
    "tokens": ("completion", NUMBER, "number"),
    "characters": ("completion", NUMBER, "number"),
    "created": ("completion", NUMBER, "time"),
    **dict.fromkeys(("mean_logprob", "min_logprob", "p10_logprob"), ("completion", NUMBER, "number")),
    "rating": ("completion", NUMBER, "number"),
    "rated": ("completion", FLAG, "flag"),
    "approved": ("completion", FLAG, "flag"),
    "sample": ("sample", CHOICE, "id"),
    "prompt": ("sample", ("matches",), "words"),
    "title": ("sample", ("contains", "is"), "text"),
    "group": ("sample", ("under", "is"), "text"),
    "tag": ("sample", CHOICE, "text"),
    "sample_archived": ("sample", FLAG, "flag"),
    "sample_hidden": ("sample", FLAG, "flag"),
    "sample_created": ("sample", NUMBER, "time"),
}
"""Every field a condition can be about. `prompt` looks at title, notes and prompt; `text` and `prompt` take a search."""

NEED_FACET = ("rating", "rated", "approved")
MAY_NAME_MODEL = ("mean_logprob", "min_logprob", "p10_logprob", "scored")


@dataclass(frozen=True, slots=True)
class Where:
    """One condition."""

    field: str
    op: str
    value: Any
    facet: str | None = None
    model: str | None = None
    """The scoring model of a logprob condition; None means the completion's own."""


@dataclass(frozen=True, slots=True)
class All:
    parts: "tuple[Filter, ...]"


@dataclass(frozen=True, slots=True)
class Anything:
    """At least one of the parts."""

    parts: "tuple[Filter, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    part: "Filter"


Filter = Where | All | Anything | Not


def parse(data: Any) -> Filter:
    """Check a filter's JSON form. Raises InputError that says what is allowed."""
    if isinstance(data, Where | All | Anything | Not):
        return parse(to_data(data))
    if not isinstance(data, Mapping):
        raise InputError(f'a filter is {type(data).__name__}; it must be an object with "all", "any", "not" or "field"')
    for name, kind in (("all", All), ("any", Anything)):
        if name in data:
            if set(data) != {name} or not isinstance(data[name], list | tuple):
                raise InputError(f'"{name}" stands alone and has a list of conditions')
            return kind(tuple(parse(part) for part in data[name]))
    if "not" in data:
        if set(data) != {"not"}:
            raise InputError('"not" stands alone and has one condition')
        return Not(parse(data["not"]))
    return _where(data)


def _where(data: Mapping[str, Any]) -> Where:
    unknown = sorted(set(data) - {"field", "op", "value", "facet", "model"})
    if unknown:
        raise InputError(f"a condition has no {unknown[0]!r}; it has field, op, value, and facet or model where they apply")
    field = str(data.get("field"))
    if field not in FIELDS:
        raise InputError(f"there is no field {field!r}; there are {', '.join(FIELDS)}")
    _, operators, kind = FIELDS[field]
    op = str(data.get("op", operators[0] if len(operators) == 1 else None))
    if op not in operators:
        raise InputError(f"{field} cannot be asked with {op!r}; it takes {', '.join(operators)}")
    facet, model = data.get("facet"), data.get("model")
    if (field in NEED_FACET) != (facet is not None):
        raise InputError(
            f"{field} needs a facet" if field in NEED_FACET else f"{field} has no facet; only {', '.join(NEED_FACET)} do"
        )
    if model is not None and field not in MAY_NAME_MODEL:
        raise InputError(f"{field} has no scoring model; only {', '.join(MAY_NAME_MODEL)} do")
    if "value" not in data:
        raise InputError(f"the condition on {field} has no value")
    return Where(field, op, _value(field, op, kind, data["value"]), facet, model)


def _value(field: str, op: str, kind: str, value: Any) -> Any:
    if op == "in":
        if not isinstance(value, list | tuple) or not value:
            raise InputError(f'"{field} in" needs a list of values')
        return tuple(_value(field, "is", kind, each) for each in value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    allowed = {
        "number": number and value == value,
        "flag": isinstance(value, bool),
        "id": isinstance(value, int) and number,
        "time": isinstance(value, str) and _is_time(value),
    }.get(kind, isinstance(value, str))
    if not allowed:
        wanted = {"number": "a number", "flag": "true or false", "id": "an id", "time": "a date such as 2026-11-21"}.get(
            kind, "text"
        )
        raise InputError(f"the value of {field} is {value!r}; it must be {wanted}")
    if kind == "words":
        from ramify.store.words import parse_words

        parse_words(value)
    if field == "finish_reason" and value not in tables.FINISH_REASONS:
        raise InputError(f"finish_reason is {value!r}; it must be one of {', '.join(tables.FINISH_REASONS)}")
    return value


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return value.isascii() and value[:4].isdigit()


def to_data(filter_: Filter) -> dict[str, Any]:
    """The JSON form again: parse(to_data(f)) == f."""
    if isinstance(filter_, All):
        return {"all": [to_data(part) for part in filter_.parts]}
    if isinstance(filter_, Anything):
        return {"any": [to_data(part) for part in filter_.parts]}
    if isinstance(filter_, Not):
        return {"not": to_data(filter_.part)}
    value = list(filter_.value) if isinstance(filter_.value, tuple) else filter_.value
    data = {"field": filter_.field, "op": filter_.op, "value": value, "facet": filter_.facet, "model": filter_.model}
    return {name: each for name, each in data.items() if each is not None}


def conditions(filter_: Filter) -> Iterator[Where]:
    """Every condition in a filter."""
    if isinstance(filter_, Where):
        yield filter_
    else:
        for part in (filter_.part,) if isinstance(filter_, Not) else filter_.parts:
            yield from conditions(part)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFilter:
    id: int
    name: str
    description: str
    filter: Filter


class SavedFilters:
    """Filters by name."""

    def __init__(self, database: "Database") -> None:
        self.database = database

    def save(self, name: str, filter_: Any, *, description: str = "") -> None:
        """Keep a filter, in place of an earlier one of that name. Raises InputError for one that is not well-formed."""
        if not checked_text(name, "the filter's name").strip():
            raise InputError("a filter needs a name")
        rules = to_json(to_data(parse(filter_)))
        table = tables.filters
        with self.database.action("save filter", name) as action:
            old = action.connection.execute(select(table.c.id).where(table.c.name == name)).scalars().all()
            if old:
                action.update(table, old, {"rules": rules, "description": description})
            else:
                row = {"name": name, "rules": rules, "description": description, "created_at": action.time}
                action.insert(table, [row])

    def get(self, name: str) -> Filter:
        """Raises NotFoundError."""
        found = self.list().get(name)
        if found is None:
            raise NotFoundError(f"there is no filter {name!r}; there are {', '.join(self.list()) or 'none yet'}")
        return found

    def list(self) -> dict[str, Filter]:
        table = tables.filters
        with self.database.reading() as connection:
            return {row.name: parse(json.loads(row.rules)) for row in connection.execute(select(table).order_by(table.c.name))}

    def records(self) -> "Sequence[SavedFilter]":
        """With their numbers and descriptions, by name."""
        table = tables.filters
        with self.database.reading() as connection:
            return [
                SavedFilter(id=row.id, name=row.name, description=row.description, filter=parse(json.loads(row.rules)))
                for row in connection.execute(select(table).order_by(table.c.name))
            ]

    def delete(self, name: str) -> None:
        """Raises NotFoundError."""
        self.get(name)
        table = tables.filters
        with self.database.action("delete filter", name) as action:
            action.delete(table, action.connection.execute(select(table.c.id).where(table.c.name == name)).scalars().all())
