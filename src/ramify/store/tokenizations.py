"""Ids of a completion's text under models that did not write it: a text is tokenized once for a model, and those ids are kept."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import select

from ramify.store import tables
from ramify.store.changes import model_id_of
from ramify.store.packing import pack_ids, unpack_ids

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Tokenizations"]

tokenizations, logprobs, models = tables.tokenizations, tables.logprobs, tables.models


class Tokenizations:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def of(self, completion_id: int, fingerprint: str) -> tuple[int, ...] | None:
        """The ids kept for a model, or those it was measured by; None where it has not read this text yet."""
        known = select(models.c.id).where(models.c.fingerprint == fingerprint)
        with self.database.reading() as connection:
            for table in (tokenizations, logprobs):
                mine = (table.c.completion_id == completion_id) & table.c.model_id.in_(known) & table.c.token_ids.is_not(None)
                found = connection.execute(select(table.c.token_ids).where(mine).order_by(table.c.id.desc()).limit(1)).scalar()
                if found is not None:
                    return unpack_ids(bytes(found))
        return None

    def keep(self, completion_id: int, model: str, fingerprint: str, token_ids: Sequence[int]) -> None:
        """Keep the ids of a text under a model, unless there are some: the first ones stay."""
        with self.database.action("tokenize", model) as action:
            if self.of(completion_id, fingerprint) is None:
                row = {"completion_id": completion_id, "model_id": model_id_of(action.connection, model, fingerprint)}
                action.insert(tokenizations, [{**row, "token_ids": pack_ids(token_ids)}])
