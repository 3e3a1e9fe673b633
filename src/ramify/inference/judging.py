"""What a text is worth, and which of several settings or models writes better ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError
from ramify.inference.models import opened
from ramify.quality.metrics import SCORING_MODEL, Metrics, measure

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import Prompt
    from ramify.quality.coherence import Embed
    from ramify.quality.comparison import Comparison

__all__ = ["compare_generations", "evaluate_generation"]


def evaluate_generation(
    generated_text: str,
    reference_text: str | None = None,
    prompt: "Prompt | None" = None,
    *,
    model: "str | Path | Model" = SCORING_MODEL,
    device: str | None = None,
    embed: "Embed | None" = None,
    tokenize: str = "13a",
) -> Metrics:
    """Measure a text; `quality.metrics.DEFINITIONS` says what each number is, where it comes from and its range.

    model: whose opinion fluency and relevance are; the embedded `tiny` unless another is named, and the result names it.
    prompt: without one, relevance is None. reference_text: without one, BLEU, chrF and ROUGE are None. embed: sentences to
    vectors, for coherence. tokenize: sacrebleu's tokenizer.
    """
    scoring = opened(model, device=device)
    return measure(scoring, generated_text, reference=reference_text, prompt=prompt, embed=embed, tokenize=tokenize)


def compare_generations(
    model_path: "str | Path | Model | Sequence[str | Path | Model]" = "tiny",
    tokenizer_path: str | Path | None = None,
    prompt: "Prompt | None" = None,
    configs: Sequence[GenerationConfig] | None = None,
    num_samples: int = 10,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    scoring_model: "str | Path | Model" = SCORING_MODEL,
    device: str | None = None,
) -> "Comparison":
    """Every configuration of every model answers the prompt `num_samples` times, with the same seeds for all.

    Results come in the order of models, then configurations. `avg_quality` and `avg_diversity` go from 0 to 1, higher is
    better; `report()` is a table with intervals. Raises InputError and ConfigError for what cannot be compared.
    """
    if prompt is None:
        raise InputError("no prompt was given; give prompt=…")
    configs = [GenerationConfig()] if configs is None else list(configs)
    for place, config in enumerate(configs):
        if not isinstance(config, GenerationConfig):
            raise InputError(f"configs holds a {type(config).__name__} at {place}; give GenerationConfigs")
    named: Sequence[Any] = model_path if isinstance(model_path, list | tuple) else [model_path]
    if not configs or not named:
        raise InputError("there is nothing to compare; give at least one model and one configuration")
    if tokenizer_path is not None and len(named) > 1:
        raise InputError("tokenizer_path belongs to one model and several are given; leave it out")
    from ramify.quality.comparison import compare

    models = [opened(name, tokenizer_path, device=device) for name in named]
    contestants = [(model, config) for model in models for config in configs]
    judge = opened(scoring_model, device=None if not isinstance(scoring_model, str | Path) else device)
    return compare(contestants, prompt, scoring_model=judge, num_samples=num_samples, seed=seed, confidence=confidence)
