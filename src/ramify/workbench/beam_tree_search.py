"""Automatic beam search inside a tree: the engine's own searches, watched step by step.

A watched search is the engine's class with a notebook: what it expanded, what it considered, what it kept. Its results are the
engine's, token for token and score for score, because nothing of the search is written twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor

from ramify.decoding.config import GenerationConfig
from ramify.decoding.logprobs import entropy
from ramify.decoding.stopping import FinishReason
from ramify.engine.beams import Beam, Candidate, EarlyStopped, Search, Standard
from ramify.engine.groups import Diverse
from ramify.engine.requests import CompletionResult
from ramify.engine.tasks import Steps
from ramify.errors import ConfigError
from ramify.workbench.beam_tree_looking import top_of
from ramify.workbench.beam_tree_reading import Ids

__all__ = ["Looking", "Outcome", "Step", "Verdict", "Watched", "watched"]

SEARCHES = {"beam": Standard, "beam_sampling": Standard, "diverse_beam": Diverse}


@dataclass
class Step:
    """One step of a search. Paths begin where the search began; scores are sums of processed logprobs."""

    live: dict[Ids, float] = field(default_factory=dict)
    """The beams that were expanded."""
    best: dict[Ids, tuple[int, float]] = field(default_factory=dict)
    """Each one's best next token, with the score it would have had; from a cached tree, where it is known."""
    taken: dict[Ids, tuple[int, ...]] = field(default_factory=dict)
    """Diverse beams: what earlier groups had chosen when a beam was expanded."""
    found: dict[Ids, tuple[float, FinishReason | None]] = field(default_factory=dict)
    """The continuations that were considered, best first, and why each would end."""
    kept: dict[Ids, float] = field(default_factory=dict)
    """Those that went on."""


@dataclass(frozen=True)
class Verdict:
    """What became of one path in a search, and why.

    state: "best" and "finished" are among the results or ended with an end of their own; "alive" went as far as this path goes;
    "removed" lost its token to `processor`; "crowded" had better rivals; "stopped": the search was over before it came here;
    "unknown": the cached numbers do not decide it.
    """

    state: Literal["best", "finished", "alive", "removed", "crowded", "stopped", "unknown"]
    step: int
    """Tokens of the path that lived, the deciding one included."""
    score: float | None = None
    processor: str | None = None
    rivals: tuple[tuple[Ids, float], ...] = ()
    """Who was better at that step, best first, with their scores."""

    @property
    def dead(self) -> bool:
        return self.state in ("removed", "crowded")

    @property
    def reason(self) -> str:
        """One sentence, with the numbers."""
        if self.state == "removed":
            return f"token {self.step} was removed by {self.processor}"
        if self.state == "crowded":
            score = "" if self.score is None else f" with {self.score:.4f}"
            last = self.rivals[-1][1] if self.rivals else math.nan
            return f"crowded out at token {self.step}{score}: the last of {len(self.rivals)} better beams had {last:.4f}"
        return {
            "best": "among the results",
            "finished": "finished, and others ranked higher",
            "alive": "kept to its end",
            "stopped": f"the search was over after token {self.step}",
            "unknown": f"the tree does not hold what would decide token {self.step}",
        }[self.state]


@dataclass(frozen=True)
class Outcome:
    """A search that ran in a tree. Paths begin at the node `start`."""

    start: int
    config: GenerationConfig
    seed: int
    steps: tuple[Step, ...]
    results: tuple[CompletionResult, ...]
    """Best first; empty where `unknown` is not."""
    finished: dict[Ids, float]
    """Every continuation that was finished when the search was over, with what it ranked by."""
    unknown: tuple[Ids, ...] = ()
    """The paths whose continuations would have to be known to go on: look at them with the model, then rank again."""
    nodes: dict[Ids, int] = field(default_factory=dict)
    """The nodes of the results' and the kept beams' paths, where the tree has them."""

    @property
    def decided(self) -> bool:
        return not self.unknown

    @property
    def paths(self) -> tuple[Ids, ...]:
        """The results' token ids from `start` on, best first."""
        return tuple(result.generated_token_ids for result in self.results)


class Watched(Search):
    """Writes down what a search does. To be mixed in before one of the engine's searches."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.steps: dict[int, Step] = {}

    def step(self, beams: Sequence[Beam]) -> Step:
        """The step that expands these beams."""
        return self.steps.setdefault(len(beams[0].ids), Step())

    def note(self, beams: Sequence[Beam], processed: Tensor, taken: Sequence[Sequence[int]]) -> None:
        step = self.step(beams)
        values, ids = processed.max(dim=-1)
        for i, (beam, value, token_id) in enumerate(zip(beams, values.tolist(), ids.tolist(), strict=True)):
            step.live[beam.ids] = beam.score
            step.best[beam.ids] = (token_id, beam.score + value)
            step.taken[beam.ids] = tuple(taken[i]) if taken else ()

    def logprobs(self, logits: Tensor, beams: Sequence[Beam], taken: Sequence[Sequence[int]] = ()) -> Tensor:
        processed = super().logprobs(logits, beams, taken)
        self.note(beams, processed, taken)
        return processed

    def candidates(self, scores: Tensor, beams: Sequence[Beam], count: int) -> list[Candidate]:
        found = super().candidates(scores, beams, count)
        self.step(beams).found |= {candidate.ids: (candidate.score, candidate.ends) for candidate in found}
        return found

    def descend(self, chosen: Sequence[Candidate]) -> Steps:
        step = self.steps[len(chosen[0].ids) - 1]
        step.kept |= {candidate.ids: candidate.score for candidate in chosen}
        return super().descend(chosen)

    @property
    def ended(self) -> dict[Ids, float]:
        return {hypothesis.ids: hypothesis.rank for hypothesis in self.finished}


class Looking(Watched):
    """A search with the model that keeps what the model said, for the tree."""

    top = 0
    """How many of the likeliest tokens are kept for each beam that was expanded."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.seen: dict[Ids, tuple[list[tuple[int, float]], float]] = {}
        """For each expanded path its likeliest next tokens and the entropy there."""
        self.measures: dict[Ids, tuple[float, int]] = {}
        """For each path that was considered its last token's raw logprob and rank."""
        self._rows: dict[Ids, Tensor] = {}

    def logprobs(self, logits: Tensor, beams: Sequence[Beam], taken: Sequence[Sequence[int]] = ()) -> Tensor:
        raw = torch.log_softmax(logits, dim=-1)
        tops = top_of(raw, self.top, self.backend.info.eos_token_ids)
        for beam, row, top, surprise in zip(beams, raw, tops, entropy(raw).tolist(), strict=True):
            self._rows[beam.ids] = row
            self.seen.setdefault(beam.ids, (top, surprise))
        return super().logprobs(logits, beams, taken)

    def candidates(self, scores: Tensor, beams: Sequence[Beam], count: int) -> list[Candidate]:
        found = super().candidates(scores, beams, count)
        for candidate in found:
            row = self._rows[candidate.parent.ids]
            value = row[candidate.token_id]
            self.measures[candidate.ids] = float(value), int((row > value).sum()) + 1
        return found

    def descend(self, chosen: Sequence[Candidate]) -> Steps:
        self._rows = {}
        return super().descend(chosen)


Kind = TypeVar("Kind", bound=Watched)


def watched(kind: type[Kind], config: GenerationConfig) -> type[Kind]:
    """The engine's search for this config, watched by `kind`. Raises ConfigError for one that a tree cannot run."""
    base: type[Search] | None = SEARCHES.get(config.strategy)
    if base is None:
        raise ConfigError(
            f"the settings ask for {config.strategy}; the searches of a tree are beam, beam_sampling and diverse_beam. "
            "Give num_beams of at least 2, or use beam_out or continue_",
            ("num_beams",),
        )
    if base is Standard and config.beam_rule == "early_stopped":
        base = EarlyStopped
    return cast("type[Kind]", type(f"{kind.__name__}{base.__name__}", (kind, base), {}))
