"""Batches of rows of nearly equal length.

A batch holds about `tokens_per_batch` tokens with its padding. Rows are shuffled, then sorted by length inside windows of
many batches, so padding stays small and no two rows share attention. The order depends on the seed and the epoch alone:
batch number n of a run is the same after a resume.
"""

import random
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ramify.training.examples import IGNORED, Example

__all__ = ["Batches", "pad_batch", "plan_epoch"]

WINDOW = 32
"""Batches' worth of rows that are sorted together."""


def pad_batch(examples: Sequence[Example], *, pad_id: int = 0, multiple: int = 16) -> tuple[Tensor, Tensor]:
    """(B, T) token ids and labels, padded on the right to the longest row, T rounded up to `multiple`; padding is not learned."""
    longest = max(len(example.token_ids) for example in examples)
    width = -(-longest // multiple) * multiple
    token_ids = torch.full((len(examples), width), pad_id, dtype=torch.long)
    labels = torch.full((len(examples), width), IGNORED, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example.token_ids)
        token_ids[row, :length] = torch.tensor(example.token_ids)
        labels[row, :length] = torch.tensor(example.labels)
    return token_ids, labels


def plan_epoch(lengths: Sequence[int], tokens_per_batch: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers of each batch of one epoch, in order. Every row comes once; a row longer than a batch is a batch alone."""
    shuffle = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    shuffle.shuffle(order)
    mean = max(1, sum(lengths) // max(1, len(lengths)))
    window = max(1, WINDOW * tokens_per_batch // mean)
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        batch: list[int] = []
        for row in sorted(order[start : start + window], key=lambda index: (lengths[index], index)):
            # Ascending: the newest row is the longest, and every row of the batch is padded to it.
            if batch and lengths[row] * (len(batch) + 1) > tokens_per_batch:
                batches.append(batch)
                batch = []
            batch.append(row)
        batches.append(batch)
    shuffle.shuffle(batches)
    return batches


class Batches:
    """`self[n]` is batch n of an endless run over the rows, epoch after epoch."""

    def __init__(self, examples: Sequence[Example], tokens_per_batch: int, *, seed: int, pad_id: int = 0) -> None:
        self.examples = examples
        self.pad_id = pad_id
        lengths = [len(example.token_ids) for example in examples]
        self._plan = lru_cache(maxsize=2)(lambda epoch: plan_epoch(lengths, tokens_per_batch, seed=seed, epoch=epoch))
        self._ends: list[int] = []

    def locate(self, number: int) -> tuple[int, int]:
        """The epoch of batch `number` and its place in it. Epochs differ slightly in their number of batches."""
        while not self._ends or number >= self._ends[-1]:
            epoch = len(self._ends)
            self._ends.append((self._ends[-1] if self._ends else 0) + len(self._plan(epoch)))
        epoch = next(index for index, end in enumerate(self._ends) if number < end)
        return epoch, number - (self._ends[epoch - 1] if epoch else 0)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        epoch, place = self.locate(number)
        return pad_batch([self.examples[row] for row in self._plan(epoch)[place]], pad_id=self.pad_id)
