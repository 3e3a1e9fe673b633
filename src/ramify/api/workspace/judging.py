"""Judging: ratings, preferences, approvals, the ranking that follows from them, blind duels, and requests without an answer."""

import secrets
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from ramify.api.workspace.completions import CompletionShape, completion_shape
from ramify.api.workspace.desk import DeskState
from ramify.api.workspace.samples import SampleShape, sample_shape
from ramify.api.workspace.shapes import After, Body, Id, Items, Limit, Page, Prompt, RowId, Shape, cursor_of, place_of
from ramify.errors import InputError
from ramify.store.duels import next_duel
from ramify.store.records import CompletionRecord, PreferenceRecord, UnansweredRecord

__all__ = ["PreferenceShape", "preference_shape", "router"]

router = APIRouter(tags=["judging"])

Sample = Annotated[int | None, Query(ge=0, le=2**63 - 1)]
Facet = Annotated[str, Query(description="The facet's name.")]


class Rate(Body):
    facet: str
    rating: Annotated[int, Field(ge=0, le=10)] | None = Field(description="null takes it back.")


class Approve(Body):
    facet: str
    approved: bool


class NewPreference(Body):
    better_id: RowId
    worse_id: RowId
    facet: str
    tie: bool = False


class PreferenceShape(Shape):
    id: int
    facet: str
    sample_id: int
    better_id: int
    worse_id: int
    tie: bool = Field(description="Neither is better; the two ids are in no order.")
    origin: str
    created_at: datetime


class Ranked(Shape):
    completion_id: int
    place: int = Field(description="1 is the best.")
    strength: float = Field(description="Log-odds; 0 is average.")
    error: float = Field(description="Standard deviation of the strength.")
    comparisons: int
    rating: int | None
    rating_from: str | None = Field(description="The facet whose rating it is: this one or an ancestor.")


class RankingShape(Shape):
    items: list[Ranked]
    next_pair: tuple[int, int] | None = Field(description="Most worth comparing next; null when every pair was.")
    compared: int
    pairs: int


class Side(Shape):
    """Nothing says who wrote it."""

    id: int
    text: str
    generated_start: int


class DuelShape(Shape):
    sample_id: int
    sample: SampleShape
    left: Side
    right: Side
    compared: int = Field(description="Pairs of this sample that were compared.")
    pairs: int


class UnansweredShape(Shape):
    id: int
    facet: str
    prompt: Prompt
    asked: int = Field(description="How often.")
    state: Literal["waiting", "answered", "dismissed"]
    sample_id: int | None
    created_at: datetime
    asked_at: datetime


class Answer(Body):
    sample_id: RowId | None = Field(default=None, description="null: the sample that has this prompt, or a new one.")


# ------------------------------------------------------------ judgements


@router.put("/completions/{completion_id}/rating")
def rate(desk: DeskState, completion_id: Id, body: Rate) -> CompletionShape:
    """Rate it under a facet, in place of an earlier rating."""
    desk.database.judgements.rate(completion_id, body.facet, body.rating)
    return completion_shape(desk, completion_id)


@router.put("/completions/{completion_id}/approval")
def approve(desk: DeskState, completion_id: Id, body: Approve) -> CompletionShape:
    """Make it the answer to its sample under a facet, in place of an earlier one; or take that back."""
    judgements = desk.database.judgements
    with desk.database.action("approve" if body.approved else "disapprove", body.facet):
        record = desk.database.completions.get(completion_id)
        if body.approved:
            judgements.approve(completion_id, body.facet)
        elif judgements.approved(record.sample_id, body.facet) == completion_id:
            judgements.disapprove(record.sample_id, body.facet)
        return completion_shape(desk, completion_id)


@router.get("/preferences")
def preferences(desk: DeskState, facet: str | None = None, sample: Sample = None) -> Items[PreferenceShape]:
    """Oldest first. Raises 400 where neither a facet nor a sample narrows them."""
    if facet is None and sample is None:
        raise InputError("give a facet, a sample, or both; all preferences of a workspace are an export")
    found = desk.database.judgements.preferences(facet=facet, sample_id=sample)
    return Items(items=[preference_shape(record) for record in found])


@router.post("/preferences", status_code=201)
def prefer(desk: DeskState, body: NewPreference) -> PreferenceShape:
    """One is better than the other under a facet, or neither is. It takes the place of what was said of this pair by hand."""
    return preference_shape(desk.database.judgements.prefer(body.better_id, body.worse_id, body.facet, tie=body.tie))


@router.delete("/preferences/{preference_id}", status_code=204)
def withdraw(desk: DeskState, preference_id: Id) -> Response:
    """Take a preference back."""
    desk.database.judgements.withdraw(preference_id)
    return Response(status_code=204)


@router.get("/samples/{sample_id}/ranking")
def ranking(desk: DeskState, sample_id: Id, facet: Facet) -> RankingShape:
    """A sample's completions in order, with how sure that is; the nearest facet's judgements count."""
    judgements = desk.database.judgements
    with desk.database.reading():
        desk.database.samples.get(sample_id)
        found, effective = judgements.ranking(sample_id, facet), judgements.effective(sample_id, facet)
    asked = {frozenset((each.better_id, each.worse_id)) for each in effective.preferences}
    ratings = effective.ratings
    return RankingShape(
        items=[
            Ranked(
                completion_id=each.item,
                place=place,
                strength=each.strength,
                error=each.error,
                comparisons=each.comparisons,
                rating=ratings[each.item].rating if each.item in ratings else None,
                rating_from=ratings[each.item].facet if each.item in ratings else None,
            )
            for place, each in enumerate(found.strengths, start=1)
        ],
        next_pair=found.next_pair(skip=asked),
        compared=len(asked),
        pairs=len(found.strengths) * (len(found.strengths) - 1) // 2,
    )


@router.get("/duel")
def duel(desk: DeskState, facet: Facet, sample: Sample = None) -> DuelShape | None:
    """The two completions most worth comparing next, of one sample or of the next one with a pair open; null when there is none.

    The sides are swapped at random here. Answer with POST /api/preferences.
    """
    with desk.database.reading():
        found = next_duel(desk.database, facet, sample_id=sample)
        if found is None:
            return None
        first, second = desk.database.completions.get_many(found.pair)
        record = desk.database.samples.get(found.sample_id)
    if secrets.randbits(1):
        first, second = second, first
    return DuelShape(
        sample_id=found.sample_id,
        sample=sample_shape(record),
        left=_side(first),
        right=_side(second),
        compared=found.compared,
        pairs=found.pairs,
    )


def preference_shape(record: PreferenceRecord) -> PreferenceShape:
    return PreferenceShape(**{name: getattr(record, name) for name in PreferenceShape.model_fields})


def _side(record: CompletionRecord) -> Side:
    return Side(id=record.id, text=record.text, generated_start=record.generated_start)


# ------------------------------------------------------------ requests without an answer


@router.get("/unanswered")
def unanswered(
    desk: DeskState,
    facet: str | None = None,
    state: Literal["waiting", "answered", "dismissed"] = "waiting",
    limit: Limit = 50,
    after: After = None,
) -> Page[UnansweredShape]:
    """Requests that a facet's store could not answer, oldest first."""
    place = place_of(after)
    found = desk.database.unanswered.list(facet, state=state, limit=limit + 1, after=0 if place is None else place[1])
    shown = found[:limit]
    end = (shown[-1].id, shown[-1].id) if len(found) > limit else None
    return Page(items=[_unanswered(record) for record in shown], next=cursor_of(end))


@router.post("/unanswered/{request_id}/answer")
def answer(desk: DeskState, request_id: Id, body: Answer) -> UnansweredShape:
    """Settle a request: this sample answers it now. Without one, the sample with its prompt does, made where there is none."""
    database = desk.database
    with database.action("answer request", str(request_id)):
        asked = database.unanswered.get(request_id)
        sample_id = body.sample_id
        if sample_id is None:
            found = database.samples.find(asked.prompt)
            sample_id = (found[0] if found else database.samples.add(asked.prompt)).id
        return _unanswered(database.unanswered.answer(request_id, sample_id))


@router.post("/unanswered/{request_id}/dismiss")
def dismiss(desk: DeskState, request_id: Id) -> UnansweredShape:
    """Settle a request without an answer."""
    return _unanswered(desk.database.unanswered.dismiss(request_id))


def _unanswered(record: UnansweredRecord) -> UnansweredShape:
    prompt = record.prompt if isinstance(record.prompt, str) else [dict(message) for message in record.prompt]
    same = {name: getattr(record, name) for name in UnansweredShape.model_fields if name != "prompt"}
    return UnansweredShape.model_validate({**same, "prompt": prompt})
