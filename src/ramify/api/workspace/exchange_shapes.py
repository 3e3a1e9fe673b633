"""What imports, exports and reports share on the wire: tasks, and messages in the words of the API."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import Field

from ramify.api.workspace.shapes import ErrorText, Page, Shape, cursor_of, place_of
from ramify.api.workspace.tasks import Kind, State, Task
from ramify.errors import InputError, RamifyError, RecordError

__all__ = ["ProblemShape", "TaskShape", "in_fields", "page_of", "task_fields", "task_shape", "translated"]

T = TypeVar("T")

FIELDS = {"as": "format", "map": "mapping", "good": "good_rating", "bad": "bad_rating", "dataset": "datasets", "tag": "tags"}
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]+)")


class TaskShape(Shape):
    """Work on its way, or what became of it."""

    key: str
    kind: Kind
    title: str = Field(description="The files, or what is looked at.")
    state: State
    doing: str = Field(description="What it is at.")
    done: int = Field(description="So many of `total`: bytes of an import, samples or rows of the others.")
    total: int | None = Field(description="null: nobody knows.")
    error: ErrorText | None = Field(description="What ended it, as a route would have said it.")
    started_at: datetime
    ended_at: datetime | None


class ProblemShape(Shape):
    """A record that cannot be used."""

    file: str
    line: int | None
    reason: str


def task_fields(task: Task) -> dict[str, Any]:
    state = task.state  # read first: an ended task's other fields stand
    error = task.error if state != "running" else None
    return {
        **{name: getattr(task, name) for name in ("key", "kind", "title", "doing", "done", "total", "started_at", "ended_at")},
        "state": state,
        "error": None if error is None else error.body["error"],
    }


def task_shape(task: Task) -> TaskShape:
    return TaskShape.model_validate(task_fields(task))


def in_fields(text: str) -> str:
    """A message with the names of fields in the place of the command line's options."""
    return OPTION.sub(lambda found: FIELDS.get(found[1], found[1].replace("-", "_")), text)


def translated(error: RamifyError, shown: Callable[[str], str]) -> RamifyError:
    """The same error in the words of the API. shown: a text without the server's folders."""
    if isinstance(error, RecordError):
        return RecordError(shown(error.file), error.line, in_fields(shown(error.reason)))
    return type(error)(in_fields(shown(str(error)))) if type(error) is InputError else error


def page_of(items: Sequence[T], limit: int, after: str | None) -> Page[T]:
    """A piece of a list that does not change any more."""
    place = place_of(after)
    start = 0 if place is None else place[1]
    end = start + limit
    return Page(items=list(items[start:end]), next=cursor_of((end, end)) if end < len(items) else None)
