"""Print the DDL of the tables as they are now, to make a new revision's from: python -m ramify.store.migrations.freeze DIALECT

One statement follows the other, with a line of two dashes between them, as the revisions' files have them.
"""

import sys

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from ramify.store.schema import extra_ddl
from ramify.store.tables import metadata

__all__ = ["ddl"]

DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}  # type: ignore[no-untyped-call]


def ddl(dialect: str) -> list[str]:
    """All statements that make an empty workspace. dialect: "sqlite" or "postgresql"."""
    spoken = DIALECTS[dialect]
    found = []
    for table in metadata.sorted_tables:
        found.append(CreateTable(table).compile(dialect=spoken))
        found += [
            CreateIndex(index).compile(dialect=spoken) for index in sorted(table.indexes, key=lambda index: str(index.name))
        ]
    return [str(statement).strip() for statement in (*found, *extra_ddl(dialect))]


if __name__ == "__main__":
    print("\n--\n".join("\n".join(line.rstrip() for line in one.splitlines()) for one in ddl(sys.argv[1])))
