"""A model as training reads it: from a batch to hidden states and an output projection, never to all logits.

What the projection alone cannot say (a soft cap, a scale on the logits) is found out by trying at the start; such a model gives
all its logits. Packing is tried too: a row must say alone what it says among others. Models of the Llama family are read by
`decoder.py`, where it says what they say; others by their own code.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ramify.errors import UnsupportedError
from ramify.training.attention import PACKED, register
from ramify.training.batches import Batch, Trunk
from ramify.training.decoder import FrugalDecoder
from ramify.training.distance import Expected, distance, expectations
from ramify.training.loss import places_learned, select_learned, summed_loss, token_logprobs

__all__ = ["Reader"]

TOLERANCE = {torch.float32: 2e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""How far two ways to the same may differ, relative to the largest number."""


class Reader:
    """Gives the loss and the log-probabilities of a batch's learned tokens."""

    def __init__(self, model: Any, *, packing: bool = False, bf16: bool = False, compile: bool = False) -> None:
        """model: a causal LM of transformers, or PEFT's around one. Raises UnsupportedError for one that cannot be packed."""
        self.model = model
        inner = model.get_base_model() if hasattr(model, "peft_config") else model
        self.device = next(inner.parameters()).device
        self.packing, self.bf16 = packing, bf16
        self._causal = inner
        self._body: Callable[..., Any] = inner.base_model
        self._head = inner.get_output_embeddings()
        self._own_attention = str(inner.config._attn_implementation)
        self._attention = self._own_attention
        self._decoder = None if compile else self._frugal()
        if packing and self._decoder is None:
            register()
            self._attention = PACKED
        elif compile and self.device.type == "cpu":
            self._attention = register()  # pays when compiled
        self._attend_by(self._attention)
        self.whole = not self._projects()
        """Whether all logits are computed, because the projection alone does not give them."""
        if self._attention == PACKED:
            self._try_packing()
        if compile:
            self._body = torch.compile(inner.base_model, dynamic=True)

    @property
    def frugal(self) -> bool:
        """Whether the model is read by `decoder.py`."""
        return self._decoder is not None

    @contextmanager
    def generating(self) -> Iterator[None]:
        """The model with its own attention, as its `generate` needs it."""
        self._attend_by(self._own_attention)
        try:
            yield
        finally:
            self._attend_by(self._attention)

    def _attend_by(self, name: str) -> None:
        if str(self._causal.config._attn_implementation) != name:
            self._causal.set_attn_implementation(name)

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        """The sum of -log p over the learned tokens in nats, and their number."""
        with self._autocast():
            selected, targets = self._selected(batch)
            if self.whole:
                return cross_entropy(selected.float(), targets, reduction="sum"), len(targets)
            return summed_loss(selected, self._head.weight, targets, bias=self._bias), len(targets)

    def logprobs(self, batch: Batch) -> Tensor:
        """(N,) log p of each learned token in nats, in the order of `batch.rows`."""
        with self._autocast():
            selected, targets = self._selected(batch)
            if self.whole:
                return -cross_entropy(selected.float(), targets, reduction="none")
            return token_logprobs(selected, self._head.weight, targets, bias=self._bias)

    def expectations(self, batch: Batch) -> Expected:
        """What the model expects at each place that predicts a learned token, in the order of `batch.rows`."""
        with self._autocast(), torch.no_grad():
            selected, _ = self._selected(batch)
            return expectations(selected, None if self.whole else self._head.weight, self._bias)

    def distance(self, batch: Batch, expected: Expected) -> Tensor:
        """The sum over those places of how far the model is, in nats, from what was expected there."""
        with self._autocast():
            selected, _ = self._selected(batch)
            return distance(selected, None if self.whole else self._head.weight, expected, self._bias)

    def row_logprobs(self, batch: Batch) -> Tensor:
        """(B,) the sum of each row's."""
        sums = torch.zeros(len(batch.lengths), dtype=torch.float32, device=self.device)
        return sums.index_add(0, batch.rows, self.logprobs(batch))

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def _selected(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The hidden states that predict a learned token, (N, D), or their logits, (N, V); and (N,) those tokens."""
        if self._decoder is None or self.whole:
            return select_learned(self._features(batch), batch.labels)
        keep, targets = places_learned(batch.labels)
        return self._decoder(batch, keep), targets

    def _features(self, batch: Batch) -> Tensor:
        """(B, T, D), or (B, T, V) where all logits are computed."""
        given: dict[str, Any] = {"input_ids": batch.token_ids, "use_cache": False}
        if batch.packed:
            given |= {"position_ids": batch.position_ids, "ramify_trunks": batch.trunks}
        if self.whole:
            return self._causal(**given).logits  # type: ignore[no-any-return]
        return self._body(**given).last_hidden_state  # type: ignore[no-any-return]

    @property
    def _bias(self) -> Tensor | None:
        return getattr(self._head, "bias", None)

    def _sample(self, *lengths: int) -> list[Tensor]:
        size = self._head.weight.shape[0]
        generator = torch.Generator().manual_seed(0)
        return [torch.randint(min(size, 1000), (1, length), generator=generator).to(self.device) for length in lengths]

    def _frugal(self) -> FrugalDecoder | None:
        """The decoder in our own steps, where it says what the model says: of a row, padded, packed and behind what it shares."""
        decoder = FrugalDecoder.of(self._causal)
        if decoder is None:
            return None
        first, second, other = self._sample(5, 7, 3)
        packed = torch.cat([first, second[:, :4], other, second[:, 4:]], 1)
        batch = Batch(packed, packed, (), (Trunk(0, (5,), (0,)), Trunk(4, (3, 3), (1, 2))))
        padded = torch.cat([first, first[:, :2]], 1), second
        square = Batch(torch.cat(padded), torch.cat(padded), ())
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                rows = [first, torch.cat([second[:, :4], other], 1), second]
                alone, branch, plain = (self._body(input_ids=ids, use_cache=False).last_hidden_state[0] for ids in rows)
                every = torch.arange(15, device=self.device)
                expected = torch.cat([alone, branch, plain[4:]])
                again = torch.tensor([4, 9, 13], device=self.device)
                agrees = _alike(decoder(batch, every), expected) and _alike(decoder(batch, again), expected[again])
                agrees = agrees and _alike(decoder(square, every[:14])[[*range(5), *range(7, 14)]], torch.cat([alone, plain]))
        finally:
            self.model.train(was_training)
        return decoder if agrees else None

    def _projects(self) -> bool:
        """Whether the output projection of the hidden states is the model's logits."""
        (ids,) = self._sample(5)
        given: dict[str, Any] = {"input_ids": ids, "use_cache": False}
        if self._attention == PACKED:
            given |= {"position_ids": torch.arange(5, device=self.device).unsqueeze(0), "ramify_trunks": (Trunk(0, (5,), (0,)),)}
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                said = self._causal(**given).logits
                made = self._head(self._body(**given).last_hidden_state)
        except (UnsupportedError, TypeError) as error:
            raise self._unpackable() from error
        finally:
            self.model.train(was_training)
        return _alike(said, made)

    def _try_packing(self) -> None:
        """Rows alone, behind another one, and behind the beginning that they share must say the same."""
        first, second, other = self._sample(5, 7, 3)

        def laid(ids: list[Tensor], *trunks: Trunk) -> Batch:
            together = torch.cat(ids, 1)
            return Batch(together, torch.zeros_like(together), (), trunks)

        alone = laid([second], Trunk(0, (7,), (0,)))
        both = laid([first, second], Trunk(0, (5,), (0,)), Trunk(0, (7,), (1,)))
        shared = laid([second[:, :4], other, second[:, 4:]], Trunk(4, (3, 3), (0, 1)))
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                together, single = self._features(both)[:, 5:], self._features(alone)
                branched = self._features(shared)[:, [0, 1, 2, 3, 7, 8, 9]]
                packed = together if self.whole else self._head(together)
                self._causal.set_attn_implementation(self._own_attention)
                plain = self._causal(input_ids=second, use_cache=False).logits
        finally:
            self._causal.set_attn_implementation(PACKED)
            self.model.train(was_training)
        if not _alike(together, single) or not _alike(branched, single) or not _alike(packed, plain):
            raise self._unpackable()

    def _unpackable(self) -> UnsupportedError:
        return UnsupportedError(
            f"{type(self._causal).__name__} cannot be packed: its rows would see each other, or its attention is its own; "
            "train it without packing"
        )


def _alike(left: Tensor, right: Tensor) -> bool:
    tolerance = TOLERANCE.get(right.dtype, 2e-3)
    return bool((left - right).abs().max() <= tolerance * right.abs().max().clamp(min=1.0))
