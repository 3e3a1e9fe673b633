"""A run in a process of its own, begun by a server or anybody else: train, then measure before and after.

The folder's record says what to do (`records.py`); it was written by whoever began the process. The workspace's URL, which may
hold a password, comes from the environment.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ramify.errors import CancelledError, RamifyError
from ramify.exchange.outputs import Outputs
from ramify.settings import Settings
from ramify.store.database import Database
from ramify.training.plans import TrainingPlan, plan_from
from ramify.training.records import at_work, read_record
from ramify.training.report import report
from ramify.training.runs import MANIFEST, execute, prepare
from ramify.training.scratch_plans import SCRATCH, ScratchPlan
from ramify.training.stopping import stopping

__all__ = ["REPORT", "measure", "work"]

REPORT = "report.json"
NICENESS = 5
"""A server's answers go before."""


def work(folder: Path) -> None:
    """Do what the folder's record says. SIGTERM ends it after the step at hand, with a checkpoint and CancelledError."""
    _step_back()
    data = read_record(folder).plan
    if data["method"] in SCRATCH:
        _from_scratch(ScratchPlan.of(data))
        return
    plan = plan_from(data)
    with stopping() as stop, at_work(plan, stop) as running, _workspace(plan) as database:
        running.doing("reading the rows")
        outcome = execute(plan, database, prepared=prepare(plan, database), running=running)
        stop.between_steps = False
        if outcome.entry is None:
            return
        try:
            running.doing("comparing before and after")
            _measure(folder, outcome.entry.name, database)
        except CancelledError:
            running.remark = "its report was cancelled"
        except RamifyError as error:
            running.remark = f"its report could not be made: {error}"


def _from_scratch(plan: ScratchPlan) -> None:
    from ramify.training.scratch import make

    with stopping() as stop, at_work(plan, stop) as running:
        make(plan, running=running)
        stop.between_steps = False


def measure(folder: Path) -> None:
    """Make the report of a run that is over anew, on the rows as they are now. Raises InputError, CancelledError."""
    _step_back()
    plan = plan_from(read_record(folder).plan)
    with stopping(), _workspace(plan) as database:
        _measure(folder, str(plan.name), database)


def _measure(folder: Path, name: str, database: Database | None) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    found = report(manifest["base"]["name"], name, plan=plan_from(manifest["plan"]), database=database)
    with Outputs(overwrite=True) as outputs:
        outputs.add(folder / REPORT).write(json.dumps(found.to_data(), ensure_ascii=False).encode())


def _step_back() -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICENESS)


@contextlib.contextmanager
def _workspace(plan: TrainingPlan) -> Iterator[Database | None]:
    if plan.workspace is None:
        yield None
        return
    where = Settings.load().workspace if "://" in plan.workspace else None
    with Database.open(where or plan.workspace, create=False) as database:
        yield database
