"""A record's version: what two people who edit at once compare, so that neither overwrites what he did not see."""

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from ramify.errors import StaleError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["check_version", "version_of"]


def version_of(record: "DataclassInstance") -> str:
    """12 hexadecimal digits that differ when any field of the record does."""
    return _digest({field.name: getattr(record, field.name) for field in dataclasses.fields(record)})


def check_version(record: "DataclassInstance", seen: str | None, what: str) -> None:
    """Raises StaleError where somebody saw another version than this; None says that nobody looked.

    Call it inside the action that changes the record: then no other writer comes between.
    """
    if seen is not None and seen != (now := version_of(record)):
        raise StaleError(
            f"{what} was changed since version {seen}; it has version {now} now. Read it again, and make the change anew"
        )


def _digest(value: Any) -> str:
    def plain(item: Any) -> Any:
        return dataclasses.asdict(item) if dataclasses.is_dataclass(item) and not isinstance(item, type) else str(item)

    text = json.dumps(value, sort_keys=True, default=plain, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
