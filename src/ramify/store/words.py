"""The little language of full-text search: words, "exact phrases", beginnings*, and -words that must not occur.

Words are runs of letters and digits, compared without regard to case, the same on SQLite and PostgreSQL. All must occur.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, column, func, literal_column, select, table
from sqlalchemy.sql import Select

from ramify.errors import InputError
from ramify.store.schema import FULL_TEXT

__all__ = ["Term", "contains_words", "matching", "matching_row", "parse_words", "snippet", "tsquery"]

TERM = re.compile(r'(-?)(?:"([^"]*)"|(\S+))')
SEARCHED = {table: columns for _, table, columns in FULL_TEXT}
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Term:
    words: tuple[str, ...]
    """One word, or the words of a phrase."""
    prefix: bool = False
    """Whether the last word may go on."""
    absent: bool = False


def parse_words(query: str) -> tuple[Term, ...]:
    """Raises InputError where nothing is left to look for."""
    terms = []
    for minus, phrase, bare in TERM.findall(query):
        words = tuple(word.lower() for word in WORD.findall(phrase or bare))
        if words:
            terms.append(Term(words, prefix=not phrase and bare.endswith("*"), absent=bool(minus)))
    if not any(not term.absent for term in terms):
        raise InputError(f'{query!r} has no word to look for; give words, "phrases", beginnings*, and -words to leave out')
    return tuple(terms)


def _fts5(terms: Sequence[Term]) -> str:
    def one(term: Term) -> str:
        return '"' + " ".join(term.words) + '"' + (" *" if term.prefix else "")

    present = " AND ".join(one(term) for term in terms if not term.absent)
    absent = "".join(f" NOT {one(term)}" for term in terms if term.absent)
    return f"({present}){absent}"


def _tsquery(terms: Sequence[Term]) -> str:
    def one(term: Term) -> str:
        words = [f"'{word}'" for word in term.words]
        words[-1] += ":*" if term.prefix else ""
        return "(" + " <-> ".join(words) + ")"

    return " & ".join(("!" if term.absent else "") + one(term) for term in terms)


def matching(dialect: str, index: str, source: str, terms: Sequence[Term]) -> "Select[tuple[int]]":
    """Ids of the rows of `source` that match; `index` is the full-text index over it."""
    if dialect == "sqlite":
        words = table(index, column("rowid", BigInteger))
        return select(words.c.rowid.label("id")).where(literal_column(index).op("MATCH")(_fts5(terms)))
    rows = table(source, column("id", BigInteger), column("words"))
    return select(rows.c.id).where(rows.c.words.op("@@")(tsquery(terms)))


def tsquery(terms: Sequence[Term]) -> "ColumnElement[Any]":
    """The same for PostgreSQL."""
    return func.to_tsquery(literal_column("'simple'::regconfig"), _tsquery(terms))


def matching_row(dialect: str, source: str, query: str, row_id: "ColumnElement[int]") -> "ColumnElement[bool]":
    """Whether one row matches, asked for that row alone.

    On SQLite the text itself is read: an index lookup for one row walks over all rows that have the word, 4 ms where 18,000 have.
    """
    # Under a name of its own: the row that asks may be of the same table.
    rows = table(source, column("id", BigInteger), column("words"), *(column(name) for name in SEARCHED[source])).alias("w")
    if dialect == "sqlite":
        whole = " || ' ' || ".join(f"w.{name}" for name in SEARCHED[source])
        found = func.contains_words(literal_column(whole), query) == 1
    else:
        found = rows.c.words.op("@@")(tsquery(parse_words(query)))
    return select(rows.c.id).where(rows.c.id == row_id, found).exists()


@lru_cache(maxsize=256)
def _patterns(query: str) -> tuple[tuple[bool, re.Pattern[str]], ...]:
    return tuple((term.absent, _pattern(term)) for term in parse_words(query))


def contains_words(text: str, query: str) -> bool:
    """The same question of a plain text; SQLite calls it."""
    return all((pattern.search(text) is None) == absent for absent, pattern in _patterns(query))


def _pattern(term: Term) -> re.Pattern[str]:
    words = r"[\W_]+".join(map(re.escape, term.words))
    return re.compile(r"(?<![^\W_])" + words + ("" if term.prefix else r"(?![^\W_])"), re.IGNORECASE)


def snippet(text: str, terms: Sequence[Term], *, width: int = 160) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A piece of the text around its first match, and where in that piece the matches are (half-open, in characters)."""
    spots = []
    for term in terms:
        if not term.absent:
            spots += [found.span() for found in _pattern(term).finditer(text)]
    first = min((start for start, _ in spots), default=0)
    start = max(0, min(first - width // 3, len(text) - width))
    end = min(len(text), start + width)
    inside = sorted({(a - start, b - start) for a, b in spots if a >= start and b <= end})
    return text[start:end], tuple(inside)
