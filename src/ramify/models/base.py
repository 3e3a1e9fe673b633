"""The seam under the engine: a model that decodes branches.

A branch is a sequence of tokens whose keys and values the model remembers. It can be extended, forked at any token, and freed.
Everything that makes text, from greedy decoding to a click in the studio, is made of these three.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Backend", "Extension", "ModelInfo", "Outputs", "TextCodec", "Trunk"]


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What there is to know of a loaded model."""

    name: str
    fingerprint: str
    architecture: str
    vocab_size: int
    """V, the width of the logits; it may exceed the tokenizer's."""
    tokenizer_size: int
    context_window: int
    """Tokens that fit, prompt and completion together."""
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    pad_token_id: int | None
    dtype: str
    device: str
    batch_invariant: bool
    """Whether a row's tokens are the same in any company, but for near-ties in the fifth digit of a logit."""
    shares_trunks: bool
    """Whether branches share the memory of their common tokens, or each keeps its own copy."""
    left_over: Mapping[str, Any] = field(default_factory=dict)
    """Sampling values found in the model's own `generation_config.json`; shown, and applied only when asked for."""


class TextCodec(Protocol):
    """Text to ids and back, with the exact bytes of each id."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def token_bytes(self) -> Sequence[bytes]: ...
    @property
    def literal_bytes(self) -> Sequence[bytes]: ...
    @property
    def exists(self) -> Any: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def eos_token_ids(self) -> tuple[int, ...]: ...
    @property
    def bos_token_id(self) -> int | None: ...
    @property
    def llguidance(self) -> Any: ...
    def encode(self, text: str, *, special: bool = False) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


class Trunk(Protocol):
    """A backend's handle of a branch: opaque but for its length in tokens."""

    @property
    def length(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Extension:
    """Tokens to append to one branch, and what is wanted back."""

    branch: Trunk
    token_ids: Sequence[int]
    wanted: int = 1
    """How many of the last positions' logits to return; 0 for the middle of a long prompt."""
    hidden: bool = False
    """Whether the last hidden states of these tokens are needed too, of all of them."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one forward pass returned, the wanted positions of all its extensions one after the other."""

    logits: "Tensor"
    """(N, V) float32, ids without a token at -inf."""
    starts: tuple[int, ...]
    """Extension i owns rows [starts[i], starts[i + 1])."""
    hidden: "tuple[Tensor | None, ...]" = ()
    """For each extension that asked: (its tokens, D) float32, the last hidden states. Empty when none asked."""

    def __getitem__(self, i: int) -> "Tensor":
        """(wanted, V): the logits of extension i."""
        return self.logits[self.starts[i] : self.starts[i + 1]]


class Backend(Protocol):
    """A model that decodes branches. One thread uses it; nothing here is locked."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def codec(self) -> TextCodec: ...

    @property
    def threads(self) -> int | None:
        """The processor's threads with which a step is quickest; None leaves them as they are."""
        ...

    def root(self) -> Trunk:
        """An empty branch."""
        ...

    def extend(self, rows: Sequence[Extension]) -> Outputs:
        """Append tokens to several branches in one forward pass; a branch appears at most once."""
        ...

    def fork(self, branch: Trunk, at: int | None = None) -> Trunk:
        """A new branch with the first `at` tokens of `branch` (all of them by default); nothing is computed."""
        ...

    def free(self, branch: Trunk) -> None:
        """Give the branch's memory back; what other branches share stays."""
        ...

    def size_bytes(self) -> int:
        """Bytes of keys and values held at this moment, by the allocator's own count."""
        ...
