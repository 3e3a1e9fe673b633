"""Runs of the decoding lab: the plan, how far it is, and the report; and which of its texts became completions and were judged.

A run is no content of the history: it is neither undone nor redone, as what it found stays found. The completions and
preferences that come of it are, as all others.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from ramify.errors import NotFoundError
from ramify.store import tables
from ramify.store.changes import Action, now
from ramify.store.facets import facet_id_of
from ramify.store.packing import to_json
from ramify.store.records import moment

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["ORIGIN", "LabRunRecord", "LabRuns", "TextKey", "lab_key"]

runs, completions, preferences = tables.lab_runs, tables.completions, tables.preferences

TextKey = tuple[int, int]
"""Where a text stands in a run: the number of its group, and its own number there."""

ORIGIN = "lab"
"""Of the preferences that blind votes make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabRunRecord:
    """A run, without its report."""

    id: int
    name: str
    plan: Mapping[str, Any]
    models: tuple[str, ...]
    state: str
    """ "running", "completed", "cancelled" or "failed"."""
    problem: str | None
    """Why it failed."""
    asked: int
    """Completions that are to be made, and how many are."""
    done: int
    created_at: datetime
    ended_at: datetime | None


class LabRuns:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def add(self, name: str, plan: Mapping[str, Any], models: Sequence[str], asked: int) -> LabRunRecord:
        """A run that begins now."""
        with self.database.writing() as connection:
            (run_id,) = Action(connection, "").reserve(runs, 1)
            row = {"name": name, "plan": to_json(plan), "models": to_json(list(models)), "asked": asked, "created_at": now()}
            connection.execute(insert(runs).values(id=run_id, state="running", done=0, **row))
        return self.get(run_id)

    def get(self, run_id: int) -> LabRunRecord:
        """Raises NotFoundError."""
        with self.database.reading() as connection:
            row = connection.execute(select(*HEAD).where(runs.c.id == run_id)).first()
        if row is None:
            raise NotFoundError(f"there is no run {run_id} of the lab")
        return _record(row)

    def list(self, *, limit: int = 50, before: int | None = None) -> Sequence[LabRunRecord]:
        """Newest first; before: the id of the last one already seen."""
        query = select(*HEAD).order_by(runs.c.id.desc()).limit(limit)
        with self.database.reading() as connection:
            found = connection.execute(query if before is None else query.where(runs.c.id < before))
            return [_record(row) for row in found]

    def put(
        self, run_id: int, report: Mapping[str, Any], *, done: int, state: str = "running", problem: str | None = None
    ) -> None:
        """Keep the report as it stands. Any state but "running" ends the run. Raises NotFoundError."""
        values: dict[str, Any] = {
            "report": zlib.compress(to_json(report).encode(), 6),
            "done": done,
            "state": state,
            "problem": problem,
        }
        if state != "running":
            values["ended_at"] = now()
        with self.database.writing() as connection:
            if not connection.execute(update(runs).where(runs.c.id == run_id).values(**values)).rowcount:
                raise NotFoundError(f"there is no run {run_id} of the lab")

    def report(self, run_id: int) -> Any:
        """The report that was kept last; None before the first. Raises NotFoundError."""
        with self.database.reading() as connection:
            row = connection.execute(select(runs.c.report).where(runs.c.id == run_id)).first()
        if row is None:
            raise NotFoundError(f"there is no run {run_id} of the lab")
        return None if row.report is None else json.loads(zlib.decompress(row.report))

    def abandon(self, known: Sequence[int] = ()) -> int:
        """End the runs that nobody is at work on: those that a process left behind when it was killed. Returns how many."""
        lost = (runs.c.state == "running") & runs.c.id.not_in(list(known))
        told = {"state": "failed", "problem": "the process that ran it ended before it did", "ended_at": now()}
        with self.database.writing() as connection:
            return connection.execute(update(runs).where(lost).values(**told)).rowcount

    def delete(self, run_id: int) -> None:
        """Forget a run and its report; completions that came of it stay. Raises NotFoundError."""
        with self.database.writing() as connection:
            if not connection.execute(delete(runs).where(runs.c.id == run_id)).rowcount:
                raise NotFoundError(f"there is no run {run_id} of the lab")

    # ------------------------------------------------------------ what came of its texts

    def kept(self, run_id: int) -> dict[TextKey, int]:
        """The completions that texts of a run became."""
        query = select(completions.c.bulk, completions.c.id).where(self._of(run_id)).order_by(completions.c.id)
        with self.database.reading() as connection:
            return {_place(row.bulk): row.id for row in connection.execute(query)}

    def votes(self, run_id: int, facet: str) -> Sequence[tuple[TextKey, TextKey, float]]:
        """Blind votes under a facet, oldest first: two texts, and the first one's share: 1 better, 0 worse, ½ neither."""
        better, worse = completions.alias(), completions.alias()
        with self.database.reading() as connection:
            query = (
                select(better.c.bulk, worse.c.bulk, preferences.c.tie)
                .join(better, better.c.id == preferences.c.better_id)
                .join(worse, worse.c.id == preferences.c.worse_id)
                .where(preferences.c.facet_id == facet_id_of(connection, facet), preferences.c.origin == ORIGIN)
                .where(self._of(run_id, better), self._of(run_id, worse))
                .order_by(preferences.c.id)
            )
            return [(_place(a), _place(b), 0.5 if tie else 1.0) for a, b, tie in connection.execute(query)]

    def _of(self, run_id: int, table: Any = completions) -> Any:
        # ";" follows ":" as bytes, so this is everything that begins with the run, by the index.
        key = table.c.bulk if self.database.dialect == "sqlite" else table.c.bulk.collate("C")
        return (key >= f"lab:{run_id}:") & (key < f"lab:{run_id};")


HEAD = [column for column in runs.columns if column.name != "report"]


def lab_key(run_id: int, text: TextKey) -> str:
    """What stands with a completion that was a text of a run."""
    return f"lab:{run_id}:{text[0]}:{text[1]}"


def _place(key: str) -> TextKey:
    _, _, group, number = key.split(":")
    return int(group), int(number)


def _record(row: Any) -> LabRunRecord:
    return LabRunRecord(
        id=row.id,
        name=row.name,
        plan=json.loads(row.plan),
        models=tuple(json.loads(row.models)),
        state=row.state,
        problem=row.problem,
        asked=row.asked,
        done=row.done,
        created_at=moment(row.created_at),
        ended_at=None if row.ended_at is None else moment(row.ended_at),
    )
