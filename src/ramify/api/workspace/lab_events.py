"""A run of the lab as it goes: the report as it stands, then every completion as it is measured."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from ramify.api.state import ServerState
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.lab import run_shape
from ramify.api.workspace.lab_shapes import GroupHead, ReportShape, TextShape, head_shape, report_shape, text_shape
from ramify.api.workspace.lab_work import LabNews
from ramify.api.workspace.shapes import Id, Shape

__all__ = ["router"]

router = APIRouter(tags=["lab"])

PING_S = 15
LOOK_S = 1.0


class LabEvent(Shape):
    """The data of an event. Which fields there are depends on the event's name."""

    report: ReportShape | None = Field(default=None, description="report, end.")
    text: TextShape | None = Field(default=None, description="text; it takes the place of one with the same place and number.")
    head: GroupHead | None = Field(default=None, description="head: a group's facts, tables and checks as they now stand.")
    shared: list[tuple[int, int]] | None = Field(default=None, description="head: for texts by number, TextShape.shared.")
    done: int | None = Field(default=None, description="text, head.")


@router.get(
    "/lab/runs/{run_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/LabEvent"}}}, "model": LabEvent}},
)
async def lab_events(desk: DeskState, server: ServerState, run_id: Id) -> Response:
    """Server-sent events: report (as it stands), text, head, and at last end (the whole report), which ends the stream."""
    await asyncio.to_thread(desk.database.labs.get, run_id)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return EventSourceResponse(_events(desk, server, run_id), ping=PING_S, headers=headers)


async def _events(desk: Desk, server: Any, run_id: int) -> AsyncIterator[ServerSentEvent]:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[LabNews] = asyncio.Queue()

    def heard(news: LabNews) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(waiting.put_nowait, news)

    stop = await asyncio.to_thread(desk.labs.follow, run_id, heard)
    try:
        yield await asyncio.to_thread(_report, desk, run_id, "report")
        while stop is not None and not server.draining:
            try:
                news = await asyncio.wait_for(waiting.get(), LOOK_S)
            except TimeoutError:
                if not desk.labs.at_work(run_id):
                    break
                continue
            if news.kind == "end":
                break
            yield _event(news.kind, _said(news))
        yield await asyncio.to_thread(_report, desk, run_id, "end")
    finally:
        if stop is not None:
            stop()


def _said(news: LabNews) -> LabEvent:
    assert news.content is not None
    if news.kind == "text":
        return LabEvent(text=text_shape(news.place, news.content, None), done=news.done)
    return LabEvent(head=head_shape(news.place, news.content), shared=list(news.shared), done=news.done)


def _report(desk: Desk, run_id: int, name: str) -> ServerSentEvent:
    record = desk.database.labs.get(run_id)
    run = run_shape(desk, record)
    report = report_shape(run, record, desk.labs.content(run_id), desk.database.labs.kept(run_id))
    return _event(name, LabEvent(report=report))


def _event(name: str, data: LabEvent) -> ServerSentEvent:
    # ASCII, so that no line separator of Unicode can end a line.
    text = json.dumps(data.model_dump(mode="json", exclude_unset=True), ensure_ascii=True, separators=(",", ":"))
    return ServerSentEvent(data=text, event=name)
