"""Another workspace: its samples, completions, measures, and what is thought of them under each facet.

Left behind are drafts, beam trees, older revisions' prompts without completions, saved filters and the history.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ramify.errors import InputError, WorkspaceError
from ramify.exchange.entries import Answer, Entry, Record
from ramify.exchange.kept import Kept, KeptAnswer
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, Prompt

__all__ = ["is_workspace", "read"]

SIGN = b"SQLite format 3\0"
PAGE = 200


def is_workspace(name: str) -> bool:
    if name.startswith("postgresql://"):
        return True
    path = Path(name)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) == SIGN


def read(name: str, *, facet: str | None = None) -> Iterator[tuple[Record, list[Entry]]]:
    """Every sample, oldest first; one entry a revision that has completions. facet: judgements of this one only."""
    try:
        other = Database.open(name, create=False, read_only=True)
    except WorkspaceError as error:
        raise InputError(f"{name} cannot be read: {error}") from None
    with other:
        facets = {each.name: each for each in other.facets.list()}
        if facet is not None and facet not in facets:
            raise InputError(f"{name} has no facet {facet!r}; it has {', '.join(facets) or 'none'}")
        last, number = 0, 0
        while page := _page(other, last):
            for sample in other.samples.get_many(page):
                number += 1
                entries = [
                    _entry(other, sample, prompt.prompt, prompt.id, facet)
                    for prompt in other.samples.revisions(sample.id)
                    if prompt.id == sample.prompt_id or _completions(other, sample.id, prompt.id)
                ]
                yield Record(name, number, {}), entries
            last = page[-1]


def _page(other: Database, last: int) -> list[int]:
    from sqlalchemy import select

    from ramify.store.tables import samples

    with other.reading() as connection:
        query = select(samples.c.id).where(samples.c.id > last).order_by(samples.c.id).limit(PAGE)
        return list(connection.execute(query).scalars())


def _entry(other: Database, sample: Any, prompt: Prompt, prompt_id: int, only: str | None) -> Entry:
    completions = _completions(other, sample.id, prompt_id)
    place = {each.id: index for index, each in enumerate(completions)}
    ratings, preferences, approved = [], [], []
    for each in completions:
        for rating in other.judgements.ratings_of(each.id):
            if only in (None, rating.facet):
                ratings.append((place[each.id], rating.facet, rating.rating))
    for said in other.judgements.preferences(sample_id=sample.id, facet=only):
        if said.better_id in place and said.worse_id in place:
            preferences.append((said.facet, place[said.better_id], place[said.worse_id], said.tie))
    names = {facet for _, facet, _ in ratings} | {facet for facet, *_ in preferences}
    for facet in other.facets.list():
        found = other.judgements.approved(sample.id, facet.name) if only in (None, facet.name) else None
        if found in place:
            approved.append((facet.name, place[found]))
            names.add(facet.name)
    return Entry(
        prompt=prompt,
        answers=tuple(_answer(other, each, place) for each in completions),
        title=sample.title,
        group=sample.group,
        notes=sample.notes,
        tags=sample.tags,
        kept=Kept(
            ratings=tuple(ratings),
            preferences=tuple(preferences),
            approved=tuple(approved),
            facets=tuple(step for name in sorted(names) for step in reversed(other.facets.chain(name))),
            archived=sample.archived,
            hidden=sample.hidden,
            images=sample.images,
        ),
    )


def _completions(other: Database, sample_id: int, prompt_id: int) -> list[CompletionRecord]:
    return other.completions.of(sample_id, prompt_id=prompt_id, archived=None, hidden=None, draft=False)


def _answer(other: Database, record: CompletionRecord, place: dict[int, int]) -> Answer:
    parent = None if record.parent_id is None else place.get(record.parent_id)
    kept = KeptAnswer(
        new=record.anew(),
        parent=parent,
        branch_position=record.branch_position,
        logprobs=tuple(other.logprobs.of(record.id)),
        archived=record.archived,
        hidden=record.hidden,
    )
    return Answer(text=record.text, model=record.model, truncated=record.truncated, tags=record.tags, kept=kept)
