"""The first form of a workspace."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    connection = op.get_bind()
    for statement in Path(__file__).with_name(f"first.{connection.dialect.name}.sql").read_text("utf-8").split("\n--\n"):
        connection.exec_driver_sql(statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement)
    made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for name, value in (("workspace", uuid4().hex), ("created_at", made)):
        connection.exec_driver_sql(f"INSERT INTO meta (name, value) VALUES ('{name}', '{value}')")
