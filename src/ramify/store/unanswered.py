"""Requests that a facet's store could not answer, waiting for somebody to write the answer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from ramify.errors import NotFoundError
from ramify.store import tables
from ramify.store.facets import facet_id_of, name_of
from ramify.store.prompts import prompt_columns, prompt_from
from ramify.store.records import FacetRecord, Prompt, SampleRecord, UnansweredRecord, id_of, moment

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Unanswered"]

unanswered, facets = tables.unanswered, tables.facets


class Unanswered:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def add(self, facet: FacetRecord | str, prompt: Prompt) -> UnansweredRecord:
        """Note a request. One that waits already is counted again, and one that was settled waits anew."""
        columns, facet = prompt_columns(prompt), name_of(facet)
        with self.database.action("queue request", facet) as action:
            facet_id = facet_id_of(action.connection, facet)
            same = (unanswered.c.facet_id == facet_id) & (unanswered.c.hash == columns["hash"])
            old = action.connection.execute(select(unanswered).where(same)).first()
            if old is None:
                row = {"facet_id": facet_id, "state": "waiting", "created_at": action.time, "asked_at": action.time, **columns}
                (found,) = action.insert(unanswered, [row])
            else:
                found = old.id
                action.update(unanswered, [found], {"asked": old.asked + 1, "asked_at": action.time, "state": "waiting"})
            return self.get(found)

    def get(self, request: UnansweredRecord | int) -> UnansweredRecord:
        """As it is now. Raises NotFoundError."""
        request_id = _id(request)
        found = self._records(unanswered.c.id == request_id, 1)
        if not found:
            raise NotFoundError(f"there is no queued request {request_id}")
        return found[0]

    def list(
        self,
        facet: FacetRecord | str | None = None,
        *,
        state: str = "waiting",
        limit: int = 50,
        after: int = 0,
    ) -> Sequence[UnansweredRecord]:
        """Oldest first; `after` is the id of the last one already seen."""
        condition: Any = (unanswered.c.state == state) & (unanswered.c.id > after)
        if facet is not None:
            with self.database.reading() as connection:
                condition = condition & (unanswered.c.facet_id == facet_id_of(connection, name_of(facet)))
        return self._records(condition, limit)

    def answer(self, request: UnansweredRecord | int, sample: SampleRecord | int) -> UnansweredRecord:
        """Settle a request: this sample answers it now."""
        request_id, sample_id = _id(request), id_of(sample, SampleRecord)
        with self.database.action("answer request", str(request_id)) as action:
            self.get(request_id)
            self.database.samples.get(sample_id)
            action.update(unanswered, [request_id], {"state": "answered", "sample_id": sample_id})
            return self.get(request_id)

    def dismiss(self, request: UnansweredRecord | int) -> UnansweredRecord:
        """Settle a request without an answer."""
        request_id = _id(request)
        with self.database.action("dismiss request", str(request_id)) as action:
            self.get(request_id)
            action.update(unanswered, [request_id], {"state": "dismissed"})
            return self.get(request_id)

    def _records(self, condition: Any, limit: int) -> Sequence[UnansweredRecord]:
        query = select(unanswered, facets.c.name).join(facets, facets.c.id == unanswered.c.facet_id).where(condition)
        with self.database.reading() as connection:
            return [
                UnansweredRecord(
                    id=row.id,
                    facet=row.name,
                    prompt=prompt_from(row.messages, row.text),
                    asked=row.asked,
                    state=row.state,
                    sample_id=row.sample_id,
                    created_at=moment(row.created_at),
                    asked_at=moment(row.asked_at),
                )
                for row in connection.execute(query.order_by(unanswered.c.id).limit(limit))
            ]


def _id(request: UnansweredRecord | int) -> int:
    return request.id if isinstance(request, UnansweredRecord) else request
