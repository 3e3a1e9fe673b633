"""From rows to what goes through the model at once, and which rows make a step.

Padded: (B, T), rows on the right side of which nothing is learned. Packed: (1, T), rows behind one another without padding,
each with positions of its own; rows of one prompt have it in common, so it is computed once. The attention is told who sees what.
Which rows make step n depends on the seed alone, so it is the same after a resume; and on no row's place among others, so packing
changes no loss.
"""

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.errors import InputError
from ramify.training.config import TrainConfig
from ramify.training.examples import IGNORED, Example

__all__ = ["Batch", "Steps", "Trunk", "pack", "pad", "prompt_length"]

WINDOW = 32
"""Passes' worth of rows that are sorted by length together, where tokens and not rows are counted."""
SHARED = 16
"""Prompts of fewer tokens are not shared: attending in parts would cost more than it saves."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """Rows of a packed batch that begin alike: their beginning once, then behind one another what each has of its own."""

    shared: int
    """Tokens of the beginning; 0: a row that shares nothing."""
    branches: tuple[int, ...]
    """Tokens of each row's own."""
    rows: tuple[int, ...]
    """Which row of the batch each is."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes through the model at once."""

    token_ids: Tensor
    """(B, T); packed (1, T)."""
    labels: Tensor
    """As token_ids; -100 where only read. The first token of a row is never learned."""
    lengths: tuple[int, ...]
    """Of each row."""
    trunks: tuple[Trunk, ...] = ()
    """How the rows of a packed batch lie in it."""

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.token_ids.to(device), self.labels.to(device), self.lengths, self.trunks)

    @property
    def packed(self) -> bool:
        return bool(self.trunks)

    @property
    def position_ids(self) -> Tensor:
        """(1, T) of a packed batch: each row counts from 0, and on behind what it shares."""
        spans = []
        for trunk in self.trunks:
            spans += [(0, trunk.shared), *((trunk.shared, trunk.shared + branch) for branch in trunk.branches)]
        return torch.cat([torch.arange(*span, device=self.token_ids.device) for span in spans]).unsqueeze(0)

    @property
    def rows(self) -> Tensor:
        """(N,) for each learned token, in the order in which they are selected: the row it is of."""
        if self.packed:
            parts: list[tuple[int, int]] = []
            for trunk in self.trunks:
                # Of what is shared nothing is learned, so it is nobody's.
                parts += [(-1, trunk.shared), *zip(trunk.rows, trunk.branches, strict=True)]
            owners, sizes = (torch.tensor(side, device=self.labels.device) for side in zip(*parts, strict=True))
            owner = torch.repeat_interleave(owners, sizes)
            return owner[1:][self.labels[0, 1:] != IGNORED]
        return (self.labels[:, 1:] != IGNORED).nonzero()[:, 0]


def pad(examples: Sequence[Example], *, pad_id: int = 0, multiple: int = 1) -> Batch:
    """Rows padded on the right to the longest, T rounded up to `multiple`; padding is not learned."""
    longest = max(len(example.token_ids) for example in examples)
    width = -(-longest // multiple) * multiple
    token_ids = torch.full((len(examples), width), pad_id, dtype=torch.long)
    labels = torch.full((len(examples), width), IGNORED, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example.token_ids)
        token_ids[row, :length] = torch.tensor(example.token_ids)
        labels[row, 1:length] = torch.tensor(example.labels[1:], dtype=torch.long)
    return Batch(token_ids, labels, tuple(len(example.token_ids) for example in examples))


def pack(examples: Sequence[Example]) -> Batch:
    """Rows behind one another, those of one prompt behind that prompt."""
    token_ids, labels, trunks = list[int](), list[int](), list[Trunk]()
    for rows in _alike(examples):
        first = examples[rows[0]]
        shared = prompt_length(first) if len(rows) > 1 else 0
        token_ids += first.token_ids[:shared]
        labels += [IGNORED] * shared
        for row in rows:
            token_ids += examples[row].token_ids[shared:]
            labels += [IGNORED, *examples[row].labels[shared + 1 :]]
        branches = tuple(len(examples[row].token_ids) - shared for row in rows)
        trunks.append(Trunk(shared, branches, tuple(rows)))
    lengths = tuple(len(example.token_ids) for example in examples)
    return Batch(torch.tensor([token_ids]), torch.tensor([labels]), lengths, tuple(trunks))


def prompt_length(example: Example) -> int:
    """How many tokens come before the one that predicts the first learned token: that one each row has to itself."""
    found = next((place for place, label in enumerate(example.labels) if place and label != IGNORED), len(example.labels))
    return found - 1


def _alike(examples: Sequence[Example]) -> list[list[int]]:
    """Row numbers, those of one prompt together, in the order of their first."""
    found: dict[tuple[int, ...] | int, list[int]] = {}
    for row, example in enumerate(examples):
        prompt = prompt_length(example)
        found.setdefault(example.token_ids[:prompt] if prompt >= SHARED else row, []).append(row)
    return list(found.values())


def plan_epoch(lengths: Sequence[int], config: TrainConfig, epoch: int, prompts: Sequence[Hashable] = ()) -> list[list[int]]:
    """Row numbers of each pass of one epoch, in order. Every row comes once; one longer than a pass is alone."""
    shuffle = random.Random(f"{config.seed}/{epoch}")
    order = list(range(len(lengths)))
    if config.shuffle:
        shuffle.shuffle(order)
    if config.together:
        of: dict[Hashable, list[int]] = {}
        for row in order:
            of.setdefault(prompts[row], []).append(row)
        order = [row for rows in of.values() for row in rows]
    if config.batch_size is not None:
        return [order[at : at + config.batch_size] for at in range(0, len(order), config.batch_size)]
    budget = max(1, config.tokens_per_step // config.accumulation)
    passes: list[list[int]] = []
    mean = max(1, sum(lengths) // max(1, len(lengths)))
    # Sorted by length inside a window, padding stays small. What is packed has none, and what is in order stays in order.
    sorts = config.shuffle and not config.packing
    window = max(1, WINDOW * budget // mean) if sorts else max(1, len(order))
    for start in range(0, len(order), window):
        rows, total, longest = list[int](), 0, 0
        part = order[start : start + window]
        for row in sorted(part, key=lambda index: (lengths[index], index)) if sorts else part:
            longest_then = max(longest, lengths[row])
            size = total + lengths[row] if config.packing else longest_then * (len(rows) + 1)
            if rows and size > budget:
                passes.append(rows)
                rows, total, longest_then = [], 0, lengths[row]
            rows.append(row)
            total, longest = total + lengths[row], longest_then
        passes.append(rows)
    if sorts:
        shuffle.shuffle(passes)
    return passes


class Steps:
    """`self[n]` is step n of an endless run over the rows, epoch after epoch: the passes of it, each a list of row numbers."""

    def __init__(
        self, lengths: Sequence[int], config: TrainConfig, *, devices: int = 1, prompts: Sequence[Hashable] = ()
    ) -> None:
        """prompts: of each row, equal ones for rows that go together."""
        if not lengths:
            raise InputError("there are no rows to train on")
        self.lengths, self.config, self._prompts = lengths, config, prompts
        self.passes = config.accumulation * devices
        """Of a step."""
        self._ends: list[int] = []
        self._epochs: dict[int, list[list[list[int]]]] = {}

    def epoch(self, number: int) -> list[list[list[int]]]:
        """The steps of an epoch; its last may be smaller."""
        if number not in self._epochs:
            if len(self._epochs) > 1:
                self._epochs.clear()
            passes = plan_epoch(self.lengths, self.config, number, self._prompts)
            self._epochs[number] = [passes[at : at + self.passes] for at in range(0, len(passes), self.passes)]
        return self._epochs[number]

    def locate(self, number: int) -> tuple[int, int]:
        """The epoch of step `number` and its place in it. Epochs may differ slightly in their number of steps."""
        while not self._ends or number >= self._ends[-1]:
            self._ends.append((self._ends[-1] if self._ends else 0) + len(self.epoch(len(self._ends))))
        epoch = next(index for index, end in enumerate(self._ends) if number < end)
        return epoch, number - (self._ends[epoch - 1] if epoch else 0)

    def last(self) -> int | None:
        """How many steps the run has, where steps or epochs end it; the fewer of both."""
        found = [self.config.max_steps] if self.config.max_steps is not None else []
        if self.config.epochs is not None:
            whole = int(self.config.epochs)
            steps = sum(len(self.epoch(number)) for number in range(whole))
            steps += round((self.config.epochs - whole) * len(self.epoch(whole)))
            found.append(max(1, steps))
        return min(found) if found else None

    def __getitem__(self, number: int) -> list[list[int]]:
        epoch, place = self.locate(number)
        return self.epoch(epoch)[place]
