"""Many rows inside one action, as an import writes them: looked up, inserted and judged a thousand at a time.

Everything goes through the action's recorded changes, so one undo takes all of it back. Callers give prompts as the columns that
`prompts.prompt_columns` made of them, for what was checked once is not checked twice.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from ramify.errors import InputError
from ramify.store import tables
from ramify.store.changes import Action, chunks, model_id_of
from ramify.store.completions import completion_rows
from ramify.store.facets import facet_id_of
from ramify.store.records import NewCompletion
from ramify.store.samples import checked_group

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["BulkRows", "Known", "NewSample"]

samples, prompts, completions, bodies = tables.samples, tables.prompts, tables.completions, tables.completion_bodies
ratings, preferences = tables.ratings, tables.preferences


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSample:
    """A sample that is not in the workspace yet."""

    columns: Mapping[str, Any]
    """The prompt, as `prompt_columns` gives it."""
    title: str = ""
    group: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """A completion that is there already."""

    id: int
    model: str
    text_hash: bytes


class BulkRows:
    """Lives as long as the action that it writes in."""

    def __init__(self, database: "Database", action: Action) -> None:
        self.database = database
        self.action = action
        self._models: dict[tuple[str, str], int] = {}
        self._facets: dict[str, int] = {}

    # ------------------------------------------------------------ what is there

    def prompts(self, hashes: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(sample id, prompt id) of the oldest prompt with each hash, in any revision."""
        found: dict[str, tuple[int, int]] = {}
        for part in chunks(list(dict.fromkeys(hashes))):
            query = select(prompts.c.hash, prompts.c.sample_id, prompts.c.id).where(prompts.c.hash.in_(part))
            for row in self.action.connection.execute(query.order_by(prompts.c.id)):
                found.setdefault(row[0], (row[1], row[2]))
        return found

    def completions(self, prompt_ids: Sequence[int]) -> dict[int, list[Known]]:
        """The completions of prompts, oldest first; drafts are not counted."""
        found: dict[int, list[Known]] = defaultdict(list)
        models = tables.models
        query = (
            select(completions.c.prompt_id, completions.c.id, models.c.name, bodies.c.text_hash)
            .join(bodies, bodies.c.id == completions.c.id)
            .join(models, models.c.id == completions.c.model_id)
            .where(completions.c.draft.is_(False))
            .order_by(completions.c.id)
        )
        for part in chunks(list(dict.fromkeys(prompt_ids))):
            for row in self.action.connection.execute(query.where(completions.c.prompt_id.in_(part))):
                found[row[0]].append(Known(row[1], row[2], bytes(row[3])))
        return found

    # ------------------------------------------------------------ what comes in

    def add_samples(self, rows: Sequence[NewSample]) -> list[tuple[int, int]]:
        """(sample id, prompt id) of each, in order."""
        time = self.action.time
        heads = [(row.title, checked_group(row.group), row.notes, time, time) for row in rows]
        ids = self.action.insert_rows(samples, ("title", "group_path", "notes", "created_at", "changed_at"), heads)
        names = ("messages", "text", "hash")
        texts = [(i, 1, time, *(row.columns[name] for name in names)) for i, row in zip(ids, rows, strict=True)]
        return list(zip(ids, self.action.insert_rows(prompts, ("sample_id", "number", "created_at", *names), texts), strict=True))

    def add_completions(self, rows: Sequence[tuple[int, int, NewCompletion]]) -> list[int]:
        """(sample id, prompt id, completion) rows; returns their ids in order. They have neither parents nor logprobs.

        Raises InputError for a completion with either, before anything is written.
        """
        for _, _, new in rows:
            if new.parent_id is not None or new.logprobs is not None:
                raise InputError("completions that come in bulk have neither a parent nor logprobs; add them one by one")
        heads, texts = completion_rows(self.action, [(s, p, self._model_id(new), new) for s, p, new in rows])
        if not heads:
            return []
        ids = self.action.insert_rows(completions, tuple(heads[0]), [tuple(row.values()) for row in heads])
        bodies_rows = [(i, *row.values()) for i, row in zip(ids, texts, strict=True)]
        self.action.insert_rows(bodies, ("id", *texts[0]), bodies_rows)
        return ids

    def _model_id(self, new: NewCompletion) -> int:
        key = (new.model, new.fingerprint)
        if key not in self._models:
            self._models[key] = model_id_of(self.action.connection, *key)
        return self._models[key]

    # ------------------------------------------------------------ what is thought of it

    def rate(self, facet: str, rows: Mapping[int, int], *, origin: str) -> int:
        """Ratings by completion where there is none yet under this facet; returns how many were added."""
        facet_id = self._facet_id(facet)
        rated: set[int] = set()
        for part in chunks(list(rows)):
            query = select(ratings.c.completion_id).where(ratings.c.facet_id == facet_id, ratings.c.completion_id.in_(part))
            rated.update(self.action.connection.execute(query).scalars())
        same = {"facet_id": facet_id, "origin": origin, "created_at": self.action.time}
        fresh = [{"completion_id": i, "rating": rating, **same} for i, rating in rows.items() if i not in rated]
        return len(self.action.insert(ratings, fresh))

    def prefer(self, facet: str, rows: Sequence[tuple[int, int, int, bool]], *, origin: str) -> int:
        """(sample, better, worse, tie) rows that this origin has not said yet of their pair; returns how many were added.

        What the same origin said the other way round stays, and is a conflict for the facet's report.
        """
        facet_id = self._facet_id(facet)
        said: set[tuple[int, int, bool]] = set()
        for part in chunks(list(dict.fromkeys(better for _, better, _, _ in rows))):
            query = select(preferences.c.better_id, preferences.c.worse_id, preferences.c.tie).where(
                preferences.c.facet_id == facet_id, preferences.c.origin == origin, preferences.c.better_id.in_(part)
            )
            said.update((row[0], row[1], bool(row[2])) for row in self.action.connection.execute(query))
        same = {"facet_id": facet_id, "origin": origin, "created_at": self.action.time}
        fresh = []
        for sample_id, better, worse, tie in dict.fromkeys(rows):
            if better != worse and (better, worse, tie) not in said:
                fresh.append({"sample_id": sample_id, "better_id": better, "worse_id": worse, "tie": tie, **same})
        return len(self.action.insert(preferences, fresh))

    def _facet_id(self, facet: str) -> int:
        if facet not in self._facets:
            self._facets[facet] = facet_id_of(self.action.connection, facet)
        return self._facets[facet]
