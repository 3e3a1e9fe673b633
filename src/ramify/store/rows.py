"""How statements speak of rows: under a name, without an index, by the ends of their ids, as a list of ids at hand."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    cast,
    func,
    literal,
    literal_column,
    select,
)

__all__ = ["Row", "ends", "listed", "named", "unindexed"]

Row = FromClause


@cache
def named(table: Table, name: str) -> Row:
    return table.alias(name)


def ends(connection: Connection, table: Table) -> Any:
    """The smallest id and the largest; None and None where there are no rows."""
    # Two queries in one: SQLite looks up one end of an index, but walks all of it for both.
    low, high = (select(end(table.c.id)).scalar_subquery() for end in (func.min, func.max))
    return connection.execute(select(low, high)).one()


def listed(dialect: str, ids: Sequence[int]) -> "Select[Any]":
    """Ids at hand as a query: one parameter however many they are."""
    said = json.dumps(list(ids))
    if dialect == "sqlite":
        return select(func.json_each(said).table_valued("value").c.value)
    value = func.json_array_elements_text(cast(literal(said, Text), JSON)).table_valued("value").c.value
    return select(cast(value, BigInteger))


def unindexed(row: Row, dialect: str) -> Row:
    """The same row, but SQLite is told not to choose an index for what is asked of it: `search.py` has chosen."""
    return row if dialect != "sqlite" else _Plain(row)  # type: ignore[return-value]


class _Plain:
    """A row whose columns carry a unary plus."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.c = self

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __getitem__(self, name: str) -> Any:
        column = self.row.c[name]
        return column if isinstance(column.type, Boolean) else literal_column(f"+{self.row.name}.{name}", column.type)  # type: ignore[attr-defined]
