"""The plan of an export: which completions go out under which facet, in order, and why others stay. Numbers, no texts."""

import hashlib
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from sqlalchemy import Connection

from ramify.errors import InputError
from ramify.exchange.duplicates import normalised
from ramify.exchange.selection import Rules, select
from ramify.exchange.templates import ExportTemplate, FacetShare
from ramify.store.database import Database
from ramify.store.facets import DEFAULTS, EffectiveFacet
from ramify.store.filters import parse
from ramify.store.prompts import prompt_columns
from ramify.store.records import Prompt
from ramify.store.walking import Candidate, count_samples, mean_at, prompts_of, texts_of, walk

__all__ = ["WAITING", "CountTokens", "FacetReport", "Plan", "Planned", "make_plan", "matching", "rules_of"]

CountTokens = Callable[[str, Prompt, str], int]
"""(model's name, prompt, completion) → how many tokens both have for it."""

WAITING = 1000
"""Samples named for each reason: those that somebody may open one after the other, to mend them."""

WIDTH = 5
"""Numbers a row: sample, prompt, chosen, rejected, label."""


@dataclass(frozen=True, slots=True)
class Planned:
    sample_id: int
    prompt_id: int
    chosen: int
    """0 in a row of prompts."""
    rejected: int
    """0 where there is none."""
    label: bool
    facet: str
    """"" where none was named."""


@dataclass(kw_only=True)
class FacetReport:
    """What became of one facet."""

    facet: str
    target_model: str
    samples: int = 0
    """That were looked at: those that an earlier facet sent out are not."""
    available: int = 0
    """Samples that could go out."""
    taken: int = 0
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Why completions stayed."""
    waiting: dict[str, list[int]] = field(default_factory=dict)
    """For each reason the first samples of which nothing goes out."""


class Plan:
    """Rows in order, 40 bytes each."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._starts: list[tuple[int, str]] = []
        self.facets: list[FacetReport] = []
        self.raw = self.messages = 0
        """Samples whose prompt is raw text, and whose prompt is messages."""
        self.tools = 0
        """Samples whose prompt offers tools."""

    def begin(self, facet: str) -> None:
        self._starts.append((len(self), facet))

    def add(self, numbers: Sequence[int]) -> None:
        self._numbers.extend(numbers)

    def __len__(self) -> int:
        return len(self._numbers) // WIDTH

    def __iter__(self) -> Iterator[Planned]:
        starts = [*self._starts, (len(self), "")]
        for (first, facet), (end, _) in pairwise(starts):
            for at in range(first * WIDTH, end * WIDTH, WIDTH):
                sample, prompt, chosen, rejected, label = self._numbers[at : at + WIDTH]
                yield Planned(sample, prompt, chosen, rejected, bool(label), facet)


def make_plan(
    connection: Connection,
    database: Database,
    template: ExportTemplate,
    *,
    fingerprint: str | None = None,
    count_tokens: CountTokens | None = None,
    told: Callable[[int, int], None] | None = None,
) -> Plan:
    """Raises InputError where max_tokens is asked for and nobody counts, and for prompts of two kinds in one file."""
    plan, used = Plan(), set[int]()
    total = count_samples(connection) * max(1, len(template.facets))
    matches = matching(database, template)
    shares: Sequence[FacetShare | None] = template.facets or (None,)
    for share in shares:
        facet = None if share is None else database.facets.effective(share.name)
        target = _target(database, template, facet)
        rules = rules_of(connection, template, facet, target, matches=matches, fingerprint=fingerprint, count_tokens=count_tokens)
        report = FacetReport(facet="" if share is None else share.name, target_model=target)
        plan.facets.append(report)
        plan.begin(report.facet)
        _plan_facet(connection, database, plan, rules, template, share, report, used, fingerprint, told, total)
    _check_prompts(plan, template)
    return plan


def _target(database: Database, template: ExportTemplate, facet: EffectiveFacet | None) -> str:
    if template.target_model is not None:
        return template.target_model
    if facet is not None:
        return facet.target_model
    return str(database.settings.get("target_model") or DEFAULTS["target_model"])


def _plan_facet(
    connection: Connection,
    database: Database,
    plan: Plan,
    rules: Rules,
    template: ExportTemplate,
    share: FacetShare | None,
    report: FacetReport,
    used: set[int],
    fingerprint: str | None,
    told: Callable[[int, int], None] | None,
    total: int,
) -> None:
    order = "oldest" if share is None else share.order
    numbers, ends = array("q"), array("q")
    kinds = bytearray()
    done = len(plan.facets) - 1
    facet = None if share is None else share.name
    pages = walk(
        connection,
        database,
        facet=facet,
        scored_by=rules.target_model,
        fingerprint=fingerprint,
        newest_first=order == "newest",
    )
    for count, sample in enumerate(pages, start=1):
        if told is not None and not count % 500:
            told(done * (total // len(plan.facets)) + count, total)
        if sample.id in used:
            continue
        report.samples += 1
        found = select(sample, rules)
        report.reasons.update(found.reasons)
        if not found.picks:
            for reason in found.reasons:
                named = report.waiting.setdefault(reason, [])
                if len(named) < WAITING:
                    named.append(sample.id)
            continue
        for pick in found.picks:
            chosen = 0 if pick.chosen is None else pick.chosen.id
            rejected = 0 if pick.rejected is None else pick.rejected.id
            numbers.extend((sample.id, pick.prompt_id, chosen, rejected, pick.label))
        facts = sample.prompts[found.picks[0].prompt_id]
        kinds.append(facts.raw | facts.tools << 1)
        ends.append(len(numbers))
    report.available = len(ends)
    places = list(range(len(ends))) if order == "random" else range(len(ends))
    if order == "random":
        random.Random(f"{template.seed}:{facet}").shuffle(places)  # type: ignore[arg-type]
    most = len(ends)
    if share is not None and share.count is not None:
        most = min(most, share.count)
    elif share is not None and share.share is not None:
        most = min(most, max(1, int(most * share.share))) if most else 0
    for place in places[:most]:
        start, end = (ends[place - 1] if place else 0), ends[place]
        used.add(numbers[start])
        plan.add(numbers[start:end])
        report.rows += (end - start) // WIDTH
        plan.raw += kinds[place] & 1
        plan.messages += not kinds[place] & 1
        plan.tools += kinds[place] >> 1
    report.taken = most
    if most < len(ends):
        report.reasons["beyond the facet's count or share"] += len(ends) - most


def rules_of(
    connection: Connection,
    template: ExportTemplate,
    facet: EffectiveFacet | None,
    target: str,
    *,
    matches: Callable[[int], bool] | None = None,
    fingerprint: str | None = None,
    count_tokens: CountTokens | None = None,
) -> Rules:
    """What counts under a facet, with all that has to be looked up for it. Raises InputError where max_tokens is asked for and
    nobody counts, and for a percentile of what the target did not measure."""
    lowest = None if template.percentile is None else mean_at(connection, target, template.percentile, fingerprint)
    if template.percentile is not None and lowest is None:
        raise InputError(f"percentile needs logprobs under {target}, and it measured nothing yet; `ramify score` measures")
    fits = None
    if template.max_tokens is not None:
        if count_tokens is None:
            raise InputError("max_tokens needs the target's tokenizer, and none was given")
        fits = _fits(connection, target, template.max_tokens, count_tokens)
    return replace(Rules.of(template, facet, target, lowest), matches=matches, fits=fits)


def matching(database: Database, template: ExportTemplate) -> Callable[[int], bool] | None:
    """Which completions (of prompts, samples) the filter lets through, as a question of their ids; None where there is none."""
    if template.filter is None:
        return None
    wanted = parse(template.filter)
    every = database.search.all_sample_ids if template.kind == "prompts" else database.search.all_completion_ids
    return frozenset(every(wanted, archived=None, hidden=None)).__contains__


def _fits(connection: Connection, model: str, most: int, count_tokens: CountTokens) -> Callable[[Candidate], bool]:
    def fits(each: Candidate) -> bool:
        prompt = prompts_of(connection, [each.prompt_id])[each.prompt_id]
        return count_tokens(model, prompt, texts_of(connection, [each.id])[each.id].text) <= most

    return fits


def _check_prompts(plan: Plan, template: ExportTemplate) -> None:
    if template.prompts != "as-is":
        return
    advice = "--prompts as-user makes each a user's turn, --prompts messages leaves them out"
    if plan.raw and plan.messages:
        raise InputError(
            f"{plan.raw} prompts are raw text and {plan.messages} are messages, which one file cannot hold; {advice}, "
            "--prompts raw leaves the messages out"
        )
    if plan.raw and template.form != "trl":
        raise InputError(f"{plan.raw} prompts are raw text, and {template.form} holds conversations; {advice}")


# ---------------------------------------------------------------- the split


def validation_prompts(connection: Connection, plan: Plan, template: ExportTemplate) -> Callable[[Prompt], bool]:
    """Whether a prompt's rows go into the validation file: exactly the share of all prompts, chosen by the seed.

    Prompts that are equal but for case, space and punctuation count as one, so none is on both sides.
    """
    keys: set[int] = set()
    prompt_ids = dict.fromkeys(each.prompt_id for each in plan)
    waiting = list(prompt_ids)
    for start in range(0, len(waiting), 1000):
        for prompt in prompts_of(connection, waiting[start : start + 1000]).values():
            keys.add(_key(prompt, template.seed))
    count = round(len(keys) * template.validation)
    if not 0 < count < len(keys):
        raise InputError(
            f"validation is {template.validation}, which of {len(keys)} prompts is {count}; both files need at least one"
        )
    bound = sorted(keys)[count]
    return lambda prompt: _key(prompt, template.seed) < bound


def _key(prompt: Prompt, seed: int) -> int:
    words = normalised(prompt_columns(prompt)["text"])
    return int.from_bytes(hashlib.sha256(f"{seed}\n{words}".encode()).digest()[:8], "big")


def reasons_of(report: FacetReport) -> Mapping[str, int]:
    """The commonest first."""
    return dict(sorted(report.reasons.items(), key=lambda each: (-each[1], each[0])))
