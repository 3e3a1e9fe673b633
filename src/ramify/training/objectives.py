"""What a run makes smaller: cross-entropy (sft, pretraining), DPO's loss of pairs, KTO's of labelled completions.

A step's loss is the sum of its passes' sums over the step's whole weight (learned tokens; pairs; labelled rows), so it does not
matter how a step is cut into passes, nor over how many devices.

Sources: Rafailov et al. 2023, "Direct Preference Optimization"; Azar et al. 2023, "A General Theoretical Paradigm to Understand
Learning from Human Preferences" (ipo); Xu et al. 2024, "Contrastive Preference Optimization" (without a reference; with `sft` its
whole loss); Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization". Why a gain on the reference is no
ranking: Chen et al. 2024, "Preference Learning Algorithms Do Not Learn Preference Rankings".
"""

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ramify.errors import InputError
from ramify.training.batches import Batch, pack, pad, prompt_length
from ramify.training.examples import Example
from ramify.training.reader import Reader

if TYPE_CHECKING:
    from ramify.training.gathering import TrainingRow

__all__ = ["Completions", "Labels", "Objective", "Pairs", "PreferenceConfig", "Sums", "resting"]

Sums = dict[str, float]
"""Of a pass: "loss" and "weight", and whatever else is told, each summed over its rows."""
PairLoss = Literal["sigmoid", "ipo", "hinge"]


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    """Of DPO and KTO."""

    beta: float = 0.1
    """How strongly the model is held near the one it started from. Without a reference it holds nothing: a pair won by much more
    than 1 / beta nats hardly counts any more, so a larger one turns sooner to those that are lost."""
    loss: PairLoss = "sigmoid"
    """DPO's: sigmoid, ipo, hinge."""
    sft: float = 0.0
    """DPO: this much of the chosen completion's mean cross-entropy a token is added, so that chosen ones stay likely."""
    reference: bool = True
    """DPO: a completion counts by what it gained on the model that the run starts from. False: by its likelihood itself, so that
    pairs which the model ranks right already are left alone and those it ranks wrong are moved (CPO)."""
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(f"beta is {self.beta}; it must be more than 0")
        if self.loss not in get_args(PairLoss):
            raise InputError(f"loss is {self.loss!r}; it must be one of {', '.join(get_args(PairLoss))}")
        for name in ("sft", "desirable_weight", "undesirable_weight"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 0")


class Objective(Protocol):
    """Rows and how much a model is off on them."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each row."""

    @property
    def prompts(self) -> Sequence[Hashable]:
        """Of each row what it shares with others of its prompt."""

    def weight(self, rows: Sequence[int]) -> float:
        """Of what the loss of these rows is the sum."""

    def prepare(self, reader: Reader) -> None:
        """Before the first step, with the weights that the run starts from."""

    def measure(self, reader: Reader, rows: Sequence[int]) -> tuple[Tensor, Sums]:
        """The summed loss of some rows, to go backward from, and the sums to tell."""


class _Batched:
    def __init__(self, rows: Sequence[Any], *, packing: bool = False, pad_id: int = 0, multiple: int = 1) -> None:
        self.rows = rows
        self._packing, self._pad_id, self._multiple = packing, pad_id, multiple

    def _batch(self, examples: Sequence[Example], reader: Reader) -> Batch:
        made = pack(examples) if self._packing else pad(examples, pad_id=self._pad_id, multiple=self._multiple)
        return made.to(reader.device)


def _shared(example: Example) -> tuple[int, ...]:
    return example.token_ids[: prompt_length(example)]


class Completions(_Batched):
    """Cross-entropy on the learned tokens, each weighing the same."""

    rows: Sequence[Example]

    @cached_property
    def lengths(self) -> list[int]:
        return [len(example.token_ids) for example in self.rows]

    @property
    def prompts(self) -> list[Hashable]:
        return [_shared(example) for example in self.rows]

    def weight(self, rows: Sequence[int]) -> float:
        return sum(self.rows[row].learned for row in rows)

    def prepare(self, reader: Reader) -> None:
        """Nothing is needed."""

    def measure(self, reader: Reader, rows: Sequence[int]) -> tuple[Tensor, Sums]:
        loss, count = reader.loss(self._batch([self.rows[row] for row in rows], reader))
        return loss, {"loss": loss.detach().item(), "weight": count}


class _Referred(_Batched):
    """Rows measured once by the model that the run starts from, so that no second model is kept."""

    rows: Sequence["TrainingRow"]

    def __init__(self, rows: Sequence["TrainingRow"], config: PreferenceConfig, **how: Any) -> None:
        super().__init__(rows, **how)
        self.config = config
        self._reference: list[list[float]] = []

    @cached_property
    def lengths(self) -> list[int]:
        return [sum(len(each.token_ids) for each in row.examples) for row in self.rows]

    @property
    def prompts(self) -> list[Hashable]:
        return [_shared(row.chosen) for row in self.rows]

    def weight(self, rows: Sequence[int]) -> float:
        return len(rows)

    def prepare(self, reader: Reader) -> None:
        self._reference = self._measured(reader, [row.examples for row in self.rows])

    def _measured(self, reader: Reader, rows: Sequence[Sequence[Example]]) -> list[list[float]]:
        """The logprob of every sequence of every row, by the model as it is (an adapter that was just added changes nothing)."""
        flat = [example for row in rows for example in row]
        order = sorted(range(len(flat)), key=lambda i: len(flat[i].token_ids))
        found = [0.0] * len(flat)
        with resting(reader.model), torch.no_grad():
            for at in range(0, len(order), 16):
                part = order[at : at + 16]
                for i, value in zip(
                    part, reader.row_logprobs(self._batch([flat[i] for i in part], reader)).tolist(), strict=True
                ):
                    found[i] = value
        values = iter(found)
        return [[next(values) for _ in row] for row in rows]

    def _ratios(self, reader: Reader, rows: Sequence[int], side: int, logprobs: Tensor) -> Tensor:
        return logprobs - torch.tensor([self._reference[row][side] for row in rows], device=reader.device)


class Pairs(_Referred):
    """DPO: the chosen completion is to gain on the rejected one, measured against the model that the run starts from; or, without
    that reference, to be likelier than it."""

    def prepare(self, reader: Reader) -> None:
        if self.config.reference:
            super().prepare(reader)
        else:
            self._reference = [[0.0, 0.0]] * len(self.rows)

    def measure(self, reader: Reader, rows: Sequence[int]) -> tuple[Tensor, Sums]:
        chosen = [self.rows[row].chosen for row in rows]
        rejected = [each for row in rows if (each := self.rows[row].rejected) is not None]
        logprobs = reader.row_logprobs(self._batch([*chosen, *rejected], reader))
        won = self._ratios(reader, rows, 0, logprobs[: len(rows)])
        lost = self._ratios(reader, rows, 1, logprobs[len(rows) :])
        beta, gap = self.config.beta, won - lost
        if self.config.loss == "sigmoid":
            losses = -logsigmoid(beta * gap)
        elif self.config.loss == "hinge":
            losses = torch.relu(1 - beta * gap)
        else:  # ipo is of means a token
            sizes = torch.tensor([[e.learned for e in side] for side in (chosen, rejected)], device=reader.device)
            losses = (won / sizes[0] - lost / sizes[1] - 1 / (2 * beta)) ** 2
        if self.config.sft:
            sizes = torch.tensor([each.learned for each in chosen], device=reader.device)
            losses = losses - self.config.sft * logprobs[: len(rows)] / sizes
        told = {
            "loss": losses.detach().sum().item(),
            "weight": float(len(rows)),
            "accuracy": float((gap > 0).sum()),
            "margin": (beta * gap.detach()).sum().item(),
            "chosen": (beta * won.detach()).sum().item(),
            "rejected": (beta * lost.detach()).sum().item(),
        }
        return losses.sum(), told


class Labels(_Referred):
    """KTO: good completions are to gain and bad ones to lose, against how far the model has moved as a whole.

    That is measured, as in the paper, by the batch's completions behind one another's prompts.
    """

    def prepare(self, reader: Reader) -> None:
        super().prepare(reader)
        self._strange_reference: dict[tuple[int, int], float] = {}
        self._start = _Start(reader)

    def measure(self, reader: Reader, rows: Sequence[int]) -> tuple[Tensor, Sums]:
        strange = self._strangers(rows)
        with torch.no_grad():
            moved = reader.row_logprobs(self._batch([example for _, example in strange], reader))
            references = self._strange_references(reader, strange)
            drift = (moved - references.to(moved.device)).mean().clamp(min=0)
        logprobs = reader.row_logprobs(self._batch([self.rows[row].chosen for row in rows], reader))
        gained = self._ratios(reader, rows, 0, logprobs)
        good = torch.tensor([self.rows[row].label for row in rows], device=reader.device)
        beta = self.config.beta
        sided = torch.where(good, gained - drift, drift - gained)
        weights = torch.where(good, self.config.desirable_weight, self.config.undesirable_weight)
        losses = weights * (1 - torch.sigmoid(beta * sided))
        told = {
            "loss": losses.detach().sum().item(),
            "weight": float(len(rows)),
            "accuracy": float((sided > 0).sum()),
            "drift": drift.item() * len(rows),
        }
        return losses.sum(), told

    def _strangers(self, rows: Sequence[int]) -> list[tuple[tuple[int, int], Example]]:
        """Each row's prompt with the completion of the row before it."""
        found = []
        for place, row in enumerate(rows):
            other = rows[place - 1]
            mine, theirs = self.rows[row], self.rows[other]
            head, tail = mine.prompt_length, theirs.prompt_length
            ids = mine.chosen.token_ids[:head] + theirs.chosen.token_ids[tail:]
            labels = mine.chosen.labels[:head] + theirs.chosen.labels[tail:]
            found.append(((row, other), Example(ids, labels)))
        return found

    def _strange_references(self, reader: Reader, strange: Sequence[tuple[tuple[int, int], Example]]) -> Tensor:
        """By the model that the run started from; each is asked for once."""
        missing = [(key, example) for key, example in strange if key not in self._strange_reference]
        if missing:
            with self._start.restored(), torch.no_grad():
                values = reader.row_logprobs(self._batch([example for _, example in missing], reader)).tolist()
            self._strange_reference |= {key: value for (key, _), value in zip(missing, values, strict=True)}
        return torch.tensor([self._strange_reference[key] for key, _ in strange])


class _Start:
    """The trainable weights as they were at the start, to be laid in for a while: with an adapter few, else a copy of all."""

    def __init__(self, reader: Reader) -> None:
        self._model = reader.model
        self._adapter = hasattr(reader.model, "peft_config")
        trained = [] if self._adapter else [p for p in reader.model.parameters() if p.requires_grad]
        self._pairs = [(parameter, parameter.detach().clone()) for parameter in trained]

    def restored(self) -> AbstractContextManager[Any]:
        return self._model.disable_adapter() if self._adapter else _Swapped(self._pairs)


class _Swapped:
    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        self._pairs = pairs

    def _swap(self) -> None:
        for parameter, kept in self._pairs:
            parameter.data, kept.data = kept.data, parameter.data

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()


class resting:  # noqa: N801
    """A model without dropout for a while, its adapter switched off."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._was_training = self._model.training
        self._model.eval()
        self._off = self._model.disable_adapter() if hasattr(self._model, "peft_config") else nullcontext()
        self._off.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._off.__exit__(*error)
        self._model.train(self._was_training)
