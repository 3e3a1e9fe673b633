"""The server's own jobs: one after the other, on the models it has in memory, beside the requests of others; or in processes.

A job that the server made is the server's to work at: also after a crash, when it starts again. Half of an engine's rows stay
free for requests. Files that were uploaded, and outputs that nobody named a place for, lie in a folder beside the workspace.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ramify import batches
from ramify.api.errors import ApiError
from ramify.api.state import Server
from ramify.batch import jobs, places
from ramify.batch.spec import JobSpec
from ramify.batch.workers import check_runner
from ramify.engine.engine import MAX_ROWS
from ramify.errors import ModelNotFoundError, RamifyError, UnsupportedError
from ramify.models.registry import Registry
from ramify.settings import Settings
from ramify.store.database import Database
from ramify.store.job_records import ENDED, FileRecord, JobRecord
from ramify.workbench.asking import AnyModel

__all__ = ["JobService", "service_of"]

log = logging.getLogger(__name__)

LOOK_S = 15.0
"""How often it looks for a job that another process left behind."""


class JobService:
    """One thread that works at jobs. Made by `service_of`."""

    def __init__(self, server: Server, database: Database) -> None:
        self.server, self.database = server, database
        self._wake, self._stop, self._closed = threading.Event(), threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="ramify-jobs", daemon=True)
        self._thread.start()

    @property
    def folder(self) -> Path:
        """Where files lie that have no place of their own."""
        where = self.database.where
        found = Settings.load().home / "files" if "://" in where else Path(f"{where}.files")
        found.mkdir(parents=True, exist_ok=True)
        return found

    # ------------------------------------------------------------ making one

    def create(
        self,
        spec: JobSpec,
        *,
        prompts: Sequence[str] | None = None,
        requests: Sequence[Mapping[str, Any]] | None = None,
        labels: Mapping[str, str] | None = None,
        prefix: str = "job-",
    ) -> JobRecord:
        """A job that this server works at. Raises ApiError, InputError, ModelNotFoundError for what it may not or cannot be."""
        self._check_model(spec)
        if spec.apart:
            check_runner(spec)
        if spec.tool is not None:
            if not self.server.allow_code_evaluator:
                raise ApiError(
                    403, "this server runs no code of a model's; start it with --allow-code-evaluator", code="not_allowed"
                )
            batches.asks(spec)  # without a sandbox there is no job
        job = jobs.create(self.database, spec, prompts=prompts, requests=requests, labels=labels, prefix=prefix)
        self.wake()
        return job

    def place(self, path: str) -> str:
        """A path or URL of a request, where it lies under a root of this server. Raises ForbiddenError, InputError."""
        return places.allowed(path, self.server.batch_roots)

    def _check_model(self, spec: JobSpec) -> None:
        known = {entry.name for entry in Registry().list() if entry.endpoint is not None}
        if spec.model not in known:
            self.server.models.check(spec.model)
        if spec.checkpoint_path is not None and spec.model in known:
            raise ModelNotFoundError(f"{spec.model!r} is remote, and a checkpoint is weights of a local model")

    def cancel(self, key: str) -> JobRecord:
        job = jobs.cancel(self.database, key)
        self.registered(job)
        return job

    def retry(self, key: str) -> JobRecord:
        job = self.database.jobs.retry(key)
        if not job.spec.get("serves"):
            self.database.jobs.note(key, spec={**job.spec, "serves": True})
        self.wake()
        return self.database.jobs.get(key)

    # ------------------------------------------------------------ files

    def path_of(self, file: FileRecord) -> Path:
        """Where its content lies. Raises ApiError 404 where it is gone."""
        path = self.folder / file.key
        if not path.is_file():
            raise ApiError(404, f"the content of {file.key} is gone from {self.folder}", code="not_found")
        return path

    def registered(self, job: JobRecord) -> dict[str, str]:
        """The keys of the files that a job wrote into the folder, by "output" and "error"; they are files like any other."""
        found: dict[str, str] = {}
        for kind in ("output", "error"):
            key = job.spec.get("extra", {}).get(f"{kind}_file")
            if key is None or job.state not in ENDED or not (self.folder / key).is_file():
                continue
            found[kind] = key
            size = (self.folder / key).stat().st_size
            self.database.files.add(key, f"{job.key}_{kind}.jsonl", purpose="batch_output", size_bytes=size)
        return found

    # ------------------------------------------------------------ at work

    def wake(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """End the work soon; a job under way is gone on with when the server starts again."""
        self._closed = True
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._closed:
            try:
                job = self._next()
                if job is not None:
                    self._work_at(job)
                    continue
            except RamifyError as error:  # the workspace is busy, full or gone: later perhaps not
                log.error("jobs cannot be worked at: %s", error)
            self._wake.wait(LOOK_S)
            self._wake.clear()

    def _next(self) -> JobRecord | None:
        """The oldest job that is this server's and that nobody works at."""
        for state in ("running", "queued"):
            for job in reversed(self.database.jobs.list(state=state, limit=1000)):
                if job.spec.get("serves") and not self.database.leases.others(job.key):
                    return job
        return None

    def _work_at(self, job: JobRecord) -> None:
        how: dict[str, Any] = {"open_model": self._open, "most": MAX_ROWS // 2, "shared": True}
        if job.spec.get("apart"):
            how = {"open_model": batches.open_model, "command": batches.command_of(job.key, self.database.where)}
        try:
            self.registered(jobs.run(self.database, job.key, asks=batches.asks, stop=self._stop, **how))
        except UnsupportedError as error:  # Ray was there when the job was made
            self.database.jobs.end(job.key, "failed", str(error))
        except RamifyError:
            raise
        except Exception:  # a defect of ours; the job says that there was one, and the server goes on
            log.exception("the job %s failed", job.key)
            self.database.jobs.end(job.key, "failed", "the server failed; its log says why")

    @contextlib.contextmanager
    def _open(self, spec: JobSpec) -> Iterator[AnyModel]:
        if spec.checkpoint_path is None and spec.model in self.server.models.names():
            yield self.server.models.get(spec.model)
            return
        with batches.open_model(spec) as model:
            yield model


def service_of(server: Server) -> JobService:
    """The server's jobs, begun with the first call. Raises ApiError 404 without a workspace, 503 where the server stops."""
    database = server.workspace_or_refuse().database
    if server.draining:
        raise ApiError(503, "the server is stopping; ask another one, or again later", code="draining")
    with _lock:
        found = server.jobs
        if isinstance(found, JobService) and found.database is database:
            return found
        if isinstance(found, JobService):
            found.close()
        server.jobs = made = JobService(server, database)
        server.on_stop.append(made.close)
        return made


_lock = threading.Lock()
