"""Batch jobs as the workspace keeps them: every row is somebody's or nobody's, and what came of it is kept once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ramify.errors import ConflictError, InputError, NotFoundError
from ramify.store import Database, job_leases, processes
from ramify.store.job_records import JobRecord, NewResult


def three(db: Database) -> JobRecord:
    return db.jobs.add({"model": "tiny"}, labels={"team": "one"}, requests=["a", "b", "c"])


def said(number: int, text: str = "x") -> NewResult:
    return NewResult(number=number, result=json.dumps({"text": text}), prompt_tokens=2, completion_tokens=3)


def refused(number: int) -> NewResult:
    return NewResult(number=number, result='{"error":"no"}', error="no")


def test_a_job_is_kept_as_it_was_given(db: Database) -> None:
    job = three(db)
    assert (job.state, job.spec, job.labels, job.total, job.taken) == ("queued", {"model": "tiny"}, {"team": "one"}, 3, 3)
    assert (job.done, job.failed, job.left, job.rows_per_s, job.left_s, job.workers) == (0, 0, 3, None, None, None)
    assert db.jobs.list() == [job]
    assert [(row.number, row.state, row.request, row.result) for row in db.jobs.rows(job.key)] == [
        (0, "waiting", "a", None),
        (1, "waiting", "b", None),
        (2, "waiting", "c", None),
    ]
    with pytest.raises(NotFoundError, match="no job 'job-x'"):
        db.jobs.get("job-x")
    with pytest.raises(InputError, match="no state 'lost'; a job is queued, running"):
        db.jobs.list(state="lost")


def test_rows_go_out_once_and_come_back_once(db: Database) -> None:
    key = three(db).key
    one, two = db.leases.enter(key), db.leases.enter(key)
    assert [row.number for row in db.leases.claim(key, one, 2)] == [0, 1]
    assert [row.number for row in db.leases.claim(key, two, 2)] == [2]
    assert db.leases.claim(key, one, 2) == []
    assert db.leases.keep(key, two, [said(1), said(2)]) == 1  # row 1 is the other's
    assert db.leases.keep(key, one, [said(0), refused(1)]) == 2
    assert db.leases.keep(key, one, [said(0, "again")]) == 0
    found = [(row.number, row.state, row.error, row.result) for row in db.jobs.walk(key)]
    assert found == [
        (0, "done", None, '{"text": "x"}'),
        (1, "failed", "no", '{"error":"no"}'),
        (2, "done", None, '{"text": "x"}'),
    ]
    job = db.jobs.get(key)
    assert (job.state, job.done, job.failed, job.prompt_tokens, job.completion_tokens) == ("running", 2, 1, 4, 6)


def test_who_leaves_gives_back_what_is_not_done(db: Database) -> None:
    key = three(db).key
    one = db.leases.enter(key)
    db.leases.claim(key, one, 2)
    db.leases.keep(key, one, [said(0)])
    db.leases.leave(one)
    assert db.jobs.states(key) == {"waiting": 2, "leased": 0, "done": 1, "failed": 0}
    two = db.leases.enter(key)
    assert [row.number for row in db.leases.claim(key, two, 5)] == [1, 2]


KILLED = """
import os, signal, sys
from ramify.store import Database
db = Database.open(sys.argv[1])
runner = db.leases.enter(sys.argv[2])
db.leases.claim(sys.argv[2], runner, 2)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_rows_of_one_that_was_killed_are_free_at_once_and_those_of_a_living_one_are_not(file: Path) -> None:
    with Database.open(file) as db:
        key = three(db).key
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", KILLED, str(file), key], env=env, check=False)
        assert db.jobs.states(key)["leased"] == 2
        mine = db.leases.enter(key)
        assert db.jobs.states(key) == {"waiting": 3, "leased": 0, "done": 0, "failed": 0}
        assert len(db.leases.claim(key, mine, 2)) == 2
        other = db.leases.enter(key)
        assert [row.number for row in db.leases.claim(key, other, 2)] == [2]
        assert db.leases.others(key, mine) == 1


def test_one_on_another_machine_is_dead_after_two_silent_minutes(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    key = three(db).key
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(processes, "_machine", lambda: "another/1")
        far = db.leases.enter(key)
        db.leases.claim(key, far, 3)
    assert db.leases.others(key) == 1
    at = job_leases.time.time()
    monkeypatch.setattr(job_leases.time, "time", lambda: at + 121)
    assert db.leases.others(key) == 0
    assert db.leases.keep(key, far, [said(0)]) == 0  # what it still brings is not its own any more
    assert db.jobs.states(key)["waiting"] == 3


def test_a_cancelled_job_is_told_to_its_runners_and_stays_visible(db: Database) -> None:
    key = three(db).key
    runner = db.leases.enter(key)
    assert db.leases.beat(key, runner) is False
    assert db.jobs.cancel(key).cancelling
    assert db.leases.beat(key, runner) is True
    db.leases.leave(runner)
    assert db.jobs.end(key, "cancelled").state == "cancelled"
    assert db.jobs.end(key, "completed").state == "cancelled"
    assert [job.key for job in db.jobs.list(state="cancelled")] == [key]
    with pytest.raises(ConflictError, match="is cancelled; `ramify batch retry"):
        db.leases.enter(key)


def test_retry_tries_failed_rows_again_and_keeps_what_the_first_attempt_said(db: Database) -> None:
    key = three(db).key
    with pytest.raises(ConflictError, match="is queued"):
        db.jobs.retry(key)
    runner = db.leases.enter(key)
    db.leases.claim(key, runner, 3)
    db.leases.keep(key, runner, [said(0), refused(1), said(2)])
    db.leases.leave(runner)
    db.jobs.end(key, "completed")
    assert (db.jobs.retry(key).state, db.jobs.get(key).failed) == ("queued", 0)
    runner = db.leases.enter(key)
    assert [(row.number, row.attempts) for row in db.leases.claim(key, runner, 3)] == [(1, 1)]
    db.leases.keep(key, runner, [said(1, "y")])
    db.leases.leave(runner)
    db.jobs.end(key, "completed")
    assert [row.result for row in db.jobs.walk(key)] == ['{"text": "x"}', '{"text": "y"}', '{"text": "x"}']
    with db.reading() as connection:
        kept = connection.exec_driver_sql("SELECT number, attempt, error FROM job_results ORDER BY 1, 2").all()
    assert [tuple(row) for row in kept] == [(0, 1, None), (1, 1, "no"), (1, 2, None), (2, 1, None)]
    with pytest.raises(ConflictError, match="no row left"):
        db.jobs.retry(key)


def test_rows_are_taken_from_the_input_once_whoever_takes_them(db: Database) -> None:
    job = db.jobs.add({"model": "tiny"})
    assert (job.total, job.taken) == (None, 0)
    assert db.jobs.take(job.key, 0, [("a", None), ("", refused(1))]) == 2
    assert db.jobs.take(job.key, 0, [("a", None), ("", refused(1))]) == 2  # another process, late
    assert db.jobs.take(job.key, 2, [("c", None)]) == 3
    db.jobs.taken_whole(job.key)
    found = db.jobs.get(job.key)
    assert (found.total, found.taken, found.failed, found.left) == (3, 3, 1, 2)
    assert [(row.number, row.state, row.error) for row in db.jobs.walk(job.key)] == [
        (0, "waiting", None),
        (1, "failed", "no"),
        (2, "waiting", None),
    ]


def test_time_counts_while_somebody_works_and_once_for_several(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    key, at = three(db).key, [1000.0]
    monkeypatch.setattr(job_leases.time, "time", lambda: at[0])
    one, two = db.leases.enter(key), db.leases.enter(key)
    for runner, moment in ((one, 1000.0), (two, 1002.0), (one, 1004.0), (one, 5000.0), (two, 5001.0)):
        at[0] = moment
        db.leases.beat(key, runner)
    assert db.jobs.get(key).run_s == 5.0


def test_a_job_that_has_ended_can_be_forgotten_with_all_its_rows(db: Database) -> None:
    key = three(db).key
    with pytest.raises(ConflictError, match="cancel it first"):
        db.jobs.delete(key)
    db.jobs.end(key, "cancelled")
    db.jobs.delete(key)
    with db.reading() as connection:
        for table in ("jobs", "job_rows", "job_requests", "job_results"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == 0
    assert db.problems() == []


def test_files_that_a_server_was_given_are_listed_newest_first(db: Database) -> None:
    keys = [db.files.fresh_key() for _ in range(2)]
    made = [db.files.add(key, f"{i}.jsonl", purpose="batch", size_bytes=i) for i, key in enumerate(keys)]
    assert db.files.list() == made[::-1]
    assert db.files.list(before=keys[1]) == [made[0]]
    db.files.delete(keys[0])
    with pytest.raises(NotFoundError, match="there is no file"):
        db.files.get(keys[0])
