"""A job's life: made, its input taken in, worked at, its output written, ended. What people do with jobs goes through here.

    key = create(database, JobSpec(model="tiny", input_path="in.jsonl", output_path="out.jsonl")).key
    run(database, key, open_model=load, asks=asks)

Whoever calls `run` again, after whatever end, goes on where it was.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ramify.batch import places
from ramify.batch.checkpoints import checkpoint_folder
from ramify.batch.inputs import opened_input
from ramify.batch.outputs import check_format, error_path_of, write_output
from ramify.batch.rows import Ask, ask_of
from ramify.batch.running import Ended, Runner, most_at_once
from ramify.batch.spec import JobSpec
from ramify.batch.workers import check_runner, cores, decided, work_in_processes
from ramify.errors import ConflictError, InputError, RamifyError
from ramify.models.remote import Remote
from ramify.settings import Settings
from ramify.store.database import Database
from ramify.store.job_records import ENDED, JobRecord
from ramify.workbench.asking import AnyModel

__all__ = ["Asks", "OpenModel", "cancel", "create", "log_of", "run", "take_in", "told_of", "with_checkpoint", "work"]

OpenModel = Callable[[JobSpec], AbstractContextManager[AnyModel]]
"""How a job's model is come by, and given back."""
Asks = Callable[[JobSpec], Ask]
"""How its rows are asked: `rows.ask_of` knows document 002's and plain ones, the API OpenAI's too."""

TAKEN_AT_ONCE = 1000


def create(
    database: Database,
    spec: JobSpec,
    *,
    prompts: Sequence[str] | None = None,
    requests: Sequence[Mapping[str, Any]] | None = None,
    labels: Mapping[str, str] | None = None,
    prefix: str = "job-",
) -> JobRecord:
    """A queued job. prompts, requests: its rows, where they do not come from a file; requests are OpenAI's.

    Raises InputError for an input that is not there, an output that cannot be written, or settings that cannot be.
    """
    if sum(each is not None for each in (prompts, requests, spec.input_path)) != 1:
        raise InputError("a job has prompts, requests, or an input file: one of them")
    rows = None
    if prompts is not None or requests is not None:
        spec = replace(spec, shape="openai" if prompts is None else "content")
        rows = [json.dumps(each, ensure_ascii=False) for each in (prompts if prompts is not None else requests or ())]
        if not rows:
            raise InputError("the job has no rows; give at least one prompt")
    if spec.input_path is not None:
        places.identity(spec.input_path)
    check_runner(spec)
    if spec.shape in (None, "content", "rows"):
        ask_of(replace(spec, shape=spec.shape or "rows"))
    check_format(spec.output_path, spec.shape)
    places.check_output(spec.output_path, overwrite=spec.overwrite)
    return database.jobs.add(spec.to_dict(), labels=labels, requests=rows, prefix=prefix)


def take_in(database: Database, key: str) -> JobSpec:
    """Take the rows of the input that are not in the workspace yet, and learn its shape; returns the job as it is known then.

    Raises InputError for a file that cannot be used, or is another one than when the first row was taken.
    """
    job = database.jobs.get(key)
    spec = JobSpec.from_dict(job.spec)
    if job.total is not None or spec.input_path is None:
        return spec
    before, found = database.jobs.source(key), places.identity(spec.input_path)
    if before is not None and before != found:
        raise InputError(
            f"{spec.input_path} was changed since {job.taken} of its rows were taken; put the old file back, or make a new job"
        )
    with places.local_copy(spec.input_path) as path:
        given = opened_input(path, spec.shape, spec.prompt_column)
        spec = replace(spec, shape=given.shape)
        if given.content is not None:
            spec = replace(spec, settings=given.content.settings(), logprobs=given.content.return_token_log_probs)
        if given.shape in ("content", "rows"):
            ask_of(spec)
        check_format(spec.output_path, spec.shape)
        if given.shape == "openai-batch":
            places.check_output(error_path_of(spec), overwrite=spec.overwrite)
        database.jobs.note(key, spec=spec.to_dict(), source=found)
        at, taken = 0, job.taken
        while chunk := list(islice(given.rows, TAKEN_AT_ONCE)):
            while taken < at + len(chunk):  # again where another process took some of them meanwhile
                taken = database.jobs.take(key, taken, chunk[taken - at :])
            at += len(chunk)
            if database.jobs.get(key).cancelling:
                return spec
    database.jobs.taken_whole(key)
    return spec


def run(
    database: Database,
    key: str,
    *,
    open_model: OpenModel,
    asks: Asks = ask_of,
    command: Callable[[], list[str]] | None = None,
    told: Callable[[JobRecord], object] = lambda job: None,
    stop: threading.Event | None = None,
    most: int | None = None,
    shared: bool = False,
) -> JobRecord:
    """Work at a job until it has ended, and write its output; returns it as it is then.

    command: what starts one more process at it, where several may; None: this process alone. told: called about once a second.
    stop: set from another thread, it ends the work and leaves the job as it is, to be gone on with. most: rows under way at once.
    shared: the model is not this job's alone.
    Raises ConflictError for a job that has ended, UnsupportedError for one whose runner this installation lacks. What goes wrong
    with the job is its own error, and it is `failed`.
    """
    job = database.jobs.get(key)
    if job.state in ENDED:
        raise ConflictError(f"the job {key} is {job.state}; `ramify batch retry {key}` lets it go on", status=409)
    if not shared:
        check_runner(JobSpec.from_dict(job.spec))
    stop = stop or threading.Event()
    try:
        ended = _worked(database, key, open_model, asks, command, told, stop, most, shared)
        if stop.is_set() and not database.jobs.get(key).cancelling:
            return database.jobs.get(key)
        return _over(database, key, ended)
    except RamifyError as error:
        return _failed(database, key, str(error))  # which raises where the workspace itself cannot be written


def _worked(
    database: Database,
    key: str,
    open_model: OpenModel,
    asks: Asks,
    command: Callable[[], list[str]] | None,
    told: Callable[[JobRecord], object],
    stop: threading.Event,
    most: int | None,
    shared: bool,
) -> Ended:
    spec = take_in(database, key)
    job = database.jobs.get(key)
    told(job)
    if job.cancelling:
        return "cancelled"
    if job.left == 0:
        return "done"
    if spec.runner == "ray" and not shared:
        from ramify.batch.on_ray import work_on_ray

        return work_on_ray(database, key, spec, open_model=open_model, asks=asks, told=told, stop=stop)
    chosen = decided(spec, job.left or 0, shared=shared)
    if chosen["used"] > 1 and command is None:
        chosen = {**chosen, "used": 1, "why": "whoever runs it runs it in one process"}
    database.jobs.note(key, workers=chosen)
    if chosen["used"] > 1 and command is not None:
        return work_in_processes(
            database,
            key,
            command,
            chosen["used"],
            threads=max(1, cores() // chosen["used"]),
            log=log_of(key),
            told=told,
            stopped=stop.is_set,
            max_runtime_s=spec.max_runtime_sec,
        )
    return work(database, key, open_model=open_model, asks=asks, told=told, stop=stop, most=most)


def work(
    database: Database,
    key: str,
    *,
    open_model: OpenModel,
    asks: Asks = ask_of,
    told: Callable[[JobRecord], object] = lambda job: None,
    stop: threading.Event | None = None,
    most: int | None = None,
) -> Ended:
    """Work at the rows alone, in this process; neither input nor output is touched."""
    spec = JobSpec.from_dict(database.jobs.get(key).spec)
    ask = asks(spec)
    with open_model(spec) as model:
        count = most or most_at_once(spec, model)
        remote = isinstance(model, Remote)
        runner = Runner(database, key, spec, lambda row: ask(model, row), most=lambda: count, remote=remote, told=told)
        return runner.run_until(stop)


def _over(database: Database, key: str, ended: Ended) -> JobRecord:
    """Write what there is, and say how it ended."""
    job = database.jobs.get(key)
    spec = JobSpec.from_dict(job.spec)
    state = {"done": "completed", "cancelled": "cancelled", "expired": "failed"}[ended]
    if ended == "done" and job.left:
        state = "failed"
    write_output(database.jobs, key, spec, state=state)
    why = f"max_runtime_sec, {spec.max_runtime_sec} s, was over; `ramify batch retry {key}` gives it as long again"
    return database.jobs.end(key, state, why if ended == "expired" else None)


def _failed(database: Database, key: str, why: str) -> JobRecord:
    """Its rows stay as they are. Where some are done, the output has them; where that fails too, the first error counts."""
    job = database.jobs.get(key)
    if job.done:
        with suppress(RamifyError):
            write_output(database.jobs, key, JobSpec.from_dict(job.spec), state="failed")
    return database.jobs.end(key, "failed", why)


def cancel(database: Database, key: str) -> JobRecord:
    """Ask that a job end. Where nobody works at it, it ends here, and what is done is written. Raises NotFoundError."""
    job = database.jobs.cancel(key)
    if job.state in ENDED or database.leases.others(key):
        return job
    return _over(database, key, "cancelled") if job.finished else database.jobs.end(key, "cancelled")


def told_of(database: Database, job: JobRecord) -> dict[str, Any]:
    """A job as the command line and the API tell of it."""
    spec = JobSpec.from_dict(job.spec)
    idle = job.state == "running" and not database.leases.others(job.key)
    spent = spec.prices and (job.prompt_tokens * spec.prices[0] + job.completion_tokens * spec.prices[1]) / 1e6
    return {
        "job_id": job.key,
        "state": job.state,
        "model": spec.model,
        "runner": spec.runner,
        "input_path": spec.input_path,
        "output_path": spec.output_path,
        "error_path": error_path_of(spec) if spec.shape == "openai-batch" else None,
        "labels": dict(job.labels),
        "rows": job.total,
        "done": job.done,
        "failed": job.failed,
        "left": job.left,
        "rows_per_s": None if job.rows_per_s is None else round(job.rows_per_s, 3),
        "left_s": None if job.left_s is None else round(job.left_s, 1),
        "run_s": round(job.run_s, 1),
        "prompt_tokens": job.prompt_tokens,
        "completion_tokens": job.completion_tokens,
        "spend": None if spent is None else round(spent, 6),
        "workers": None if job.workers is None else dict(job.workers),
        "cancelling": job.cancelling,
        "idle": f"nobody works at it; `ramify batch run --job {job.key}` goes on" if idle else None,
        "error": job.error,
        "created_at": job.created_at.isoformat(),
        "started_at": None if job.started_at is None else job.started_at.isoformat(),
        "ended_at": None if job.ended_at is None else job.ended_at.isoformat(),
    }


def log_of(key: str) -> Path:
    """Where a job's processes write what goes wrong."""
    return Settings.load().home / "jobs" / f"{key}.log"


def with_checkpoint(spec: JobSpec) -> str:
    """What to load: the model's name, or the folder of the checkpoint in its place."""
    return spec.model if spec.checkpoint_path is None else str(checkpoint_folder(spec.checkpoint_path, spec.model))
