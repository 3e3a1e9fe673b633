"""Batch jobs: what is asked row by row, who works at it, and what came of it; and the files that servers are given."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    connection = op.get_bind()
    for statement in Path(__file__).with_name(f"fourth.{connection.dialect.name}.sql").read_text("utf-8").split("\n--\n"):
        connection.exec_driver_sql(statement.strip())
