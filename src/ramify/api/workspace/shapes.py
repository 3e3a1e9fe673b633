"""What every route's shapes are made of."""

import base64
import json
import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from ramify.errors import InputError

__all__ = [
    "After",
    "Body",
    "Config",
    "ErrorShape",
    "Id",
    "Items",
    "Limit",
    "Message",
    "Nats",
    "Page",
    "Prompt",
    "RowId",
    "Shape",
    "cursor_of",
    "finite",
    "place_of",
]

T = TypeVar("T")

Largest = 2**63 - 1
RowId = Annotated[int, Field(ge=0, le=Largest)]
Id = Annotated[int, Path(ge=0, le=Largest, description="The record's number.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Most items of this page.")]
After = Annotated[str | None, Query(max_length=500, description="`next` of the page before.")]
Config = Annotated[dict[str, JsonValue], Field(description="Fields of GenerationConfig; {} is greedy.")]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Nats = Annotated[float | None, BeforeValidator(_finite)]
"""A logprob; null stands for minus infinity and for one that nobody measured."""


class Shape(BaseModel):
    """What a route gives."""

    model_config = ConfigDict(frozen=True)


class Body(BaseModel):
    """What a route takes. Unknown fields are refused, and nothing is bent into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _is_unicode(cls, data: Any) -> Any:
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"there is a lone surrogate ({error.object[error.start]!r}); it must be valid Unicode") from None
        except TypeError:  # not JSON: pydantic says what is wrong with it
            return data
        return data


class Items(Shape, Generic[T]):
    """A whole list."""

    items: list[T]


class Page(Shape, Generic[T]):
    """A piece of a list."""

    items: list[T]
    next: str | None = Field(description="Give it back as `after` for the next page; null at the end.")


class ErrorText(Shape):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorShape(Shape):
    """What every refusal and failure looks like."""

    error: ErrorText


class Message(BaseModel):
    """One turn of a chat; further fields, such as a name, stay with it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: str
    content: str | list[dict[str, JsonValue]] | None

    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)


Prompt = str | Annotated[list[Message], Field(min_length=1)]
"""Raw text, or the messages of a chat."""


def cursor_of(place: Sequence[Any] | None) -> str | None:
    """Where a page ends, as an opaque word."""
    if place is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(list(place), separators=(",", ":")).encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> tuple[Any, int] | None:
    """The place that a cursor stands for. Raises InputError for what no page gave."""
    if cursor is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        value, row_id = found
        good = isinstance(row_id, int) and isinstance(value, int | float) and abs(row_id) <= Largest and abs(value) <= Largest
    except (ValueError, TypeError, RecursionError):
        good = False
    if not good:
        raise InputError(f"after is {cursor[:50]!r}, which is no `next` of a page; leave it out for the first page")
    return value, row_id


def finite(values: Iterable[float | None]) -> list[float | None]:
    """The values with null in place of what JSON cannot write."""
    return [None if value is None or not math.isfinite(value) else value for value in values]
