"""Batch jobs for the studio: start one from prompts or a file, watch it, end it, try again, read what went wrong."""

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field, JsonValue

from ramify.api.job_service import JobService, service_of
from ramify.api.state import ServerState
from ramify.api.workspace.shapes import Body, Config, Items, Limit, Shape
from ramify.batch.jobs import told_of
from ramify.batch.spec import MOST_RUNTIME_S, MOST_WORKERS, JobSpec
from ramify.batch.workers import cores, no_ray
from ramify.errors import InputError
from ramify.store.files import Files
from ramify.store.job_records import JobRecord, JobState

__all__ = ["router"]

router = APIRouter(tags=["jobs"])

Price = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Key = Annotated[str, Path(max_length=100, description="The job's key.")]


class WorkersShape(Shape):
    asked: int
    used: int
    why: str


class JobShape(Shape):
    key: str
    state: JobState
    model: str
    labels: dict[str, str]
    rows: int | None = Field(description="null until the input was read to its end.")
    done: int
    failed: int
    rows_per_s: float | None
    left_s: float | None
    run_s: float
    prompt_tokens: int
    completion_tokens: int
    spend: float | None
    workers: WorkersShape | None
    cancelling: bool
    idle: str | None = Field(description="Set where it should run and nobody works at it.")
    error: str | None
    input: str | None
    output: str
    output_file: str | None = Field(description="A file of /v1/files, where the output has no place of its own.")
    created_at: str
    started_at: str | None
    ended_at: str | None


class RowShape(Shape):
    number: int
    state: Literal["waiting", "leased", "done", "failed"]
    request: str = Field(description="JSON, as it was given.")
    result: str | None = Field(description="JSON, as it stands in the output.")
    error: str | None
    attempts: int


class ToolFields(Body):
    """A tool whose output is fed back into the completion: the code evaluator, which is the only one."""

    name: Literal["code_evaluator"]
    max_iterations: int = Field(10, ge=1)
    execution_timeout_seconds: int = Field(60, ge=1)
    should_retry_on_error: bool = True


class NewJob(Body):
    """Rows come from exactly one of prompts, file and input_path."""

    model: str | None = Field(None, description="null: the server's default.")
    prompts: list[str] | None = Field(None, min_length=1)
    file: str | None = Field(None, description="The key of a file of POST /v1/files.")
    input_path: str | None = Field(None, description="A path or URL under a root of this server.")
    output_path: str | None = Field(None, description="The same for the answers; null: a file to download.")
    overwrite: bool = Field(False, description="Replace what is at output_path.")
    checkpoint_path: str | None = Field(None, description="Weights under a root of this server, in place of the model's own.")
    prompt_column: str | None = Field(None, description="Of plain rows; null: messages, prompt or text.")
    config: Config = Field(default_factory=dict)
    logprobs: bool = Field(False, description="Every token with its logprob.")
    tool_config: ToolFields | None = Field(None, description="Where GET /api/jobs/allowed says nothing against it.")
    processes: int = Field(1, ge=1, le=MOST_WORKERS, description="Above 1: processes with a model each, beside the server's.")
    runner: Literal["local", "ray"] = Field("local", description="ray: engines on a Ray cluster, where jobs/allowed has it.")
    prices: Annotated[list[Price], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Of a million prompt tokens, of a million completion tokens."
    )
    max_runtime_sec: int = Field(86_400, ge=1, le=MOST_RUNTIME_S)
    labels: dict[str, str] = Field(default_factory=dict)
    name: str | None = Field(None, max_length=200, description="What the file of answers is called.")


class AllowedShape(Shape):
    code_evaluator: str | None = Field(description="Why the code that a model writes is not run here; null: it can be.")
    roots: list[str] = Field(description="Under which a job may read and write.")
    processors: int = Field(description="Of this machine: more processes than these are not used.")
    ray: str | None = Field(description="Why no job runs on a Ray cluster; null: it can.")


@router.get("/jobs/allowed")
def allowed(server: ServerState) -> AllowedShape:
    """What a job may do here beside asking a model."""
    why = None if server.allow_code_evaluator else "this server runs no code of a model's; start it with --allow-code-evaluator"
    return AllowedShape(code_evaluator=why, roots=list(server.batch_roots), processors=cores(), ray=no_ray())


@router.get("/jobs")
def list_jobs(server: ServerState, state: JobState | None = None, limit: Limit = 50) -> Items[JobShape]:
    """Jobs, newest first."""
    service = service_of(server)
    return Items(items=[_shape(service, job) for job in service.database.jobs.list(state=state, limit=limit)])


@router.post("/jobs")
def add_job(server: ServerState, body: NewJob) -> JobShape:
    """Start a job; its answers become a file to download, or lie where output_path says."""
    service = service_of(server)
    sources = [name for name in ("prompts", "file", "input_path") if getattr(body, name) is not None]
    if len(sources) != 1:
        given = " and ".join(sources) if sources else "none of them"
        raise InputError(f"a job's rows come from exactly one of prompts, file and input_path; given: {given}")
    source = None if body.input_path is None else service.place(body.input_path)
    if body.file is not None:
        source = str(service.path_of(service.database.files.get(body.file)))
    output, error = Files.fresh_key(), Files.fresh_key()
    config: dict[str, JsonValue] = dict(body.config)
    seed = config.pop("seed", None)
    spec = JobSpec(
        model=body.model or server.models.default,
        input_path=source,
        output_path=str(service.folder / output) if body.output_path is None else service.place(body.output_path),
        error_path=str(service.folder / error),
        checkpoint_path=None if body.checkpoint_path is None else service.place(body.checkpoint_path),
        prompt_column=body.prompt_column,
        settings=config,
        logprobs=body.logprobs,
        overwrite=body.overwrite,
        tool=None if body.tool_config is None else body.tool_config.model_dump(),
        max_runtime_sec=body.max_runtime_sec,
        data_parallelism=body.processes,
        runner=body.runner,
        apart=body.processes > 1 or body.runner != "local",
        prices=None if body.prices is None else (body.prices[0], body.prices[1]),
        serves=True,
        extra={
            "output_file": output if body.output_path is None else None,
            "error_file": error,
            "input_file": body.file,
            "name": body.name if body.output_path is None else None,
        },
    )
    if seed is not None:
        spec = replace(spec, seed=seed, seeded=True)  # type: ignore[arg-type]  # judged by JobSpec
    return _shape(service, service.create(spec, prompts=body.prompts, labels=body.labels))


@router.get("/jobs/{key}")
def get_job(server: ServerState, key: Key) -> JobShape:
    """One job as it is now."""
    service = service_of(server)
    return _shape(service, service.database.jobs.get(key))


@router.get("/jobs/{key}/rows")
def list_rows(
    server: ServerState,
    key: Key,
    state: Literal["waiting", "leased", "done", "failed"] | None = None,
    after: Annotated[int, Query(ge=-1, le=2**31, description="The number of the last row already seen.")] = -1,
    limit: Limit = 50,
) -> Items[RowShape]:
    """Rows in the input's order, with what came of them."""
    found = service_of(server).database.jobs.rows(key, state=state, after=after, limit=limit)
    return Items(
        items=[
            RowShape(
                number=row.number,
                state=row.state,
                request=row.request,
                result=row.result,
                error=row.error,
                attempts=row.attempts,
            )
            for row in found
        ]
    )


@router.post("/jobs/{key}/cancel")
def cancel_job(server: ServerState, key: Key) -> JobShape:
    """End a job; what is done is kept and can be downloaded."""
    service = service_of(server)
    return _shape(service, service.cancel(key))


@router.post("/jobs/{key}/retry")
def retry_job(server: ServerState, key: Key) -> JobShape:
    """Run the failed rows of a job again, and those that it never came to."""
    service = service_of(server)
    return _shape(service, service.retry(key))


@router.delete("/jobs/{key}", status_code=204)
def delete_job(server: ServerState, key: Key) -> None:
    """Forget a job that has ended, with its rows; the files it wrote stay."""
    service_of(server).database.jobs.delete(key)


def _shape(service: JobService, job: JobRecord) -> JobShape:
    told = told_of(service.database, job)
    extra = job.spec.get("extra", {})
    return JobShape(
        key=job.key,
        state=job.state,
        model=told["model"],
        labels=told["labels"],
        rows=job.total,
        done=job.done,
        failed=job.failed,
        rows_per_s=told["rows_per_s"],
        left_s=told["left_s"],
        run_s=told["run_s"],
        prompt_tokens=job.prompt_tokens,
        completion_tokens=job.completion_tokens,
        spend=told["spend"],
        workers=None if job.workers is None else WorkersShape(**job.workers),
        cancelling=job.cancelling,
        idle=told["idle"],
        error=job.error,
        input=extra.get("input_file") or told["input_path"],
        output=extra.get("name") or told["output_path"],
        output_file=service.registered(job).get("output"),
        created_at=told["created_at"],
        started_at=told["started_at"],
        ended_at=told["ended_at"],
    )
