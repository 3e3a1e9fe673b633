"""What a run from scratch is to do, as data: a vocabulary learned of texts, or a new model that reads them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from ramify.errors import InputError
from ramify.training.config import TrainConfig
from ramify.training.documents import Duplicates, Unreadable

__all__ = ["PRESETS", "SCRATCH", "ScratchMethod", "ScratchPlan"]

ScratchMethod = Literal["tokenizer", "pretrain"]
SCRATCH = get_args(ScratchMethod)
PRESETS: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 128, "layers": 4, "heads": 4, "kv_heads": 2, "intermediate_size": 384},
    "tiny": {"hidden_size": 256, "layers": 6, "heads": 4, "kv_heads": 2, "intermediate_size": 768},
    "medium": {"hidden_size": 512, "layers": 8, "heads": 8, "kv_heads": 4, "intermediate_size": 1408},
    "large": {"hidden_size": 768, "layers": 12, "heads": 12, "kv_heads": 4, "intermediate_size": 2048},
}
"""Shapes of new models by name: about 1, 6, 27 and 85 million weights without embeddings; `tiny` is the embedded model's."""
UNSTEPPED = TrainConfig(max_steps=1)
"""Of a tokenizer, which takes no steps."""


@dataclass(frozen=True, kw_only=True)
class ScratchPlan:
    """One run from scratch. Raises InputError at birth for what no run can be."""

    method: ScratchMethod
    out: str
    """The folder of the result, with its checkpoint and log."""
    rows: tuple[str, ...]
    """Files or folders of text."""
    validation_rows: tuple[str, ...] = ()
    """Files that are measured and never learned."""
    workspace: str | None = None
    """Whose studio began it; None: the command line did."""
    name: str | None = None
    """Under which the model enters the registry; None: it does not."""
    tokenizer: str | None = None
    """A folder with the vocabulary, or a model's name; None: it is learned of the texts."""
    vocab_size: int = 4096
    """Of a vocabulary that is learned."""
    preset: str = "tiny"
    shape: Mapping[str, int] = field(default_factory=dict)
    """Parts of the preset, given one by one: hidden_size, layers, heads, kv_heads, intermediate_size."""
    duplicates: Duplicates = "exact"
    unreadable: Unreadable = "refuse"
    train: TrainConfig = UNSTEPPED

    def __post_init__(self) -> None:
        if self.method not in SCRATCH:
            raise InputError(f"method is {self.method!r}; it must be one of {', '.join(SCRATCH)}")
        if not self.rows:
            raise InputError("there are no texts to learn from; give at least one file")
        if self.preset not in PRESETS:
            raise InputError(f"preset is {self.preset!r}; it must be one of {', '.join(PRESETS)}")
        unknown = sorted(set(self.shape) - set(PRESETS[self.preset]))
        if unknown:
            raise InputError(f"a model's shape has no {unknown[0]!r}; it has {', '.join(PRESETS[self.preset])}")
        if self.method == "tokenizer" and (self.tokenizer is not None or self.name is not None):
            raise InputError("a tokenizer is learned of texts alone and is no model; leave out tokenizer and name")

    def to_data(self) -> dict[str, Any]:
        """As JSON has it, with the keys that every run's plan has."""
        data = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {**data, "model": None, "facets": []}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "ScratchPlan":
        """`to_data`'s, back again. Raises InputError for what no plan has."""
        given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        unknown = sorted(set(given) - {each.name for each in fields(cls)} - {"model", "facets"})
        if unknown:
            raise InputError(f"a plan from scratch has no {unknown[0]!r}")
        given = {key: value for key, value in given.items() if key not in ("model", "facets")}
        return cls(**{**given, "train": TrainConfig.of(**given["train"])})
