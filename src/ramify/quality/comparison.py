"""Configurations or models side by side on one prompt: the same seeds for all, and how sure the difference is."""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ramify.decoding.config import GenerationConfig
from ramify.errors import ConfigError, InputError
from ramify.quality.intervals import Interval, mean_of, share_of
from ramify.quality.metrics import Metrics, measure
from ramify.quality.repetition import self_bleu

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import Prompt

__all__ = ["Comparison", "ComparisonResult", "Sample", "compare"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One text of one contestant."""

    text: str
    seed: int
    finish_reason: str
    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """One contestant: a model and a configuration, its samples, and what they come to. Higher is better for both averages."""

    model: str
    config: GenerationConfig
    samples: tuple[Sample, ...]
    quality: Interval
    """Of the samples' `quality` (`metrics.DEFINITIONS`)."""
    diversity: Interval | None
    """Of 1 - each sample's BLEU against the other samples (self-BLEU): 0 when all are the same, 1 when they share nothing; None
    for one sample."""
    title: str = ""

    @property
    def avg_quality(self) -> float:
        """The samples' mean quality, from 0 to 1; higher is better."""
        return self.quality.mean

    @property
    def avg_diversity(self) -> float:
        """1 - self-BLEU of the samples, from 0 to 1; higher is more different. Not a number for one sample."""
        return math.nan if self.diversity is None else self.diversity.mean

    @property
    def name(self) -> str:
        """The title, else the configuration in short."""
        return self.title or json.dumps(self.config.to_dict(), ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Comparison(Sequence[ComparisonResult]):
    """The contestants in the order given; `report()` says it all in Markdown."""

    prompt: str
    scoring_model: str
    confidence: float
    results: tuple[ComparisonResult, ...]
    votes: tuple[tuple[int, int, float], ...] = ()
    """Blind judgements: (a, b, share of a): 1 when a was better, 0 when b was, 0.5 for a tie."""

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # what Sequence asks for: an index or a slice
        return self.results[index]

    def __iter__(self) -> Iterator[ComparisonResult]:
        return iter(self.results)

    def difference(self, a: int, b: int) -> Interval | None:
        """Quality of `a` less that of `b`, seed by seed: an interval without 0 in it says that they differ. None where no seed is
        common to both."""
        of_a, of_b = ({sample.seed: sample.metrics.quality for sample in self.results[i].samples} for i in (a, b))
        pairs = [quality - of_b[seed] for seed, quality in of_a.items() if seed in of_b]
        return mean_of(pairs, confidence=self.confidence) if pairs else None

    def voted(self, a: int, b: int, better: str) -> "Comparison":
        """The same with one more blind judgement: better is "a", "b" or "tie". Raises InputError for anything else."""
        shares = {"a": 1.0, "b": 0.0, "tie": 0.5}
        if better not in shares or a == b or not 0 <= a < len(self) or not 0 <= b < len(self):
            raise InputError(f"{better!r} between {a} and {b} is no vote; give two different places and 'a', 'b' or 'tie'")
        return dataclasses.replace(self, votes=(*self.votes, (a, b, shares[better])))

    def won(self, place: int) -> Interval | None:
        """The share of its blind duels that a contestant won, a tie counting one half; None where there were none."""
        shares = [share if a == place else 1 - share for a, b, share in self.votes if place in (a, b)]
        return share_of(sum(shares), len(shares)) if shares else None

    def report(self) -> str:
        """A Markdown table, and the paired differences to the first contestant."""
        head = ["", "model", "configuration", "quality", "diversity", "fluency", "coherence", "relevance", "repetition", "tokens"]
        head += ["votes"] if self.votes else []
        lines = [
            f"# {len(self)} contestants, {self._samples()} samples each",
            "",
            f"Prompt: {json.dumps(self.prompt, ensure_ascii=False)}. Scored under {self.scoring_model}. "
            f"Brackets: {self.confidence:.0%} intervals. Sample k of each drew from the same seed.",
            "",
            "| " + " | ".join(head) + " |",
            "|" + "---|" * len(head),
        ]
        for place, result in enumerate(self.results):
            cells = [str(place + 1), result.model, f"`{result.name}`", str(result.quality), str(result.diversity or "—")]
            for name in ("fluency", "coherence", "relevance", "repetition", "tokens"):
                values = [getattr(sample.metrics, name) for sample in result.samples]
                cells.append("—" if any(value is None for value in values) else f"{sum(values) / len(values):.3f}")
            if self.votes:
                cells.append(str(self.won(place) or "—"))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        if len(self) > 1:
            lines += ["", "Quality less that of 1, seed by seed:", ""]
            lines += [f"- {place + 1}: {self.difference(place, 0) or 'no seed in common'}" for place in range(1, len(self))]
        return "\n".join(lines) + "\n"

    def _samples(self) -> str:
        counts = sorted({len(result.samples) for result in self.results})
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def compare(
    contestants: "Sequence[tuple[Model, GenerationConfig]]",
    prompt: "Prompt",
    *,
    scoring_model: "Model",
    num_samples: int = 10,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Let each contestant answer `num_samples` times, sample k from seed + k, and measure all texts under one model.

    Raises ConfigError for a configuration with a seed of its own or several sequences, InputError for fewer than two samples.
    """
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 2:
        raise InputError(f"num_samples is {num_samples!r}; it must be a whole number >= 2: samples are compared with each other")
    for place, (_, config) in enumerate(contestants):
        for name in ("seed", "num_return_sequences"):
            if getattr(config, name) not in (None, 1):
                raise ConfigError(
                    f"configuration {place} has {name}={getattr(config, name)}; the seeds are paired over all, so leave it "
                    "out and give seed and num_samples to the comparison",
                    (name,),
                )
    shown = prompt if isinstance(prompt, str) else json.dumps(list(prompt), ensure_ascii=False, default=str)
    results = [_answered(model, config, prompt, scoring_model, num_samples, seed, confidence) for model, config in contestants]
    return Comparison(prompt=shown, scoring_model=scoring_model.info.name, confidence=confidence, results=tuple(results))


def _answered(
    model: "Model",
    config: GenerationConfig,
    prompt: "Prompt",
    scoring_model: "Model",
    num_samples: int,
    seed: int,
    confidence: float,
) -> ComparisonResult:
    requests = [model.request(prompt, config.replace(seed=seed + k), logprobs=None) for k in range(num_samples)]
    handles = [model.submit(request) for request in requests]
    answers = [handle.future.result()[0] for handle in handles]
    # Scored as text: another model's ids mean nothing to the scoring model, nor may its template.
    about = prompt if isinstance(prompt, str) else model.codec.decode(answers[0].prompt_token_ids)
    samples = tuple(
        Sample(
            text=answer.generated_text,
            seed=seed + k,
            finish_reason=answer.finish_reason,
            metrics=measure(scoring_model, answer.generated_text, prompt=about),
        )
        for k, answer in enumerate(answers)
    )
    return ComparisonResult(
        model=model.info.name,
        config=config,
        samples=samples,
        quality=mean_of([sample.metrics.quality for sample in samples], confidence=confidence),
        diversity=mean_of([1 - shared for shared in self_bleu([sample.text for sample in samples])], confidence=confidence),
    )
