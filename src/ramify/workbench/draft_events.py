"""What those hear who watch drafts: plain values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ramify.engine.model import Model
from ramify.engine.requests import TokenLogprob
from ramify.errors import RamifyError
from ramify.store.records import TokenLogprob as KeptLogprob

__all__ = ["DraftEvent", "Following", "Listener", "Snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftEvent:
    """Something that happened to a draft. `number` grows by one with each event of any draft."""

    number: int
    draft: int
    sample: int
    kind: Literal["begun", "tokens", "end", "error", "gone"]
    model: Model | None = None
    """Of tokens, the one that makes them."""
    start: int = 0
    """The place of the first of `ids` in the completion."""
    text: str = ""
    """What may be shown now; a stop string that may begin is held back."""
    ids: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    """The text that each of the ids adds."""
    logprobs: tuple[TokenLogprob, ...] = ()
    error: RamifyError | None = None
    snapshot: "Snapshot | None" = None
    """Of one that has begun: what it begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A running draft as it is at one moment."""

    number: int
    """The last event that is in it."""
    draft: int
    sample: int
    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    measured_from: int
    logprobs: tuple[KeptLogprob, ...]
    """From the token `measured_from` on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """What a listener begins with; all that happens later comes to it."""

    number: int
    snapshots: tuple[Snapshot, ...]
    """Whole drafts, where the missed events are not held any more or nothing was seen before."""
    missed: tuple[DraftEvent, ...]
    stop: Callable[[], None]
    """Ends the following."""


Listener = Callable[[DraftEvent], None]
