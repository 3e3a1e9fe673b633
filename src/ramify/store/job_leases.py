"""Who works at a job, and which of its rows are whose: no row is ever given to two.

A runner is a process, known by its machine, its id and the moment it was born; its rows go back when it leaves, and when it is
found dead: at once on the same machine, after `SILENT_S` without a word on another. What a runner brings of a row that is not its
any more is not kept.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from ramify.errors import ConflictError
from ramify.store import tables
from ramify.store.changes import chunks, now
from ramify.store.job_records import ENDED, JobRow, NewResult
from ramify.store.jobs import job_id_of, reserved
from ramify.store.processes import SILENT_S, Process, alive, this_process

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["BEAT_S", "SILENT_S", "JobLeases"]

jobs, rows, requests, results, runners = (
    *(tables.jobs, tables.job_rows, tables.job_requests, tables.job_results),
    tables.job_runners,
)

BEAT_S = 5.0
"""How often a runner says that it is there."""


class JobLeases:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def enter(self, key: str) -> int:
        """Begin to work at a job; returns the runner's number. Raises ConflictError where it has ended."""
        host, pid, born = this_process()
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            state = connection.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar_one()
            if state in ENDED:
                raise ConflictError(f"the job {key} is {state}; `ramify batch retry {key}` lets it go on", status=409)
            (number,) = reserved(connection, runners.name, 1)
            row = {"id": number, "job_id": job_id, "host": host, "pid": pid, "born": born, "beat_at": time.time()}
            connection.execute(insert(runners).values(row))
            started = func.coalesce(jobs.c.started_at, now())
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(state="running", started_at=started))
            self._bury(connection, job_id)
        return number

    def leave(self, runner: int) -> None:
        """Give back what is not done, and go."""
        with self.database.writing() as connection:
            self._free(connection, [runner])

    def others(self, key: str, runner: int | None = None) -> int:
        """How many other runners are alive."""
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            self._bury(connection, job_id)
            query = select(func.count()).where(runners.c.job_id == job_id)
            query = query if runner is None else query.where(runners.c.id != runner)
            return connection.execute(query).scalar_one()

    def beat(self, key: str, runner: int) -> bool:
        """Say that the runner is there; whether it should end, because the job was cancelled or has ended."""
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            self._bury(connection, job_id)
            return self._beat(connection, job_id, runner)

    def claim(self, key: str, runner: int, count: int) -> list[JobRow]:
        """The next rows that nobody works at; they are this runner's until it keeps them, leaves or dies."""
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            waiting = (rows.c.job_id == job_id) & (rows.c.state == "waiting")
            query = select(rows.c.number).where(waiting).order_by(rows.c.number).limit(count)
            numbers = list(connection.execute(query).scalars())
            found: list[JobRow] = []
            for part in chunks(numbers):
                mine = (rows.c.job_id == job_id) & rows.c.number.in_(part)
                connection.execute(update(rows).where(mine).values(state="leased", runner_id=runner))
                asked = (
                    select(rows.c.number, rows.c.state, requests.c.request, rows.c.attempts)
                    .join(requests, (requests.c.job_id == rows.c.job_id) & (requests.c.number == rows.c.number))
                    .where(mine)
                    .order_by(rows.c.number)
                )
                found += [JobRow(*row) for row in connection.execute(asked)]
            return found

    def keep(self, key: str, runner: int, made: Sequence[NewResult]) -> int:
        """Commit what came of rows; returns how many were this runner's to keep."""
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            mine: dict[int, int] = {}
            for part in chunks([each.number for each in made]):
                owned = (rows.c.job_id == job_id) & (rows.c.runner_id == runner) & rows.c.number.in_(part)
                for number, tried in connection.execute(select(rows.c.number, rows.c.attempts).where(owned)):
                    mine[number] = tried
            kept = [each for each in made if each.number in mine]
            if kept:
                self._keep(connection, job_id, kept, mine)
            self._beat(connection, job_id, runner)
        return len(kept)

    def _keep(self, connection: Connection, job_id: int, kept: Sequence[NewResult], tried: dict[int, int]) -> None:
        time_ = now()
        new = [
            {"job_id": job_id, "number": each.number, "attempt": tried[each.number] + 1, "error": each.error}
            | {"result": each.result, "prompt_tokens": each.prompt_tokens, "completion_tokens": each.completion_tokens}
            | {"created_at": time_}
            for each in kept
        ]
        connection.execute(insert(results), new)
        settle = update(rows).where(rows.c.job_id == job_id, rows.c.number == bindparam("n"))
        settle = settle.values(state=bindparam("s"), attempts=bindparam("a"), runner_id=None)
        told = [{"n": each.number, "s": "done" if each.error is None else "failed", "a": tried[each.number] + 1} for each in kept]
        connection.execute(settle, told)
        failed = sum(each.error is not None for each in kept)
        counted: dict[Any, Any] = {
            jobs.c.done: jobs.c.done + len(kept) - failed,
            jobs.c.failed: jobs.c.failed + failed,
            jobs.c.prompt_tokens: jobs.c.prompt_tokens + sum(each.prompt_tokens for each in kept),
            jobs.c.completion_tokens: jobs.c.completion_tokens + sum(each.completion_tokens for each in kept),
        }
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(counted))

    def _beat(self, connection: Connection, job_id: int, runner: int) -> bool:
        at = time.time()
        connection.execute(update(runners).where(runners.c.id == runner).values(beat_at=at))
        job = connection.execute(select(jobs.c.state, jobs.c.cancelling, jobs.c.beat_at).where(jobs.c.id == job_id)).one()
        # Several runners together count the time once; the time when nobody worked is not counted.
        gap = 0.0 if job.beat_at is None else max(0.0, at - job.beat_at)
        worked = gap if gap < 3 * BEAT_S else 0.0
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(run_s=jobs.c.run_s + worked, beat_at=at))
        return bool(job.cancelling) or job.state in ENDED

    def _bury(self, connection: Connection, job_id: int) -> None:
        found = connection.execute(select(runners).where(runners.c.job_id == job_id)).all()
        self._free(connection, [row.id for row in found if not alive(Process(row.host, row.pid, row.born), row.beat_at)])

    def _free(self, connection: Connection, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        job_ids = select(runners.c.job_id).where(runners.c.id.in_(numbers))
        theirs = rows.c.job_id.in_(job_ids) & (rows.c.state == "leased") & rows.c.runner_id.in_(numbers)
        connection.execute(update(rows).where(theirs).values(state="waiting", runner_id=None))
        connection.execute(delete(runners).where(runners.c.id.in_(numbers)))
