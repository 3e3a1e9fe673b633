"""Samples: fixed prompts with a title, a group, notes, tags and images.

A prompt that has completions never changes. `revise` then makes a new revision that remembers the old one; the completions stay
with the revision that they answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, func, select, true

from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.changes import Action, chunks, now
from ramify.store.prompts import checked_text, prompt_columns, prompt_from, prompt_hash
from ramify.store.records import ImageRecord, Message, Prompt, PromptRecord, SampleRecord, id_of, ids_of, moment

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Samples", "checked_group", "samples_by_id"]

samples, prompts, sample_images = tables.samples, tables.prompts, tables.sample_images


class Samples:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def add(
        self,
        prompt: Prompt | None = None,
        *,
        messages: Sequence[Message] | None = None,
        title: str = "",
        group: str = "",
        notes: str = "",
        tags: Sequence[str] = (),
        images: Sequence[ImageRecord] = (),
    ) -> SampleRecord:
        """A new sample, of raw text or of chat messages. Tags that do not exist yet are made. Raises InputError for no prompt."""
        given = _one_prompt(prompt, messages)
        with self.database.action("add sample", title) as action:
            (sample_id,) = self._insert(action, [(given, title, group, notes)])
            if tags:
                self.database.tags.put(tags, samples=[sample_id])
            if images:
                self.attach(sample_id, images)
            return self.get(sample_id)

    def add_many(self, rows: Iterable[tuple[Prompt, str, str]]) -> Sequence[int]:
        """(prompt, title, group) rows as one action; returns their ids in order."""
        with self.database.action("add samples") as action:
            return self._insert(action, [(prompt, title, group, "") for prompt, title, group in rows])

    def _insert(self, action: Action, rows: Sequence[tuple[Prompt, str, str, str]]) -> Sequence[int]:
        times = {"created_at": action.time, "changed_at": action.time}
        heads = [
            {
                "title": checked_text(title, "the title"),
                "group_path": checked_group(group),
                "notes": checked_text(notes, "the notes"),
                **times,
            }
            for _, title, group, notes in rows
        ]
        bodies = [prompt_columns(prompt) for prompt, *_ in rows]
        ids = action.insert(samples, heads)
        action.insert(
            prompts,
            [{"sample_id": i, "number": 1, "created_at": action.time, **body} for i, body in zip(ids, bodies, strict=True)],
        )
        return ids

    # ------------------------------------------------------------ reading

    def get(self, sample: SampleRecord | int) -> SampleRecord:
        """As it is now. Raises NotFoundError."""
        sample_id = id_of(sample, SampleRecord)
        with self.database.reading() as connection:
            found = samples_by_id(connection, [sample_id])
        if not found:
            raise NotFoundError(f"there is no sample {sample_id}")
        return found[0]

    def get_many(self, which: Sequence[SampleRecord | int]) -> Sequence[SampleRecord]:
        """Those that exist, in the order given."""
        with self.database.reading() as connection:
            return samples_by_id(connection, ids_of(which, SampleRecord))

    def find(self, prompt: Prompt) -> Sequence[SampleRecord]:
        """The samples that have exactly this prompt, in any revision."""
        with self.database.reading() as connection:
            query = select(prompts.c.sample_id).where(prompts.c.hash == prompt_hash(prompt)).order_by(prompts.c.sample_id)
            return samples_by_id(connection, list(dict.fromkeys(connection.execute(query).scalars())))

    def list(
        self,
        *,
        group: str | None = None,
        archived: bool | None = False,
        hidden: bool | None = False,
        limit: int = 50,
        after: SampleRecord | int | None = None,
    ) -> Sequence[SampleRecord]:
        """Newest first; `after` is the last one already seen. None lists both kinds."""
        last = None if after is None else id_of(after, SampleRecord)
        wanted = {"field": "group", "op": "under", "value": group} if group else None
        place = None if last is None else (last, last)
        return self.database.search.samples(wanted, limit=limit, after=place, archived=archived, hidden=hidden)

    def count(self, *, group: str | None = None, archived: bool | None = False, hidden: bool | None = False) -> int:
        with self.database.reading() as connection:
            found: int = connection.execute(
                _narrowed(select(func.count()).select_from(samples), group, archived, hidden)
            ).scalar_one()
            return found

    def groups(self) -> dict[str, int]:
        """Every group path and how many samples are directly in it."""
        query = select(samples.c.group_path, func.count()).group_by(samples.c.group_path).order_by(samples.c.group_path)
        with self.database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def revisions(self, sample: SampleRecord | int) -> Sequence[PromptRecord]:
        """Oldest first. Raises NotFoundError."""
        sample_id = id_of(sample, SampleRecord)
        with self.database.reading() as connection:
            rows = connection.execute(select(prompts).where(prompts.c.sample_id == sample_id).order_by(prompts.c.number)).all()
        if not rows:
            raise NotFoundError(f"there is no sample {sample_id}")
        return [
            PromptRecord(
                id=row.id,
                sample_id=row.sample_id,
                number=row.number,
                parent_id=row.parent_id,
                prompt=prompt_from(row.messages, row.text),
                text=row.text,
                created_at=moment(row.created_at),
            )
            for row in rows
        ]

    # ------------------------------------------------------------ changing

    def edit(
        self,
        sample: SampleRecord | int,
        *,
        title: str | None = None,
        group: str | None = None,
        notes: str | None = None,
    ) -> SampleRecord:
        """Change what surrounds the prompt; None leaves a field as it is."""
        sample_id = id_of(sample, SampleRecord)
        given: dict[str, Any] = {
            "title": None if title is None else checked_text(title, "the title"),
            "group_path": None if group is None else checked_group(group),
            "notes": None if notes is None else checked_text(notes, "the notes"),
        }
        with self.database.action("edit sample", str(sample_id)) as action:
            before = self.get(sample_id)
            wanted = {name: value for name, value in given.items() if value is not None}
            if (before.title, before.group, before.notes) != (
                before.title if title is None else title,
                wanted.get("group_path", before.group),
                before.notes if notes is None else notes,
            ):
                action.update(samples, [sample_id], {**wanted, "changed_at": now()})
            return self.get(sample_id)

    def revise(
        self, sample: SampleRecord | int, prompt: Prompt | None = None, *, messages: Sequence[Message] | None = None
    ) -> SampleRecord:
        """Change the prompt: in place while it has no completions, else as a new revision. The same prompt changes nothing."""
        sample_id, columns = id_of(sample, SampleRecord), prompt_columns(_one_prompt(prompt, messages))
        with self.database.action("revise prompt", str(sample_id)) as action:
            before = self.get(sample_id)
            connection = action.connection
            old = connection.execute(select(prompts.c.hash).where(prompts.c.id == before.prompt_id)).scalar_one()
            if old == columns["hash"]:
                return before
            used = select(tables.completions.c.id).where(tables.completions.c.prompt_id == before.prompt_id).limit(1)
            trees = select(tables.beam_trees.c.id).where(tables.beam_trees.c.prompt_id == before.prompt_id).limit(1)
            if connection.execute(used).first() is None and connection.execute(trees).first() is None:
                action.update(prompts, [before.prompt_id], columns)
                action.update(samples, [sample_id], {"changed_at": now()})
            else:
                newest = select(func.max(prompts.c.number)).where(prompts.c.sample_id == sample_id)
                number = connection.execute(newest).scalar_one() + 1
                row = {"sample_id": sample_id, "number": number, "parent_id": before.prompt_id, "created_at": action.time}
                action.insert(prompts, [{**row, **columns}])
                action.update(samples, [sample_id], {"revision": number, "changed_at": now()})
            return self.get(sample_id)

    def attach(self, sample: SampleRecord | int, images: Sequence[ImageRecord]) -> SampleRecord:
        """Replace the sample's image references."""
        sample_id = id_of(sample, SampleRecord)
        with self.database.action("attach images", str(sample_id)) as action:
            self.get(sample_id)
            old = (
                action.connection.execute(select(sample_images.c.id).where(sample_images.c.sample_id == sample_id))
                .scalars()
                .all()
            )
            action.delete(sample_images, old)
            rows = [{"sample_id": sample_id, "path": i.path, "media_type": i.media_type, "sha256": i.sha256} for i in images]
            action.insert(sample_images, rows)
            return self.get(sample_id)

    def archive(self, which: Sequence[SampleRecord | int], archived: bool = True) -> int:
        """Put samples away: kept, but out of lists, rankings and exports. Returns how many changed."""
        return self._flag("archive samples" if archived else "unarchive samples", which, "archived", archived)

    def hide(self, which: Sequence[SampleRecord | int], hidden: bool = True) -> int:
        """Remove from view only: rankings and exports still have them. Returns how many changed."""
        return self._flag("hide samples" if hidden else "show samples", which, "hidden", hidden)

    def _flag(self, name: str, which: Sequence[SampleRecord | int], column: str, value: bool) -> int:
        ids = ids_of(which, SampleRecord)
        with self.database.action(name, f"{len(ids)}") as action:
            return len(action.update(samples, ids, {column: value}))

    def move(self, which: Sequence[SampleRecord | int], group: str) -> int:
        """Put samples into a group. Returns how many changed."""
        ids = ids_of(which, SampleRecord)
        with self.database.action("move samples", f"{len(ids)}") as action:
            moved = action.update(samples, ids, {"group_path": checked_group(group)})
            action.update(samples, moved, {"changed_at": now()})
            return len(moved)

    def delete(self, which: Sequence[SampleRecord | int]) -> None:
        """Remove samples with all that belongs to them. Only an undo brings them back."""
        ids = ids_of(which, SampleRecord)
        with self.database.action("delete samples", f"{len(ids)}") as action:
            action.delete(samples, ids)


def _one_prompt(prompt: Prompt | None, messages: Sequence[Message] | None) -> Prompt:
    if (prompt is None) == (messages is None):
        what = "neither prompt nor messages was given" if prompt is None else "prompt and messages were both given"
        raise InputError(f"{what}; a sample has one of them: prompt for raw text (or messages), messages for a chat")
    if messages is not None and isinstance(messages, str):
        raise InputError(f"messages is the text {messages!r}; give a list of {{role, content}}, or prompt=… for raw text")
    return messages if prompt is None else prompt  # type: ignore[return-value]


def checked_group(group: str) -> str:
    """A path without empty steps."""
    return "/".join(step.strip() for step in checked_text(group, "the group").split("/") if step.strip())


def in_group(group: str, row: FromClause = samples) -> ColumnElement[bool]:
    """Samples in a group or below it; "" is every sample."""
    path = checked_group(group)
    column = row.c.group_path
    if not path:
        return true()
    # "0" follows "/" in both databases' byte order: one range of the index holds the group and all paths below it.
    return (column >= path) & (column < f"{path}0") & ((column == path) | (column >= f"{path}/"))


def _narrowed(query: "Select[Any]", group: str | None, archived: bool | None, hidden: bool | None) -> "Select[Any]":
    if group:
        query = query.where(in_group(group))
    if archived is not None:
        query = query.where(samples.c.archived.is_(archived))
    if hidden is not None:
        query = query.where(samples.c.hidden.is_(hidden))
    return query


def samples_by_id(connection: Connection, ids: Sequence[int]) -> list[SampleRecord]:
    """Records in the order of the ids; what is not there is left out."""
    found: dict[int, Any] = {}
    tags: dict[int, list[str]] = defaultdict(list)
    images: dict[int, list[ImageRecord]] = defaultdict(list)
    current = (prompts.c.sample_id == samples.c.id) & (prompts.c.number == samples.c.revision)
    columns = (samples, prompts.c.id.label("prompt_id"), prompts.c.messages, prompts.c.text)
    links, names = tables.sample_tags, tables.tags
    for part in chunks(list(ids)):
        for row in connection.execute(select(*columns).join(prompts, current).where(samples.c.id.in_(part))):
            found[row.id] = row
        linked = (
            select(links.c.sample_id, names.c.name).join(names, names.c.id == links.c.tag_id).where(links.c.sample_id.in_(part))
        )
        for row in connection.execute(linked.order_by(names.c.name)):
            tags[row.sample_id].append(row.name)
        for row in connection.execute(
            select(sample_images).where(sample_images.c.sample_id.in_(part)).order_by(sample_images.c.id)
        ):
            images[row.sample_id].append(ImageRecord(path=row.path, media_type=row.media_type, sha256=row.sha256))
    return [
        SampleRecord(
            id=row.id,
            title=row.title,
            group=row.group_path,
            notes=row.notes,
            prompt=prompt_from(row.messages, row.text),
            prompt_id=row.prompt_id,
            revision=row.revision,
            tags=tuple(tags[row.id]),
            images=tuple(images[row.id]),
            archived=bool(row.archived),
            hidden=bool(row.hidden),
            created_at=moment(row.created_at),
            changed_at=moment(row.changed_at),
        )
        for row in (found[i] for i in ids if i in found)
    ]
