"""Facets: the purposes under which completions are judged, with what they inherit."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.shapes import Body, Id, Items, Nats, Shape
from ramify.errors import NotFoundError
from ramify.store.records import FacetRecord
from ramify.store.versions import check_version, version_of

__all__ = ["router"]

router = APIRouter(tags=["judging"])

Rating = Annotated[int, Field(ge=0, le=10)]
Bound = Annotated[float, Field(le=0, allow_inf_nan=False)]


class Effective(Shape):
    """With everything inherited."""

    good_rating: int
    bad_rating: int
    min_logprob: Nats
    mean_logprob: Nats
    target_model: str
    chain: list[str] = Field(description="The facet, its parent, its parent's parent …")
    sources: dict[str, str] = Field(description='For each value the facet it comes from, or "workspace", or "default".')


class FacetShape(Shape):
    """A facet; what is null is inherited."""

    id: int
    version: str
    name: str
    description: str
    parent: str | None
    good_rating: int | None
    bad_rating: int | None
    min_logprob: Nats
    mean_logprob: Nats
    target_model: str | None
    created_at: datetime
    effective: Effective


class NewFacet(Body):
    name: str
    description: str = ""
    parent: str | None = None
    good_rating: Rating | None = None
    bad_rating: Rating | None = None
    min_logprob: Bound | None = None
    mean_logprob: Bound | None = None
    target_model: str | None = None


class FacetChange(Body):
    """What is left out stays; null is inherited again."""

    name: str | None = None
    description: str | None = None
    parent: str | None = None
    good_rating: Rating | None = None
    bad_rating: Rating | None = None
    min_logprob: Bound | None = None
    mean_logprob: Bound | None = None
    target_model: str | None = None
    version: str | None = None


class ConflictShape(Shape):
    pair: tuple[int, int]
    preferences: list[int]


class AgreementShape(Shape):
    agree: int
    disagree: int
    undecided: int
    share: float | None
    against: list[int] = Field(description="The preferences that the ratings contradict.")


class ReportShape(Shape):
    conflicts: list[ConflictShape] = Field(description="Pairs that were judged in different ways.")
    cycles: list[list[int]] = Field(description="Each better than the next, the last better than the first.")
    agreement: AgreementShape


@router.get("/facets")
def facets(desk: DeskState) -> Items[FacetShape]:
    """Every facet, by name."""
    with desk.database.reading():
        return Items(items=[_facet(desk, record) for record in desk.database.facets.list()])


@router.post("/facets", status_code=201)
def add_facet(desk: DeskState, body: NewFacet) -> FacetShape:
    """A new facet."""
    fields = body.model_dump()
    return _facet(desk, desk.database.facets.add(fields.pop("name"), **fields))


@router.get("/facets/{facet_id}")
def get_facet(desk: DeskState, facet_id: Id) -> FacetShape:
    """One facet, and what it inherits."""
    return _facet(desk, facet_of(desk, facet_id))


@router.patch("/facets/{facet_id}")
def edit_facet(desk: DeskState, facet_id: Id, body: FacetChange) -> FacetShape:
    """Change a facet; a circle of parents is refused."""
    with desk.database.action("edit facet", str(facet_id)):
        record = facet_of(desk, facet_id)
        check_version(record, body.version, f"the facet {record.name!r}")
        given = body.model_dump(exclude_unset=True, exclude={"version"})
        # A facet always has a name and a description: null leaves them as they are.
        given = {name: value for name, value in given.items() if value is not None or name not in ("name", "description")}
        return _facet(desk, desk.database.facets.edit(record.name, **given))


@router.delete("/facets/{facet_id}", status_code=204)
def delete_facet(desk: DeskState, facet_id: Id) -> Response:
    """Remove a facet with its judgements; its children lose their parent. An undo brings all back."""
    desk.database.facets.delete(facet_of(desk, facet_id).name)
    return Response(status_code=204)


@router.get("/facets/{facet_id}/report")
def report(desk: DeskState, facet_id: Id, sample: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None) -> ReportShape:
    """Conflicts, circles, and how far preferences and ratings agree, of the facet's own judgements."""
    found = desk.database.judgements.report(facet_of(desk, facet_id).name, sample_id=sample)
    said = found.agreement
    return ReportShape(
        conflicts=[ConflictShape(pair=each.pair, preferences=list(each.preferences)) for each in found.conflicts],
        cycles=[list(cycle) for cycle in found.cycles],
        agreement=AgreementShape(
            agree=said.agree, disagree=said.disagree, undecided=said.undecided, share=said.share, against=list(said.against)
        ),
    )


def facet_of(desk: Desk, facet_id: int) -> FacetRecord:
    """Raises NotFoundError."""
    found = next((record for record in desk.database.facets.list() if record.id == facet_id), None)
    if found is None:
        raise NotFoundError(f"there is no facet {facet_id}")
    return found


def _facet(desk: Desk, record: FacetRecord) -> FacetShape:
    resolved = desk.database.facets.effective(record.name)
    names = [name for name in FacetShape.model_fields if name not in ("version", "effective")]
    return FacetShape.model_validate(
        {
            **{name: getattr(record, name) for name in names},
            "version": version_of(record),
            "effective": {
                **{name: getattr(resolved, name) for name in Effective.model_fields if name not in ("chain", "sources")},
                "chain": list(resolved.chain),
                "sources": dict(resolved.sources),
            },
        }
    )
