"""Tags: names that can be put on samples, on completions, or on both."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, select

from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.changes import Action, chunks
from ramify.store.prompts import checked_text
from ramify.store.records import CompletionRecord, SampleRecord, TagRecord, ids_of

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Tags"]

tags = tables.tags
SCOPES = ("samples", "completions", "both")


class Tags:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def add(self, name: str, *, description: str = "", scope: str = "both") -> TagRecord:
        """A new tag. Raises InputError for a name that is taken, or a scope other than samples, completions, both."""
        if scope not in SCOPES:
            raise InputError(f"scope is {scope!r}; it must be one of {', '.join(SCOPES)}")
        _check_name(name)
        with self.database.action("add tag", name) as action:
            if self._find(action, [name]):
                raise InputError(f"there is a tag {name!r} already")
            action.insert(tags, [{"name": name, "description": description, "scope": scope, "created_at": action.time}])
            return self.get(name)

    def get(self, name: str) -> TagRecord:
        """Raises NotFoundError."""
        found = [tag for tag in self.list() if tag.name == name]
        if not found:
            raise NotFoundError(f"there is no tag {name!r}")
        return found[0]

    def list(self) -> Sequence[TagRecord]:
        with self.database.reading() as connection:
            return [
                TagRecord(id=row.id, name=row.name, description=row.description, scope=row.scope)
                for row in connection.execute(select(tags).order_by(tags.c.name))
            ]

    def edit(self, name: str, *, new_name: str | None = None, description: str | None = None) -> TagRecord:
        """Rename or describe; what carries the tag keeps it."""
        if new_name is not None:
            _check_name(new_name)
        with self.database.action("edit tag", name) as action:
            tag = self.get(name)
            if new_name is not None and new_name != name and self._find(action, [new_name]):
                raise InputError(f"there is a tag {new_name!r} already")
            values = {"name": new_name, "description": description}
            action.update(tags, [tag.id], {key: value for key, value in values.items() if value is not None} or {"name": name})
            return self.get(new_name or name)

    def delete(self, name: str) -> None:
        """Remove the tag from everything and then itself."""
        with self.database.action("delete tag", name) as action:
            action.delete(tags, [self.get(name).id])

    def put(
        self,
        names: Iterable[str],
        *,
        samples: Sequence[SampleRecord | int] = (),
        completions: Sequence[CompletionRecord | int] = (),
    ) -> int:
        """Put tags on; tags that do not exist are made. Raises InputError where a tag's scope forbids it.

        Returns how many samples and completions changed.
        """
        wanted = _listed(names)
        changed: set[tuple[str, int]] = set()
        with self.database.action("put tags", ", ".join(wanted)) as action:
            for name in set(wanted) - set(self._find(action, wanted)):
                self.add(name)
            known = self._find(action, wanted)
            for kind, ids, link in _links(samples, completions):
                for name in wanted:
                    scope = known[name].scope
                    if ids and scope not in ("both", f"{kind}s"):
                        raise InputError(f"the tag {name!r} is for {scope} only; it cannot be put on a {kind}")
                    has = self._carriers(action, link, kind, known[name].id, ids)
                    rows = [{f"{kind}_id": i, "tag_id": known[name].id} for i in dict.fromkeys(ids) if i not in has]
                    action.insert(link, rows)
                    changed |= {(kind, row[f"{kind}_id"]) for row in rows}
        return len(changed)

    def take(
        self,
        names: Iterable[str],
        *,
        samples: Sequence[SampleRecord | int] = (),
        completions: Sequence[CompletionRecord | int] = (),
    ) -> int:
        """Take tags off; what does not carry one stays as it is. Returns how many samples and completions changed."""
        wanted = _listed(names)
        changed: set[tuple[str, int]] = set()
        with self.database.action("take tags", ", ".join(wanted)) as action:
            for tag in self._find(action, wanted).values():
                for kind, ids, link in _links(samples, completions):
                    carriers = self._carriers(action, link, kind, tag.id, ids)
                    action.delete(link, list(carriers.values()))
                    changed |= {(kind, carrier) for carrier in carriers}
        return len(changed)

    @staticmethod
    def _find(action: Action, names: Sequence[str]) -> dict[str, Any]:
        return {row.name: row for row in action.connection.execute(select(tags).where(tags.c.name.in_(names)))}

    @staticmethod
    def _carriers(action: Action, link: Table, kind: str, tag_id: int, ids: Sequence[int]) -> dict[int, int]:
        """Of these ids those that carry the tag, with the number of the link."""
        found: dict[int, int] = {}
        column = link.c[f"{kind}_id"]
        for part in chunks(list(ids)):
            query = select(column, link.c.id).where(link.c.tag_id == tag_id, column.in_(part))
            found.update({row[0]: row[1] for row in action.connection.execute(query)})
        return found


def _check_name(name: str) -> None:
    if not checked_text(name, "the tag").strip():
        raise InputError("a tag needs a name")


def _listed(names: Iterable[str]) -> list[str]:
    """Each once. Raises InputError for a text: it would be taken for a list of its letters."""
    if isinstance(names, str):
        raise InputError(f"tags are {names!r}, a text; give a list of names, such as [{names!r}]")
    return list(dict.fromkeys(names))


def _links(
    samples: Sequence[SampleRecord | int], completions: Sequence[CompletionRecord | int]
) -> tuple[tuple[str, Sequence[int], Table], ...]:
    return (
        ("sample", ids_of(samples, SampleRecord), tables.sample_tags),
        ("completion", ids_of(completions, CompletionRecord), tables.completion_tags),
    )
