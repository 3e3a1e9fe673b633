"""Runs of the decoding lab."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    connection = op.get_bind()
    for statement in Path(__file__).with_name(f"fifth.{connection.dialect.name}.sql").read_text("utf-8").split("\n--\n"):
        connection.exec_driver_sql(statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement)
