"""Settings of one workspace, such as the target model of facets that name none. They travel with the file."""

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from ramify.store import tables
from ramify.store.packing import to_json
from ramify.store.secrets import refuse_secrets

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["WorkspaceSettings"]

settings = tables.settings


class WorkspaceSettings:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def get(self, name: str, default: Any = None) -> Any:
        with self.database.reading() as connection:
            found = connection.execute(select(settings.c.value).where(settings.c.name == name)).scalar()
        return default if found is None else json.loads(found)

    def set(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name; None removes it. Raises InputError for what looks like a key or password."""
        refuse_secrets({name: value}, "settings")
        with self.database.action("set", name) as action:
            found = action.connection.execute(select(settings.c.id).where(settings.c.name == name)).scalars().all()
            if value is None:
                action.delete(settings, found)
            elif found:
                action.update(settings, found, {"value": to_json(value)})
            else:
                action.insert(settings, [{"name": name, "value": to_json(value)}])

    def all(self) -> dict[str, Any]:
        with self.database.reading() as connection:
            return {row.name: json.loads(row.value) for row in connection.execute(select(settings).order_by(settings.c.name))}
