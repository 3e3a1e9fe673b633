"""A run's record: who is at it, how it ended, and that a dead process's run is told from a living one's."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ramify.errors import CancelledError, ConflictError, InputError, NotFoundError
from ramify.store.processes import Process, this_process
from ramify.training.plans import TrainingPlan, plan_from
from ramify.training.records import at_work, read_record, records_in, write_record
from ramify.training.stopping import Stop, stopping


def plan(folder: Path, name: str = "made") -> TrainingPlan:
    return plan_from({"method": "sft", "rows": ["rows.jsonl"], "out": str(folder / name), "name": name})


def test_a_run_says_what_it_does_and_how_it_ended(tmp_path: Path) -> None:
    with at_work(plan(tmp_path)) as running:
        running.doing("loading the model")
        seen = read_record(tmp_path / "made")
        assert (seen.state, seen.doing, seen.process, seen.ended_at) == ("running", "loading the model", this_process(), None)
        assert plan_from(seen.plan) == plan(tmp_path)
        running.note(doing="training", steps=12)
    ended = read_record(tmp_path / "made")
    assert (ended.state, ended.doing, ended.steps, ended.problem) == ("completed", "", 12, None)
    assert ended.ended_at is not None


@pytest.mark.parametrize(
    ("error", "state", "problem"),
    [
        (CancelledError("so it was asked"), "cancelled", None),
        (KeyboardInterrupt(), "cancelled", None),
        (InputError("rows changed"), "failed", "rows changed"),
        (RuntimeError("no memory"), "failed", "RuntimeError: no memory"),
    ],
)
def test_every_end_is_told(tmp_path: Path, error: BaseException, state: str, problem: str | None) -> None:
    with pytest.raises(type(error)), at_work(plan(tmp_path)):
        raise error
    ended = read_record(tmp_path / "made")
    assert (ended.state, ended.problem) == (state, problem)


def test_a_run_whose_process_is_gone_was_killed_and_one_that_lives_has_the_folder_to_itself(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        import psutil

        theirs = Process(this_process().host, other.pid, psutil.Process(other.pid).create_time())
        with at_work(plan(tmp_path)):
            pass
        write_record(tmp_path / "made", replace(read_record(tmp_path / "made"), state="running", process=theirs))
        assert read_record(tmp_path / "made").state == "running"
        with pytest.raises(ConflictError, match=f"process {other.pid} is training in"), at_work(plan(tmp_path)):
            pass
        other.communicate(b"\n")
    assert read_record(tmp_path / "made").state == "killed"
    with at_work(plan(tmp_path)):
        assert read_record(tmp_path / "made").process == this_process()


def test_runs_are_listed_the_last_one_first_and_what_is_no_record_is_none(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with at_work(plan(tmp_path, name)):
            pass
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text('{"plan": ')
    assert [folder.name for folder, _ in records_in(tmp_path)] == ["second", "first"]
    with pytest.raises(NotFoundError):
        read_record(tmp_path / "torn")


def test_a_signal_asks_a_run_to_end_at_once_or_after_its_step() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(CancelledError, match="before its first step"), stopping():
        os.kill(os.getpid(), signal.SIGTERM)
    with stopping() as stop:
        stop.between_steps = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        with pytest.raises(CancelledError):
            stop.check()
    assert signal.getsignal(signal.SIGTERM) is before
    assert not Stop().asked


def test_a_plan_is_written_down_without_a_password() -> None:
    made = plan_from({"method": "sft", "workspace": "postgresql://ann:secret@host/tales", "out": "x"})
    assert made.to_data()["workspace"] == "postgresql://ann@host/tales"
