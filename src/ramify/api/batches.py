"""Batches over HTTP: OpenAI's /v1/files and /v1/batches, and LLM Engine's batch-completions, first and second version."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, File, Form, Query, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response

from ramify.api.errors import ApiError
from ramify.api.job_service import JobService, service_of
from ramify.api.state import ServerState
from ramify.batch.spec import MOST_RUNTIME_S, JobSpec
from ramify.batches import job_shape, spec_of
from ramify.data_types import CreateBatchCompletionsRequest
from ramify.exchange.entries import Record
from ramify.exchange.files import opened
from ramify.exchange.json_records import read_json
from ramify.store.files import Files
from ramify.store.job_records import ENDED, FileRecord, JobRecord

__all__ = ["router", "save_file"]

router = APIRouter()
openai = APIRouter(prefix="/v1", tags=["OpenAI"])
engine = APIRouter(tags=["LLM Engine"])

CHUNK = 1 << 20
PREFIX = "batch_"


# ---------------------------------------------------------------- files


@openai.post("/files")
def upload(
    server: ServerState, file: Annotated[UploadFile, File()], purpose: Annotated[Literal["batch", "user_data"], Form()]
) -> dict[str, Any]:
    """Keep a file. purpose "batch": its lines are requests."""
    return _file(save_file(service_of(server), file, purpose))


def save_file(service: JobService, file: UploadFile, purpose: str) -> FileRecord:
    """Stream a file to disk under a name of ours; its own is only remembered."""
    key, size = Files.fresh_key(), 0
    path = service.folder / key
    part = path.with_name(f".{key}.part")
    try:
        with part.open("wb") as out:
            while data := file.file.read(CHUNK):
                out.write(data)
                size += len(data)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    name = (file.filename or key)[:200].encode("utf-8", "replace").decode().replace("\0", "")
    return service.database.files.add(key, name, purpose=purpose, size_bytes=size)


@openai.get("/files")
def files(
    server: ServerState,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    after: str | None = None,
    order: Literal["desc"] = "desc",
) -> dict[str, Any]:
    """The newest files first."""
    found = service_of(server).database.files.list(purpose=purpose, limit=limit + 1, before=after)
    return _page([_file(each) for each in found[:limit]], more=len(found) > limit)


@openai.get("/files/{key}")
def file(server: ServerState, key: str) -> dict[str, Any]:
    """One of them."""
    return _file(service_of(server).database.files.get(key))


@openai.get("/files/{key}/content", response_class=Response)
def content(server: ServerState, key: str) -> Response:
    """What is in it."""
    service = service_of(server)
    found = service.database.files.get(key)
    return FileResponse(service.path_of(found), media_type="application/octet-stream", filename=found.name)


@openai.delete("/files/{key}")
def delete(server: ServerState, key: str) -> dict[str, Any]:
    """Forget it, and remove its content. A job that reads it at this moment has read it already, or fails."""
    service = service_of(server)
    found = service.database.files.get(key)
    service.database.files.delete(key)
    (service.folder / found.key).unlink(missing_ok=True)
    return {"id": key, "object": "file", "deleted": True}


def _file(found: FileRecord) -> dict[str, Any]:
    return {
        "id": found.key,
        "object": "file",
        "bytes": found.size_bytes,
        "created_at": int(found.created_at.timestamp()),
        "filename": found.name,
        "purpose": found.purpose,
        "status": "processed",
    }


def _page(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": more}


# ---------------------------------------------------------------- OpenAI's batches


class NewBatch(BaseModel):
    """The body of POST /v1/batches."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: str
    endpoint: Literal["/v1/chat/completions", "/v1/completions"]
    completion_window: str = Field(pattern=r"^[1-9]\d?h$", description="24h, or as many hours up to 48.")
    metadata: dict[str, str] | None = Field(None, max_length=16)


@openai.post("/batches")
def create_batch(server: ServerState, body: Annotated[NewBatch, Body()]) -> dict[str, Any]:
    """Start a batch. All of its lines ask one model, the first line's."""
    service = service_of(server)
    given = service.database.files.get(body.input_file_id)
    path = service.path_of(given)
    seconds = int(body.completion_window[:-1]) * 3600
    if seconds > MOST_RUNTIME_S:
        raise ApiError(400, f"completion_window is {body.completion_window}; at most 48h", param="completion_window")
    output, error = Files.fresh_key(), Files.fresh_key()
    extra = {"input_file": given.key, "output_file": output, "error_file": error, "endpoint": body.endpoint}
    spec = JobSpec(
        model=_first_model(str(path)) or server.models.default,
        input_path=str(path),
        output_path=str(service.folder / output),
        error_path=str(service.folder / error),
        shape="openai-batch",
        max_runtime_sec=seconds,
        serves=True,
        extra={**extra, "window": body.completion_window, "one_model": True},
    )
    job = service.create(spec, labels=body.metadata, prefix=PREFIX)
    return _batch(service, job)


@openai.get("/batches")
def list_batches(
    server: ServerState, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
) -> dict[str, Any]:
    """The newest first."""
    service = service_of(server)
    found = service.database.jobs.list(limit=limit + 1, before=after, prefix=PREFIX)
    return _page([_batch(service, job) for job in found[:limit]], more=len(found) > limit)


@openai.get("/batches/{key}")
def get_batch(server: ServerState, key: str) -> dict[str, Any]:
    """How far it is."""
    service = service_of(server)
    return _batch(service, service.database.jobs.get(key))


@openai.post("/batches/{key}/cancel")
def cancel_batch(server: ServerState, key: str) -> dict[str, Any]:
    """End it. What is done is in its output."""
    service = service_of(server)
    return _batch(service, service.cancel(key))


def _first_model(path: str) -> str | None:
    """The model that the first good line names."""
    with opened(Path(path)) as members:
        for number, record in enumerate(read_json(path, members[0].stream)):
            if isinstance(record, Record):
                body = record.data.get("body")
                model = body.get("model") if isinstance(body, Mapping) else None
                return model if isinstance(model, str) else None
            if number > 100:
                break
    return None


def _batch(service: JobService, job: JobRecord) -> dict[str, Any]:
    written = service.registered(job)
    spec = JobSpec.from_dict(job.spec)
    state = _openai_state(job)
    ended = None if job.ended_at is None else int(job.ended_at.timestamp())
    errors = None
    if job.error is not None and state == "failed":
        errors = {"object": "list", "data": [{"code": "failed", "message": job.error, "param": None, "line": None}]}
    created = int(job.created_at.timestamp())
    return {
        "id": job.key,
        "object": "batch",
        "endpoint": spec.extra.get("endpoint"),
        "model": spec.model,
        "errors": errors,
        "input_file_id": spec.extra.get("input_file"),
        "completion_window": spec.extra.get("window"),
        "status": state,
        "output_file_id": written.get("output"),
        "error_file_id": written.get("error"),
        "created_at": created,
        "in_progress_at": None if job.started_at is None else int(job.started_at.timestamp()),
        "expires_at": created + spec.max_runtime_sec,
        "finalizing_at": None,
        "cancelling_at": None,
        **{f"{name}_at": ended if state == name else None for name in ("completed", "failed", "expired", "cancelled")},
        "request_counts": {"total": job.taken, "completed": job.done, "failed": job.failed},
        "metadata": dict(job.labels) or None,
    }


def _openai_state(job: JobRecord) -> str:
    if job.state in ("queued", "running"):
        return "cancelling" if job.cancelling else "validating" if job.total is None else "in_progress"
    return "expired" if job.state == "failed" and str(job.error).startswith("max_runtime_sec") else job.state


# ---------------------------------------------------------------- LLM Engine's

SCHEMA = CreateBatchCompletionsRequest.model_json_schema()
TAKES = {"requestBody": {"required": True, "content": {"application/json": {"schema": SCHEMA}}}}
Fields = Annotated[dict[str, Any], Body()]


@engine.post("/v1/llm/batch-completions", openapi_extra=TAKES)
def batch_completions(server: ServerState, body: Fields) -> dict[str, Any]:
    """Start a batch; paths must lie under a root of this server (--batch-root)."""
    return {"job_id": _started(service_of(server), body).key}


@engine.post("/v2/batch-completions", openapi_extra=TAKES)
def batch_completions_v2(server: ServerState, body: Fields) -> dict[str, Any]:
    """The same; the content may be a list of OpenAI requests, and the answer is the whole job."""
    service = service_of(server)
    return job_shape(service.database, _started(service, body)).model_dump(mode="json")


@engine.get("/v2/batch-completions")
def list_batch_completions(server: ServerState, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> dict[str, Any]:
    """The newest first, OpenAI's batches too."""
    database = service_of(server).database
    return {"jobs": [job_shape(database, job).model_dump(mode="json") for job in database.jobs.list(limit=limit)]}


@engine.get("/v2/batch-completions/{key}")
def get_batch_completions(server: ServerState, key: str) -> dict[str, Any]:
    """How far a job is."""
    database = service_of(server).database
    return {"job": job_shape(database, database.jobs.get(key)).model_dump(mode="json")}


@engine.post("/v2/batch-completions/{key}/actions/cancel")
def cancel_batch_completions(server: ServerState, key: str) -> dict[str, Any]:
    """End a job; it stays visible. success: whether it ends because of this."""
    service = service_of(server)
    ended = service.database.jobs.get(key).state in ENDED
    service.cancel(key)
    return {"success": not ended}


def _started(service: JobService, body: dict[str, Any]) -> JobRecord:
    requests = body.get("content")
    several = isinstance(requests, list)
    asked = CreateBatchCompletionsRequest(**({**body, "content": {"prompts": ["x"]}} if several else body))
    if several and (not requests or not all(isinstance(each, dict) for each in requests)):
        raise ApiError(400, "content is a list; it must hold OpenAI requests, at least one", param="content")
    spec = spec_of(asked, serves=True)
    named = {name: getattr(spec, name) for name in ("input_path", "output_path", "checkpoint_path")}
    placed = {name: service.place(path) for name, path in named.items() if path is not None}
    spec = replace(spec, **placed, **({"settings": {}} if several else {}))  # type: ignore[arg-type]
    labels = asked.labels if asked.labels is not None else asked.chosen_model.labels
    if several:
        return service.create(spec, requests=requests, labels=labels)
    return service.create(spec, prompts=None if asked.content is None else asked.content.prompts, labels=labels)


router.include_router(openai)
router.include_router(engine)
