"""Records by key while one file is joined to another: in a nameless temporary database, so that a million cost no memory."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

__all__ = ["Lookup"]


class Lookup:
    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # "" is a private file that SQLite removes by itself.
        self._database.execute("CREATE TABLE kept (key TEXT PRIMARY KEY, place INTEGER, value TEXT) WITHOUT ROWID")

    def put(self, key: str, value: Any) -> bool:
        """Keep a JSON value; False where the key has one already, which stays."""
        count = self._database.execute("SELECT count(*) FROM kept WHERE key = ?", (key,)).fetchone()[0]
        if count:
            return False
        place = self._database.total_changes
        self._database.execute("INSERT INTO kept VALUES (?, ?, ?)", (key, place, json.dumps(value)))
        return True

    def get(self, key: str) -> Any:
        row = self._database.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def replace(self, key: str, value: Any) -> None:
        self._database.execute("UPDATE kept SET value = ? WHERE key = ?", (json.dumps(value), key))

    def items(self) -> Iterator[tuple[str, Any]]:
        """In the order in which they were put."""
        for key, value in self._database.execute("SELECT key, value FROM kept ORDER BY place"):
            yield key, json.loads(value)

    def close(self) -> None:
        self._database.close()
