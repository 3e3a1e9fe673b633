"""Which completions of a sample go out, and why the others do not. Pure: judgements in, picks and reasons out.

An explicit preference counts before ratings. What is preferred to something good is good; what a person put behind another never
comes before it; of a pair that was compared, the ratings are not asked. Two who contradict each other decide nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ramify.exchange.templates import ExportTemplate
from ramify.store.facets import EffectiveFacet
from ramify.store.walking import Candidate, Judged, Said

__all__ = ["Pick", "Rules", "Selected", "select"]

UNMATCHED = "not matched by the filter"


@dataclass(frozen=True, slots=True)
class Pick:
    """One row: a completion, and in a pair the one that is worse."""

    chosen: Candidate | None
    """None in a row of prompts."""
    rejected: Candidate | None = None
    label: bool = True
    prompt_id: int = 0


@dataclass(frozen=True, slots=True)
class Selected:
    picks: tuple[Pick, ...]
    reasons: Mapping[str, int]
    """Why completions (or, where there are none, the sample) stay; each with how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A template and a facet in one: what counts."""

    kind: str
    judged: bool
    """False where no facet was named: then every completion is good."""
    good: int
    bad: int
    margin: int
    min_logprob: float | None
    mean_logprob: float | None
    p10_logprob: float | None
    lowest_mean: float | None
    """What `percentile` came to."""
    target_model: str
    on_policy: bool
    per_sample: int | None
    truncated: bool
    archived: bool
    prompts: str
    matches: Callable[[int], bool] | None = field(default=None, compare=False)
    """Whether the filter lets a completion (of prompts, a sample) of this id through; None: there is no filter."""
    fits: Callable[[Candidate], bool] | None = field(default=None, compare=False)
    """Whether prompt and completion are short enough; None: everything is."""

    @classmethod
    def of(cls, template: ExportTemplate, facet: EffectiveFacet | None, target: str, lowest_mean: float | None = None) -> "Rules":
        def own(name: str) -> float | None:
            given = getattr(template, name)
            return given if given is not None or facet is None else getattr(facet, name, None)

        good, bad = own("good_rating"), own("bad_rating")
        return cls(
            kind=template.kind,
            judged=facet is not None,
            good=7 if good is None else int(good),
            bad=5 if bad is None else int(bad),
            margin=template.margin,
            min_logprob=own("min_logprob"),
            mean_logprob=own("mean_logprob"),
            p10_logprob=template.p10_logprob,
            lowest_mean=lowest_mean,
            target_model=target,
            on_policy=template.on_policy,
            per_sample=template.per_sample,
            truncated=template.truncated,
            archived=template.archived,
            prompts=template.prompts,
        )


def select(sample: Judged, rules: Rules) -> Selected:
    """What of a sample goes out under the rules."""
    reasons: Counter[str] = Counter()
    if sample.archived and not rules.archived:
        return Selected((), {"the sample is archived": 1})
    if rules.kind == "prompts":
        if rules.matches is not None and not rules.matches(sample.id):
            return Selected((), {UNMATCHED: 1})
        newest = max(sample.prompts)
        why = _prompt_reason(sample.prompts[newest].raw, rules)
        return Selected((), {why: 1}) if why else Selected((Pick(None, prompt_id=newest),), {})
    if not sample.candidates:
        return Selected((), {"no completion": 1})
    able = []
    for each in sample.candidates:
        why = _cannot(each, sample, rules)
        if why:
            reasons[why] += 1
        else:
            able.append(each)
    told = _Preferences(sample.preferences, {each.id for each in sample.candidates})
    if told.conflicts:
        reasons["preferences contradict each other"] += told.conflicts
    if rules.kind in ("dpo", "reward"):
        picks = _pairs(able, told, rules, reasons)
    elif rules.kind == "kto":
        picks = _labels(able, told, rules, reasons)
    else:
        picks = _good_ones(able, sample, told, rules, reasons)
    return Selected(tuple(picks), reasons)


def _prompt_reason(raw: bool, rules: Rules) -> str:
    if rules.prompts == "raw" and not raw:
        return "the prompt is messages"
    if rules.prompts == "messages" and raw:
        return "the prompt is raw text"
    return ""


def _cannot(each: Candidate, sample: Judged, rules: Rules) -> str:
    """Why a completion cannot go out whatever is thought of it; "" where it can."""
    if rules.matches is not None and not rules.matches(each.id):
        return UNMATCHED
    if each.archived and not rules.archived:
        return "archived"
    if each.truncated and not rules.truncated:
        return "truncated"
    if rules.on_policy and (each.model != rules.target_model or each.by_hand):
        return f"not made by {rules.target_model} alone"
    why = _prompt_reason(sample.prompts[each.prompt_id].raw, rules)
    if why:
        return why
    if rules.fits is not None and not rules.fits(each):
        return "too long"
    return ""


def _below(each: Candidate, rules: Rules) -> str:
    """Why its logprobs do not do; "" where they do."""
    bounds = (
        ("mean logprob", rules.mean_logprob, each.mean_logprob),
        ("least logprob", rules.min_logprob, each.min_logprob),
        ("tenth percentile of logprobs", rules.p10_logprob, each.p10_logprob),
        ("mean logprob among the target's others", rules.lowest_mean, each.mean_logprob),
    )
    if any(bound is not None for _, bound, _ in bounds) and not each.scored:
        return f"not measured by {rules.target_model}"
    for name, bound, value in bounds:
        if bound is not None and (value is None or value < bound):
            return f"{name} is too low"
    return ""


class _Preferences:
    """Who is better than whom, without what contradicts itself."""

    def __init__(self, said: Sequence[Said], there: set[int]) -> None:
        mine = [each for each in said if each.better in there and each.worse in there]
        ways: dict[frozenset[int], set[tuple[int, int] | None]] = {}
        for each in mine:
            ways.setdefault(frozenset((each.better, each.worse)), set()).add(None if each.tie else (each.better, each.worse))
        self.conflicts = sum(len(found) > 1 for found in ways.values())
        self.asked = set(ways)
        """Pairs that somebody compared, whatever came of it."""
        self.pairs = [next(iter(found)) for found in ways.values() if len(found) == 1]
        self.better = [pair for pair in self.pairs if pair is not None]
        self.winners = {better for better, _ in self.better}
        self.losers = {worse for _, worse in self.better}


def _good(able: Sequence[Candidate], told: _Preferences, rules: Rules) -> set[int]:
    """Approved, rated good, or preferred to one that is; the unrated who won and never lost are good too."""
    good = {each.id for each in able if each.approved or (each.rating is not None and each.rating >= rules.good)}
    good |= {each.id for each in able if each.rating is None and each.id in told.winners - told.losers}
    while more := {better for better, worse in told.better if worse in good} - good:
        good |= more
    return good


def _good_ones(able: Sequence[Candidate], sample: Judged, told: _Preferences, rules: Rules, reasons: Counter[str]) -> list[Pick]:
    good = _good(able, told, rules) if rules.judged else {each.id for each in able}
    if rules.kind == "stepwise":  # Steps that go wrong are what a model of them learns from.
        good |= {each.id for each in able if each.rating is not None}
    kept = []
    for each in able:
        why = _below(each, rules)
        if each.id not in good:
            why = "not rated" if each.rating is None else f"rated below {rules.good}"
            if each.id in told.losers:
                why = "another is preferred to it"
        if why:
            reasons[why] += 1
        else:
            kept.append(each)
    ordered = sorted(
        kept, key=lambda each: (not each.approved, -(each.rating if each.rating is not None else rules.good), each.id)
    )
    ordered = _in_order(ordered, told)
    unlike: dict[bytes, Candidate] = {}
    for each in ordered:
        if each.text_hash in unlike:
            reasons["equal to another of the sample"] += 1
        unlike.setdefault(each.text_hash, each)
    most = rules.per_sample or (1 if rules.kind == "sft" else len(unlike))
    chosen = list(unlike.values())
    if len(chosen) > most:
        reasons["enough of the sample"] += len(chosen) - most
    return [Pick(each, prompt_id=each.prompt_id) for each in chosen[:most]]


def _in_order(ordered: list[Candidate], told: _Preferences) -> list[Candidate]:
    """Move the preferred before those they are preferred to; circles are given up after as many rounds as there are members."""
    for _ in range(len(ordered)):
        place = {each.id: index for index, each in enumerate(ordered)}
        wrong = next(((b, w) for b, w in told.better if b in place and w in place and place[b] > place[w]), None)
        if wrong is None:
            break
        ordered.insert(place[wrong[1]], ordered.pop(place[wrong[0]]))
    return ordered


def _pairs(able: Sequence[Candidate], told: _Preferences, rules: Rules, reasons: Counter[str]) -> list[Pick]:
    there = {each.id: each for each in able}
    picks = [(0, place, there[b], there[w]) for place, (b, w) in enumerate(told.better) if b in there and w in there]
    rated = [each for each in able if each.rating is not None]
    for better in rated:
        for worse in rated:
            gap = (better.rating or 0) - (worse.rating or 0)
            if (better.rating or 0) < rules.good or gap < rules.margin or frozenset((better.id, worse.id)) in told.asked:
                continue
            picks.append((1, -gap, better, worse))
    kept = []
    for _, _, better, worse in sorted(picks, key=lambda each: (each[0], each[1], each[2].id, each[3].id)):
        if better.text_hash == worse.text_hash:
            reasons["chosen and rejected are equal"] += 1
        elif better.prompt_id != worse.prompt_id:
            reasons["they answer different revisions of the prompt"] += 1
        elif why := _below(better, rules):
            reasons[why] += 1
        else:
            kept.append(Pick(better, worse, prompt_id=better.prompt_id))
    if not picks:
        reasons["no pair of which one is better"] += 1
    if rules.per_sample is not None and len(kept) > rules.per_sample:
        reasons["enough of the sample"] += len(kept) - rules.per_sample
        kept = kept[: rules.per_sample]
    return kept


def _labels(able: Sequence[Candidate], told: _Preferences, rules: Rules, reasons: Counter[str]) -> list[Pick]:
    """Ratings say what is good and what bad; where there is none, winning every comparison is good and losing every one bad."""
    label_of = {each.id: _label(each, told, rules) for each in able}
    odd = {
        one
        for better, worse in told.better
        if label_of.get(better) is False and label_of.get(worse) is True
        for one in (better, worse)
    }
    picks, texts = [], set[bytes]()
    for each in able:
        label = label_of[each.id]
        if each.id in odd:
            reasons["its rating contradicts a preference"] += 1
        elif label is None:
            between = f"rated between {rules.bad} and {rules.good}"
            reasons["neither rated nor compared clearly" if each.rating is None else between] += 1
        elif label and (why := _below(each, rules)):
            reasons[why] += 1
        elif each.text_hash in texts:
            reasons["equal to another of the sample"] += 1
        else:
            texts.add(each.text_hash)
            picks.append(Pick(each, label=label, prompt_id=each.prompt_id))
    if rules.per_sample is not None and len(picks) > rules.per_sample:
        reasons["enough of the sample"] += len(picks) - rules.per_sample
        picks = picks[: rules.per_sample]
    return picks


def _label(each: Candidate, told: _Preferences, rules: Rules) -> bool | None:
    """Good, bad, or neither."""
    if each.approved:
        return True
    if each.rating is not None:
        return True if each.rating >= rules.good else False if each.rating <= rules.bad else None
    if each.id in told.winners and each.id not in told.losers:
        return True
    return False if each.id in told.losers and each.id not in told.winners else None
