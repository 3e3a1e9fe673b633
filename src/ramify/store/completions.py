"""Completions: what was written after a prompt, by whom, how, and from which tokens."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.changes import Action, chunks, made_by, model_id_of
from ramify.store.logprobs import Scored, put_logprobs, with_numbers
from ramify.store.packing import pack_ids, to_json, unpack_ids
from ramify.store.prompts import checked_text
from ramify.store.records import CompletionRecord, NewCompletion, SampleRecord, SpanRecord, id_of, ids_of, moment
from ramify.store.secrets import refuse_secrets

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Completions", "completion_rows", "completions_by_id"]

completions, bodies = tables.completions, tables.completion_bodies


class Completions:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def add(
        self, sample: SampleRecord | int, new: NewCompletion, *, prompt_id: int | None = None, tags: Sequence[str] = ()
    ) -> CompletionRecord:
        """Keep a completion of the sample's current prompt, or of the revision named. Raises NotFoundError, InputError."""
        with self.database.action("add completion", new.model) as action:
            (found,) = self._insert(action, [(id_of(sample, SampleRecord), prompt_id, new)])
            if tags:
                self.database.tags.put(tags, completions=[found])
            return self.get(found)

    def add_many(self, rows: Iterable[tuple[SampleRecord | int, NewCompletion]], *, prompt_id: int | None = None) -> list[int]:
        """(sample, completion) rows as one action; returns their ids in order.

        They are of the samples' current prompts, or all of the revision named.
        """
        with self.database.action("add completions") as action:
            return self._insert(action, [(id_of(sample, SampleRecord), prompt_id, new) for sample, new in rows])

    def _insert(self, action: Action, rows: Sequence[tuple[int, int | None, NewCompletion]]) -> list[int]:
        connection = action.connection
        current = _prompts_of(connection, [(sample_id, prompt_id) for sample_id, prompt_id, _ in rows])
        models = {(new.model, new.fingerprint) for _, _, new in rows}
        model_ids = {key: model_id_of(connection, *_checked_model(key)) for key in sorted(models)}
        for sample_id, _, new in rows:
            self._check_parent(connection, sample_id, new)
        known = [(s, current[s, p], model_ids[new.model, new.fingerprint], new) for s, p, new in rows]
        heads, texts = completion_rows(action, known)
        ids = action.insert(completions, heads)
        action.insert(bodies, texts, ids)
        made = [(i, model_ids[new.model, new.fingerprint], new) for i, (_, _, new) in zip(ids, rows, strict=True)]
        put_logprobs(action, [row for each in made for row in _scored(connection, *each)], fresh=True)
        return ids

    @staticmethod
    def _check_parent(connection: Connection, sample_id: int, new: NewCompletion) -> None:
        if new.parent_id is None:
            return
        theirs = connection.execute(select(completions.c.sample_id).where(completions.c.id == new.parent_id)).scalar()
        if theirs is None:
            raise NotFoundError(f"there is no completion {new.parent_id} to be the parent")
        if theirs != sample_id:
            raise InputError(
                f"completion {new.parent_id} belongs to sample {theirs}; a parent must be of the same sample, {sample_id}"
            )

    # ------------------------------------------------------------ reading

    def get(self, completion: CompletionRecord | int) -> CompletionRecord:
        """As it is now. Raises NotFoundError."""
        completion_id = id_of(completion, CompletionRecord)
        with self.database.reading() as connection:
            found = completions_by_id(connection, [completion_id])
        if not found:
            raise NotFoundError(f"there is no completion {completion_id}")
        return found[0]

    def get_many(self, which: Sequence[CompletionRecord | int]) -> list[CompletionRecord]:
        """Those that exist, in the order given."""
        with self.database.reading() as connection:
            return completions_by_id(connection, ids_of(which, CompletionRecord))

    def of(
        self,
        sample: SampleRecord | int,
        *,
        prompt_id: int | None = None,
        archived: bool | None = False,
        hidden: bool | None = False,
        draft: bool | None = None,
    ) -> list[CompletionRecord]:
        """A sample's completions, oldest first, of every revision unless one is named. None lists both kinds."""
        query = select(completions.c.id).where(completions.c.sample_id == id_of(sample, SampleRecord)).order_by(completions.c.id)
        if prompt_id is not None:
            query = query.where(completions.c.prompt_id == prompt_id)
        for column, wanted in ((completions.c.archived, archived), (completions.c.hidden, hidden), (completions.c.draft, draft)):
            if wanted is not None:
                query = query.where(column.is_(wanted))
        with self.database.reading() as connection:
            return completions_by_id(connection, connection.execute(query).scalars().all())

    def same_text(self, prompt_id: int, text: str) -> list[int]:
        """Ids of completions of this prompt with exactly this text."""
        query = (
            select(completions.c.id)
            .join(bodies, bodies.c.id == completions.c.id)
            .where(completions.c.prompt_id == prompt_id, bodies.c.text_hash == _hash(text), bodies.c.text == text)
            .order_by(completions.c.id)
        )
        with self.database.reading() as connection:
            return list(connection.execute(query).scalars())

    def children(self, completion: CompletionRecord | int) -> list[CompletionRecord]:
        with self.database.reading() as connection:
            query = (
                select(completions.c.id)
                .where(completions.c.parent_id == id_of(completion, CompletionRecord))
                .order_by(completions.c.id)
            )
            return completions_by_id(connection, connection.execute(query).scalars().all())

    # ------------------------------------------------------------ drafts

    def grow(self, completion: CompletionRecord | int, new: NewCompletion) -> None:
        """Replace what a draft holds, as it streams in. Durable, but no step of the history: undo takes back the whole draft.

        Raises InputError when the completion is saved already.
        """
        completion_id = id_of(completion, CompletionRecord)
        with self.database.writing() as connection:
            record = self.get(completion_id)
            if not record.draft:
                raise InputError(f"completion {completion_id} is saved; only a draft grows. Edit it into a child instead")
            refuse_secrets(new.config, "config")
            refuse_secrets(new.details, "details")
            # Logprobs that come with growth belong to the action that made the draft, and go when it is undone.
            hand = Action(connection, "", number=made_by(connection, completions, completion_id))
            hand.set_rows(completions, [completion_id], _measured_head(new))
            hand.set_rows(bodies, [completion_id], _body(new))
            model_id = connection.execute(select(completions.c.model_id).where(completions.c.id == completion_id)).scalar_one()
            put_logprobs(hand, _scored(connection, completion_id, model_id, new), recorded=False)

    def save(self, completion: CompletionRecord | int) -> CompletionRecord:
        """Make a draft a completion like any other. Raises InputError while it has no finish_reason."""
        completion_id = id_of(completion, CompletionRecord)
        with self.database.action("save draft", str(completion_id)) as action:
            if self.get(completion_id).finish_reason is None:
                raise InputError(f"draft {completion_id} is still growing; finish or cancel it first")
            action.update(completions, [completion_id], {"draft": False})
            return self.get(completion_id)

    # ------------------------------------------------------------ changing

    def label(self, which: Sequence[CompletionRecord | int], **labels: str | None) -> int:
        """Put style, length, reasoning, refusal or formatting labels on; None takes one off. Returns how many changed."""
        ids = ids_of(which, CompletionRecord)
        with self.database.action("label completions", f"{len(ids)}") as action:
            return len(action.update(completions, ids, _labels(labels)))

    def archive(self, which: Sequence[CompletionRecord | int], archived: bool = True) -> int:
        """Put completions away: kept, but out of lists, rankings and exports. Returns how many changed."""
        return self._flag("archive completions" if archived else "unarchive completions", which, "archived", archived)

    def hide(self, which: Sequence[CompletionRecord | int], hidden: bool = True) -> int:
        """Remove from view only: rankings and exports still have them. Returns how many changed."""
        return self._flag("hide completions" if hidden else "show completions", which, "hidden", hidden)

    def mark_truncated(self, which: Sequence[CompletionRecord | int], truncated: bool = True) -> int:
        """Say that a text ends early, or does not. Returns how many changed."""
        return self._flag("mark truncated" if truncated else "mark complete", which, "truncated", truncated)

    def _flag(self, name: str, which: Sequence[CompletionRecord | int], column: str, value: bool) -> int:
        ids = ids_of(which, CompletionRecord)
        with self.database.action(name, f"{len(ids)}") as action:
            return len(action.update(completions, ids, {column: value}))

    def delete(self, which: Sequence[CompletionRecord | int]) -> None:
        """Remove completions with their logprobs and judgements. Only an undo brings them back.

        Children stay and lose their parent.
        """
        ids = ids_of(which, CompletionRecord)
        with self.database.action("delete completions", f"{len(ids)}") as action:
            action.delete(completions, ids)


def completion_rows(
    action: Action, rows: Sequence[tuple[int, int, int, NewCompletion]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(sample id, prompt id, model's number, completion) → rows of `completions` and `completion_bodies`. Raises InputError."""
    heads, texts = [], []
    for sample_id, prompt_id, model_id, new in rows:
        _checked_model((new.model, new.fingerprint))
        refuse_secrets(new.config, "config")
        refuse_secrets(new.details, "details")
        labels = _labels(new.labels)
        heads.append(
            {
                "sample_id": sample_id,
                "prompt_id": prompt_id,
                "model_id": model_id,
                "parent_id": new.parent_id,
                "branch_position": new.branch_position,
                "created_at": _stamp(new, action),
                "draft": new.draft,
                "bulk": new.bulk,
                **{label: labels.get(label) for label in tables.LABELS},
                **_measured_head(new),
            }
        )
        texts.append(_body(new))
    return heads, texts


def _prompts_of(connection: Connection, wanted: Sequence[tuple[int, int | None]]) -> dict[tuple[int, int | None], int]:
    """The prompt's id for each (sample, revision or None for the current one)."""
    samples, prompts = tables.samples, tables.prompts
    found: dict[tuple[int, int | None], int] = {}
    ids = sorted({sample_id for sample_id, prompt_id in wanted if prompt_id is None})
    for part in chunks(ids):
        joined = (prompts.c.sample_id == samples.c.id) & (prompts.c.number == samples.c.revision)
        for row in connection.execute(select(samples.c.id, prompts.c.id).join(prompts, joined).where(samples.c.id.in_(part))):
            found[row[0], None] = row[1]
    for sample_id, prompt_id in wanted:
        if (sample_id, prompt_id) not in found:
            theirs = (
                None
                if prompt_id is None
                else connection.execute(select(prompts.c.sample_id).where(prompts.c.id == prompt_id)).scalar()
            )
            if theirs != sample_id or prompt_id is None:
                revision = "" if prompt_id is None else f" with a prompt {prompt_id}"
                raise NotFoundError(f"there is no sample {sample_id}{revision}")
            found[sample_id, prompt_id] = prompt_id
    return found


def _checked_model(key: tuple[str, str]) -> tuple[str, str]:
    if not key[0].strip():
        raise InputError('a completion needs the name of its model; one written by hand has "manual" or the name of its author')
    refuse_secrets(list(key), "model")
    return key


def _labels(labels: Mapping[str, str | None]) -> dict[str, str | None]:
    unknown = sorted(set(labels) - set(tables.LABELS))
    if unknown:
        raise InputError(f"there is no label {unknown[0]!r}; there are {', '.join(tables.LABELS)}")
    return {name: None if value is None else checked_text(value, f"the label {name}") for name, value in labels.items()}


def _stamp(new: NewCompletion, action: Action) -> str:
    from datetime import UTC

    return action.time if new.created_at is None else new.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _scored(connection: Connection, completion_id: int, model_id: int, new: NewCompletion) -> list[Scored]:
    """What is known of its tokens under its own model: one row, or none."""
    if new.spelt is not None:
        tokens = with_numbers(connection, model_id, new.spelt)
        return [(completion_id, model_id, 0, tokens, [token.token_id for token in tokens])]
    return [] if new.logprobs is None else [(completion_id, model_id, _start(new), new.logprobs, None)]


def _start(new: NewCompletion) -> int:
    """The first token that the logprobs speak of: they end where the ids end."""
    start = len(new.token_ids or ()) - len(new.logprobs or ())
    if start < 0:
        raise InputError(
            f"{len(new.logprobs or ())} logprobs were given for {len(new.token_ids or ())} tokens; there can be one a token"
        )
    theirs = [token.token_id for token in new.logprobs or ()]
    if theirs != list(new.token_ids or ())[start:]:
        raise InputError("the logprobs' token ids are not the last token ids of the completion")
    return start


def _measured_head(new: NewCompletion) -> dict[str, Any]:
    """The narrow columns that follow from the completion itself."""
    values = [token.logprob for token in new.logprobs or new.spelt or ()]
    return {
        "finish_reason": new.finish_reason,
        "truncated": new.is_truncated,
        "token_count": None if new.token_ids is None else len(new.token_ids),
        "text_length": len(new.text),
        "mean_logprob": sum(values) / len(values) if values else None,
        "min_logprob": min(values) if values else None,
    }


def _body(new: NewCompletion) -> dict[str, Any]:
    return {
        "text": checked_text(new.text, "the text"),
        "generated_start": new.generated_start,
        "token_ids": None if new.token_ids is None else pack_ids(new.token_ids),
        "spans": to_json([[span.start, span.end, span.origin] for span in new.spans]),
        "config": to_json(dict(new.config)),
        "processors": to_json(list(new.processors)),
        "seed": new.seed,
        "stop_string": new.stop_string,
        "beam_score": new.beam_score,
        "details": to_json(dict(new.details)),
        "text_hash": _hash(new.text),
    }


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def completions_by_id(connection: Connection, ids: Sequence[int]) -> list[CompletionRecord]:
    """Records in the order of the ids; what is not there is left out."""
    models, links, names = tables.models, tables.completion_tags, tables.tags
    found: dict[int, Any] = {}
    tags: dict[int, list[str]] = defaultdict(list)
    columns: list[Any] = [
        completions,
        models.c.name,
        models.c.fingerprint,
        *(column for column in bodies.columns if column.name != "id"),
    ]
    for part in chunks(list(ids)):
        query = select(*columns).join(bodies, bodies.c.id == completions.c.id).join(models, models.c.id == completions.c.model_id)
        for row in connection.execute(query.where(completions.c.id.in_(part))):
            found[row.id] = row
        linked = select(links.c.completion_id, names.c.name).join(names, names.c.id == links.c.tag_id)
        for row in connection.execute(linked.where(links.c.completion_id.in_(part)).order_by(names.c.name)):
            tags[row.completion_id].append(row.name)
    return [_record(found[i], tags[i]) for i in ids if i in found]


def _record(row: Any, tags: Sequence[str]) -> CompletionRecord:
    return CompletionRecord(
        id=row.id,
        sample_id=row.sample_id,
        prompt_id=row.prompt_id,
        model=row.name,
        fingerprint=row.fingerprint,
        text=row.text,
        generated_start=row.generated_start,
        token_ids=None if row.token_ids is None else unpack_ids(bytes(row.token_ids)),
        spans=tuple(SpanRecord(start, end, origin) for start, end, origin in json.loads(row.spans)),
        config=json.loads(row.config),
        processors=tuple(json.loads(row.processors)),
        seed=row.seed,
        finish_reason=row.finish_reason,
        stop_string=row.stop_string,
        beam_score=row.beam_score,
        truncated=bool(row.truncated),
        archived=bool(row.archived),
        hidden=bool(row.hidden),
        draft=bool(row.draft),
        parent_id=row.parent_id,
        branch_position=row.branch_position,
        mean_logprob=row.mean_logprob,
        min_logprob=row.min_logprob,
        labels={label: getattr(row, label) for label in tables.LABELS if getattr(row, label) is not None},
        tags=tuple(tags),
        details=json.loads(row.details),
        bulk=row.bulk,
        created_at=moment(row.created_at),
    )
