"""Training runs that this server begins, watches and ends: each in a process of its own, which outlives the server.

A run is a folder under the data folder's `trained/`; what it is and how it ended is its record there (`training/records.py`), so
a run that the command line began, or an earlier server, is listed and watched like one's own.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ramify.api.errors import ApiError
from ramify.api.workspace.tasks import Task
from ramify.batch.workers import cores
from ramify.errors import CancelledError, EngineError, NotFoundError
from ramify.models.registry import NAME
from ramify.settings import Settings, child_environment
from ramify.store.database import Database
from ramify.store.processes import this_process
from ramify.store.secrets import without_password
from ramify.training.plans import TrainingPlan
from ramify.training.records import WAITING, RunRecord, read_record, records_in, write_record
from ramify.training.scratch_plans import ScratchPlan

__all__ = ["LOG", "ROWS", "TrainingsAtWork", "start_process", "without_paths"]

log = logging.getLogger(__name__)

LOG, ROWS = "process.log", "rows"
LAST_WORDS = 600
"""Characters of a dead process's log that its run tells."""
LOOK_S = 0.2
PATIENCE_S = 60.0
"""How long whoever deletes a run waits for its end."""


def start_process(arguments: list[str], environment: dict[str, str], said: Path) -> subprocess.Popen[bytes]:
    """A `ramify` process of its own session, so that it goes on when the server ends; what it says goes to a file."""
    with said.open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "ramify", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )


class TrainingsAtWork:
    """Safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._starting = threading.Lock()

    @property
    def root(self) -> Path:
        """Where the runs lie."""
        return Settings.load().home / "trained"

    @property
    def workspace(self) -> str:
        """The workspace as a run's plan names it."""
        where = self._database.where
        if "://" not in where:
            return str(Path(where).resolve())
        return without_password(self._database.engine.url.render_as_string(hide_password=False))

    # ------------------------------------------------------------ looking

    def folder(self, key: str) -> Path:
        """A run's folder, there or not. Raises NotFoundError for what no run can be called."""
        if not NAME.fullmatch(key):
            raise NotFoundError(f"there is no training run {key[:100]!r}")
        return self.root / key

    def get(self, key: str) -> RunRecord:
        """Raises NotFoundError."""
        folder = self.folder(key)
        try:
            found = read_record(folder)
        except NotFoundError:
            found = None
        if found is None or not self._mine(found):
            raise NotFoundError(f"there is no training run {key!r} of this workspace")
        return found

    def list(self) -> list[tuple[str, RunRecord]]:
        """Of this workspace, the one that was begun last first."""
        return [(folder.name, record) for folder, record in records_in(self.root) if self._mine(record)]

    def _mine(self, record: RunRecord) -> bool:
        where = record.plan.get("workspace")
        return where is not None and (where if "://" in where else str(Path(where).resolve())) == self.workspace

    # ------------------------------------------------------------ doing

    def start(self, plan: TrainingPlan | ScratchPlan, files: Sequence[Path] = ()) -> None:
        """Begin a prepared run in a folder that is not there yet. Raises ApiError 409 where another runs.

        files: texts that the run keeps, in its folder's `ROWS`.
        """
        folder = Path(plan.out)
        with self._starting:
            self._alone()
            folder.mkdir(parents=True)  # nobody has taken the name meanwhile
            if files:
                (folder / ROWS).mkdir()
            for file in files:
                shutil.copyfile(file, folder / ROWS / file.name)
            self._begin(folder, plan.to_data(), None)

    def resume(self, key: str) -> None:
        """Let a run go on from its checkpoint. Raises ApiError 409 where it is completed or one runs."""
        with self._starting:
            record = self.get(key)
            if record.state == "completed":
                raise ApiError(409, f"{key!r} is completed; a further training begins from its model", code="completed")
            self._alone()
            self._begin(self.folder(key), record.plan, record.steps)

    def _alone(self) -> None:
        for folder, record in records_in(self.root):
            if record.state == "running":
                raise ApiError(
                    409, f"{folder.name!r} is being trained, and this machine trains one model at a time; wait for its end, or "
                    "cancel it", code="busy",
                )  # fmt: skip

    def _begin(self, folder: Path, plan: dict[str, Any], steps: int | None) -> None:
        # In our name until the process says that it is there.
        begun = RunRecord(
            plan=plan, state="running", doing=WAITING, steps=steps, process=this_process(), started_at=_now()
        )  # fmt: skip
        write_record(folder, begun)
        (folder / LOG).unlink(missing_ok=True)
        process = self._spawn(folder)
        threading.Thread(target=self._see_end, args=(folder, process, begun), name=f"training {folder.name}", daemon=True).start()

    def _spawn(self, folder: Path, *arguments: str) -> Any:
        environment = child_environment(max(1, cores() - 1))
        if "://" in self.workspace:
            environment["RAMIFY_WORKSPACE"] = self._database.engine.url.render_as_string(hide_password=False)
        return start_process(["train", "work", str(folder), *arguments], environment, folder / LOG)

    def _see_end(self, folder: Path, process: Any, begun: RunRecord) -> None:
        """Wait for the process, and where it died before it could say so, say it."""
        while (code := process.poll()) is None:
            time.sleep(LOOK_S)
        try:
            # A run that went on meanwhile has another record, and another process.
            if read_record(folder) == begun:
                told = f"its process ended with code {code} before it began; {last_words(folder)}"
                write_record(folder, replace(begun, state="failed", doing="", problem=told, ended_at=_now()))
        except (NotFoundError, OSError):  # deleted meanwhile
            log.info("the run in %s is gone", folder)

    def cancel(self, key: str) -> None:
        """Ask a run to end after the step at hand; nothing happens to one that is over. Raises ApiError 409 for one elsewhere."""
        record = self.get(key)
        if record.state != "running":
            return
        if record.process.host != this_process().host:
            raise ApiError(409, f"{key!r} is trained on another machine; end it there", code="elsewhere")
        ends = time.monotonic() + PATIENCE_S
        while record.state == "running" and record.process == this_process() and time.monotonic() < ends:
            time.sleep(LOOK_S)  # it is on its way into life, and would not hear
            record = self.get(key)
        if record.state == "running" and record.process != this_process():
            try:
                os.kill(record.process.pid, signal.SIGTERM)
            except ProcessLookupError:
                log.info("the run %s ended by itself", key)

    def delete(self, key: str) -> None:
        """Forget a run with its checkpoint and its model's files; one that runs is cancelled first."""
        self.cancel(key)
        ends = time.monotonic() + PATIENCE_S
        while self.get(key).state == "running":
            if time.monotonic() > ends:
                raise ApiError(409, f"{key!r} does not end; try again when its step is done", code="busy")
            time.sleep(LOOK_S)
        shutil.rmtree(self.folder(key))

    def measure(self, key: str, task: Task) -> None:
        """Make a completed run's report anew, in a process of its own. Raises EngineError with its last words where it fails."""
        folder = self.folder(key)
        (folder / LOG).unlink(missing_ok=True)
        process = self._spawn(folder, "--report")
        try:
            while (code := process.poll()) is None:
                task.told("comparing before and after", 0, None)
                time.sleep(LOOK_S)
        except CancelledError:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
            raise
        if code:
            raise EngineError(f"the report could not be made: {last_words(folder)}")


def last_words(folder: Path) -> str:
    """The end of what a process said."""
    try:
        said = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        said = ""
    return f"it said: {without_paths(said, folder)[-LAST_WORDS:]}" if said else "it said nothing"


def without_paths(text: str, folder: Path) -> str:
    """A message without the server's folders."""
    return text.replace(str(folder), folder.name).replace(str(Settings.load().home), "the data folder")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
