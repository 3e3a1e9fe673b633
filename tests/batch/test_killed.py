"""`kill -9` of a runner, at instants of its life that nobody chose: every row once, the same answers, nothing asked twice."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.batch.working import answers, processes, ran, run_to_the_end, spec

from ramify.batch import jobs
from ramify.store import Database

ROWS_AT_ONCE, STEP_S = 4, 0.02
"""Twenty rows a kill are some 1.2 s of work, and a kill comes within 1 s: no machine is done before the last of them."""


@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_a_runner_that_is_killed_again_and_again_does_every_row_once(file: Path, tmp_path: Path, kills: int) -> None:
    rows = 20 * kills
    prompts = [f"Row {i} says" for i in range(rows)]
    instants, started = random.Random(kills), 0
    log = tmp_path / "asked"
    log.touch()
    with Database.open(file) as db:
        ran(db, spec(tmp_path, "whole.json"), prompts)
        key = jobs.create(db, spec(tmp_path, "killed.json"), prompts=prompts).key
        done_before: list[tuple[int, set[str]]] = []
        for _ in range(kills):
            process = processes().Process(target=run_to_the_end, args=(str(file), key, str(log), STEP_S, ROWS_AT_ONCE))
            process.start()
            time.sleep(instants.uniform(0.05, 1.0))
            started += process.is_alive()
            process.kill()
            process.join(60)
            done = {row.request for row in db.jobs.walk(key) if row.state == "done"}
            done_before.append((len(log.read_text().splitlines()), done))
        process = processes().Process(target=run_to_the_end, args=(str(file), key, str(log), 0.0))
        process.start()
        process.join(120)
        job = db.jobs.get(key)
        assert (job.state, job.done, job.failed, job.total) == ("completed", rows, 0, rows)
        with db.reading() as connection:
            kept = connection.exec_driver_sql("SELECT count(*), count(DISTINCT number) FROM job_results").one()
        assert tuple(kept) == (2 * rows, rows)  # of the two jobs, each row once
        assert db.problems() == []
    assert started == kills
    assert answers(tmp_path / "killed.json") == answers(tmp_path / "whole.json")
    asked = log.read_text().splitlines()
    for at, done in done_before:
        assert done.isdisjoint(asked[at:]), "a row that was done was asked again"
    assert set(Counter(asked)) == {f'"{prompt}"' for prompt in prompts}
    assert [path.name for path in tmp_path.glob(".killed*")] == []
