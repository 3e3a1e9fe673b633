"""What a request is made of, and what becomes of it: the parts that it asks for, their answers, and the pieces of a stream."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ramify.decoding.config import GenerationConfig
from ramify.decoding.stopping import FinishReason
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult, Scored, TokenEvent

__all__ = ["Answer", "Ids", "Kept", "Part", "Piece"]

Ids = tuple[tuple[int, ...], tuple[int, ...]]
"""The ids of prompt and prefill together, and those of the prefill."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A completion that is there already, and is given in place of a new one."""

    text: str
    finish_reason: FinishReason
    token_ids: tuple[int, ...] | None
    """Its own ids; None for a text that no model made."""
    fingerprint: str | None
    """Of the model whose ids they are."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One prompt of a request, and what to make of it."""

    encode: Callable[[Model], Ids]
    """Run off the event loop where it may take long; raises InputError for a prompt that cannot be used."""
    characters: int
    """About how long the prompt is."""
    config: GenerationConfig | None
    """None: nothing is generated."""
    logprobs: int | None = None
    special_tokens: bool = False
    """Whether special tokens are part of the text."""
    measure: int | None = None
    """How many alternatives the prompt's own tokens are measured with; None: they are not measured."""
    max_tokens: int | None = None
    """What the request named; it must fit behind the prompt."""
    max_tokens_name: str = "max_tokens"
    """What the request called it."""
    kept: Kept | None = None
    """Given as it is, whatever the settings say."""

    @property
    def rows(self) -> int:
        """How many places of the engine it takes."""
        config = self.config
        if config is None:
            return 1
        candidates = (config.top_k or 1) if config.strategy == "contrastive" else 1
        return max(config.num_return_sequences, config.num_beams, candidates)


@dataclass(kw_only=True)
class Answer:
    """What became of a part."""

    prompt_ids: tuple[int, ...]
    """Prefill included."""
    prefill_ids: tuple[int, ...]
    measured: Scored | None = None
    """The prompt's tokens but the first."""
    completions: list[CompletionResult] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Piece:
    """Something of a part that has just become known: its prompt (when its turn came), or an event."""

    part: int
    answer: Answer
    event: TokenEvent | None = None
