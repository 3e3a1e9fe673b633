"""What a bulk run has still to do. A run is known by a word that stands with every completion it made; so a run that was killed
goes on from what is there, and nothing else has to be kept in step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, or_, select

from ramify.store import tables
from ramify.store.changes import chunks, decode_rows

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["BulkRuns"]

completions, logprobs, prompts, samples = tables.completions, tables.logprobs, tables.prompts, tables.samples


class BulkRuns:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def to_generate(self, sample_ids: Sequence[int], run: str) -> list[int]:
        """Those of the samples for whose current prompt this run has made no completion, in the order given. Unknown ids stay in.

        What somebody deleted was made; where a run was undone, or the history forgotten, it was not.
        """
        with self.database.reading() as connection:
            made = select(completions.c.prompt_id).where(completions.c.bulk == run).distinct()
            done = set(connection.execute(made).scalars()) | _deleted(connection, run)
            current = (prompts.c.sample_id == samples.c.id) & (prompts.c.number == samples.c.revision)
            answered: set[int] = set()
            for part in chunks(sample_ids) if done else ():
                query = select(samples.c.id, prompts.c.id).join(prompts, current).where(samples.c.id.in_(part))
                answered |= {row[0] for row in connection.execute(query) if row[1] in done}
        return [i for i in sample_ids if i not in answered]

    def made(self, prompt_id: int, run: str) -> bool:
        """Whether the run has a completion of this prompt; asked inside the action that would add one."""
        mine = (completions.c.bulk == run) & (completions.c.prompt_id == prompt_id)
        with self.database.reading() as connection:
            return connection.execute(select(func.count()).where(mine)).scalar_one() > 0

    def to_score(self, completion_ids: Sequence[int], fingerprint: str) -> list[int]:
        """Those of the completions that no model of this fingerprint has measured to their end, in the order given."""
        known = select(tables.models.c.id).where(tables.models.c.fingerprint == fingerprint)
        # Ids of its own are of the whole text; a completion's own ids may be measured in part, as after an edit.
        whole = or_(logprobs.c.token_ids.is_not(None), logprobs.c.start + logprobs.c.token_count == completions.c.token_count)
        measured: set[int] = set()
        with self.database.reading() as connection:
            for part in chunks(completion_ids):
                query = (
                    select(logprobs.c.completion_id)
                    .join(completions, completions.c.id == logprobs.c.completion_id)
                    .where(logprobs.c.completion_id.in_(part), logprobs.c.model_id.in_(known), whole)
                )
                measured |= set(connection.execute(query).scalars())
        return [i for i in completion_ids if i not in measured]


def _deleted(connection: Connection, run: str) -> set[int]:
    """The prompts of which a completion by this run was deleted."""
    changes, actions = tables.changes, tables.actions
    query = (
        select(changes.c.before)
        .join(actions, actions.c.id == changes.c.action_id)
        .where(changes.c.table_name == completions.name, changes.c.kind == "delete", actions.c.state == "done")
        .where(changes.c.before.contains(f'"bulk":"{run}"', autoescape=True))
    )
    rows = (row for before in connection.execute(query).scalars() for row in decode_rows(before))
    return {row["prompt_id"] for row in rows if row["bulk"] == run}
