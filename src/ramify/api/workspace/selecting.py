"""Which records are meant: by a list of ids, a filter, a group, words; the same way for lists and for bulk actions."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from pydantic import Field, JsonValue

from ramify.api.workspace.desk import Desk
from ramify.api.workspace.shapes import Body, RowId
from ramify.errors import InputError
from ramify.store.filters import All, Filter, Where, parse

__all__ = ["Given", "Selection", "Wanted", "flag", "given"]

Flag = Literal["true", "false", "any"]
MOST_IDS = 200_000


class Wanted:
    """The query parameters that narrow a list."""

    def __init__(
        self,
        group: Annotated[str | None, Query(description="Samples in this group or below it.")] = None,
        filter: Annotated[str | None, Query(description="A filter as JSON.", max_length=100_000)] = None,
        filter_name: Annotated[str | None, Query(description="A saved filter.")] = None,
        text: Annotated[str | None, Query(description="Words of the prompt, title, notes or a completion.")] = None,
        archived: Annotated[Flag, Query(description="Whether archived ones are listed.")] = "false",
        hidden: Annotated[Flag, Query(description="Whether ones removed from view are listed.")] = "false",
    ) -> None:
        self.group, self.filter, self.filter_name, self.text = group, filter, filter_name, text
        self.archived, self.hidden = archived, hidden


Given = Annotated[Wanted, Depends()]


def flag(value: str) -> bool | None:
    """None lists both kinds."""
    return {"true": True, "false": False, "any": None}[value]


def given(desk: Desk, wanted: Wanted) -> Filter:
    """Everything that was asked for, together. Raises InputError for what is no filter, NotFoundError for an unknown name."""
    parts: list[Filter] = []
    for each in (
        _parsed(wanted.filter) if wanted.filter is not None else None,
        desk.database.filters.get(wanted.filter_name) if wanted.filter_name is not None else None,
    ):
        if each is not None:
            # One flat list: conditions on completions then keep speaking of the same completion.
            parts += each.parts if isinstance(each, All) else (each,)
    if wanted.group:
        parts.append(Where("group", "under", wanted.group))
    if wanted.text and wanted.text.strip():
        parts.append(parse({"any": [{"field": f, "op": "matches", "value": wanted.text} for f in ("prompt", "text")]}))
    return All(tuple(parts))


def _parsed(text: str) -> Filter:
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"filter is no JSON: {error}") from None
    return parse(data)


class Selection(Body):
    """The records that a bulk action is for: these ids, or all that match a filter."""

    ids: Annotated[list[RowId] | None, Field(max_length=MOST_IDS)] = None
    filter: dict[str, JsonValue] | None = None

    def resolve(self, every: Callable[[Filter], Sequence[int]]) -> list[int]:
        """The ids meant. Raises InputError where neither or both are given."""
        if (self.ids is None) == (self.filter is None):
            raise InputError('give ids or a filter, not both and not neither; the filter {"all": []} is everything')
        if self.ids is not None:
            return list(dict.fromkeys(self.ids))
        return list(every(parse(self.filter)))
