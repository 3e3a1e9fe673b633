"""What goes into the engine and what comes out: plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ramify.decoding.config import GenerationConfig
from ramify.decoding.stopping import FinishReason

__all__ = [
    "Alternative",
    "CompletionResult",
    "GenerationRequest",
    "Measured",
    "Message",
    "Origin",
    "Prompt",
    "Scored",
    "Span",
    "TokenEvent",
    "TokenLogprob",
]

Message = Mapping[str, object]
Prompt = str | Sequence[int] | Sequence[Message]
"""Raw text (special tokens in it count as such), token ids, or chat messages."""

Origin = Literal["prefill", "sampled", "picked", "typed", "imported"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have stood here. logprob in nats."""

    token_id: int
    token_bytes: bytes
    logprob: float

    @property
    def text(self) -> str:
        return self.token_bytes.decode("utf-8", errors="replace")


@dataclass(frozen=True, slots=True)
class Measured:
    """One token under one distribution. logprob and entropy in nats; rank 1 is the likeliest, ties share the best rank."""

    logprob: float
    rank: int
    entropy: float
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with its measures in the model's own distribution (temperature 1, no processor) and in the processed one."""

    token_id: int
    token_bytes: bytes
    raw: Measured
    processed: Measured | None = None
    """None where nothing was processed: scored text, and tokens picked by hand."""

    @property
    def text(self) -> str:
        return self.token_bytes.decode("utf-8", errors="replace")

    @property
    def logprob(self) -> float:
        return self.raw.logprob

    @property
    def rank(self) -> int:
        return self.raw.rank

    @property
    def entropy(self) -> float:
        return self.raw.entropy

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        return self.raw.alternatives


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens [start, end) of a completion and where they came from."""

    start: int
    end: int
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionResult:
    """One finished completion."""

    text: str
    """The completion with its prefill; special tokens left out, cut where a stop string began."""
    generated_text: str
    """The same without the prefill."""
    token_ids: tuple[int, ...]
    """Prefill and generated ids, the EOS included; cut text keeps all its ids."""
    prompt_token_ids: tuple[int, ...]
    finish_reason: FinishReason
    stop_string: str | None
    """The stop string, or the text of the stop token, that ended it."""
    logprobs: tuple[TokenLogprob, ...] | None
    """One per generated token; None when they were not asked for."""
    seed: int
    """Generating alone with this seed gives this completion again."""
    beam_score: float | None
    """Sum of processed logprobs / length ** length_penalty, for beams."""
    spans: tuple[Span, ...]
    config: GenerationConfig
    model: str
    fingerprint: str
    cached_tokens: int = 0
    """How many prompt tokens were not computed, because an earlier request had."""

    @property
    def truncated(self) -> bool:
        """Whether the model would have gone on: no EOS was sampled or chosen."""
        return self.finish_reason != "eos"

    @property
    def prefill_token_ids(self) -> tuple[int, ...]:
        return self.token_ids[: sum(s.end - s.start for s in self.spans if s.origin != "sampled")]

    @property
    def generated_token_ids(self) -> tuple[int, ...]:
        return self.token_ids[len(self.prefill_token_ids) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEvent:
    """A piece of a stream. The joined `text` of one index equals its result's `generated_text`."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    index: int = 0
    finish_reason: FinishReason | None = None
    result: CompletionResult | None = None
    """On the last event of each index."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Given text under a model: one entry per token of the completion."""

    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]

    @property
    def logprob(self) -> float:
        """Of the whole completion, in nats."""
        return sum(t.logprob for t in self.logprobs)

    @property
    def mean_logprob(self) -> float:
        """Nats a token; 0 for an empty completion."""
        return self.logprob / len(self.logprobs) if self.logprobs else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One prompt and what to make of it; ids only, checked against the model before it is queued."""

    prompt_ids: tuple[int, ...]
    """Prefill included."""
    config: GenerationConfig
    prefill_ids: tuple[int, ...] = ()
    prefill_origin: Origin = "prefill"
    count: int = 1
    """How many completions."""
    logprobs: int | None = None
    """None: no logprobs; otherwise how many alternatives a token carries."""
    seed: int = 0
    """Row i draws from seed + i."""
    special_tokens: bool = False
    """Whether special tokens are part of the text. The one that ends it is only with include_stop_str_in_output."""
    stream: bool = False
    """Whether events are wanted while it runs, and not only results."""
    room: int = 0
    """Tokens that may be generated, by the configuration and the window together."""
