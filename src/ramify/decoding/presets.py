"""Named settings: three bands of boldness and four answers to common complaints (document 003's tables)."""

from dataclasses import dataclass
from typing import Any

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """When to reach for it, and the settings it stands for."""

    help: str
    fields: dict[str, Any]


PRESETS: dict[str, Preset] = {
    "conservative": Preset(
        help="Focused and predictable: temperature 0.3.",
        fields={"do_sample": True, "temperature": 0.3},
    ),
    "balanced": Preset(
        help="Varied but coherent: temperature 0.8.",
        fields={"do_sample": True, "temperature": 0.8},
    ),
    "creative": Preset(
        help="Bold, at times incoherent: temperature 1.5.",
        fields={"do_sample": True, "temperature": 1.5},
    ),
    "less_repetitive": Preset(
        help="When the text repeats itself: a repetition penalty, no 3-gram twice, a warm nucleus.",
        fields={"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "temperature": 0.9, "top_p": 0.9},
    ),
    "more_coherent": Preset(
        help="When the text wanders: cooler, few choices, at most 100 tokens.",
        fields={"temperature": 0.6, "top_k": 40, "top_p": 0.8, "max_new_tokens": 100},
    ),
    "more_varied": Preset(
        help="When the text is too cautious: temperature 1, many choices, a slight repetition penalty.",
        fields={"temperature": 1.0, "top_k": 100, "top_p": 0.95, "repetition_penalty": 1.1},
    ),
    "faster": Preset(
        help="When it takes too long: greedy, cached, one row at a time, at most 50 tokens.",
        fields={"max_new_tokens": 50, "do_sample": False, "use_cache": True, "batch_size": 1},
    ),
}
