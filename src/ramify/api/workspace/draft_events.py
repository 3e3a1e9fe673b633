"""Drafts as they are made: one stream of events for all of them, which a reload takes up where it was left."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from ramify.api.errors import error_of
from ramify.api.state import ServerState
from ramify.api.workspace.completions import CompletionShape, completion_shape
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.shapes import ErrorText, Shape
from ramify.api.workspace.tokens import TokensShape, kept_shape
from ramify.errors import InputError, NotFoundError
from ramify.workbench.conversion import kept_logprobs
from ramify.workbench.draft_events import DraftEvent, Following, Snapshot

__all__ = ["router"]

router = APIRouter(tags=["drafts"])

PING_S = 15
MOST_WAITING = 20_000
"""Events that wait for a slow reader; then its stream ends, and it comes back for the drafts as they are."""


class DraftNews(Shape):
    """The data of an event. Which fields there are depends on the event's name."""

    draft: int
    completion: CompletionShape | None = Field(default=None, description="snapshot, end, error.")
    start: int | None = Field(default=None, description="tokens: the place of the first one.")
    text: str | None = Field(default=None, description="tokens: what is added to the text. snapshot: the whole text so far.")
    tokens: TokensShape | None = Field(default=None, description="snapshot, tokens; not of a remote model.")
    error: ErrorText | None = Field(default=None, description="error.")


@router.get(
    "/drafts/events",
    response_class=EventSourceResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/DraftNews"}}}, "model": DraftNews}
    },
)
async def draft_events(
    request: Request,
    desk: DeskState,
    server: ServerState,
    sample: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="Drafts of this sample only.")] = None,
    draft: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="This draft only; its end ends the stream.")] = None,
    after: Annotated[str | None, Query(max_length=100, description="The id of the last event seen.")] = None,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """Server-sent events: snapshot, tokens, end, error, gone."""
    seen = _number(desk, after if after is not None else last_event_id)
    if draft is not None:
        await asyncio.to_thread(desk.database.completions.get, draft)
    events = _events(desk, server, seen, sample, draft)
    return EventSourceResponse(events, ping=PING_S, headers={"cache-control": "no-store", "x-accel-buffering": "no"})


def _number(desk: Desk, given: str | None) -> int | None:
    """The number in an event's id; None where it is of an earlier life of the server."""
    if given is None:
        return None
    epoch, _, number = given.rpartition("-")
    if not epoch or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise InputError(f"after is {given[:50]!r}, which is no event's id; leave it out to begin with the drafts as they are")
    return int(number) if epoch == desk.drafting.epoch else None


async def _events(
    desk: Desk, server: Any, seen: int | None, sample: int | None, draft: int | None
) -> AsyncIterator[ServerSentEvent]:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[DraftEvent] = asyncio.Queue()

    def heard(event: DraftEvent) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(waiting.put_nowait, event)

    following = await asyncio.to_thread(desk.drafting.follow, heard, after=seen, sample=sample, draft=draft)
    try:
        for event in await asyncio.to_thread(_beginning, desk, following):
            yield event
        if draft is not None and not desk.drafting.is_running(draft) and waiting.empty() and not _ends(following.missed, draft):
            # It ended before anybody listened.
            yield await asyncio.to_thread(_ended, desk, following.number, draft)
            return
        if _ends(following.missed, draft):
            return
        while not server.draining and waiting.qsize() <= MOST_WAITING:
            try:
                news = [await asyncio.wait_for(waiting.get(), 1.0)]
            except TimeoutError:
                continue
            while not waiting.empty():
                news.append(waiting.get_nowait())
            joined = _joined(news)
            # Tokens are at hand; what an end tells is read from disk, off this loop.
            if all(event.kind == "tokens" for event in joined):
                told = [_sent(desk, event) for event in joined]
            else:
                told = await asyncio.to_thread(lambda events: [_sent(desk, event) for event in events], joined)
            for sent in told:
                yield sent
            if _ends(news, draft):
                return
    finally:
        following.stop()


def _ends(events: "list[DraftEvent] | tuple[DraftEvent, ...]", draft: int | None) -> bool:
    return draft is not None and any(event.draft == draft and event.kind not in ("begun", "tokens") for event in events)


def _joined(events: list[DraftEvent]) -> list[DraftEvent]:
    """What waited, tokens of one draft that follow each other as one event with the last one's number: a slow reader catches up
    in few steps, and no number is passed over."""
    found: list[DraftEvent] = []
    for event in events:
        before = found[-1] if found else None
        if before is not None and event.kind == before.kind == "tokens" and event.draft == before.draft:
            found[-1] = replace(
                event,
                start=before.start,
                text=before.text + event.text,
                ids=before.ids + event.ids,
                pieces=before.pieces + event.pieces,
                logprobs=before.logprobs + event.logprobs,
            )
        else:
            found.append(event)
    return found


def _beginning(desk: Desk, following: Following) -> list[ServerSentEvent]:
    snapshots = [event for shot in following.snapshots if (event := _snapshot(desk, shot)) is not None]
    return [*snapshots, *(_sent(desk, event) for event in _joined(list(following.missed)))]


def _snapshot(desk: Desk, shot: Snapshot) -> ServerSentEvent | None:
    try:
        completion = completion_shape(desk, shot.draft)
    except NotFoundError:  # undone in this moment
        return None
    model = desk.models.loaded().get(completion.model)
    tokens = None
    if model is not None:
        tokens = kept_shape(
            model.codec,
            (completion.model, completion.fingerprint),
            completion_id=shot.draft,
            start=0,
            total=len(shot.ids),
            ids=shot.ids,
            texts=shot.pieces,
            measured=shot.logprobs,
        )
    return _event(
        desk, shot.number, "snapshot", DraftNews(draft=shot.draft, completion=completion, text=shot.text, tokens=tokens)
    )


def _ended(desk: Desk, number: int, draft: int) -> ServerSentEvent:
    return _event(desk, number, "end", DraftNews(draft=draft, completion=completion_shape(desk, draft)))


def _sent(desk: Desk, event: DraftEvent) -> ServerSentEvent:
    if event.kind == "tokens":
        model = event.model
        if model is None:  # a remote tells text alone
            return _event(desk, event.number, "tokens", DraftNews(draft=event.draft, text=event.text))
        tokens = kept_shape(
            model.codec,
            (model.info.name, model.info.fingerprint),
            completion_id=event.draft,
            start=event.start,
            total=event.start + len(event.ids),
            ids=event.ids,
            texts=event.pieces,
            measured=kept_logprobs(event.logprobs),
            processed=event.logprobs,
        )
        news = DraftNews(draft=event.draft, start=event.start, text=event.text, tokens=tokens)
        return _event(desk, event.number, "tokens", news)
    if event.snapshot is not None and (begun := _snapshot(desk, event.snapshot)) is not None:
        return begun
    try:
        completion = None if event.kind == "gone" else completion_shape(desk, event.draft)
    except NotFoundError:
        completion = None
    kind = "gone" if completion is None else event.kind
    told = error_of(event.error).body["error"] if event.error is not None and kind == "error" else None
    news = DraftNews(draft=event.draft, completion=completion, error=ErrorText.model_validate(told) if told else None)
    return _event(desk, event.number, kind, news)


def _event(desk: Desk, number: int, name: str, news: DraftNews) -> ServerSentEvent:
    # ASCII, so that no line separator of Unicode can end a line.
    data = json.dumps(news.model_dump(mode="json", exclude_unset=True), ensure_ascii=True, separators=(",", ":"))
    return ServerSentEvent(data=data, event=name, id=f"{desk.drafting.epoch}-{number}")
