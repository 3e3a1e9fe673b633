"""What is done to many samples or completions at once: one step of the history each."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from ramify.api.workspace.completions import Labels
from ramify.api.workspace.desk import DeskState
from ramify.api.workspace.selecting import Selection
from ramify.api.workspace.shapes import Shape
from ramify.errors import InputError

__all__ = ["router"]

router = APIRouter(tags=["library"])

ACTIONS = Literal["archive", "restore", "hide", "show", "tag", "untag", "label", "rate", "truncated", "delete"]
NEEDS: dict[str, tuple[str, ...]] = {
    "tag": ("tags",),
    "untag": ("tags",),
    "label": ("labels",),
    "rate": ("facet",),
    "truncated": ("truncated",),
}


class SampleBulk(Selection):
    action: Literal["archive", "restore", "hide", "show", "group", "tag", "untag", "delete"]
    group: str | None = None
    tags: list[str] | None = None


class ChangedShape(Shape):
    matched: int
    changed: int = Field(description="Those that were not so already.")


class CompletionBulk(Selection):
    action: ACTIONS
    tags: list[str] | None = None
    labels: Labels | None = None
    facet: str | None = None
    rating: Annotated[int, Field(ge=0, le=10)] | None = None
    truncated: bool | None = None


@router.post("/samples/bulk")
def change_samples(desk: DeskState, body: SampleBulk) -> ChangedShape:
    """One action on many samples; undone as one."""
    database = desk.database
    needed = {"group": body.group, "tag": body.tags, "untag": body.tags}.get(body.action, "")
    if needed is None:
        raise InputError(f"the action {body.action!r} needs {'group' if body.action == 'group' else 'tags'}")
    extra = [
        n
        for n, v, of in (("group", body.group, ("group",)), ("tags", body.tags, ("tag", "untag")))
        if v is not None and body.action not in of
    ]
    if extra:
        raise InputError(f"the action {body.action!r} takes no {extra[0]}")
    with database.action(f"{body.action} samples"):
        ids = body.resolve(lambda filter_: database.search.all_sample_ids(filter_, archived=None, hidden=None))
        there = [record.id for record in database.samples.get_many(ids)]
        if body.action in ("archive", "restore"):
            changed = database.samples.archive(there, body.action == "archive")
        elif body.action in ("hide", "show"):
            changed = database.samples.hide(there, body.action == "hide")
        elif body.action == "group":
            changed = database.samples.move(there, body.group or "")
        elif body.action == "tag":
            changed = database.tags.put(body.tags or (), samples=there)
        elif body.action == "untag":
            changed = database.tags.take(body.tags or (), samples=there)
        else:
            database.samples.delete(there)
            changed = len(there)
    return ChangedShape(matched=len(ids), changed=changed)


@router.post("/completions/bulk")
def change_completions(desk: DeskState, body: CompletionBulk) -> ChangedShape:
    """One action on many completions; undone as one."""
    database = desk.database
    _check_fields(body)
    with database.action(f"{body.action} completions"):
        ids = body.resolve(lambda filter_: database.search.all_completion_ids(filter_, archived=None, hidden=None))
        there = [record.id for record in database.completions.get_many(ids)]
        if body.action in ("archive", "restore"):
            changed = database.completions.archive(there, body.action == "archive")
        elif body.action in ("hide", "show"):
            changed = database.completions.hide(there, body.action == "hide")
        elif body.action == "truncated":
            changed = database.completions.mark_truncated(there, bool(body.truncated))
        elif body.action == "tag":
            changed = database.tags.put(body.tags or (), completions=there)
        elif body.action == "untag":
            changed = database.tags.take(body.tags or (), completions=there)
        elif body.action == "label":
            assert body.labels is not None
            changed = database.completions.label(there, **body.labels.model_dump(exclude_unset=True))
        elif body.action == "rate":
            database.judgements.rate_many(there, body.facet or "", body.rating)
            changed = len(there)
        else:
            database.completions.delete(there)
            changed = len(there)
    return ChangedShape(matched=len(ids), changed=changed)


def _check_fields(body: CompletionBulk) -> None:
    needs = NEEDS.get(body.action, ())
    for name in needs:
        if getattr(body, name) is None:
            raise InputError(f"the action {body.action!r} needs {name}")
    allowed = {*needs, *(("rating",) if body.action == "rate" else ())}
    for name in ("tags", "labels", "facet", "rating", "truncated"):
        if getattr(body, name) is not None and name not in allowed:
            raise InputError(f"the action {body.action!r} takes no {name}")
