"""What surrounds the lists: groups, counts, words, saved filters, tags."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field, JsonValue

from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.shapes import Body, Id, Items, Shape
from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.filters import CHOICE, FIELDS, MAY_NAME_MODEL, NEED_FACET, SavedFilter, to_data
from ramify.store.overview import facet_counts, group_tree, tag_counts
from ramify.store.records import TagRecord

__all__ = ["router"]

router = APIRouter(tags=["library"])


class WorkspaceShape(Shape):
    where: str = Field(description="The file's path, or the URL without its password.")
    read_only: bool
    samples: int = Field(description="Neither archived nor hidden.")
    completions: int = Field(description="The same, saved ones.")
    drafts: int
    groups: int
    author: str


class GroupShape(Shape):
    path: str
    name: str
    depth: int
    samples: int = Field(description="Directly in it.")
    below: int = Field(description="With all groups below.")


class FacetCount(Shape):
    facet: str
    rated: int
    good: int
    bad: int
    preferences: int
    approved: int
    waiting: int


class HitShape(Shape):
    kind: Literal["completion", "sample"]
    id: int
    sample_id: int
    title: str = Field(description="The sample's.")
    snippet: str
    spans: list[tuple[int, int]] = Field(description="Where in the snippet the words are.")


class FilterShape(Shape):
    id: int
    name: str
    description: str
    filter: dict[str, JsonValue]


class NewFilter(Body):
    name: str
    filter: dict[str, JsonValue]
    description: str = ""


class FieldShape(Shape):
    field: str
    of: Literal["sample", "completion"]
    ops: list[str]
    kind: str = Field(description="words, text, number, flag, time or id.")
    needs_facet: bool
    may_name_model: bool
    values: list[str] | None = Field(description="All that there are, where they are few.")


class TagShape(Shape):
    id: int
    name: str
    description: str
    scope: Literal["samples", "completions", "both"]
    samples: int = Field(description="That carry it.")
    completions: int


class NewTag(Body):
    name: str
    description: str = ""
    scope: Literal["samples", "completions", "both"] = "both"


class TagChange(Body):
    name: str | None = None
    description: str | None = None


@router.get("/workspace")
def workspace(desk: DeskState) -> WorkspaceShape:
    """What is open, and how much is in it."""
    database = desk.database
    draft: dict[str, Any] = {"field": "draft", "op": "is", "value": True}
    return WorkspaceShape(
        where=database.where,
        read_only=database.read_only,
        samples=database.samples.count(),
        completions=database.search.count_completions({"not": draft}),
        drafts=database.search.count_completions(draft),
        groups=len(group_tree(database)),
        author=database.author,
    )


@router.get("/groups")
def groups(desk: DeskState) -> Items[GroupShape]:
    """The group tree, parents first."""
    found = group_tree(desk.database)
    return Items(items=[GroupShape(path=g.path, name=g.name, depth=g.depth, samples=g.samples, below=g.below) for g in found])


@router.get("/counts")
def counts(desk: DeskState) -> Items[FacetCount]:
    """How much was judged under each facet itself."""
    return Items(items=[FacetCount(**{n: getattr(c, n) for n in FacetCount.model_fields}) for c in facet_counts(desk.database)])


@router.get("/search")
def search(
    desk: DeskState,
    text: Annotated[str, Query(min_length=1, max_length=2000, description='Words; "a phrase"; -without; begin*.')],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Items[HitShape]:
    """Completions and then samples in which the words occur, archived ones too, with the piece where they stand."""
    database = desk.database
    with database.reading():
        hits = database.search.text(text, limit=limit)
        owners = {c.id: c.sample_id for c in database.completions.get_many([h.id for h in hits if h.kind == "completion"])}
        ids = [owners[h.id] if h.kind == "completion" else h.id for h in hits]
        titles = {sample.id: sample.title for sample in database.samples.get_many(list(dict.fromkeys(ids)))}
    return Items(
        items=[
            HitShape.model_validate(
                {"kind": h.kind, "id": h.id, "sample_id": i, "title": titles[i], "snippet": h.snippet, "spans": list(h.spans)}
            )
            for h, i in zip(hits, ids, strict=True)
        ]
    )


# ------------------------------------------------------------ filters


@router.get("/filters")
def filters(desk: DeskState) -> Items[FilterShape]:
    """Saved filters, by name."""
    return Items(items=[_filter(saved) for saved in desk.database.filters.records()])


@router.put("/filters")
def save_filter(desk: DeskState, body: NewFilter) -> FilterShape:
    """Keep a filter, in place of an earlier one of that name."""
    desk.database.filters.save(body.name, body.filter, description=body.description)
    return next(_filter(saved) for saved in desk.database.filters.records() if saved.name == body.name)


@router.delete("/filters/{filter_id}", status_code=204)
def delete_filter(desk: DeskState, filter_id: Id) -> Response:
    """Forget a saved filter."""
    name = next((saved.name for saved in desk.database.filters.records() if saved.id == filter_id), None)
    if name is None:
        raise NotFoundError(f"there is no filter {filter_id}")
    desk.database.filters.delete(name)
    return Response(status_code=204)


@router.get("/filters/fields")
def filter_fields() -> Items[FieldShape]:
    """Everything a condition can be about, and how it is asked."""
    few = {"finish_reason": list(tables.FINISH_REASONS)}
    return Items(
        items=[
            FieldShape.model_validate(
                {
                    "field": name,
                    "of": of,
                    "ops": list(ops),
                    "kind": kind,
                    "needs_facet": name in NEED_FACET,
                    "may_name_model": name in MAY_NAME_MODEL,
                    "values": few.get(name) if ops == CHOICE else None,
                }
            )
            for name, (of, ops, kind) in FIELDS.items()
        ]
    )


def _filter(saved: SavedFilter) -> FilterShape:
    return FilterShape(id=saved.id, name=saved.name, description=saved.description, filter=to_data(saved.filter))


# ------------------------------------------------------------ tags


@router.get("/tags")
def tags(desk: DeskState) -> Items[TagShape]:
    """Every tag, by name."""
    counted = tag_counts(desk.database)
    # One that came after the counting is on nothing that was counted.
    return Items(items=[_tag(tag, counted.get(tag.id, (0, 0))) for tag in desk.database.tags.list()])


@router.post("/tags", status_code=201)
def add_tag(desk: DeskState, body: NewTag) -> TagShape:
    """A new tag; putting one on that does not exist makes it too."""
    return _tag(desk.database.tags.add(body.name, description=body.description, scope=body.scope), (0, 0))


@router.patch("/tags/{tag_id}")
def edit_tag(desk: DeskState, tag_id: Id, body: TagChange) -> TagShape:
    """Rename or describe; what carries the tag keeps it."""
    if body.name is not None and not body.name.strip():
        raise InputError("a tag needs a name")
    with desk.database.action("edit tag", str(tag_id)):
        desk.database.tags.edit(_tag_name(desk, tag_id), new_name=body.name, description=body.description)
        found = next(tag for tag in desk.database.tags.list() if tag.id == tag_id)
        return _tag(found, tag_counts(desk.database)[tag_id])


@router.delete("/tags/{tag_id}", status_code=204)
def delete_tag(desk: DeskState, tag_id: Id) -> Response:
    """Take it off everything, and then remove it."""
    desk.database.tags.delete(_tag_name(desk, tag_id))
    return Response(status_code=204)


def _tag_name(desk: Desk, tag_id: int) -> str:
    found = next((tag.name for tag in desk.database.tags.list() if tag.id == tag_id), None)
    if found is None:
        raise NotFoundError(f"there is no tag {tag_id}")
    return found


def _tag(tag: TagRecord, counted: tuple[int, int]) -> TagShape:
    return TagShape.model_validate(
        {
            "id": tag.id,
            "name": tag.name,
            "description": tag.description,
            "scope": tag.scope,
            "samples": counted[0],
            "completions": counted[1],
        }
    )
