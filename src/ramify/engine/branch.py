"""A branch in the user's hand: one token at a time, with the whole distribution in view."""

import asyncio
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ramify.decoding.config import GenerationConfig
from ramify.engine.kv_tree import Branches
from ramify.engine.measuring import measured, token_logprobs
from ramify.engine.requests import Alternative, CompletionResult, GenerationRequest, TokenLogprob
from ramify.engine.tasks import Steps, prefill
from ramify.errors import InputError, PromptTooLongError
from ramify.models import threads
from ramify.models.base import Extension, Trunk

if TYPE_CHECKING:
    from ramify.engine.model import Model

__all__ = ["Branch"]


@dataclass(slots=True)
class _Place:
    """What is computed of a branch. Only the engine's thread looks inside."""

    trunk: Trunk | None = None


class Branch:
    """A prompt and the tokens chosen so far. Each extension is one forward pass of the new tokens alone.

    Made by `model.branch(prompt)` or by forking; freed by `free()`, at the end of a `with`, or with the last reference to it.
    """

    def __init__(self, model: "Model", token_ids: Sequence[int], prompt_length: int) -> None:
        self.model = model
        self.prompt_length = prompt_length
        self._ids: tuple[int, ...] = ()
        self._branches = Branches(model.engine.tree)
        self._place = _Place()
        self._logits: Tensor | None = None
        self._finalizer = weakref.finalize(self, _free, model, self._branches)
        if not token_ids:
            start = model.info.bos_token_id
            if start is None:
                raise InputError(
                    f"the prompt is empty, and {model.info.name} has no BOS token to start from; give at least one token"
                )
            token_ids, self.prompt_length = (start,), 1
        self._ids = tuple(token_ids)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens after the prompt."""
        return self._ids[self.prompt_length :]

    @property
    def prompt_token_ids(self) -> tuple[int, ...]:
        return self._ids[: self.prompt_length]

    @property
    def text(self) -> str:
        """The text after the prompt."""
        return self.model.codec.decode(self.token_ids)

    def logits(self) -> Tensor:
        """(V,) float32, unnormalised; ids without a token at -inf."""
        if self._logits is None:
            self._check_alive()
            self._logits = self.model.converse(self._compute(), self._branches)
        return self._logits.clone()

    @threads.team_for_now()
    def probabilities(self) -> Tensor:
        """(V,) float32, summing to 1; ids without a token 0."""
        return torch.softmax(self.logits().double(), dim=-1).float()

    @threads.team_for_now()
    def candidates(self, k: int = 10) -> list[Alternative]:
        """The k likeliest next tokens, best first; ties by the lower id."""
        logprobs = torch.log_softmax(self.logits(), dim=-1)
        values, ids = torch.sort(logprobs, descending=True, stable=True)
        codec = self.model.codec
        return [
            Alternative(token_id, codec.literal_bytes[token_id], value)
            for token_id, value in zip(ids[:k].tolist(), values[:k].tolist(), strict=True)
            if value > -float("inf")
        ]

    @threads.team_for_now()
    def measure(self, token_id: int, alternatives: int = 0) -> TokenLogprob:
        """What the token would be worth here, before it is taken."""
        (checked,) = self.model.checked_ids((token_id,), "the branch")
        raw = measured(self.logits().unsqueeze(0), torch.tensor([checked]), alternatives)
        return token_logprobs(self.model.codec, [checked], raw, None, [alternatives])[0]

    def extend(self, token_ids: int | Sequence[int]) -> "Branch":
        """Append tokens. Returns the branch itself, for chains."""
        self._check_alive()
        given = (token_ids,) if isinstance(token_ids, int) else token_ids
        ids = self.model.checked_ids(given, "the extension")
        if ids:
            window = self.model.info.context_window
            if len(self._ids) + len(ids) > window:
                raise PromptTooLongError(len(self._ids) + len(ids), window)
            self._ids += ids
            self._logits = None
        return self

    def fork(self, at: int | None = None) -> "Branch":
        """A second branch with the first `at` tokens after the prompt (all by default); nothing is computed again."""
        self._check_alive()
        length = len(self.token_ids)
        at = length if at is None else at
        if not 0 <= at <= length:
            raise InputError(f"cannot fork at token {at}; this branch has {length} tokens after its prompt (0 to {length})")
        other = Branch(self.model, self._ids[: self.prompt_length + at], self.prompt_length)
        other._logits = self._logits if at == length else None
        self.model.before_next(partial(_share, self._place, weakref.ref(other), len(other._ids)))
        return other

    def complete(self, config: GenerationConfig | None = None, *, logprobs: int | None = 0, **fields: Any) -> CompletionResult:
        """Let the model finish it; the tokens so far stand at the result's beginning, marked as picked."""
        return self.model.result(self._request(config, logprobs, fields))[0]

    def _request(self, config: GenerationConfig | None, logprobs: int | None, fields: dict[str, Any]) -> GenerationRequest:
        self._check_alive()
        config = (config or GenerationConfig()).replace(**fields)
        request = self.model.request_of_ids(self._ids, self.token_ids, config, logprobs=logprobs, origin="picked")
        self.model.on_engine(self._remember).result()
        return request

    # The same for asyncio.

    async def alogits(self) -> Tensor:
        return await asyncio.to_thread(self.logits)

    async def aprobabilities(self) -> Tensor:
        return await asyncio.to_thread(self.probabilities)

    async def acandidates(self, k: int = 10) -> list[Alternative]:
        return await asyncio.to_thread(self.candidates, k)

    async def acomplete(
        self, config: GenerationConfig | None = None, *, logprobs: int | None = 0, **fields: Any
    ) -> CompletionResult:
        request = await asyncio.to_thread(self._request, config, logprobs, fields)
        return (await self.model.aresult(request))[0]

    def free(self) -> None:
        """Give the memory back now. The branch cannot be used afterwards."""
        self._finalizer()

    def __enter__(self) -> "Branch":
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def _compute(self) -> Steps:
        """Bring the keys and values up to the ids, and return the last position's logits."""
        place = self._place
        if place.trunk is None:
            place.trunk, answers, _ = yield from prefill(self._branches, self._ids)
            return answers[-1].logits[-1].clone()
        if place.trunk.length >= len(self._ids):  # computed already, but its logits are gone: the last token again
            longer, place.trunk = place.trunk, self._branches.fork(place.trunk, len(self._ids) - 1)
            self._branches.free(longer)
        (answer,) = yield [Extension(place.trunk, self._ids[place.trunk.length :])]
        return answer.logits[-1].clone()

    def _remember(self) -> None:
        """On the engine's thread: leave what was computed to the requests that come."""
        trunk = self._place.trunk
        if trunk is not None:
            self._branches.keep(self._branches.fork(trunk), self._ids[: trunk.length])

    def _check_alive(self) -> None:
        if not self._finalizer.alive:
            raise InputError("this branch was freed; fork one that is alive, or make a new one")

    def __repr__(self) -> str:
        return f"<ramify.Branch of {len(self.prompt_token_ids)} + {len(self.token_ids)} tokens>"


def _share(place: _Place, other: "weakref.ref[Branch]", length: int) -> None:
    """On the engine's thread, before anything else is asked of either: give a fork what was computed of its `length` tokens."""
    branch = other()
    if place.trunk is not None and branch is not None and branch._finalizer.alive:
        branch._place.trunk = branch._branches.fork(place.trunk, min(place.trunk.length, length))


def _free(model: "Model", branches: Branches) -> None:
    model.release(branches)
