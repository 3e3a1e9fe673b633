"""Keeping what a model could do before: beside what is new it is held to what it used to say unasked.

Texts are sampled from the model before its first step, from its own beginning of text, and what it expects at each of their
places is noted. How far the trained model is from that, added to the loss, holds whatever the rows do not ask for. A second run
(dpo after sft, say) is held to the first model of all by naming it; else what each run moves adds up.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ramify.errors import InputError
from ramify.training.batches import Batch, pack, pad
from ramify.training.distance import Expected
from ramify.training.examples import IGNORED, Example
from ramify.training.objectives import Objective, Sums, resting
from ramify.training.reader import Reader
from ramify.training.spelling import Spelling

__all__ = ["KeepConfig", "Keeping", "expected_of", "own_words"]

TOKENS = 96
"""Of a text at most."""
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class KeepConfig:
    """How much of its old self a model keeps."""

    texts: int = 64
    """Sampled before the first step. Each row of a pass has one of them beside it, drawn anew."""
    weight: float = 2.0
    """Of the distance, in nats a token, beside the rows' loss."""
    model: str | None = None
    """The old self; None: the model that the run starts from."""

    def __post_init__(self) -> None:
        if self.texts < 1 or not self.weight > 0:
            raise InputError(f"keep has texts {self.texts} and weight {self.weight}; give at least 1 text and a weight above 0")


def own_words(model: Any, spelling: Spelling, count: int, *, seed: int = 0) -> list[Example]:
    """What the model says unasked: `count` samples at temperature 1, of at most 96 tokens."""
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


def expected_of(reader: Reader, texts: Sequence[Example]) -> list[Expected]:
    """What the model as it is (an adapter switched off) expects at each place of each text."""
    with resting(reader.model):
        return [reader.expectations(_batch([text], reader)).to(CPU) for text in texts]


def _batch(texts: Sequence[Example], reader: Reader) -> Batch:
    return (pack(texts) if reader.packing else pad(texts)).to(reader.device)


class Keeping:
    """An objective, and the old texts beside it: one for each row of a pass, whichever torch's seed says."""

    def __init__(
        self, inner: Objective, texts: Sequence[Example], weight: float, *, expected: Sequence[Expected] | None = None
    ) -> None:
        """expected: at each place of each text; None: what the reader's model expects when the run begins."""
        self.inner, self.texts, self._weight, self._expected = inner, texts, weight, expected

    @property
    def lengths(self) -> Sequence[int]:
        return self.inner.lengths

    @property
    def prompts(self) -> Sequence[Hashable]:
        return self.inner.prompts

    def weight(self, rows: Sequence[int]) -> float:
        return self.inner.weight(rows)

    def prepare(self, reader: Reader) -> None:
        self.inner.prepare(reader)
        if self._expected is None:
            self._expected = expected_of(reader, self.texts)

    def measure(self, reader: Reader, rows: Sequence[int]) -> tuple[Tensor, Sums]:
        """The inner objective's loss is what is told, and beside it as "moved" the distance; what is added moves the weights."""
        assert self._expected is not None
        loss, told = self.inner.measure(reader, rows)
        # Not the row's own: fewer rows than texts would never read all of them. The loop seeds every step.
        places = torch.randint(len(self.texts), (len(rows),)).tolist()
        known = [self._expected[place] for place in places]
        expected = Expected(torch.cat([e.token_ids for e in known]), torch.cat([e.probabilities for e in known]))
        batch = _batch([self.texts[place] for place in places], reader)
        moved = reader.distance(batch, expected.to(reader.device)) / len(expected.token_ids)
        told["moved"] = moved.item() * told["weight"]
        return loss + self._weight * told["weight"] * moved, told
