"""Batch jobs and their rows. Who works at them, and which rows are whose, is in `job_leases.py`.

Nothing of them is in the history: what undo restores is what people made, and a job's own cancel and retry are here. Results are
only ever added, one for each (job, row, attempt).
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from ramify.errors import ConflictError, InputError, NotFoundError
from ramify.store import tables
from ramify.store.changes import now
from ramify.store.job_records import ENDED, STATES, JobRecord, JobRow, NewResult
from ramify.store.records import moment

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Jobs", "job_id_of", "reserved"]

jobs, rows, requests, results = tables.jobs, tables.job_rows, tables.job_requests, tables.job_results

PAGE = 500
"""Rows read at once where all of a job's are walked through."""


class Jobs:
    def __init__(self, database: "Database") -> None:
        self.database = database

    # ------------------------------------------------------------ the jobs

    def add(
        self,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        requests: Sequence[str] | None = None,
        prefix: str = "job-",
    ) -> JobRecord:
        """A job that is queued. requests: its rows, where they are known already; else they are taken from its input later."""
        key = prefix + secrets.token_hex(12)
        for text in requests or ():
            _text(text)
        with self.database.writing() as connection:
            (job_id,) = reserved(connection, jobs.name, 1)
            row = {"id": job_id, "key": key, "state": "queued", "spec": _json(spec), "labels": _json(labels or {})}
            connection.execute(insert(jobs).values(**row, created_at=now()))
            if requests is not None:
                for start in range(0, len(requests), PAGE):
                    self._add_rows(connection, job_id, start, [(text, None) for text in requests[start : start + PAGE]])
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(total=len(requests)))
        return self.get(key)

    def get(self, key: str) -> JobRecord:
        """As it is now. Raises NotFoundError."""
        with self.database.reading() as connection:
            found = connection.execute(select(jobs).where(jobs.c.key == key)).first()
        if found is None:
            raise NotFoundError(f"there is no job {key!r}; `ramify batch list` names them")
        return _record(found)

    def list(
        self, *, state: str | None = None, limit: int = 50, before: str | None = None, prefix: str = ""
    ) -> Sequence[JobRecord]:
        """Newest first. before: the key of the last one already seen. Raises InputError for an unknown state."""
        if state is not None and state not in STATES:
            raise InputError(f"there is no state {state!r}; a job is {', '.join(STATES)}")
        query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if before is not None:
            query = query.where(jobs.c.id < self.get(before).id)
        if prefix:
            query = query.where(jobs.c.key.like(f"{prefix}%"))
        with self.database.reading() as connection:
            return [_record(row) for row in connection.execute(query)]

    def cancel(self, key: str) -> JobRecord:
        """Ask that a job end; who works at it ends soon, and one that nobody works at ends now. What is done is kept.

        One that has ended stays as it is.
        """
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            open_ = (jobs.c.id == job_id) & jobs.c.state.not_in(ENDED)
            connection.execute(update(jobs).where(open_).values(cancelling=True))
        return self.get(key)

    def retry(self, key: str) -> JobRecord:
        """Let a job that has ended go on: its failed rows wait again, and those that it never came to.

        Rows whose record could not be read stay failed. Raises ConflictError for a job that has not ended, or has nothing left.
        """
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            job = _record(connection.execute(select(jobs).where(jobs.c.id == job_id)).one())
            if job.state not in ENDED:
                raise ConflictError(f"the job {key} is {job.state}; only one that has ended is tried again", status=409)
            readable = select(requests.c.number).where(requests.c.job_id == job_id, requests.c.request != "")
            failed = (rows.c.job_id == job_id) & (rows.c.state == "failed") & rows.c.number.in_(readable)
            again = connection.execute(update(rows).where(failed).values(state="waiting")).rowcount
            # Where all rows were done and the output could not be written, that is what is tried again.
            if not again and job.state == "completed":
                raise ConflictError(f"the job {key} has no row left that could be tried again", status=409)
            values: dict[str, Any] = {"state": "queued", "failed": job.failed - again, "cancelling": False, "beat_at": None}
            values |= {"error": None, "ended_at": None}
            if job.error is not None and job.error.startswith("max_runtime_sec"):
                values["run_s"] = 0.0  # it is given its time anew
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
        return self.get(key)

    def end(self, key: str, state: str, error: str | None = None) -> JobRecord:
        """It is over. One that had ended already stays as it was."""
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            open_ = (jobs.c.id == job_id) & jobs.c.state.not_in(ENDED)
            values = {"state": state, "error": error, "ended_at": now(), "cancelling": False}
            connection.execute(update(jobs).where(open_).values(values))
        return self.get(key)

    def note(self, key: str, **values: Any) -> None:
        """Set `workers` (a dict), `spec` (a dict) or `source` (text)."""
        told = {name: value if isinstance(value, str) or value is None else _json(value) for name, value in values.items()}
        with self.database.writing() as connection:
            connection.execute(update(jobs).where(jobs.c.key == key).values(told))

    def source(self, key: str) -> str | None:
        """What was noted of the input when its first row was taken."""
        with self.database.reading() as connection:
            found: str | None = connection.execute(select(jobs.c.source).where(jobs.c.key == key)).scalar_one()
        return found

    def delete(self, key: str) -> None:
        """Forget a job that has ended, its rows and its results. Raises ConflictError for one that has not."""
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            state = connection.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar_one()
            if state not in ENDED:
                raise ConflictError(f"the job {key} is {state}; cancel it first", status=409)
            connection.execute(delete(jobs).where(jobs.c.id == job_id))

    # ------------------------------------------------------------ rows in

    def take(self, key: str, start: int, taken: Sequence[tuple[str, NewResult | None]]) -> int:
        """Keep the next rows of the input: (request, its error where the record cannot be used). Returns how many are kept now.

        start: how many rows the caller believes are there. Where another process took them meanwhile, nothing is written.
        """
        with self.database.writing() as connection:
            job_id = job_id_of(connection, key)
            there: int = connection.execute(select(jobs.c.taken).where(jobs.c.id == job_id)).scalar_one()
            if there == start and taken:
                self._add_rows(connection, job_id, start, taken)
                there += len(taken)
        return there

    def taken_whole(self, key: str) -> None:
        """The input was read to its end."""
        with self.database.writing() as connection:
            connection.execute(update(jobs).where(jobs.c.key == key, jobs.c.total.is_(None)).values(total=jobs.c.taken))

    def _add_rows(self, connection: Connection, job_id: int, start: int, taken: Sequence[tuple[str, NewResult | None]]) -> None:
        numbered = list(enumerate(taken, start))
        connection.execute(insert(requests), [{"job_id": job_id, "number": n, "request": text} for n, (text, _) in numbered])
        states = [
            {"job_id": job_id, "number": n, "state": "waiting" if bad is None else "failed", "attempts": int(bad is not None)}
            for n, (_, bad) in numbered
        ]
        connection.execute(insert(rows), states)
        bad_rows = [
            {"job_id": job_id, "number": n, "attempt": 1, "error": bad.error, "result": bad.result}
            | {"prompt_tokens": 0, "completion_tokens": 0, "created_at": now()}
            for n, (_, bad) in numbered
            if bad is not None
        ]
        if bad_rows:
            connection.execute(insert(results), bad_rows)
        counted = {"taken": jobs.c.taken + len(taken), "failed": jobs.c.failed + len(bad_rows)}
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(counted))

    # ------------------------------------------------------------ rows out

    def rows(self, key: str, *, state: str | None = None, after: int = -1, limit: int = PAGE) -> Sequence[JobRow]:
        """A page of rows in the input's order, each with the last thing that came of it."""
        with self.database.reading() as connection:
            job_id = job_id_of(connection, key)
            wanted = (rows.c.job_id == job_id) & (rows.c.number > after)
            if state is not None:
                wanted &= rows.c.state == state
            last = (
                (results.c.job_id == rows.c.job_id) & (results.c.number == rows.c.number) & (results.c.attempt == rows.c.attempts)
            )
            asked = (requests.c.job_id == rows.c.job_id) & (requests.c.number == rows.c.number)
            query = (
                select(rows.c.number, rows.c.state, requests.c.request, rows.c.attempts, results.c.error, results.c.result)
                .join(requests, asked)
                .outerjoin(results, last)
                .where(wanted)
                .order_by(rows.c.number)
                .limit(limit)
            )
            return [JobRow(*row) for row in connection.execute(query)]

    def walk(self, key: str) -> Iterator[JobRow]:
        """All rows in the input's order, never more than a page in memory."""
        after = -1
        while page := self.rows(key, after=after):
            yield from page
            after = page[-1].number

    def states(self, key: str) -> Mapping[str, int]:
        """How many rows are waiting, leased, done and failed."""
        with self.database.reading() as connection:
            job_id = job_id_of(connection, key)
            query = select(rows.c.state, func.count()).where(rows.c.job_id == job_id).group_by(rows.c.state)
            found = {"waiting": 0, "leased": 0, "done": 0, "failed": 0}
            for state, count in connection.execute(query):
                found[state] = count
        return found


def job_id_of(connection: Connection, key: str) -> int:
    found = connection.execute(select(jobs.c.id).where(jobs.c.key == key)).scalar()
    if found is None:
        raise NotFoundError(f"there is no job {key!r}; `ramify batch list` names them")
    return int(found)


def reserved(connection: Connection, name: str, count: int) -> list[int]:
    """Ids that no row of this table has had or will have."""
    from ramify.store.changes import Action

    return Action(connection, "").reserve(tables.metadata.tables[name], count)


def _record(row: Row[Any]) -> JobRecord:
    return JobRecord(
        id=row.id,
        key=row.key,
        state=row.state,
        spec=json.loads(row.spec),
        labels=json.loads(row.labels),
        total=row.total,
        taken=row.taken,
        done=row.done,
        failed=row.failed,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        run_s=row.run_s,
        cancelling=bool(row.cancelling),
        workers=None if row.workers is None else json.loads(row.workers),
        error=row.error,
        created_at=moment(row.created_at),
        started_at=None if row.started_at is None else moment(row.started_at),
        ended_at=None if row.ended_at is None else moment(row.ended_at),
    )


def _json(value: Any) -> str:
    return _text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _text(text: str) -> str:
    """A text that a database can keep. Raises InputError for half a character, or a NUL."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"it holds half a character (a lone surrogate) at {error.start}, which is no text") from None
    if "\0" in text:
        raise InputError("it holds a NUL character, which is no text")
    return text
