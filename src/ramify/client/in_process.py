"""A `CompletionRequest` answered by a model in this process: the answers and the errors of a server, without one."""

import asyncio
import contextlib
import queue
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.answers import generation_request, new_request_id, stream_error, stream_piece, whole_answer
from ramify.data_types import (
    CancelBatchCompletionsResponse,
    CompletionRequest,
    CompletionStreamResponse,
    CompletionSyncResponse,
    CreateBatchCompletionsRequest,
    CreateBatchCompletionsResponse,
    GetBatchCompletionsResponse,
    ListBatchCompletionsResponse,
)
from ramify.engine.loaded import loaded
from ramify.engine.model import Model
from ramify.engine.requests import GenerationRequest, TokenEvent
from ramify.engine.tasks import Handle
from ramify.errors import BadRequestError, ConfigError, InputError, NotFoundError, RamifyError, RemoteError, ServerError
from ramify.settings import Settings
from ramify.store.job_records import ENDED

if TYPE_CHECKING:
    from ramify.batch.spec import JobSpec
    from ramify.store.database import Database

__all__ = ["InProcess"]


class InProcess:
    """Models are loaded once. timeout_s: how long a completion, or the next token of a stream, may take."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def create(self, model: str, request: CompletionRequest) -> CompletionSyncResponse:
        with _as_a_server_would():
            running, asked = self._checked(model, request, stream=False)
            handle = running.submit(asked)
            try:
                results = handle.future.result(self._timeout_s)
            except TimeoutError:
                raise self._late() from None
            finally:
                handle.cancel()
            return whole_answer(new_request_id(), results[0])

    async def acreate(self, model: str, request: CompletionRequest) -> CompletionSyncResponse:
        with _as_a_server_would():
            running, asked = await asyncio.to_thread(self._checked, model, request, stream=False)
            try:
                results = await asyncio.wait_for(running.aresult(asked), self._timeout_s)
            except TimeoutError:
                raise self._late() from None
            return whole_answer(new_request_id(), results[0])

    def stream(self, model: str, request: CompletionRequest) -> Generator[CompletionStreamResponse]:
        """Queued at once, so that a refusal is raised here; closing the iterator, or letting go of it, ends the generation."""
        pieces = self._stream(model, request)
        next(pieces)
        return pieces  # type: ignore[return-value]  # None is what the first step gave, and nothing after it

    async def astream(self, model: str, request: CompletionRequest) -> AsyncGenerator[CompletionStreamResponse]:
        pieces = self._astream(model, request)
        await anext(pieces)
        return pieces  # type: ignore[return-value]

    def _stream(self, model: str, request: CompletionRequest) -> Generator[CompletionStreamResponse | None]:
        events: queue.SimpleQueue[TokenEvent | None] = queue.SimpleQueue()
        with _as_a_server_would():
            running, asked = self._checked(model, request, stream=True)
            handle = running.submit(asked, Handle(events.put))
        handle.future.add_done_callback(lambda _: events.put(None))
        request_id, sent = new_request_id(), 0
        try:
            yield None
            while True:
                try:
                    event = events.get(timeout=self._timeout_s)
                except queue.Empty:
                    raise self._late() from None
                if event is None:
                    break
                yield stream_piece(request_id, event, sent)
                sent += len(event.token_ids)
            failed = handle.future.exception()
            if failed is not None:
                yield _told(request_id, failed)
        finally:
            handle.cancel()

    async def _astream(self, model: str, request: CompletionRequest) -> AsyncGenerator[CompletionStreamResponse | None]:
        events: asyncio.Queue[TokenEvent | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(event: TokenEvent | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(events.put_nowait, event)

        with _as_a_server_would():
            running, asked = await asyncio.to_thread(self._checked, model, request, stream=True)
            handle = await asyncio.to_thread(running.submit, asked, Handle(put))
        handle.future.add_done_callback(lambda _: put(None))
        request_id, sent = new_request_id(), 0
        try:
            yield None
            while True:
                try:
                    event = await asyncio.wait_for(events.get(), self._timeout_s)
                except TimeoutError:
                    raise self._late() from None
                if event is None:
                    break
                yield stream_piece(request_id, event, sent)
                sent += len(event.token_ids)
            failed = handle.future.exception()
            if failed is not None:
                yield _told(request_id, failed)
        finally:
            handle.cancel()

    # Batches: the job is in a workspace, and a process of its own works at it.

    def batch_create(self, asked: CreateBatchCompletionsRequest) -> CreateBatchCompletionsResponse:
        from ramify.batch import jobs
        from ramify.batches import asks, spec_of, start_detached
        from ramify.models.registry import Registry

        with _as_a_server_would(), _workspace() as database:
            Registry().show(asked.chosen_model.model)
            spec = spec_of(asked)
            if spec.tool is not None:
                asks(spec)  # without a sandbox there is no job
            labels = asked.labels if asked.labels is not None else asked.chosen_model.labels
            prompts = None if asked.content is None else asked.content.prompts
            job = jobs.create(database, _absolute(spec), prompts=prompts, labels=labels)
            start_detached(job.key, database.where)
        return CreateBatchCompletionsResponse(job_id=job.key)

    def batch_get(self, job_id: str) -> GetBatchCompletionsResponse:
        from ramify.batches import job_shape

        with _as_a_server_would(), _workspace() as database:
            return GetBatchCompletionsResponse(job=job_shape(database, database.jobs.get(job_id)))

    def batch_list(self, limit: int) -> ListBatchCompletionsResponse:
        from ramify.batches import job_shape

        with _as_a_server_would(), _workspace() as database:
            return ListBatchCompletionsResponse(jobs=[job_shape(database, job) for job in database.jobs.list(limit=limit)])

    def batch_cancel(self, job_id: str) -> CancelBatchCompletionsResponse:
        from ramify.batch import jobs

        with _as_a_server_would(), _workspace() as database:
            ended = database.jobs.get(job_id).state in ENDED
            jobs.cancel(database, job_id)
        return CancelBatchCompletionsResponse(success=not ended)

    def _checked(self, model: str, request: CompletionRequest, *, stream: bool) -> tuple[Model, GenerationRequest]:
        running = loaded(model)
        return running, generation_request(running, request, stream=stream)

    def _late(self) -> RemoteError:
        return RemoteError(f"the model said nothing for {self._timeout_s:g} s (timeout={self._timeout_s:g})", code="timeout")


@contextlib.contextmanager
def _workspace() -> "Iterator[Database]":
    """RAMIFY_WORKSPACE, else the last one used, else `batches.ramify` in the data folder, which is made."""
    from ramify.cli import workspace
    from ramify.store.database import Database

    settings = Settings.load()
    where = workspace.meant_or(None, settings, settings.home / "batches.ramify")
    if "://" not in where:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
    with Database.open(where) as database:
        workspace.remember(where, settings)
        yield database


def _absolute(spec: "JobSpec") -> "JobSpec":
    """Paths as they are meant here, wherever the process that works at the job stands."""
    from ramify.cli.workspace import place

    named = {name: getattr(spec, name) for name in ("input_path", "output_path", "checkpoint_path")}
    placed: dict[str, Any] = {name: place(path) for name, path in named.items() if path is not None}
    return replace(spec, **placed)


@contextlib.contextmanager
def _as_a_server_would() -> Iterator[None]:
    """Errors of the engine and the models as a server's statuses would make them."""
    try:
        yield
    except RamifyError as error:
        translated = _translated(error)
        if translated is error:
            raise
        raise translated from error


def _translated(error: BaseException) -> RamifyError:
    if isinstance(error, RemoteError | NotFoundError):
        return error
    if isinstance(error, InputError):
        fields = error.fields if isinstance(error, ConfigError) else ()
        return BadRequestError(str(error), param=fields[0] if fields else None)
    return ServerError(str(error) or type(error).__name__, status=500)


def _told(request_id: str, error: BaseException) -> CompletionStreamResponse:
    translated = _translated(error)
    return stream_error(request_id, getattr(translated, "status", None) or 500, str(translated))
