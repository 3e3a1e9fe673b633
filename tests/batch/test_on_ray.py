"""The same job on a Ray cluster: the same answers, and whoever is killed, every row once and none that is done asked again."""

import contextlib
import importlib.util
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.batch.working import answers, opener, outputs, processes, ran, spec

from ramify.batch import jobs
from ramify.batch.on_ray import placed
from ramify.errors import InputError, UnsupportedError
from ramify.models.endpoints import Endpoint
from ramify.models.registry import Registry
from ramify.store import Database

PROMPTS = [f"Row {i} says" for i in range(60)]

clustered = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


# ---------------------------------------------------------------- without a cluster


def test_a_missing_package_is_told_before_there_is_a_job(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"needs the package ray, which is not installed; pip install 'ramify\[ray\]'"):
        jobs.create(db, spec(tmp_path, runner="ray"), prompts=["a"])
    assert list(db.jobs.list()) == []


@pytest.mark.parametrize(
    ("runner", "model", "told"),
    [("slurm", "scripted", "runner is 'slurm'; it must be one of local, ray"), ("ray", "far", "'far' is remote: one process")],
)
def test_a_runner_that_cannot_be_is_refused(db: Database, tmp_path: Path, runner: str, model: str, told: str) -> None:
    Registry().add("far", "openai:far", endpoint=Endpoint(base_url="http://127.0.0.1:9"))
    with pytest.raises(InputError, match=told):
        jobs.create(db, spec(tmp_path, runner=runner, model=model), prompts=["a"])


@pytest.mark.parametrize(
    ("asked", "rows", "nodes", "found"),
    [
        (2, 9, [{"CPU": 8.0}], (2, 4, 0, "2 asked for")),
        (64, 2, [{"CPU": 8.0}], (2, 4, 0, "rows to do: 2")),
        (64, 99, [{"CPU": 4.0}, {"CPU": 2.0}], (6, 1, 0, "the Ray cluster has 6 processor(s), one an engine")),
        (3, 99, [{"CPU": 5.0}, {"CPU": 3.0}], (3, 2, 0, "3 asked for")),
        (4, 99, [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 64.0}], (2, 4, 1, "the Ray cluster has 2 GPU(s), one an engine")),
        (1, 99, [], (1, 1, 0, "1 asked for")),
    ],
)
def test_engines_are_as_many_as_fit_and_share_the_processors(
    asked: int, rows: int, nodes: list[dict[str, float]], found: tuple[int, int, int, str]
) -> None:
    plan = placed(spec(Path(), data_parallelism=asked), rows, nodes)
    assert (plan["used"], plan["cpus"], plan["gpus"], plan["why"]) == found


# ---------------------------------------------------------------- with one


def asked_of(log: Path) -> list[str]:
    return log.read_text().splitlines()


def on_ray(where: str, key: str, log: str, step_s: float) -> None:
    """The driver: what a test may kill."""
    with Database.open(where) as db:
        jobs.run(db, key, open_model=opener(Path(log), step_s, max_rows=4))


@pytest.fixture
def started(file: Path, tmp_path: Path) -> Iterator[Callable[[str, float], Any]]:
    """Starts drivers; ends what is left of them."""
    made: list[Any] = []
    log = tmp_path / "asked"
    log.touch()

    def start(key: str, step_s: float) -> Any:
        process = processes().Process(target=on_ray, args=(str(file), key, str(log), step_s))
        process.start()
        made.append(process)
        return process

    yield start
    for each in made:
        if each.is_alive():
            for child in psutil.Process(each.pid).children(recursive=True):
                child.kill()
            each.kill()
        each.join(30)


def until(true: Callable[[], Any], wait_s: float = 90, why: Callable[[], Any] = lambda: None) -> Any:
    deadline = time.monotonic() + wait_s
    while not (found := true()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)
    return found


def engines(driver: Any) -> list[psutil.Process]:
    found = []
    for each in psutil.Process(driver.pid).children(recursive=True):
        try:
            if each.name().startswith("ray::Engine"):
                found.append(each)
        except psutil.Error:
            continue
    return found


def living(family: list[psutil.Process]) -> list[str]:
    """The names of those that are not dead, but for Ray's own agents, which end a minute later."""
    found = []
    for each in family:
        with contextlib.suppress(psutil.Error):
            if each.status() != psutil.STATUS_ZOMBIE and not each.name().endswith("Agent"):
                found.append(" ".join([each.name(), *each.cmdline()[:3]]))
    return found


def done(db: Database, key: str) -> set[str]:
    return {row.request for row in db.jobs.walk(key) if row.state == "done"}


def whole(db: Database, key: str, folder: Path) -> None:
    """Every row once, in the workspace and in the output, as a run that nothing interrupted has them."""
    job = db.jobs.get(key)
    assert (job.state, job.done, job.failed, job.error) == ("completed", len(PROMPTS), 0, None)
    with db.reading() as connection:
        kept = connection.exec_driver_sql(
            "SELECT count(*), count(DISTINCT number) FROM job_results WHERE job_id = (SELECT id FROM jobs WHERE key = ?)", (key,)
        ).one()
    assert tuple(kept) == (len(PROMPTS), len(PROMPTS))
    assert db.problems() == []
    ran(db, spec(folder, "whole.json"), PROMPTS)
    assert answers(folder / "out.json") == answers(folder / "whole.json")


@clustered
@pytest.mark.slow
def test_two_engines_do_every_row_once_with_the_answers_of_the_local_runner(
    db: Database, tmp_path: Path, started: Callable[[str, float], Any]
) -> None:
    wanted = spec(tmp_path, runner="ray", data_parallelism=2)
    key = jobs.create(db, wanted, prompts=[*PROMPTS[:-1], "bell \x07"]).key
    driver = started(key, 0.02)
    driver.join(120)
    job = db.jobs.get(key)
    assert (job.state, job.done, job.failed) == ("completed", 59, 1), job.error
    assert job.workers is not None
    assert job.workers["asked"] == 2
    assert 1 <= job.workers["used"] <= 2
    found = outputs(tmp_path / "out.json")
    ran(db, spec(tmp_path, "local.json"), [*PROMPTS[:-1], "bell \x07"])
    assert found == outputs(tmp_path / "local.json")
    asked = Counter(asked_of(tmp_path / "asked"))
    assert (len(asked), set(asked.values())) == (59, {1})


@clustered
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["an engine", "both engines", "the driver", "the raylet"])
def test_whoever_is_killed_every_row_is_done_once_and_none_that_was_done_is_asked_again(
    db: Database, tmp_path: Path, started: Callable[[str, float], Any], victim: str
) -> None:
    log = tmp_path / "asked"
    key = jobs.create(db, spec(tmp_path, runner="ray", data_parallelism=2), prompts=PROMPTS).key
    driver = started(key, 0.2)
    until(lambda: db.jobs.get(key).done >= 5)
    family = psutil.Process(driver.pid).children(recursive=True)
    before, at = done(db, key), len(asked_of(log))
    if victim == "the driver":
        driver.kill()
    elif victim == "the raylet":
        next(each for each in family if each.name() == "raylet").kill()
    else:
        for each in engines(driver)[: 1 if victim == "an engine" else 2]:
            each.kill()
    if victim in ("the driver", "the raylet"):
        driver.join(120)
        assert not driver.is_alive()
        until(lambda: not living(family), 60, lambda: living(family))
        job = db.jobs.get(key)
        if victim == "the driver":
            assert job.state == "running"
        before, at = done(db, key), len(asked_of(log))
        if job.state == "failed":  # without its raylet a driver ends in its own way, or in Ray's
            db.jobs.retry(key)
        if job.state != "completed":
            driver = started(key, 0.0)
    driver.join(150)
    whole(db, key, tmp_path)
    again = {json.loads(line) for line in asked_of(log)[at:]}
    assert again.isdisjoint(json.loads(each) for each in before), "a row that was done was asked again"
    assert {json.loads(line) for line in asked_of(log)} == set(PROMPTS)
