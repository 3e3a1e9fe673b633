"""What becomes of a run, beside what it makes: which process is at it, what it is doing, how it ended.

`run.json` is written by the run's own process, whole and renamed into place. It says "running" while that process lives; a run
whose record says so and whose process is gone was killed, and can go on from its checkpoint.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ramify.errors import CancelledError, ConflictError, NotFoundError, RamifyError
from ramify.models.kept_files import replace_json
from ramify.store.processes import Process, alive, this_process
from ramify.training.plans import TrainingPlan
from ramify.training.scratch_plans import ScratchPlan
from ramify.training.stopping import Stop

__all__ = ["RECORD", "WAITING", "RunRecord", "RunState", "Running", "at_work", "read_record", "records_in", "write_record"]

RECORD = "run.json"
WAITING = "waiting for its process"
"""What a run is doing whose record was written by whoever begins the process."""
RunState = Literal["running", "completed", "cancelled", "failed", "killed"]
"""killed: its process ended without a word."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    plan: dict[str, Any]
    """`to_data` of a TrainingPlan or a ScratchPlan."""
    state: RunState
    doing: str
    """While it runs, what it is at."""
    problem: str | None = None
    """Why it failed; of a completed one, what else did not come to be."""
    steps: int | None = None
    """The number of its last step; None before that is known, and where seconds decide."""
    process: Process
    started_at: str
    """ISO 8601, UTC. Of a run that went on: when it did so last."""
    ended_at: str | None = None


def read_record(folder: Path) -> RunRecord:
    """A run as it is now: one whose process is gone is "killed". Raises NotFoundError where there is no run."""
    file = folder / RECORD
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        record = RunRecord(**{**data, "process": Process(*data["process"])})
        beat_at = max(each.stat().st_mtime for each in (file, folder / "log.jsonl") if each.exists())
    except (OSError, ValueError, KeyError, TypeError):
        raise NotFoundError(f"there is no training run in {folder}") from None
    if record.state == "running" and not alive(record.process, beat_at):
        return replace(record, state="killed")
    return record


def write_record(folder: Path, record: RunRecord) -> None:
    """Replace it in one step."""
    replace_json(folder / RECORD, asdict(record))


def records_in(root: Path) -> list[tuple[Path, RunRecord]]:
    """The runs in the folders of a folder, the one that was begun last first."""
    found = []
    for file in root.glob(f"*/{RECORD}"):
        with contextlib.suppress(NotFoundError):
            found.append((file.parent, read_record(file.parent)))
    return sorted(found, key=lambda each: (each[1].started_at, each[0].name), reverse=True)


class Running:
    """A run at work: its record as it changes, and how it is asked to end."""

    def __init__(self, folder: Path, record: RunRecord, stop: Stop) -> None:
        self.folder, self.stop = folder, stop
        self.remark: str | None = None
        """What did not come to be though it is completed."""
        self._record = record

    def doing(self, what: str) -> None:
        """Say what it is at. Raises CancelledError once it was asked to end."""
        self.stop.check()
        self.note(doing=what)

    def note(self, **changes: Any) -> None:
        self._record = replace(self._record, **changes)
        write_record(self.folder, self._record)

    def end(self, state: RunState, problem: str | None = None) -> None:
        self.note(state=state, doing="", problem=problem, ended_at=_now())


@contextlib.contextmanager
def at_work(plan: TrainingPlan | ScratchPlan, stop: Stop | None = None) -> Iterator[Running]:
    """Work at the plan's run: its record says so until the end, and then how it ended.

    Raises ConflictError where another living process is at it.
    """
    folder, me, steps = Path(plan.out), this_process(), None
    with contextlib.suppress(NotFoundError):
        before = read_record(folder)
        steps = before.steps
        if before.state == "running" and before.process != me and before.doing != WAITING:
            raise ConflictError(f"process {before.process.pid} is training in {folder}; wait for its end, or end it", status=409)
    folder.mkdir(parents=True, exist_ok=True)
    record = RunRecord(plan=plan.to_data(), state="running", doing="beginning", steps=steps, process=me, started_at=_now())
    running = Running(folder, record, stop or Stop())
    running.note()
    try:
        yield running
    except (CancelledError, KeyboardInterrupt):
        running.end("cancelled")
        raise
    except RamifyError as error:
        running.end("failed", str(error))
        raise
    except BaseException as error:
        running.end("failed", f"{type(error).__name__}: {error}")
        raise
    running.end("completed", running.remark)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
