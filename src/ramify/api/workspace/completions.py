"""Completions: one, those of a sample, all that match; written, edited, labelled, and what is done to many at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field, JsonValue

from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.selecting import Flag, Given, flag, given
from ramify.api.workspace.shapes import After, Body, Id, Items, Limit, Nats, Page, Shape, cursor_of, place_of
from ramify.store.overview import judged, measured
from ramify.store.records import CompletionRecord
from ramify.store.versions import check_version, version_of
from ramify.workbench import editing

__all__ = ["CompletionShape", "completion_shape", "completion_shapes", "router"]

router = APIRouter(tags=["completions"])

Span = tuple[int, int, Literal["prefill", "sampled", "picked", "typed", "imported"]]
"""[start, end) and where it came from."""


class Labels(Body):
    """Each is a word of one's own; null takes it off."""

    style: str | None = None
    length: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    formatting: str | None = None


class Scored(Shape):
    """What it measures under one model."""

    model: str
    fingerprint: str
    start: int
    count: int
    sum_logprob: Nats
    mean_logprob: Nats
    min_logprob: Nats
    p10_logprob: Nats
    p50_logprob: Nats
    mean_entropy: float | None


class CompletionShape(Shape):
    """A completion."""

    id: int
    version: str
    sample_id: int
    prompt_id: int
    model: str
    fingerprint: str
    text: str = Field(description="With its prefill.")
    generated_start: int = Field(description="Characters of prefill.")
    token_count: int | None
    spans: list[Span] = Field(description="Of tokens; of characters where token_count is null.")
    config: dict[str, JsonValue]
    processors: list[str]
    seed: int | None
    finish_reason: str | None = Field(description="null: a draft that grows.")
    stop_string: str | None
    beam_score: float | None
    truncated: bool
    archived: bool
    hidden: bool
    draft: bool
    running: bool = Field(description="This server is making it now.")
    parent_id: int | None
    branch_position: int | None
    mean_logprob: Nats
    min_logprob: Nats
    labels: dict[str, str]
    tags: list[str]
    details: dict[str, JsonValue]
    created_at: datetime
    ratings: dict[str, int] = Field(description="By facet, given under the facet itself.")
    approved: list[str] = Field(description="Facets.")
    scored: list[Scored]


class NewText(Body):
    text: str
    model: str = Field(default="manual", description='"manual", or the name of what wrote it.')
    truncated: bool = False


class NewEdit(Body):
    text: str
    model: str | None = Field(default=None, description="Who wrote it; null keeps the model's name.")


class CompletionChange(Body):
    labels: Labels | None = None
    tags: list[str] | None = None
    archived: bool | None = None
    hidden: bool | None = None
    truncated: bool | None = None
    version: str | None = None


def completion_shapes(desk: Desk, records: Sequence[CompletionRecord]) -> list[CompletionShape]:
    """Records with their judgements and measures, in their order."""
    ids = [record.id for record in records]
    running = {id_ for id_ in ids if desk.drafting.is_running(id_)}
    # A draft that ended after its record was read: neither running nor ended would be told of it.
    ended = [record.id for record in records if record.draft and record.finish_reason is None and record.id not in running]
    if ended:
        anew = {record.id: record for record in desk.database.completions.get_many(ended)}
        records = [anew.get(record.id, record) for record in records]
    with desk.database.reading():
        judgements, scores = judged(desk.database, ids), measured(desk.database, ids)
    return [
        CompletionShape.model_validate(
            {
                **_plain(record),
                "running": record.id in running,
                "ratings": judgements[record.id].ratings,
                "approved": judgements[record.id].approved,
                "scored": [{name: getattr(each, name) for name in Scored.model_fields} for each in scores[record.id]],
            }
        )
        for record in records
    ]


def completion_shape(desk: Desk, record: CompletionRecord | int) -> CompletionShape:
    """One; a number is read anew. Raises NotFoundError."""
    found = desk.database.completions.get(record) if isinstance(record, int) else record
    return completion_shapes(desk, [found])[0]


SAME = (
    *("id", "sample_id", "prompt_id", "model", "fingerprint", "text", "generated_start", "token_count", "config", "seed"),
    *("finish_reason", "stop_string", "beam_score", "truncated", "archived", "hidden", "draft", "parent_id"),
    *("branch_position", "mean_logprob", "min_logprob", "labels", "details", "created_at"),
)


def _plain(record: CompletionRecord) -> dict[str, Any]:
    return {
        **{name: getattr(record, name) for name in SAME},
        "version": version_of(record),
        "spans": [(span.start, span.end, span.origin) for span in record.spans],
        "processors": list(record.processors),
        "tags": list(record.tags),
    }


# ------------------------------------------------------------ lists


@router.get("/completions")
def list_completions(
    desk: DeskState,
    wanted: Given,
    order: Literal["newest", "oldest", "mean_logprob", "min_logprob", "tokens"] = "newest",
    limit: Limit = 50,
    after: After = None,
) -> Page[CompletionShape]:
    """A page of completions that match; by a measure, only those that have it."""
    page = desk.database.search.completion_ids(
        given(desk, wanted),
        order=order,
        limit=limit,
        after=place_of(after),
        archived=flag(wanted.archived),
        hidden=flag(wanted.hidden),
    )
    return Page(items=completion_shapes(desk, desk.database.completions.get_many(page.ids)), next=cursor_of(page.next))


@router.get("/samples/{sample_id}/completions")
def completions_of_sample(
    desk: DeskState,
    sample_id: Id,
    archived: Flag = "false",
    hidden: Flag = "false",
    draft: Flag = "any",
    prompt_id: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="Of one revision only.")] = None,
) -> Items[CompletionShape]:
    """A sample's completions, oldest first."""
    desk.database.samples.get(sample_id)
    records = desk.database.completions.of(
        sample_id, prompt_id=prompt_id, archived=flag(archived), hidden=flag(hidden), draft=flag(draft)
    )
    return Items(items=completion_shapes(desk, records))


# ------------------------------------------------------------ one


@router.post("/samples/{sample_id}/completions", status_code=201)
def write_completion(desk: DeskState, sample_id: Id, body: NewText) -> CompletionShape:
    """Keep a text that was typed or pasted."""
    sample = desk.database.samples.get(sample_id)
    return completion_shape(desk, editing.write(desk.database, sample, body.text, model=body.model, truncated=body.truncated))


@router.get("/completions/{completion_id}")
def get_completion(desk: DeskState, completion_id: Id) -> CompletionShape:
    """One completion, with its judgements and measures."""
    return completion_shape(desk, completion_id)


@router.patch("/completions/{completion_id}")
def change_completion(desk: DeskState, completion_id: Id, body: CompletionChange) -> CompletionShape:
    """Labels, tags and flags; what is left out stays as it is. The text is fixed: edit it into a child."""
    database = desk.database
    with database.action("change completion", str(completion_id)):
        record = database.completions.get(completion_id)
        check_version(record, body.version, f"completion {completion_id}")
        one = [completion_id]
        if body.labels is not None:
            database.completions.label(one, **body.labels.model_dump(exclude_unset=True))
        if body.tags is not None:
            database.tags.take(set(record.tags) - set(body.tags), completions=one)
            database.tags.put([tag for tag in body.tags if tag not in record.tags], completions=one)
        if body.archived is not None:
            database.completions.archive(one, body.archived)
        if body.hidden is not None:
            database.completions.hide(one, body.hidden)
        if body.truncated is not None:
            database.completions.mark_truncated(one, body.truncated)
        return completion_shape(desk, completion_id)


@router.delete("/completions/{completion_id}", status_code=204)
def delete_completion(desk: DeskState, completion_id: Id) -> Response:
    """Remove it with its measures and judgements; only an undo brings it back."""
    if desk.drafting.is_running(completion_id):
        desk.drafting.discard(completion_id)
    else:
        desk.database.completions.get(completion_id)
        desk.database.completions.delete([completion_id])
    return Response(status_code=204)


@router.post("/completions/{completion_id}/edit", status_code=201)
async def edit_completion(desk: DeskState, completion_id: Id, body: NewEdit) -> CompletionShape:
    """A child with the new text: the typed span is marked, untouched tokens keep their ids and logprobs."""

    def edited() -> CompletionShape:
        parent = desk.database.completions.get(completion_id)
        model = desk.maker(parent) if parent.token_ids is not None else None
        return completion_shape(desk, editing.edit(desk.database, parent, body.text, model=model, name=body.model))

    return await desk.waiting(edited)


@router.get("/completions/{completion_id}/children")
def children(desk: DeskState, completion_id: Id) -> Items[CompletionShape]:
    """Those that continue, branch from, or edit it."""
    desk.database.completions.get(completion_id)
    return Items(items=completion_shapes(desk, desk.database.completions.children(completion_id)))
