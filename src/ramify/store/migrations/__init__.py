"""How the tables change from one release to the next: Alembic's revisions in `versions/`, run all in one transaction.

A released revision is never edited. Its DDL is kept as text beside it (`first.sqlite.sql`), as `tables.py` and `schema.py` then
had it; `python -m ramify.store.migrations.freeze` prints all of it as it is now, to choose a new revision's from. A test compares
what all revisions together make with the tables.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

from ramify.errors import NewerWorkspaceError

__all__ = ["HEAD", "VERSIONS", "migrate", "version_of"]

HEAD = "0005"
"""The revision that this Ramify works with."""

VERSIONS = Path(__file__).parent / "versions"


def version_of(connection: Connection) -> str | None:
    """The revision of a database; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and found > HEAD:
        raise NewerWorkspaceError(
            f"this workspace has the form {found}, made by a newer Ramify; this one knows forms up to {HEAD}. "
            "Install the newer version; nothing was changed"
        )
    return found


def migrate(connection: Connection, *, versions: Path = VERSIONS, head: str = HEAD) -> None:
    """Bring a database up to date inside the transaction that is open; does nothing when another process already has."""
    # Imported here: opening a workspace that is up to date does not need Alembic.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    if version_of(connection) == head:
        return
    script = ScriptDirectory(
        str(VERSIONS.parent), version_locations=[str(VERSIONS), *([] if versions == VERSIONS else [str(versions)])]
    )

    def steps(revision: Any, context: Any) -> Any:
        return script._upgrade_revs(head, revision)

    context = MigrationContext.configure(connection, opts={"fn": steps, "transactional_ddl": True, "script": script})
    with Operations.context(context):
        context.run_migrations()
