"""Keeping what a model could do before: beside what is new it goes on learning what it used to say unasked.

Texts are sampled from the model before its first step, from its own beginning of text. Their cross-entropy, added to the loss, is
(but for a constant) how far the model has moved from what it was; so whatever the rows do not ask for stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ramify.errors import InputError
from ramify.training.batches import pack, pad
from ramify.training.examples import IGNORED, Example
from ramify.training.objectives import Objective, Sums
from ramify.training.reader import Reader
from ramify.training.spelling import Spelling

__all__ = ["KeepConfig", "Keeping", "own_words"]

TOKENS = 96


@dataclass(frozen=True, kw_only=True)
class KeepConfig:
    """How much of its old self a model keeps."""

    texts: int = 64
    """Sampled before the first step."""
    weight: float = 1.0
    """Of their loss beside that of the rows."""

    def __post_init__(self) -> None:
        if self.texts < 1 or not self.weight > 0:
            raise InputError(f"keep has texts {self.texts} and weight {self.weight}; give at least 1 text and a weight above 0")


def own_words(model: Any, spelling: Spelling, count: int, *, seed: int = 0) -> list[Example]:
    """What the model says unasked: `count` samples at temperature 1, of at most 96 tokens."""
    import torch

    start = spelling.codec.bos_token_id
    if start is None:
        start = next(iter(spelling.codec.eos_token_ids), 0)
    torch.manual_seed(seed)
    begin = torch.tensor([[start]] * count, device=model.device)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        said = model.generate(
            begin, attention_mask=torch.ones_like(begin), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            max_new_tokens=TOKENS, pad_token_id=spelling.codec.pad_token_id or 0,
        )  # fmt: skip
    model.train(was_training)
    found = []
    for row in said.tolist():
        end = next((i + 1 for i, token in enumerate(row) if i and token in spelling.codec.eos_token_ids), len(row))
        found.append(Example(tuple(row[:end]), (IGNORED, *row[1:end])))
    return found


class Keeping:
    """An objective, and the old texts beside it: one for every two rows of a pass."""

    def __init__(self, inner: Objective, texts: Sequence[Example], weight: float, *, packing: bool = False) -> None:
        self.inner, self.texts, self._weight, self._packing = inner, texts, weight, packing

    @property
    def lengths(self) -> Sequence[int]:
        return self.inner.lengths

    def weight(self, rows: Sequence[int]) -> float:
        return self.inner.weight(rows)

    def prepare(self, reader: Reader) -> None:
        self.inner.prepare(reader)

    def measure(self, reader: Reader, rows: Sequence[int]) -> tuple[Tensor, Sums]:
        """The inner objective's loss is what is told; what is added only moves the weights."""
        loss, told = self.inner.measure(reader, rows)
        texts = [self.texts[row % len(self.texts)] for row in rows[::2]]
        old, count = reader.loss((pack(texts) if self._packing else pad(texts)).to(reader.device))
        return loss + self._weight * told["weight"] * old / count, told
