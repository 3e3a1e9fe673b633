"""A text in numbers, each with its definition, source and range."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ramify.errors import InputError
from ramify.quality.coherence import Embed, coherence
from ramify.quality.likelihood import likelihood
from ramify.quality.references import bleu, chrf, rouge
from ramify.quality.repetition import compression_ratio, diversity, longest_repeated_span, rep_n
from ramify.quality.words import words

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import Prompt

__all__ = ["DEFINITIONS", "SCORING_MODEL", "Definition", "Metrics", "measure"]

SCORING_MODEL = "tiny"
"""The model that fluency and relevance are measured under unless another is named: the embedded one."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a metric says."""

    meaning: str
    range: str
    better: str
    """`higher`, `lower`, or `neither`."""
    source: str


DEFINITIONS: dict[str, Definition] = {
    "fluency": Definition(
        meaning="1 / perplexity: the geometric mean of the tokens' probabilities under the scoring model at temperature 1",
        range="above 0 to 1",
        better="higher",
        source="perplexity: Jelinek et al. 1977",
    ),
    "perplexity": Definition(
        meaning="exp of the mean negative logprob a token under the scoring model", range="1 up", better="lower", source="id."
    ),
    "coherence": Definition(
        meaning="how well each sentence takes up what came before: entities, pronouns, and nothing introduced twice",
        range="0 to 1",
        better="higher",
        source="Barzilay & Lapata 2008; Prince 1981",
    ),
    "relevance": Definition(
        meaning="logistic function of the pointwise mutual information of prompt and text, nats a token, under the scoring model",
        range="0 to 1; 0.5: the prompt tells nothing of it",
        better="higher",
        source="Church & Hanks 1990; Holtzman et al. 2021",
    ),
    "pmi": Definition(
        meaning="mean logprob a token after the prompt less the mean after nothing, nats",
        range="any number",
        better="higher",
        source="the same",
    ),
    "diversity": Definition(
        meaning="the product of the shares of different 2-, 3- and 4-grams of words",
        range="above 0 to 1",
        better="higher",
        source="Su et al. 2022; Li et al. 2016 (distinct-n)",
    ),
    "repetition": Definition(
        meaning="the share of 4-grams of words that stood before (seq-rep-4)",
        range="0 to below 1",
        better="lower",
        source="Welleck et al. 2020",
    ),
    "longest_repeat": Definition(
        meaning="words in the longest run that stands twice without overlapping",
        range="0 to half the words",
        better="lower",
        source="—",
    ),
    "compression_ratio": Definition(
        meaning="bytes over their DEFLATE-compressed bytes",
        range="above 0; compare texts of one length",
        better="lower",
        source="Shaib et al. 2024",
    ),
    "words": Definition(meaning="words", range="0 up", better="neither", source="—"),
    "characters": Definition(meaning="Unicode characters", range="0 up", better="neither", source="—"),
    "tokens": Definition(meaning="tokens of the scoring model", range="0 up", better="neither", source="—"),
    "quality": Definition(
        meaning="the geometric mean of fluency, (1 + coherence) / 2, 1 - repetition, and relevance where there is a prompt",
        range="0 to 1",
        better="higher",
        source="ours: a yardstick for texts of one prompt, and no judgement of truth or taste",
    ),
    "bleu": Definition(meaning="sentence BLEU, sacrebleu's", range="0 to 100", better="higher", source="Papineni et al. 2002"),
    "chrf": Definition(meaning="chrF, sacrebleu's", range="0 to 100", better="higher", source="Popović 2015"),
    "rouge1": Definition(meaning="ROUGE-1 F1, rouge-score's", range="0 to 1", better="higher", source="Lin 2004"),
    "rouge2": Definition(meaning="ROUGE-2 F1, rouge-score's", range="0 to 1", better="higher", source="Lin 2004"),
    "rougeL": Definition(meaning="ROUGE-L F1, rouge-score's", range="0 to 1", better="higher", source="Lin 2004"),
}


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """One text's numbers; DEFINITIONS says what each is. None where there was nothing to measure it against.

    A text without words has fluency, coherence, relevance, diversity and quality 0.
    """

    fluency: float
    perplexity: float | None
    coherence: float
    relevance: float | None
    pmi: float | None
    diversity: float
    repetition: float
    longest_repeat: int
    compression_ratio: float
    words: int
    characters: int
    tokens: int
    quality: float
    bleu: float | None = None
    chrf: float | None = None
    rouge1: float | None = None
    rouge2: float | None = None
    rougeL: float | None = None  # noqa: N815  the name that the package gives it
    model: str = ""
    """The scoring model's name, and its fingerprint."""
    fingerprint: str = ""

    def to_dict(self) -> dict[str, float | int | str | None]:
        return dataclasses.asdict(self)


def measure(
    model: "Model",
    text: str,
    *,
    reference: str | None = None,
    prompt: "Prompt | None" = None,
    embed: Embed | None = None,
    tokenize: str = "13a",
    logprobs: Sequence[float] | None = None,
) -> Metrics:
    """Measure a text under a scoring model. tokenize: sacrebleu's tokenizer for BLEU ("zh" for Chinese).

    logprobs: of the text's tokens after the prompt, from who knows them already; else the model reads them.

    A prompt without anything in it counts as none. Raises InputError for what is not text.
    """
    if not isinstance(text, str):
        raise InputError(f"generated_text is a {type(text).__name__}; give text")
    said, about = words(text), prompt if prompt is not None and len(prompt) else None
    against: dict[str, float] = {}
    if reference is not None:
        if not isinstance(reference, str):
            raise InputError(f"reference_text is a {type(reference).__name__}; give text")
        against = {"bleu": bleu(text, reference, tokenize=tokenize), "chrf": chrf(text, reference), **rouge(text, reference)}
    counted = {
        "repetition": rep_n(text),
        "longest_repeat": longest_repeated_span(text),
        "compression_ratio": compression_ratio(text),
        "words": len(said),
        "characters": len(text),
        "model": model.info.name,
        "fingerprint": model.info.fingerprint,
    }
    if not said:
        nothing = {"fluency": 0.0, "perplexity": None, "coherence": 0.0, "pmi": None, "diversity": 0.0, "quality": 0.0}
        tokens = len(model.codec.encode(text))
        return Metrics(**nothing, relevance=None if about is None else 0.0, tokens=tokens, **counted, **against)  # type: ignore[arg-type]
    seen = likelihood(model, text, about, known=logprobs)
    holds = coherence(text, embed)
    parts = [seen.fluency, (1 + holds) / 2, 1 - rep_n(text), *([] if about is None else [seen.relevance])]
    return Metrics(
        fluency=seen.fluency,
        perplexity=seen.perplexity,
        coherence=holds,
        relevance=None if about is None else seen.relevance,
        pmi=None if about is None else seen.pmi,
        diversity=diversity(text),
        tokens=seen.tokens,
        # Geometric: what is babble in one respect is not made good by the others.
        quality=math.prod(parts) ** (1 / len(parts)),
        **counted,  # type: ignore[arg-type]
        **against,  # type: ignore[arg-type]
    )
