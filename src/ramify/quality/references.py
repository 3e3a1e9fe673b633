"""A text against references: the numbers of sacrebleu and rouge-score, as those packages give them."""

from collections.abc import Mapping, Sequence

from ramify.errors import InputError

__all__ = ["bleu", "chrf", "rouge"]


def bleu(text: str, references: str | Sequence[str], *, tokenize: str = "13a") -> float:
    """sacrebleu's sentence BLEU (effective order, exponential smoothing), from 0 to 100.

    tokenize: sacrebleu's name of a tokenizer; "zh" for Chinese, "13a" for what has spaces.
    Source: Papineni et al. 2002, "BLEU"; Post 2018, "A Call for Clarity in Reporting BLEU Scores".
    """
    from sacrebleu.metrics.bleu import BLEU

    allowed = sorted(BLEU.TOKENIZERS)
    if tokenize not in allowed:
        raise InputError(f"tokenize is {tokenize!r}; sacrebleu has {', '.join(allowed)}")
    return float(BLEU(effective_order=True, tokenize=tokenize).sentence_score(text, _listed(references)).score)


def chrf(text: str, references: str | Sequence[str]) -> float:
    """sacrebleu's chrF (n-grams of up to 6 characters, recall twice precision), from 0 to 100. Source: Popović 2015."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(text, _listed(references)).score)


def rouge(text: str, reference: str, *, use_stemmer: bool = False) -> Mapping[str, float]:
    """rouge-score's F1 of rouge1, rouge2 and rougeL, each from 0 to 1. Its tokenizer knows a-z and 0-9 only.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".
    """
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

    found = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=use_stemmer).score(reference, text)
    return {name: float(score.fmeasure) for name, score in found.items()}


def _listed(references: str | Sequence[str]) -> list[str]:
    listed = [references] if isinstance(references, str) else list(references)
    if not listed:
        raise InputError("there is no reference; give at least one text")
    return listed
