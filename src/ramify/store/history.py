"""Undo, redo, and the audit trail. All three outlive the process: they are rows of the workspace.

Undo takes back the last action that is done, redo puts back the last that was undone; a new action after an undo makes what was
undone unreachable: the trail then shows it as "abandoned". Since actions are taken back strictly in reverse, every row is then as
its change left it, and before-values always fit.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, delete, insert, select, update

from ramify.errors import InputError, StaleError
from ramify.store import tables
from ramify.store.changes import Action, decode_rows, encode_rows
from ramify.store.records import ActionRecord, ChangeRecord, moment

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["History"]

actions, changes = tables.actions, tables.changes


class History:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def undo(self, *, expected: int | None = None) -> ActionRecord | None:
        """Take back the last action; None when there is none. Raises StaleError where it is another than the one `expected`."""
        with self.database.writing() as connection:
            row = connection.execute(
                select(actions).where(actions.c.state == "done").order_by(actions.c.id.desc()).limit(1)
            ).first()
            _check_expected(row, expected, "done last")
            if row is None:
                return None
            hand = Action(connection, "undo")
            for change in self._changes(hand, row.id, newest_first=True):
                _take_back(hand, change)
            connection.execute(update(actions).where(actions.c.id == row.id).values(state="undone"))
            return _action(row, state="undone")

    def redo(self, *, expected: int | None = None) -> ActionRecord | None:
        """Put back what was undone last; None when nothing was, or something else happened since. `expected` as in `undo`."""
        with self.database.writing() as connection:
            row = connection.execute(select(actions).where(actions.c.state == "undone").order_by(actions.c.id).limit(1)).first()
            _check_expected(row, expected, "undone last")
            if row is None:
                return None
            hand = Action(connection, "redo")
            for change in self._changes(hand, row.id, newest_first=False):
                _put_back(hand, change)
            connection.execute(update(actions).where(actions.c.id == row.id).values(state="done"))
            return _action(row, state="done")

    def list(self, *, limit: int = 50, before: int | None = None) -> Sequence[ActionRecord]:
        """The newest actions, or those older than the action `before`."""
        query = select(actions).order_by(actions.c.id.desc()).limit(limit)
        with self.database.reading() as connection:
            found = connection.execute(query if before is None else query.where(actions.c.id < before))
            return [_action(row) for row in found]

    def changes_of(self, action_id: int) -> Sequence[ChangeRecord]:
        """What an action did, in order."""
        with self.database.reading() as connection:
            return [_change(row) for row in connection.execute(_of_action(action_id).order_by(changes.c.id))]

    def trail(self, table: str, row_id: int) -> Sequence[tuple[ActionRecord, ChangeRecord]]:
        """Every change of one row, oldest first. `table` is a table's name, as in `completions`."""
        known = [recorded.name for recorded in tables.RECORDED]
        if table not in known:
            raise InputError(f"there is no table {table!r} in the history; there are {', '.join(known)}")
        query = (
            select(actions, *(column.label(f"change_{column.name}") for column in changes.columns))
            .join(changes, changes.c.action_id == actions.c.id)
            .where(changes.c.table_name == table, changes.c.first_id <= row_id, changes.c.last_id >= row_id)
            .order_by(changes.c.id)
        )
        with self.database.reading() as connection:
            found = [(_action(row), _change(row, "change_")) for row in connection.execute(query)]
        return [(action, change) for action, change in found if row_id in change.row_ids]

    def forget(self, *, up_to: int) -> int:
        """Drop the actions up to this one for good: they can no longer be undone and deleted rows are gone. Returns how many."""
        with self.database.writing() as connection:
            old = actions.c.id <= up_to
            gone = connection.execute(select(actions.c.id).where(old)).scalars().all()
            connection.execute(delete(changes).where(changes.c.action_id <= up_to))
            connection.execute(delete(actions).where(old))
            return len(gone)

    def _changes(self, hand: Action, action_id: int, *, newest_first: bool) -> Sequence[Row[Any]]:
        order = changes.c.id.desc() if newest_first else changes.c.id
        return list(hand.connection.execute(_of_action(action_id).order_by(order)))


def _check_expected(row: Any, expected: int | None, what: str) -> None:
    if expected is not None and (row is None or row.id != expected):
        found = "nothing" if row is None else f"action {row.id} ({row.name})"
        raise StaleError(f"action {expected} was to be taken, and what was {what} is {found}; look at the history again")


def _of_action(action_id: int) -> Any:
    return select(changes).where(changes.c.action_id == action_id)


def _rows_of(change: Any) -> list[int]:
    if change.row_ids is None:
        return list(range(change.first_id, change.last_id + 1))
    return [int(i) for i in json.loads(change.row_ids)]


def _take_back(hand: Action, change: Any) -> None:
    table = tables.metadata.tables[change.table_name]
    ids = _rows_of(change)
    if change.kind == "insert":
        rows = [row for start in range(0, len(ids), 500) for row in hand.read(table, ids[start : start + 500])]
        hand.remove_rows(table, ids)
        hand.connection.execute(update(changes).where(changes.c.id == change.id).values(after=encode_rows(rows)))
    elif change.kind == "update":
        hand.set_rows(table, ids, decode_rows(change.before))
    else:
        hand.connection.execute(insert(table), decode_rows(change.before))


def _put_back(hand: Action, change: Any) -> None:
    table = tables.metadata.tables[change.table_name]
    if change.kind == "insert":
        hand.connection.execute(insert(table), decode_rows(change.after))
        hand.connection.execute(update(changes).where(changes.c.id == change.id).values(after=None))
    elif change.kind == "update":
        hand.set_rows(table, _rows_of(change), decode_rows(change.after))
    else:
        hand.remove_rows(table, _rows_of(change))


def _action(row: Any, *, state: str | None = None) -> ActionRecord:
    return ActionRecord(
        id=row.id,
        name=row.name,
        detail=row.detail,
        author=row.author,
        state=state or row.state,
        created_at=moment(row.created_at),
    )


def _change(row: Any, prefix: str = "") -> ChangeRecord:
    def value(name: str) -> Any:
        return getattr(row, prefix + name)

    ids = json.loads(value("row_ids")) if value("row_ids") else range(value("first_id"), value("last_id") + 1)
    return ChangeRecord(
        table=value("table_name"),
        kind=value("kind"),
        row_ids=tuple(ids),
        before=None if value("before") is None else decode_rows(value("before")),
        after=None if value("after") is None else decode_rows(value("after")),
    )
