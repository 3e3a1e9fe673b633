"""What is known of the files that a server was given; their content lies beside the workspace (`batch/places.py`)."""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, delete, insert, select

from ramify.errors import NotFoundError
from ramify.store import tables
from ramify.store.changes import now
from ramify.store.job_records import FileRecord
from ramify.store.jobs import reserved
from ramify.store.records import moment

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["Files"]

files = tables.files


class Files:
    def __init__(self, database: "Database") -> None:
        self.database = database

    @staticmethod
    def fresh_key() -> str:
        return f"file-{secrets.token_hex(12)}"

    def add(self, key: str, name: str, *, purpose: str, size_bytes: int) -> FileRecord:
        """Note a file whose content is on disk; one that is noted already stays as it is."""
        with self.database.writing() as connection:
            if connection.execute(select(files.c.id).where(files.c.key == key)).scalar() is not None:
                return self.get(key)
            (number,) = reserved(connection, files.name, 1)
            row = {"id": number, "key": key, "name": name, "purpose": purpose, "size_bytes": size_bytes, "created_at": now()}
            connection.execute(insert(files).values(row))
        return self.get(key)

    def get(self, key: str) -> FileRecord:
        """Raises NotFoundError."""
        with self.database.reading() as connection:
            found = connection.execute(select(files).where(files.c.key == key)).first()
        if found is None:
            raise NotFoundError(f"there is no file {key!r}")
        return _record(found)

    def list(self, *, purpose: str | None = None, limit: int = 100, before: str | None = None) -> Sequence[FileRecord]:
        """Newest first."""
        query = select(files).order_by(files.c.id.desc()).limit(limit)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        if before is not None:
            query = query.where(files.c.id < self.get(before).id)
        with self.database.reading() as connection:
            return [_record(row) for row in connection.execute(query)]

    def delete(self, key: str) -> None:
        """Forget it. Raises NotFoundError."""
        self.get(key)
        with self.database.writing() as connection:
            connection.execute(delete(files).where(files.c.key == key))


def _record(row: Row[Any]) -> FileRecord:
    return FileRecord(
        id=row.id,
        key=row.key,
        name=row.name,
        purpose=row.purpose,
        size_bytes=row.size_bytes,
        created_at=moment(row.created_at),
    )
