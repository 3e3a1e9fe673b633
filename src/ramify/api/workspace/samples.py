"""Samples: the library's list, one sample, its prompt, and what is done to many at once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, JsonValue

from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.selecting import Given, flag, given
from ramify.api.workspace.shapes import (
    After,
    Body,
    Id,
    Items,
    Limit,
    Page,
    Prompt,
    RowId,
    Shape,
    cursor_of,
    place_of,
)
from ramify.store.overview import SampleCounts, sample_counts
from ramify.store.records import ImageRecord, SampleRecord
from ramify.store.versions import check_version, version_of

__all__ = ["PREVIEW", "SampleShape", "router", "sample_shape"]

router = APIRouter(tags=["samples"])

PREVIEW = 200
"""Characters of the prompt in a list."""


class ImageShape(Body):
    path: str
    media_type: str = ""
    sha256: str = ""


class _Head(Shape):
    id: int
    version: str
    title: str
    group: str
    prompt_id: int
    revision: int
    tags: list[str]
    archived: bool
    hidden: bool
    created_at: datetime
    changed_at: datetime


class SampleShape(_Head):
    """A sample."""

    notes: str
    prompt: Prompt
    images: list[ImageShape]


class SampleRow(_Head):
    """A sample in a list."""

    preview: str = Field(description="The prompt's first characters.")
    messages: bool = Field(description="Whether the prompt is a chat.")
    completions: int
    drafts: int
    truncated: int
    approved: list[str] = Field(description="Facets under which a completion is approved.")


class NewSample(Body):
    prompt: Prompt
    title: str = ""
    group: str = ""
    notes: str = ""
    tags: list[str] = Field(default_factory=list)
    images: list[ImageShape] = Field(default_factory=list)


class SampleChange(Body):
    title: str | None = None
    group: str | None = None
    notes: str | None = None
    tags: list[str] | None = None
    images: list[ImageShape] | None = None
    version: str | None = None


class NewPrompt(Body):
    prompt: Prompt
    version: str | None = None


class Revision(Shape):
    id: int
    number: int
    parent_id: int | None
    prompt: Prompt
    created_at: datetime


class Count(Shape):
    count: int


class Ids(Shape):
    ids: list[int]


class RowsWanted(Body):
    ids: Annotated[list[RowId], Field(max_length=500)]


def sample_shape(record: SampleRecord) -> SampleShape:
    return SampleShape.model_validate(
        {
            **_head(record),
            "notes": record.notes,
            "prompt": record.prompt if isinstance(record.prompt, str) else [dict(message) for message in record.prompt],
            "images": [{"path": i.path, "media_type": i.media_type, "sha256": i.sha256} for i in record.images],
        }
    )


def _head(record: SampleRecord) -> dict[str, Any]:
    names = ("id", "title", "group", "prompt_id", "revision", "archived", "hidden", "created_at", "changed_at")
    return {**{name: getattr(record, name) for name in names}, "tags": list(record.tags), "version": version_of(record)}


def _row(record: SampleRecord, counts: SampleCounts) -> SampleRow:
    chat = not isinstance(record.prompt, str)
    text = "\n".join(_words(message) for message in record.prompt) if not isinstance(record.prompt, str) else record.prompt
    return SampleRow(
        **_head(record),
        preview=text[:PREVIEW],
        messages=chat,
        completions=counts.completions,
        drafts=counts.drafts,
        truncated=counts.truncated,
        approved=counts.approved,
    )


def _words(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return " ".join(str(part["text"]) for part in content or () if isinstance(part, Mapping) and "text" in part)


def _rows(desk: Desk, ids: "list[int] | tuple[int, ...]") -> list[SampleRow]:
    with desk.database.reading():
        records = desk.database.samples.get_many(ids)
        counts = sample_counts(desk.database, [record.id for record in records])
    return [_row(record, counts[record.id]) for record in records]


# ------------------------------------------------------------ lists


@router.get("/samples")
def list_samples(
    desk: DeskState,
    wanted: Given,
    order: Literal["newest", "oldest"] = "newest",
    limit: Limit = 50,
    after: After = None,
) -> Page[SampleRow]:
    """A page of samples that match, or of which a completion matches."""
    page = desk.database.search.sample_ids(
        given(desk, wanted),
        order=order,
        limit=limit,
        after=place_of(after),
        archived=flag(wanted.archived),
        hidden=flag(wanted.hidden),
    )
    return Page(items=_rows(desk, page.ids), next=cursor_of(page.next))


@router.get("/samples/count")
def count_samples(desk: DeskState, wanted: Given) -> Count:
    """How many match, exactly."""
    search = desk.database.search
    return Count(count=search.count_samples(given(desk, wanted), archived=flag(wanted.archived), hidden=flag(wanted.hidden)))


@router.get("/samples/ids")
def sample_ids(desk: DeskState, wanted: Given, order: Literal["newest", "oldest"] = "newest") -> Ids:
    """The ids of all that match, in order: what a list that scrolls freely knows of rows that are not on the screen."""
    search = desk.database.search
    found = search.all_sample_ids(given(desk, wanted), archived=flag(wanted.archived), hidden=flag(wanted.hidden))
    return Ids(ids=found if order == "oldest" else found[::-1])


@router.post("/samples/rows")
def sample_rows(desk: DeskState, body: RowsWanted) -> Items[SampleRow]:
    """The rows of these ids, in this order; what is gone is left out."""
    return Items(items=_rows(desk, body.ids))


# ------------------------------------------------------------ one


@router.post("/samples", status_code=201)
def add_sample(desk: DeskState, body: NewSample) -> SampleShape:
    """A new sample."""
    images = [ImageRecord(path=i.path, media_type=i.media_type, sha256=i.sha256) for i in body.images]
    made = desk.database.samples.add(
        plain(body.prompt), title=body.title, group=body.group, notes=body.notes, tags=body.tags, images=images
    )
    return sample_shape(made)


@router.get("/samples/{sample_id}")
def get_sample(desk: DeskState, sample_id: Id) -> SampleShape:
    """One sample, with its whole prompt."""
    return sample_shape(desk.database.samples.get(sample_id))


@router.patch("/samples/{sample_id}")
def edit_sample(desk: DeskState, sample_id: Id, body: SampleChange) -> SampleShape:
    """Change what surrounds the prompt; what is left out stays as it is."""
    database = desk.database
    with database.action("edit sample", str(sample_id)):
        record = database.samples.get(sample_id)
        check_version(record, body.version, f"sample {sample_id}")
        database.samples.edit(sample_id, title=body.title, group=body.group, notes=body.notes)
        if body.tags is not None:
            database.tags.take(set(record.tags) - set(body.tags), samples=[sample_id])
            database.tags.put([tag for tag in body.tags if tag not in record.tags], samples=[sample_id])
        if body.images is not None:
            database.samples.attach(
                sample_id, [ImageRecord(path=i.path, media_type=i.media_type, sha256=i.sha256) for i in body.images]
            )
        return sample_shape(database.samples.get(sample_id))


@router.put("/samples/{sample_id}/prompt")
def revise_prompt(desk: DeskState, sample_id: Id, body: NewPrompt) -> SampleShape:
    """Change the prompt: in place while it has no completions, else as a new revision."""
    with desk.database.action("revise prompt", str(sample_id)):
        check_version(desk.database.samples.get(sample_id), body.version, f"sample {sample_id}")
        return sample_shape(desk.database.samples.revise(sample_id, plain(body.prompt)))


@router.get("/samples/{sample_id}/revisions")
def revisions(desk: DeskState, sample_id: Id) -> Items[Revision]:
    """Every revision of the prompt, oldest first."""
    found = desk.database.samples.revisions(sample_id)
    return Items(
        items=[
            Revision.model_validate(
                {
                    "id": r.id,
                    "number": r.number,
                    "parent_id": r.parent_id,
                    "prompt": r.prompt if isinstance(r.prompt, str) else [dict(message) for message in r.prompt],
                    "created_at": r.created_at,
                }
            )
            for r in found
        ]
    )


def plain(prompt: Prompt) -> "str | list[dict[str, JsonValue]]":
    """The prompt as the workspace takes it."""
    return prompt if isinstance(prompt, str) else [message.model_dump() for message in prompt]
