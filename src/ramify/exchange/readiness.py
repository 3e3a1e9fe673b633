"""What a facet could send out today, what it could not and why, and how its completions measure under its target model."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ramify.exchange.planning import WAITING, CountTokens, matching, rules_of
from ramify.exchange.selection import Pick, Rules, select
from ramify.exchange.templates import ExportTemplate, FacetShare
from ramify.store.database import Database
from ramify.store.walking import Candidate, Judged, count_samples, walk

__all__ = ["KINDS", "Distribution", "KindReady", "Readiness", "readiness"]

KINDS = ("sft", "dpo", "kto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Numbers, put into bins of equal width: bin i holds values in [edges[i], edges[i + 1]), the last one its end too."""

    count: int
    least: float
    median: float
    mean: float
    most: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


def distribution(values: Sequence[float], bins: int = 20, *, whole: bool = False) -> Distribution | None:
    """None for no values. whole: the values are whole numbers, and so are the edges."""
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return None
    least, most = finite[0], finite[-1]
    if whole:
        width = max(1, math.ceil((most - least + 1) / bins))
        edges = [float(least + width * i) for i in range(max(1, math.ceil((most - least + 1) / width)) + 1)]
    else:
        step = (most - least) / bins or 1.0
        edges = [least + step * i for i in range(bins + 1)]
    counts = [0] * (len(edges) - 1)
    for value in finite:
        counts[min(len(counts) - 1, int((value - edges[0]) / (edges[1] - edges[0])))] += 1
    return Distribution(
        count=len(finite),
        least=least,
        median=finite[len(finite) // 2],
        mean=sum(finite) / len(finite),
        most=most,
        edges=tuple(edges),
        counts=tuple(counts),
    )


@dataclass(kw_only=True)
class KindReady:
    """One kind of training set."""

    kind: str
    samples: int = 0
    """That could go out."""
    rows: int = 0
    good: int = 0
    bad: int = 0
    """Labels, of a set for KTO."""
    tokens: int = 0
    """Of the completions that would be learned, where their number is known."""
    loss: float = 0.0
    """Nats in all of the measured ones: what the target model still has to learn."""
    measured: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, list[int]] = field(default_factory=dict)
    """For each reason the first samples of which nothing goes out."""


@dataclass(kw_only=True)
class Readiness:
    facet: str
    target_model: str
    samples: int = 0
    completions: int = 0
    rated: int = 0
    preferences: int = 0
    approved: int = 0
    scored: int = 0
    """Completions that the target model measured."""
    truncated: int = 0
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    kinds: dict[str, KindReady] = field(default_factory=dict)
    tokens: Distribution | None = None
    ratings: Distribution | None = None
    mean_logprobs: Distribution | None = None
    min_logprobs: Distribution | None = None

    def to_data(self) -> dict[str, Any]:
        data = asdict(self)
        for kind in data["kinds"].values():
            kind["reasons"] = dict(sorted(kind["reasons"].items(), key=lambda each: (-each[1], each[0])))
        return data


def readiness(
    database: Database,
    facet: str,
    *,
    template: ExportTemplate | None = None,
    target_model: str | None = None,
    fingerprint: str | None = None,
    count_tokens: CountTokens | None = None,
    told: Callable[[int, int], None] | None = None,
) -> Readiness:
    """Look through all samples under a facet. template: its thresholds, permissions and filter instead of the facet's own; its
    kind, form, facets and split do not matter. count_tokens: for its max_tokens.

    Raises NotFoundError for a facet that is not there, and InputError as an export under the template would.
    """
    effective = database.facets.effective(facet)
    target = target_model or (template.target_model if template else None) or effective.target_model
    report = Readiness(
        facet=facet,
        target_model=target,
        thresholds={name: getattr(effective, name) for name in ("good_rating", "bad_rating", "min_logprob", "mean_logprob")},
        kinds={kind: KindReady(kind=kind) for kind in KINDS},
    )
    told_of = {kind: _for(template, kind, facet) for kind in KINDS}
    matches = matching(database, told_of["sft"])
    tokens, ratings, means, least = list[float](), list[float](), list[float](), list[float]()
    with database.reading() as connection:
        rules = {
            kind: rules_of(
                connection, each, effective, target, matches=matches, fingerprint=fingerprint, count_tokens=count_tokens
            )
            for kind, each in told_of.items()
        }
        total = count_samples(connection)
        found = walk(connection, database, facet=facet, scored_by=target, fingerprint=fingerprint)
        for count, sample in enumerate(found, start=1):
            if told is not None and not count % 500:
                told(count, total)
            report.samples += 1
            _count(sample, report, tokens, ratings, means, least)
            for kind in KINDS:
                _look(sample, report.kinds[kind], rules[kind])
    report.tokens = distribution(tokens, whole=True)
    report.ratings = distribution(ratings, 11, whole=True)
    report.mean_logprobs, report.min_logprobs = distribution(means), distribution(least)
    return report


def _for(template: ExportTemplate | None, kind: str, facet: str) -> ExportTemplate:
    share = (FacetShare(name=facet),)
    return ExportTemplate(kind=kind, facets=share) if template is None else replace(template, kind=kind, form="trl", facets=share)


def _count(
    sample: Judged, report: Readiness, tokens: list[float], ratings: list[float], means: list[float], least: list[float]
) -> None:
    report.preferences += len(sample.preferences)
    for each in sample.candidates:
        report.completions += 1
        report.rated += each.rating is not None
        report.approved += each.approved
        report.scored += each.scored
        report.truncated += each.truncated
        if each.token_count is not None:
            tokens.append(each.token_count)
        if each.rating is not None:
            ratings.append(each.rating)
        if each.mean_logprob is not None:
            means.append(each.mean_logprob)
        if each.min_logprob is not None:
            least.append(each.min_logprob)


def _look(sample: Judged, ready: KindReady, rules: Rules) -> None:
    found = select(sample, rules)
    ready.reasons.update(found.reasons)
    if not found.picks:
        for reason in found.reasons:
            named = ready.waiting.setdefault(reason, [])
            if len(named) < WAITING:
                named.append(sample.id)
        return
    ready.samples += 1
    ready.rows += len(found.picks)
    for each in _learned(found.picks, rules.kind):
        ready.tokens += each.token_count or 0
        if each.sum_logprob is not None and math.isfinite(each.sum_logprob):
            ready.loss -= each.sum_logprob
            ready.measured += 1
    if rules.kind == "kto":
        ready.good += sum(pick.label for pick in found.picks)
        ready.bad += sum(not pick.label for pick in found.picks)


def _learned(picks: Sequence[Pick], kind: str) -> list[Candidate]:
    found = {pick.chosen.id: pick.chosen for pick in picks if pick.chosen is not None}
    if kind == "dpo":
        found |= {pick.rejected.id: pick.rejected for pick in picks if pick.rejected is not None}
    return list(found.values())
