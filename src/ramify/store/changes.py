"""The one way to write: an action, made of recorded changes of rows.

Every repository writes through `Action.insert`, `.update` and `.delete`, and each of them notes what it did, so that `history.py`
can take any action back and say who changed what. A change covers many rows at once when they changed alike.

What is noted: for an update the changed columns before and after; for a delete the whole rows. An inserted row is not copied,
since the table has it; when the insert is undone, the row as it then is moves into the change, and back when it is redone.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update

from ramify.store import tables

__all__ = ["Action", "decode_rows", "encode_rows", "now"]

Row = dict[str, Any]

T = TypeVar("T")

CHUNK = 500
"""Ids in one IN list."""


def now() -> str:
    """The time in UTC, as the tables write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def encode_rows(value: Any) -> str:
    """JSON; bytes become {"base64": …}."""

    def bytes_as_text(item: Any) -> dict[str, str]:
        if isinstance(item, bytes | memoryview):
            return {"base64": base64.b64encode(bytes(item)).decode("ascii")}
        raise TypeError(f"{type(item).__name__} cannot be kept in the history")

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=bytes_as_text)


def decode_rows(text: str) -> Any:
    return json.loads(text, object_hook=lambda item: base64.b64decode(item["base64"]) if item.keys() == {"base64"} else item)


def chunks(ids: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _dependants() -> dict[str, list[tuple[Table, str, str]]]:
    """For each table those that refer to it: (table, column, what happens there when the row goes)."""
    found: dict[str, list[tuple[Table, str, str]]] = defaultdict(list)
    for table in tables.RECORDED:
        for column in table.columns:
            for key in column.foreign_keys:
                found[key.column.table.name].append((table, column.name, key.ondelete or "NO ACTION"))
    return found


DEPENDANTS = _dependants()


class Action:
    """Changes that happen together and are undone together. It appears in the history when its first row changes."""

    def __init__(self, connection: Connection, name: str, detail: str = "", author: str = "", number: int | None = None) -> None:
        self.connection = connection
        self.name, self.detail, self.author = name, detail, author
        self.time = now()
        self.id = number

    # ------------------------------------------------------------ rows

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]], ids: Sequence[int] | None = None) -> list[int]:
        """Add rows, with fresh ids unless some are given; returns the ids in order."""
        if not rows:
            return []
        given = self.reserve(table, len(rows)) if ids is None else list(ids)
        self.connection.execute(insert(table), [{"id": i, **row} for i, row in zip(given, rows, strict=True)])
        self._note(table, "insert", given)
        return given

    def insert_rows(self, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[int]:
        """The same for many rows of plain values (texts, numbers, bytes, None), given to the driver as they are: a third of the
        time. The first column is the id when it is named "id"; else fresh ids are given out.
        """
        if not rows:
            return []
        own = columns[0] == "id"
        given = [row[0] for row in rows] if own else self.reserve(table, len(rows))
        names = list(columns) if own else ["id", *columns]
        mark = "?" if self.connection.dialect.name == "sqlite" else "%s"
        statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"
        values = list(rows) if own else [(i, *row) for i, row in zip(given, rows, strict=True)]
        self.connection.exec_driver_sql(statement, values)
        self._note(table, "insert", given)
        return given

    def update(self, table: Table, ids: Sequence[int], values: Mapping[str, Any]) -> list[int]:
        """Set columns of rows; returns the ids of those that were not so already."""
        columns = [table.c[name] for name in values]
        changed: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        wanted = tuple(values.values())
        for part in chunks(list(ids)):
            for row in self.connection.execute(select(table.c.id, *columns).where(table.c.id.in_(part))):
                if tuple(row[1:]) != wanted:
                    changed[tuple(row[1:])].append(row[0])
        for before, rows in changed.items():
            self.set_rows(table, rows, values)
            self._note(table, "update", rows, dict(zip(values, before, strict=True)), dict(values))
        return sorted(i for rows in changed.values() for i in rows)

    def delete(self, table: Table, ids: Sequence[int]) -> None:
        """Remove rows and what belongs to them; what only refers to them is kept and refers to nothing."""
        for part in chunks(list(ids)):
            for child, column, rule in DEPENDANTS[table.name]:
                theirs = self.connection.execute(select(child.c.id).where(child.c[column].in_(part))).scalars().all()
                if theirs and rule == "CASCADE":
                    self.delete(child, theirs)
                elif theirs and rule == "SET NULL":
                    self.update(child, theirs, {column: None})
            rows = self.read(table, part)
            if rows:
                self.remove_rows(table, part)
                self._note(table, "delete", [row["id"] for row in rows], rows)

    # ------------------------------------------------------------ the same, unrecorded

    def read(self, table: Table, ids: Sequence[int]) -> list[Row]:
        found = self.connection.execute(select(table).where(table.c.id.in_(ids)).order_by(table.c.id))
        names = [column.name for column in table.columns]
        return [dict(zip(names, row, strict=True)) for row in found]

    def set_rows(self, table: Table, ids: Sequence[int], values: Mapping[str, Any]) -> None:
        for part in chunks(ids):
            self.connection.execute(update(table).where(table.c.id.in_(part)).values(dict(values)))

    def remove_rows(self, table: Table, ids: Sequence[int]) -> None:
        for part in chunks(ids):
            self.connection.execute(delete(table).where(table.c.id.in_(part)))

    def reserve(self, table: Table, count: int) -> list[int]:
        """Ids that nothing has had or will have. They follow each other."""
        counter = tables.ids
        mine = counter.c.name == table.name
        first = self.connection.execute(select(counter.c.next).where(mine)).scalar()
        if first is None:
            first = 1
            self.connection.execute(insert(counter).values(name=table.name, next=1 + count))
        else:
            self.connection.execute(update(counter).where(mine).values(next=first + count))
        return list(range(first, first + count))

    # ------------------------------------------------------------ what is noted

    def _note(self, table: Table, kind: str, ids: Sequence[int], before: Any = None, after: Any = None) -> None:
        if self.id is None:
            self._begin()
        first, last = min(ids), max(ids)
        whole = last - first + 1 == len(ids)
        row = {
            "action_id": self.id,
            "table_name": table.name,
            "kind": kind,
            "first_id": first,
            "last_id": last,
            "row_ids": None if whole else json.dumps(sorted(ids), separators=(",", ":")),
            "before": None if before is None else encode_rows(before),
            "after": None if after is None else encode_rows(after),
        }
        (number,) = self.reserve(tables.changes, 1)
        self.connection.execute(insert(tables.changes).values(id=number, **row))

    def _begin(self) -> None:
        # What was undone and is not redone by now never will be: the ground under it has changed.
        actions = tables.actions
        self.connection.execute(update(actions).where(actions.c.state == "undone").values(state="abandoned"))
        (self.id,) = self.reserve(actions, 1)
        row = {"name": self.name, "detail": self.detail, "author": self.author, "state": "done", "created_at": self.time}
        self.connection.execute(insert(actions).values(id=self.id, **row))


def is_last(connection: Connection, action_id: int) -> bool:
    """Whether an action is done, and nothing was done or undone after it."""
    actions = tables.actions
    row = connection.execute(select(actions.c.id, actions.c.state).order_by(actions.c.id.desc()).limit(1)).first()
    return row is not None and (row.id, row.state) == (action_id, "done")


def made_by(connection: Connection, table: Table, row_id: int) -> int | None:
    """The action that inserted a row; None when the history no longer says."""
    changes = tables.changes
    mine = (changes.c.table_name == table.name) & (changes.c.first_id <= row_id) & (changes.c.last_id >= row_id)
    query = select(changes.c.action_id).where(mine, changes.c.kind == "insert").order_by(changes.c.id.desc()).limit(1)
    return connection.execute(query).scalar()


def learn(connection: Connection, model_id: int, pieces: Mapping[int, bytes]) -> None:
    """Note what bytes a model's tokens stand for. A dictionary, not content: written once, never undone."""
    table = tables.vocabulary
    for part in chunks(sorted(pieces)):
        known = connection.execute(
            select(table.c.token_id).where(table.c.model_id == model_id, table.c.token_id.in_(part))
        ).scalars()
        missing = sorted(set(part) - set(known))
        if missing:
            rows = [{"m": model_id, "t": token_id, "b": pieces[token_id]} for token_id in missing]
            statement = insert(table).values(model_id=bindparam("m"), token_id=bindparam("t"), bytes=bindparam("b"))
            connection.execute(statement, rows)


def numbered(connection: Connection, model_id: int, spellings: Iterable[bytes]) -> dict[bytes, int]:
    """Numbers for tokens whose ids nobody told, one a spelling, in the dictionary of their model. A remote's only: elsewhere the
    numbers are the model's own."""
    table, found = tables.vocabulary, dict[bytes, int]()
    wanted = list(dict.fromkeys(spellings))
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        query = select(table.c.bytes, table.c.token_id).where(table.c.model_id == model_id, table.c.bytes.in_(part))
        found.update({bytes(row.bytes): row.token_id for row in connection.execute(query)})
    most = connection.execute(select(func.max(table.c.token_id)).where(table.c.model_id == model_id)).scalar()
    fresh = [spelling for spelling in wanted if spelling not in found]
    found.update({spelling: number for number, spelling in enumerate(fresh, start=0 if most is None else most + 1)})
    learn(connection, model_id, {found[spelling]: spelling for spelling in fresh})
    return found


def model_id_of(connection: Connection, name: str, fingerprint: str) -> int:
    """The number of a model; it is given one when it is new."""
    table = tables.models
    same = (table.c.name == name) & (table.c.fingerprint == fingerprint)
    found = connection.execute(select(table.c.id).where(same)).scalar()
    if found is None:
        (found,) = Action(connection, "").reserve(table, 1)
        connection.execute(insert(table).values(id=found, name=name, fingerprint=fingerprint))
    return found
