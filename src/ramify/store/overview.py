"""What a list shows beside each record: counts, judgements and measures of many rows at once, in one query each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import case, func, select

from ramify.store import tables
from ramify.store.changes import chunks

if TYPE_CHECKING:
    from ramify.store.database import Database

__all__ = [
    "FacetCounts",
    "Group",
    "Judged",
    "Measured",
    "SampleCounts",
    "facet_counts",
    "group_tree",
    "judged",
    "measured",
    "sample_counts",
    "tag_counts",
]


@dataclass(slots=True)
class SampleCounts:
    """Of one sample; what is archived is left out."""

    completions: int = 0
    """Saved ones."""
    drafts: int = 0
    truncated: int = 0
    """Of the saved ones."""
    approved: list[str] = field(default_factory=list)
    """The facets under which a completion is approved, by name."""


@dataclass(frozen=True, slots=True)
class Group:
    """A step of the group tree."""

    path: str
    samples: int
    """Directly in it; archived and hidden ones are left out."""
    below: int
    """With all groups below it."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def depth(self) -> int:
        """0 at the top."""
        return self.path.count("/")


@dataclass(slots=True)
class FacetCounts:
    """How much was judged under one facet itself; its parents' judgements are theirs."""

    facet: str
    rated: int = 0
    good: int = 0
    bad: int = 0
    preferences: int = 0
    approved: int = 0
    waiting: int = 0
    """Requests that wait for an answer."""


@dataclass(slots=True)
class Judged:
    """Of one completion, under each facet itself."""

    ratings: dict[str, int] = field(default_factory=dict)
    approved: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One completion under one scoring model, without its tokens. logprobs and entropy in nats."""

    model: str
    fingerprint: str
    start: int
    count: int
    sum_logprob: float | None
    mean_logprob: float | None
    min_logprob: float | None
    p10_logprob: float | None
    p50_logprob: float | None
    mean_entropy: float | None


def sample_counts(database: "Database", ids: Sequence[int]) -> dict[int, SampleCounts]:
    """For each of the samples."""
    found = {i: SampleCounts() for i in ids}
    c, a, f = tables.completions, tables.approvals, tables.facets
    with database.reading() as connection:
        for part in chunks(list(ids)):
            short = func.sum(case((c.c.truncated, 1), else_=0))
            mine = c.c.sample_id.in_(part) & c.c.archived.is_(False)
            query = select(c.c.sample_id, c.c.draft, func.count(), short).where(mine).group_by(c.c.sample_id, c.c.draft)
            for sample_id, draft, count, truncated in connection.execute(query):
                if draft:
                    found[sample_id].drafts = count
                else:
                    found[sample_id].completions, found[sample_id].truncated = count, int(truncated)
            approved = select(a.c.sample_id, f.c.name).join(f, f.c.id == a.c.facet_id).where(a.c.sample_id.in_(part))
            for sample_id, name in connection.execute(approved.order_by(f.c.name)):
                found[sample_id].approved.append(name)
    return found


def group_tree(database: "Database") -> list[Group]:
    """Every group and every path above one, parents before children."""
    s = tables.samples
    shown = s.c.archived.is_(False) & s.c.hidden.is_(False)
    query = select(s.c.group_path, func.count()).where(shown, s.c.group_path != "").group_by(s.c.group_path)
    own: dict[str, int] = {}
    below: dict[str, int] = defaultdict(int)
    with database.reading() as connection:
        for path, count in connection.execute(query):
            own[path] = count
            steps = path.split("/")
            for end in range(1, len(steps) + 1):
                below["/".join(steps[:end])] += count
    return [Group(path, own.get(path, 0), below[path]) for path in sorted(below, key=lambda path: path.split("/"))]


def facet_counts(database: "Database") -> list[FacetCounts]:
    """A row a facet, by name. Ratings are good or bad by the facet's effective thresholds."""
    f, r, u = tables.facets, tables.ratings, tables.unanswered
    found = {facet.id: FacetCounts(facet.name) for facet in database.facets.list()}
    with database.reading() as connection:
        bounds = {facet.id: database.facets.effective(facet.name) for facet in database.facets.list()}
        rated = select(r.c.facet_id, r.c.rating, func.count()).group_by(r.c.facet_id, r.c.rating)
        for facet_id, rating, count in connection.execute(rated):
            found[facet_id].rated += count
            found[facet_id].good += count if rating >= bounds[facet_id].good_rating else 0
            found[facet_id].bad += count if rating <= bounds[facet_id].bad_rating else 0
        for table, name in ((tables.preferences, "preferences"), (tables.approvals, "approved")):
            for facet_id, count in connection.execute(select(table.c.facet_id, func.count()).group_by(table.c.facet_id)):
                setattr(found[facet_id], name, count)
        waiting = select(u.c.facet_id, func.count()).where(u.c.state == "waiting").group_by(u.c.facet_id)
        for facet_id, count in connection.execute(waiting):
            found[facet_id].waiting = count
        order = connection.execute(select(f.c.id).order_by(f.c.name)).scalars().all()
    return [found[i] for i in order if i in found]


def judged(database: "Database", ids: Sequence[int]) -> dict[int, Judged]:
    """The ratings and approvals of each of the completions."""
    found = {i: Judged() for i in ids}
    r, a, f = tables.ratings, tables.approvals, tables.facets
    with database.reading() as connection:
        for part in chunks(list(ids)):
            query = select(r.c.completion_id, f.c.name, r.c.rating).join(f, f.c.id == r.c.facet_id)
            for completion_id, name, rating in connection.execute(query.where(r.c.completion_id.in_(part)).order_by(f.c.name)):
                found[completion_id].ratings[name] = rating
            query = select(a.c.completion_id, f.c.name).join(f, f.c.id == a.c.facet_id)
            for completion_id, name in connection.execute(query.where(a.c.completion_id.in_(part)).order_by(f.c.name)):
                found[completion_id].approved.append(name)
    return found


def measured(database: "Database", ids: Sequence[int]) -> dict[int, list[Measured]]:
    """What each of the completions measures under every model that scored it, oldest first."""
    found: dict[int, list[Measured]] = {i: [] for i in ids}
    table, m = tables.logprobs, tables.models
    names = ("sum_logprob", "mean_logprob", "min_logprob", "p10_logprob", "p50_logprob", "mean_entropy")
    columns = [table.c[name] for name in ("completion_id", "start", "token_count", *names)]
    with database.reading() as connection:
        for part in chunks(list(ids)):
            query = select(*columns, m.c.name, m.c.fingerprint).join(m, m.c.id == table.c.model_id)
            for row in connection.execute(query.where(table.c.completion_id.in_(part)).order_by(table.c.id)):
                summary = {name: getattr(row, name) for name in names}
                found[row.completion_id].append(
                    Measured(model=row.name, fingerprint=row.fingerprint, start=row.start, count=row.token_count, **summary)
                )
    return found


def tag_counts(database: "Database") -> dict[int, tuple[int, int]]:
    """For each tag's number how many samples and how many completions carry it."""
    found: dict[int, tuple[int, int]] = {tag.id: (0, 0) for tag in database.tags.list()}
    with database.reading() as connection:
        for place, link in enumerate((tables.sample_tags, tables.completion_tags)):
            for tag_id, count in connection.execute(select(link.c.tag_id, func.count()).group_by(link.c.tag_id)):
                before = found.get(tag_id, (0, 0))
                found[tag_id] = (count, before[1]) if place == 0 else (before[0], count)
    return found
