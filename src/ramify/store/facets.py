"""Facets: the purposes under which completions are judged. A facet inherits from its parent whatever it leaves open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from ramify.errors import InputError, NotFoundError
from ramify.store import tables
from ramify.store.prompts import checked_text
from ramify.store.records import FacetRecord, moment

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = ["DEFAULTS", "EffectiveFacet", "Facets", "facet_id_of", "name_of", "resolve"]

facets = tables.facets

DEFAULTS: Mapping[str, Any] = {
    "good_rating": 7,
    "bad_rating": 5,
    "min_logprob": None,
    "mean_logprob": None,
    "target_model": "tiny",
}
"""What holds where neither a facet nor any of its ancestors says something. No logprob threshold: None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveFacet:
    """A facet with everything resolved."""

    name: str
    chain: tuple[str, ...]
    """The facet itself, its parent, its parent's parent …"""
    good_rating: int
    bad_rating: int
    min_logprob: float | None
    mean_logprob: float | None
    target_model: str
    sources: Mapping[str, str]
    """For each value the facet it comes from, or "workspace", or "default"."""

    def passes(self, mean_logprob: float | None, min_logprob: float | None) -> bool:
        """Whether logprobs under the target model reach the thresholds; unknown ones do not, where there is a threshold."""
        pairs = ((self.mean_logprob, mean_logprob), (self.min_logprob, min_logprob))
        return all(bound is None or (value is not None and value >= bound) for bound, value in pairs)


def resolve(chain: Sequence[FacetRecord], workspace: Mapping[str, Any]) -> EffectiveFacet:
    """The nearest facet of a chain that says something wins, then the workspace, then the default. chain: from facet to root."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, default in DEFAULTS.items():
        said = [(getattr(facet, name), facet.name) for facet in chain if getattr(facet, name) is not None]
        said += [(workspace[name], "workspace")] if workspace.get(name) is not None else []
        values[name], sources[name] = (said or [(default, "default")])[0]
    return EffectiveFacet(name=chain[0].name, chain=tuple(facet.name for facet in chain), sources=sources, **values)


class Facets:
    def __init__(self, database: "Database") -> None:
        self.database = database

    def add(
        self,
        name: str,
        *,
        description: str = "",
        parent: FacetRecord | str | None = None,
        good_rating: int | None = None,
        bad_rating: int | None = None,
        min_logprob: float | None = None,
        mean_logprob: float | None = None,
        target_model: str | None = None,
    ) -> FacetRecord:
        """A new facet; what is None is inherited. Raises InputError for a name that is taken or thresholds that contradict."""
        _check_names(name=name, target_model=target_model)
        with self.database.action("add facet", name) as action:
            if self._find(action.connection, name) is not None:
                raise InputError(f"there is a facet {name!r} already")
            row: dict[str, Any] = {
                "name": name,
                "description": checked_text(description, "the description"),
                "parent_id": None if parent is None else self.get(parent).id,
                **_checked(good_rating=good_rating, bad_rating=bad_rating, min_logprob=min_logprob, mean_logprob=mean_logprob),
                "target_model": target_model,
                "created_at": action.time,
            }
            action.insert(facets, [row])
            self._check_order(name)
            return self.get(name)

    def edit(self, facet: FacetRecord | str, /, **values: Any) -> FacetRecord:
        """Set name, description, parent or a threshold; one set to None is inherited again. A circle of parents is refused."""
        allowed = {"name", "description", "parent", *DEFAULTS}
        unknown = sorted(set(values) - allowed)
        if unknown:
            raise InputError(f"a facet has no {unknown[0]!r}; it has {', '.join(sorted(allowed))}")
        name = name_of(facet)
        if isinstance(values.get("parent"), FacetRecord):
            values["parent"] = name_of(values["parent"])
        with self.database.action("edit facet", name) as action:
            before = self.get(name)
            row: dict[str, Any] = {key: value for key, value in values.items() if key != "parent"}
            _check_names(**{key: row[key] for key in ("name", "target_model") if key in row})
            if "description" in row:
                row["description"] = checked_text(row["description"] or "", "the description")
            row |= _checked(**{key: row[key] for key in DEFAULTS if key in row and key != "target_model"})
            if "name" in row and row["name"] != name and self._find(action.connection, row["name"]) is not None:
                raise InputError(f"there is a facet {row['name']!r} already")
            if "parent" in values:
                above = [] if values["parent"] is None else self.chain(values["parent"])
                if name in [ancestor.name for ancestor in above]:
                    path = " → ".join([name, *(ancestor.name for ancestor in above[: [a.name for a in above].index(name) + 1])])
                    raise InputError(
                        f"{values['parent']!r} cannot be the parent of {name!r}: it would inherit from itself ({path})"
                    )
                row["parent_id"] = above[0].id if above else None
            if row:
                action.update(facets, [before.id], row)
            self._check_order(row.get("name", name))
            return self.get(row.get("name", name))

    def _check_order(self, name: str) -> None:
        found = self.effective(name)
        if found.bad_rating >= found.good_rating:
            raise InputError(
                f"under {name!r} ratings up to {found.bad_rating} would be bad and from {found.good_rating} on good; "
                "bad_rating must be below good_rating"
            )

    def delete(self, facet: FacetRecord | str) -> None:
        """Remove a facet with its judgements; its children lose their parent."""
        name = name_of(facet)
        with self.database.action("delete facet", name) as action:
            action.delete(facets, [self.get(name).id])

    def get(self, facet: FacetRecord | str) -> FacetRecord:
        """As it is now. Raises NotFoundError."""
        name = name_of(facet)
        with self.database.reading() as connection:
            found = self._find(connection, name)
        if found is None:
            known = ", ".join(repr(facet.name) for facet in self.list()) or "none yet"
            raise NotFoundError(f"there is no facet {name!r}; there are {known}")
        return found

    def list(self) -> Sequence[FacetRecord]:
        parents = facets.alias("p")
        query = select(facets, parents.c.name.label("parent")).outerjoin(parents, parents.c.id == facets.c.parent_id)
        with self.database.reading() as connection:
            return [_record(row) for row in connection.execute(query.order_by(facets.c.name))]

    def chain(self, facet: FacetRecord | str) -> Sequence[FacetRecord]:
        """The facet, its parent, and so on to the root."""
        found = [self.get(facet)]
        with self.database.reading() as connection:
            while found[-1].parent is not None:
                parent = self._find(connection, found[-1].parent)
                assert parent is not None, "the foreign key keeps parents"
                found.append(parent)
        return found

    def effective(self, facet: FacetRecord | str) -> EffectiveFacet:
        """The facet with everything that it inherits."""
        return resolve(self.chain(facet), self.database.settings.all())

    @staticmethod
    def _find(connection: Connection, name: str) -> FacetRecord | None:
        parents = facets.alias("p")
        query = select(facets, parents.c.name.label("parent")).outerjoin(parents, parents.c.id == facets.c.parent_id)
        row = connection.execute(query.where(facets.c.name == name)).first()
        return None if row is None else _record(row)


def _check_names(name: str | None = "-", target_model: str | None = None) -> None:
    """Raises InputError for a name without a letter; a target of None is inherited."""
    if name is None or not checked_text(name, "the facet").strip():
        raise InputError("a facet needs a name")
    if target_model is not None and not checked_text(target_model, "the target model").strip():
        raise InputError("target_model is an empty name; give a model's, or None to inherit")


def _checked(**values: Any) -> dict[str, Any]:
    for name, value in values.items():
        if value is None:
            continue
        if name.endswith("rating") and not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10):
            raise InputError(f"{name} is {value!r}; it must be a whole number from 0 to 10, or None to inherit")
        if name.endswith("logprob") and not (isinstance(value, int | float) and value <= 0):
            raise InputError(f"{name} is {value!r}; it must be a number of at most 0 (nats a token), or None to inherit")
    return values


def name_of(facet: FacetRecord | str) -> str:
    """A facet's name, from its record or as it is. Raises InputError for anything else."""
    found = facet.name if isinstance(facet, FacetRecord) else facet
    if not isinstance(found, str):
        raise InputError(f"the facet is {found!r}; give its name, or its record")
    return found


def facet_id_of(connection: Connection, name: str) -> int:
    """Raises NotFoundError."""
    found: int | None = connection.execute(select(facets.c.id).where(facets.c.name == name)).scalar()
    if found is None:
        raise NotFoundError(f"there is no facet {name!r}")
    return found


def _record(row: Any) -> FacetRecord:
    return FacetRecord(
        id=row.id,
        name=row.name,
        description=row.description,
        parent=row.parent,
        good_rating=row.good_rating,
        bad_rating=row.bad_rating,
        min_logprob=row.min_logprob,
        mean_logprob=row.mean_logprob,
        target_model=row.target_model,
        created_at=moment(row.created_at),
    )
