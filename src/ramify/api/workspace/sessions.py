"""Token by token: a completion in the making that lives on the server, so that a reload finds it where it was left."""

import json
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from ramify.api.workspace.completions import CompletionShape, Span, completion_shape
from ramify.api.workspace.desk import Desk, DeskState, Held
from ramify.api.workspace.drafts import Count, start_drafts
from ramify.api.workspace.shapes import Body, Config, Id, Items, RowId, Shape
from ramify.api.workspace.tokens import CandidatesShape, K, Search, TokensShape, candidates_shape, kept_shape, texts_of
from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError, StaleError
from ramify.workbench.beginnings import after_prompt, inside
from ramify.workbench.token_branching import Picking

__all__ = ["router"]

router = APIRouter(tags=["token by token"])

Shown = Annotated[int, Field(ge=1, le=1000, description="So many candidates.")]
Length = Annotated[
    RowId | None, Field(description="How many tokens the caller saw; another tab's step since then is refused with 409.")
]


class NewSession(Body):
    model: str | None = None
    facet: str | None = None
    prefill: str | None = None
    k: Shown = 20


class NewSessionInside(Body):
    position: RowId = Field(description="The first token that is not kept.")
    model: str | None = None
    k: Shown = 20


class Pick(Body):
    token_id: RowId
    length: Length = None
    k: Shown = 20


class Type(Body):
    text: str
    length: Length = None
    k: Shown = 20


class Undo(Body):
    length: Length = None
    k: Shown = 20


class Finish(Body):
    config: Config = Field(default_factory=dict)
    length: Length = None


class FinishAsDrafts(Body):
    config: Config = Field(default_factory=dict)
    n: Count = 1
    length: Length = None


class SessionShape(Shape):
    key: str
    sample_id: int
    model: str
    parent_id: int | None
    branch_position: int | None
    length: int = Field(description="Tokens so far.")
    text: str
    generated_start: int
    tokens: TokensShape
    origins: list[Span]
    ended: bool = Field(description="An EOS stands at its end.")
    finished: str | None = Field(description="Where the model wrote the rest: why that ended.")
    candidates: CandidatesShape | None = Field(description="null at the end.")


@router.post("/samples/{sample_id}/sessions", status_code=201)
async def start_session(desk: DeskState, sample_id: Id, body: NewSession) -> SessionShape:
    """Begin to pick tokens after a sample's prompt."""

    def started() -> SessionShape:
        sample = desk.database.samples.get(sample_id)
        model = desk.model(body.model, body.facet)
        start = after_prompt(model, sample, body.prefill)
        return _shape(desk.sessions.put(Picking(desk.database, model, start), sample_id), body.k)

    return await desk.waiting(started)


@router.post("/completions/{completion_id}/sessions", status_code=201)
async def start_session_inside(desk: DeskState, completion_id: Id, body: NewSessionInside) -> SessionShape:
    """Begin to pick tokens from the middle of a completion, which stays as it is."""

    def started() -> SessionShape:
        parent = desk.database.completions.get(completion_id)
        model = desk.model_for(parent, body.model)
        start = inside(desk.database, model, parent, body.position, codec=desk.codec_of(parent))
        return _shape(desk.sessions.put(Picking(desk.database, model, start), parent.sample_id), body.k)

    return await desk.waiting(started)


@router.get("/sessions")
async def list_sessions(desk: DeskState, k: K = 20) -> Items[SessionShape]:
    """Every session in hand."""

    def found() -> Items[SessionShape]:
        items = []
        for held in desk.sessions.all():
            with held.lock:
                items.append(_shape(held, k))
        return Items(items=items)

    return await desk.waiting(found)


@router.get("/sessions/{key}")
async def get_session(desk: DeskState, key: str, k: K = 20) -> SessionShape:
    """A session as it is."""
    return await desk.waiting(_step, desk, key, None, k, lambda _: None)


@router.get("/sessions/{key}/candidates")
async def session_candidates(
    desk: DeskState,
    key: str,
    k: K = 20,
    search: Search = None,
    config: Annotated[
        str | None, Query(max_length=20_000, description="A config as JSON, whose processors are shown too.")
    ] = None,
) -> CandidatesShape:
    """What the model could say next."""
    settings = _config(config)

    def found() -> CandidatesShape:
        with desk.sessions.using(key) as held:
            made = held.thing
            return candidates_shape(len(made.token_ids), made.next(k, search=search, config=settings))

    return await desk.waiting(found)


@router.post("/sessions/{key}/pick")
async def pick(desk: DeskState, key: str, body: Pick) -> SessionShape:
    """Append a token: one forward pass. An EOS ends the completion."""
    return await desk.waiting(_step, desk, key, body.length, body.k, lambda made: made.pick(body.token_id))


@router.post("/sessions/{key}/type")
async def type_text(desk: DeskState, key: str, body: Type) -> SessionShape:
    """Append text of one's own."""
    return await desk.waiting(_step, desk, key, body.length, body.k, lambda made: made.type(body.text))


@router.post("/sessions/{key}/undo")
async def undo_step(desk: DeskState, key: str, body: Undo) -> SessionShape:
    """Take back what the model finished, else the last token."""
    return await desk.waiting(_step, desk, key, body.length, body.k, lambda made: made.undo())


@router.post("/sessions/{key}/finish")
async def finish(desk: DeskState, key: str, body: Finish) -> SessionShape:
    """Let the model write the rest, and wait for it. To watch it, or to stop it, make a draft of it."""
    config = GenerationConfig.from_dict(body.config)
    return await desk.waiting(_step, desk, key, body.length, 20, lambda made: made.finish(config))


@router.post("/sessions/{key}/drafts", status_code=201)
async def finish_as_drafts(desk: DeskState, key: str, body: FinishAsDrafts) -> Items[CompletionShape]:
    """Let the model write the rest as drafts, which stream. The session stays where it is."""

    def begun() -> Items[CompletionShape]:
        with desk.sessions.using(key) as held:
            _check_length(held, body.length)
            made = held.thing
            return start_drafts(desk, [(made.model, made.so_far())], body.config, body.n)

    return await desk.waiting(begun)


@router.post("/sessions/{key}/save", status_code=201)
def save(desk: DeskState, key: str) -> CompletionShape:
    """Keep it as a completion; truncated unless an EOS stands at its end. The session goes on."""
    with desk.sessions.using(key) as held:
        return completion_shape(desk, held.thing.save())


@router.delete("/sessions/{key}", status_code=204)
def drop(desk: DeskState, key: str) -> Response:
    """Leave it, and give its memory back."""
    desk.sessions.drop(key)
    return Response(status_code=204)


def _step(desk: Desk, key: str, length: int | None, k: int, step: Callable[[Picking], object]) -> SessionShape:
    with desk.sessions.using(key) as held:
        _check_length(held, length)
        step(held.thing)
        return _shape(held, k)


def _check_length(held: Held[Picking], length: int | None) -> None:
    found = len(held.thing.token_ids)
    if length is not None and length != found:
        raise StaleError(f"the session has {found} tokens, and {length} were seen; somebody took a step. Read it again")


def _shape(held: Held[Picking], k: int) -> SessionShape:
    made = held.thing
    info, start, ids = made.model.info, made.beginning, made.token_ids
    open_ = not made.ended and made.finished is None
    return SessionShape(
        key=held.key,
        sample_id=held.sample_id,
        model=info.name,
        parent_id=start.parent_id,
        branch_position=start.position,
        length=len(ids),
        text=made.text,
        generated_start=start.generated_start,
        tokens=kept_shape(
            made.model.codec,
            (info.name, info.fingerprint),
            completion_id=None,
            start=0,
            total=len(ids),
            ids=ids,
            texts=texts_of(ids, made.model.codec.token_bytes),
            measured=made.measured,
        ),
        origins=[(span.start, span.end, span.origin) for span in made.spans],
        ended=made.ended,
        finished=None if made.finished is None else made.finished.finish_reason,
        candidates=candidates_shape(len(ids), made.next(k)) if open_ else None,
    )


def _config(text: str | None) -> GenerationConfig | None:
    if text is None:
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"config is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"config is {type(fields).__name__}; it must be an object with fields of GenerationConfig")
    return GenerationConfig.from_dict(fields)
