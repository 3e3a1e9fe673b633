"""Every node of a cached tree under other rules: what a search would add up, or how likely sampling is to draw it.

The tree keeps each node's likeliest next tokens; where the others matter, a number is given as bounds, and nothing is guessed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.models import threads
from ramify.store.records import BeamNodeRecord
from ramify.workbench.beam_tree_reading import Ids
from ramify.workbench.reranking import Known, Rules

__all__ = ["Bounds", "Rescored", "next_tokens", "rescored"]

CERTAIN = 1e-6
"""Bounds this near to each other are one number."""


@dataclass(frozen=True)
class Bounds:
    """A number that lies in [low, high]; known where the two meet."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        return self.low == self.high or self.high - self.low <= CERTAIN

    @property
    def value(self) -> float | None:
        """The number, None where it is not known."""
        return self.high if self.known else None

    def __add__(self, other: "Bounds") -> "Bounds":
        return Bounds(self.low + other.low, self.high + other.high)


NOTHING = Bounds(-math.inf, -math.inf)
ANYTHING = Bounds(-math.inf, 0.0)


@dataclass(frozen=True)
class Rescored:
    """A node under other rules. For a search these are what it adds up; with sampling, the logprob of drawing the token."""

    node: BeamNodeRecord
    path: Ids
    token: Bounds
    total: Bounds
    """From the start to here."""
    smallest: Bounds
    """Of the tokens from the start to here."""
    removed_by: str | None
    """The processor that removes this token; None where it may stay."""
    unreachable: bool
    """Whether this token or one before it is removed for certain."""

    @property
    def mean(self) -> Bounds:
        return Bounds(self.total.low / len(self.path), self.total.high / len(self.path))

    @property
    def unknown(self) -> bool:
        return not self.total.known


@threads.team_for_now()
def rescored(rules: Rules) -> dict[int, Rescored]:
    """Every node below the rules' start, by its id, under the rules."""
    found: dict[int, Rescored] = {}
    todo: list[tuple[Ids, Bounds, Bounds, bool]] = [((), Bounds(0.0, 0.0), Bounds(0.0, 0.0), False)]
    while todo:
        path, total, smallest, gone = todo.pop()
        children = rules.memory.children(rules.start + path)
        if not children:
            continue
        values = next_tokens(rules, path, [child.token_id for child in children])
        for child in children:
            token, remover = values[child.token_id]
            mine = (*path, child.token_id)
            least = Bounds(min(smallest.low, token.low), min(smallest.high, token.high))
            lost = gone or token.high == -math.inf
            found[child.id] = Rescored(child, mine, token, total + token, least, remover, lost)
            todo.append((mine, total + token, least, lost))
    return found


@threads.team_for_now()
def next_tokens(rules: Rules, path: Ids, token_ids: Sequence[int]) -> Mapping[int, tuple[Bounds, str | None]]:
    """The processed logprobs of tokens after a path, and which processor removes each."""
    known = rules.known(path)
    there = set(known.ids.tolist())
    if not rules.request.config.samples:
        row = rules.history(path, (), rules.keep(path))
        above, sure = rules.bounded([row], [known])
        bounds = {
            i: Bounds(float(above[0, i]), float(above[0, i])) if bool(sure[0, i]) else Bounds(-math.inf, float(above[0, i]))
            for i in token_ids
        }
    else:
        bounds = dict(zip(token_ids, _drawn(rules, path, known, token_ids), strict=True))
    found: dict[int, tuple[Bounds, str | None]] = {}
    for token_id in token_ids:
        removed = bounds[token_id].high == -math.inf and token_id in there
        found[token_id] = (bounds[token_id], rules.remover(path, token_id)[0] if removed else None)
    return found


def _drawn(rules: Rules, path: Ids, known: Known, token_ids: Sequence[int]) -> list[Bounds]:
    """Bounds of the logprob of drawing each token: over every way in which the mass that is left may lie on the other tokens.

    Without filters, the sum that normalises is largest or smallest where the other tokens share the mass evenly, or where as few
    as possible have it; tokens that a penalty may have touched are counted once at their bound and once at nothing. A filter may
    drop any part of the others.
    """
    names = rules.pipeline.names
    worlds = torch.stack([known.row(-math.inf, rules.memory.exists)] if known.whole else _worlds(rules, path, known))
    rows = [rules.history(path, (), rules.keep(path))] * len(worlds)
    processed = rules.pipeline(worlds, rows)
    there = set(known.ids.tolist())
    kept = processed > -math.inf
    if any(name in UNNORMALISED for name in names) or (not known.whole and _intractable(names)):
        return [NOTHING if i in there and not bool(kept[:, i].any()) and _banned(rules, path, i) else ANYTHING for i in token_ids]
    if known.whole:
        drawn = torch.log_softmax(processed, dim=-1)[0]
        return [Bounds(float(drawn[i]), float(drawn[i])) for i in token_ids]
    first = next((i for i, name in enumerate(names) if name in FILTERS), len(names))
    before = worlds
    for _, step in rules.stages[:first]:
        before = step(before, rows)
    others = torch.ones(worlds.shape[-1], dtype=torch.bool)
    others[known.ids] = False
    highest = float(before[:, others].max())
    tails = before[:, others].logsumexp(dim=-1)
    least = tails.min() if first == len(names) else torch.tensor(-math.inf)
    smallest = torch.logaddexp(before[0, ~others & kept.all(dim=0)].logsumexp(dim=0), least)
    largest = torch.logaddexp(before[0, ~others & kept.any(dim=0)].logsumexp(dim=0), tails.max())
    found = []
    for token_id in token_ids:
        value = float(before[0, token_id])
        if token_id not in there:
            found.append(ANYTHING)
        elif value == -math.inf:
            found.append(NOTHING)
        elif first < len(names) and value <= highest:
            found.append(ANYTHING)  # tokens that are not known may stand before it in the filter's order
        elif not bool(kept[:, token_id].any()):
            found.append(NOTHING)
        elif not bool(kept[:, token_id].all()):
            found.append(ANYTHING)
        else:
            found.append(Bounds(value - float(largest), value - float(smallest)))
    return found


def _intractable(names: Sequence[str]) -> bool:
    """Whether the processors act on tokens in no simple order, or on what a filter before them has left."""
    filters = [name for name in names if name in FILTERS]
    first = names.index(filters[0]) if filters else len(names)
    return (
        any(name in ("typical_p", "eta_cutoff", "constraint") for name in names)
        or any(name not in FILTERS for name in names[first:])
        or ("epsilon_cutoff" in filters and len(filters) > 1)
    )


def _banned(rules: Rules, path: Ids, token_id: int) -> bool:
    """Whether a token is removed before any filter looks at it."""
    return rules.remover(path, token_id)[0] not in FILTERS


UNNORMALISED = ("repetition_penalty", "encoder_repetition_penalty", "exponential_decay_length_penalty")
"""With sampling these act on the model's logits, whose zero the tree does not keep."""
FILTERS = ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def _worlds(rules: Rules, path: Ids, known: Known) -> list[Tensor]:
    """The extreme rows that agree with what is known."""
    memory = rules.memory
    others = memory.exists.clone()
    others[known.ids] = False
    ids = others.nonzero().flatten()
    touched_ids = {*rules.request.prompt_ids, *path, *_named(rules)}
    touched = torch.tensor([i for i in ids.tolist() if i in touched_ids], dtype=torch.long)
    free = torch.tensor([i for i in ids.tolist() if i not in touched_ids], dtype=torch.long)
    most = math.exp(known.floor)
    penalised = [name for name in rules.pipeline.names if name not in (*FILTERS, "temperature")]
    cases = [(-math.inf, known.rest)] if not penalised else []
    if penalised:
        cases = [(known.floor, known.rest), (-math.inf, max(0.0, known.rest - len(touched) * most))]
    else:
        free = ids
    rows = []
    for value, rest in cases:
        base = known.row(-math.inf, memory.exists)
        if penalised:
            base[touched] = value
        for spread in (False, True):
            row = base.clone()
            if len(free) and rest > 0:
                if spread:
                    row[free] = min(known.floor, math.log(rest / len(free)))
                else:
                    full = min(len(free), int(rest / most))
                    row[free[:full]] = known.floor
                    left = rest - full * most
                    if full < len(free) and left > 0:
                        row[free[full]] = math.log(left)
            rows.append(row)
    return rows


def _named(rules: Rules) -> set[int]:
    """Tokens that the settings name."""
    config = rules.request.config
    named = {*rules.eos, *(config.logit_bias or ()), *(config.suppress_tokens or ()), *(config.begin_suppress_tokens or ())}
    named |= {token_id for ids in config.bad_words_ids or () for token_id in ids}
    return named | {token_id for ids, _ in config.sequence_bias or () for token_id in ids}
