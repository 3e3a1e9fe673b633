"""Tasks as a list and as a stream: how far imports, exports and reports are, and ending one."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from ramify.api.state import ServerState
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.exchange_shapes import TaskShape, task_shape
from ramify.api.workspace.shapes import Items
from ramify.api.workspace.tasks import Task

__all__ = ["router"]

router = APIRouter(tags=["exchange"])

PING_S = 15


@router.get("/tasks")
def tasks(desk: DeskState) -> Items[TaskShape]:
    """Imports, exports and reports of this server, the newest first."""
    return Items(items=[task_shape(task) for task in desk.tasks.all()])


@router.get(
    "/tasks/events",
    response_class=EventSourceResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/TaskShape"}}}, "model": TaskShape}
    },
)
async def task_events(
    desk: DeskState,
    server: ServerState,
    task: Annotated[str | None, Query(max_length=50, description="This task only; its end ends the stream.")] = None,
) -> Response:
    """Server-sent events: progress, end."""
    if task is not None:
        desk.tasks.get(task)
    events = _events(desk, server, task)
    return EventSourceResponse(events, ping=PING_S, headers={"cache-control": "no-store", "x-accel-buffering": "no"})


async def _events(desk: Desk, server: ServerState, key: str | None) -> AsyncIterator[ServerSentEvent]:
    """First what runs (or the one asked for) as it is, then what changes: of each task the newest word, none twice."""
    loop = asyncio.get_running_loop()
    news: dict[str, Task] = {}
    there = asyncio.Event()

    def put(task: Task) -> None:
        news[task.key] = task
        there.set()

    def heard(task: Task) -> None:
        if key in (None, task.key) and not loop.is_closed():
            loop.call_soon_threadsafe(put, task)

    stop = desk.tasks.follow(heard)
    try:
        for each in desk.tasks.all():
            if each.key == key or (key is None and not each.ended):
                news.setdefault(each.key, each)
        there.set()
        while not server.draining:
            try:
                await asyncio.wait_for(there.wait(), 1.0)
            except TimeoutError:
                continue
            there.clear()
            told, news = list(news.values()), {}
            for each in told:
                shape = task_shape(each)
                data = json.dumps(shape.model_dump(mode="json"), ensure_ascii=True, separators=(",", ":"))
                yield ServerSentEvent(data=data, event="progress" if shape.state == "running" else "end")
                if key is not None and shape.state != "running":
                    return
    finally:
        stop()


@router.get("/tasks/{task_key}")
def get_task(desk: DeskState, task_key: str) -> TaskShape:
    """How far a task is."""
    return task_shape(desk.tasks.get(task_key))


@router.post("/tasks/{task_key}/cancel")
def cancel_task(desk: DeskState, task_key: str) -> TaskShape:
    """End a task; what it had begun is taken back. It ends at its next step, so the answer may still say that it runs."""
    task = desk.tasks.get(task_key)
    task.cancel()
    return task_shape(task)


@router.delete("/tasks/{task_key}", status_code=204)
def drop_task(desk: DeskState, task_key: str) -> Response:
    """Forget a task and the files that it made; one that runs is cancelled first."""
    desk.tasks.drop(task_key)
    return Response(status_code=204)
