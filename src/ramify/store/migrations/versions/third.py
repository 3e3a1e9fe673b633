"""Bulk runs, ids of a text under other models than its own, and measures whose rank and entropy nobody told."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    connection = op.get_bind()
    for statement in Path(__file__).with_name(f"third.{connection.dialect.name}.sql").read_text("utf-8").split("\n--\n"):
        connection.exec_driver_sql(statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement)
