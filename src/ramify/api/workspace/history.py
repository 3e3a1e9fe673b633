"""What was done, and taking it back: undo and redo that survive a reload, and the trail of every row."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from ramify.api.workspace.desk import DeskState
from ramify.api.workspace.shapes import After, Body, Id, Items, Limit, Page, RowId, Shape, cursor_of, place_of
from ramify.store.records import ActionRecord, ChangeRecord

__all__ = ["router"]

router = APIRouter(tags=["history"])


class ActionShape(Shape):
    """A step of the history."""

    id: int
    name: str
    detail: str
    author: str
    state: Literal["done", "undone", "abandoned"]
    created_at: datetime


class ChangeShape(Shape):
    table: str
    kind: Literal["insert", "update", "delete"]
    row_ids: list[int]
    columns: list[str] = Field(description="Those that an update changed.")


class TrailEntry(Shape):
    action: ActionShape
    kind: Literal["insert", "update", "delete"]
    columns: list[str]


class Step(Body):
    action: RowId | None = Field(default=None, description="The step that is expected; another is refused with 409.")


class Stepped(Shape):
    action: ActionShape | None = Field(description="null: there was nothing.")


@router.get("/history")
def history(desk: DeskState, limit: Limit = 50, after: After = None) -> Page[ActionShape]:
    """The newest steps first."""
    place = place_of(after)
    found = desk.database.history.list(limit=limit + 1, before=None if place is None else place[1])
    shown = found[:limit]
    end = (shown[-1].id, shown[-1].id) if len(found) > limit else None
    return Page(items=[_action(record) for record in shown], next=cursor_of(end))


@router.get("/history/{action_id}/changes")
def changes(desk: DeskState, action_id: Id) -> Items[ChangeShape]:
    """What a step did to which rows; empty for one that is not there."""
    found = desk.database.history.changes_of(action_id)
    return Items(
        items=[
            ChangeShape.model_validate(
                {"table": each.table, "kind": each.kind, "row_ids": list(each.row_ids), "columns": _columns(each)}
            )
            for each in found
        ]
    )


@router.get("/trail")
def trail(
    desk: DeskState,
    table: Annotated[str, Query(description="A table's name, such as completions.")],
    row: Annotated[int, Query(ge=0, le=2**63 - 1)],
) -> Items[TrailEntry]:
    """Every change of one row, oldest first."""
    return Items(
        items=[
            TrailEntry.model_validate({"action": _action(action), "kind": change.kind, "columns": _columns(change)})
            for action, change in desk.database.history.trail(table, row)
        ]
    )


@router.post("/undo")
def undo(desk: DeskState, body: Step) -> Stepped:
    """Take back the last step that is done."""
    found = desk.database.history.undo(expected=body.action)
    return Stepped(action=None if found is None else _action(found))


@router.post("/redo")
def redo(desk: DeskState, body: Step) -> Stepped:
    """Put back the step that was undone last."""
    found = desk.database.history.redo(expected=body.action)
    return Stepped(action=None if found is None else _action(found))


def _action(record: ActionRecord) -> ActionShape:
    return ActionShape.model_validate({name: getattr(record, name) for name in ActionShape.model_fields})


def _columns(change: ChangeRecord) -> list[str]:
    return sorted(change.after) if change.kind == "update" and isinstance(change.after, dict) else []
