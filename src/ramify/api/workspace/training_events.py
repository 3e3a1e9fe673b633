"""A training run as it goes: the run as it stands, then every line that it measures, and whatever it does next.

The run is another process, perhaps of another server; its record and its log are files, looked at while somebody listens.
"""

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
from ramify.api.workspace.shapes import Shape
from ramify.api.workspace.training import Key, look_at, run_of
from ramify.api.workspace.training_shapes import LineShape, RunShape, RunWhole, line_shape
from ramify.errors import NotFoundError
from ramify.training.records import RECORD

__all__ = ["router"]

router = APIRouter(tags=["training"])

PING_S = 15
LOOK_S = 0.25


class TrainingEvent(Shape):
    """The data of an event. Which fields there are depends on the event's name."""

    run: RunWhole | None = Field(default=None, description="run, end: the whole as it stands, in place of what was known.")
    state: RunShape | None = Field(default=None, description="state, line.")
    lines: list[LineShape] | None = Field(default=None, description="line: what was measured since, in order.")


@router.get(
    "/training/runs/{run_key}/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/TrainingEvent"}}},
            "model": TrainingEvent,
        }
    },
)
async def training_events(desk: DeskState, server: ServerState, run_key: Key) -> Response:
    """Server-sent events: run (as it stands), line, state, and at last end (the whole), which ends the stream."""
    await asyncio.to_thread(desk.trainings.get, run_key)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return EventSourceResponse(_events(desk, server, run_key), ping=PING_S, headers=headers)


async def _events(desk: Desk, server: Any, key: str) -> AsyncIterator[ServerSentEvent]:
    watch = _Watch(desk, key)
    while not server.draining:
        try:
            found = await asyncio.to_thread(watch.look)
        except NotFoundError:  # deleted meanwhile
            return
        for name, data in found:
            yield _event(name, data)
            if name == "end":
                return
        await asyncio.sleep(LOOK_S)


class _Watch:
    """What is new in a run's folder, each time one looks."""

    def __init__(self, desk: Desk, key: str) -> None:
        self._desk, self._key = desk, key
        folder = desk.trainings.folder(key)
        self._log, self._record = folder / "log.jsonl", folder / RECORD
        self._at: int | None = None
        """So many bytes of the log were told; None: nothing was."""
        self._seen: tuple[float, str] = (0.0, "")

    def look(self) -> list[tuple[str, TrainingEvent]]:
        """(name, data) of what happened since. Raises NotFoundError where the run was deleted."""
        changed = self._changed()
        size = self._log.stat().st_size if self._log.exists() else 0
        if self._at is None or size < self._at:  # a run that goes on drops what it does again
            self._at = size
            whole = look_at(self._desk, self._key)
            return [("run" if whole.state == "running" else "end", TrainingEvent(run=whole))]
        lines = self._new_lines(size)
        if not lines and not changed:
            return []
        state = run_of(self._desk, self._key)
        if state.state != "running":
            return [("end", TrainingEvent(run=look_at(self._desk, self._key)))]
        return [("line", TrainingEvent(state=state, lines=lines)) if lines else ("state", TrainingEvent(state=state))]

    def _changed(self) -> bool:
        """Whether the record was written anew, or its process is gone."""
        try:
            now = self._record.stat().st_mtime, self._desk.trainings.get(self._key).state
        except OSError:
            raise NotFoundError(f"the training run {self._key!r} is gone") from None
        before, self._seen = self._seen, now
        return now != before

    def _new_lines(self, size: int) -> list[LineShape]:
        """Whole lines behind those that were told."""
        assert self._at is not None
        if size == self._at:
            return []
        with self._log.open("rb") as file:
            file.seek(self._at)
            found = file.read(size - self._at)
        whole = found[: found.rfind(b"\n") + 1]
        self._at += len(whole)
        return [line_shape(json.loads(line)) for line in whole.split(b"\n")[:-1]]


def _event(name: str, data: TrainingEvent) -> ServerSentEvent:
    # ASCII, so that no line separator of Unicode can end a line.
    text = json.dumps(data.model_dump(mode="json", exclude_unset=True), ensure_ascii=True, separators=(",", ":"))
    return ServerSentEvent(data=text, event=name)
