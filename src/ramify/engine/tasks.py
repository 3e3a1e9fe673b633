"""A request at work: what it wants from the next forward pass, and what it makes of the answer."""

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ramify.engine.kv_tree import Branches
from ramify.engine.requests import TokenEvent
from ramify.models.base import Extension, Outputs, Trunk

__all__ = ["PREFILL_TOKENS", "Answer", "Handle", "Prefill", "SearchTask", "Steps", "Task", "prefill"]

PREFILL_TOKENS = 512
"""A prompt is computed in pieces of at most this size, so that rows in flight do not wait for a long one."""


class Handle:
    """The caller's end of a request: its result to come, its events, and the way to cancel it."""

    def __init__(self, sink: Callable[[TokenEvent], None] | None = None) -> None:
        self.future: Future[Any] = Future()
        # Running from the start: asyncio cancels the future of a task that is cancelled, and the engine, which alone settles it,
        # would fail at one that is settled. `cancel` is the way to stop.
        self.future.set_running_or_notify_cancel()
        self.sink = sink
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the engine to stop; its memory is free after the step that is under way."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def emit(self, event: TokenEvent) -> None:
        if self.sink is not None:
            self.sink(event)


class Task(Protocol):
    """What the scheduler runs. `extensions` and `receive` alternate until `done`."""

    handle: Handle

    @property
    def width(self) -> int:
        """Rows this task may put into one step."""
        ...

    @property
    def prompt_left(self) -> tuple[int, ...]:
        """The prompt while it is still being computed, else (): others that begin alike may wait for it."""
        ...

    @property
    def done(self) -> bool: ...
    def extensions(self) -> Sequence[Extension]: ...
    def receive(self, outputs: Outputs, first: int) -> None: ...
    def cancel(self) -> None: ...
    def fail(self, error: BaseException) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What one extension of a search gave. logits: (wanted, V) float32; hidden: (its tokens, D) where asked for, else None."""

    logits: Tensor
    hidden: Tensor | None


Steps = Generator[list[Extension], list[Answer], Any]
"""A search written as a conversation: it yields extensions, is sent their answers, and returns its result."""


def prefill(
    branches: Branches, ids: Sequence[int], *, reuse: bool = True, hidden: bool = False
) -> Generator[list[Extension], list[Answer], tuple[Trunk, list[Answer], int]]:
    """Compute `ids` in pieces. Returns the branch, the answers with its last logits and, if asked for, all hidden states, and
    how many tokens were not computed."""
    branch = branches.open(ids, reuse=reuse and not hidden)
    cached = branch.length
    answers: list[Answer] = []
    while branch.length < len(ids):
        start = branch.length
        piece = ids[start : start + PREFILL_TOKENS]
        want = 1 if start + len(piece) == len(ids) else 0
        (answer,) = yield [Extension(branch, piece, want, hidden)]
        if want or hidden:
            answers.append(answer)
    return branch, answers, cached


class Prefill:
    """The same for tasks that are not conversations: `next` gives the coming piece, None when the prompt is computed."""

    def __init__(self, branch: Trunk, ids: Sequence[int]) -> None:
        self.branch = branch
        self.ids = ids
        self.cached = branch.length

    def next(self) -> Extension | None:
        start = self.branch.length
        if start >= len(self.ids):
            return None
        piece = self.ids[start : start + PREFILL_TOKENS]
        return Extension(self.branch, piece, 1 if start + len(piece) == len(self.ids) else 0)


class SearchTask:
    """Runs a conversation (beams, contrastive search, scoring, one click) against the engine."""

    def __init__(
        self,
        handle: Handle,
        branches: Branches,
        steps: Steps,
        *,
        width: int = 1,
        prompt: Sequence[int] = (),
        on_cancel: Callable[[], Any] | None = None,
        owns_branches: bool = True,
    ) -> None:
        self.handle = handle
        self.width = width
        self.done = False
        self._branches = branches
        self._steps = steps
        self._on_cancel = on_cancel
        self._prompt = tuple(prompt)
        self._owns = owns_branches
        self._wanted: list[Extension] | None = None

    @property
    def prompt_left(self) -> tuple[int, ...]:
        return self._prompt

    def extensions(self) -> Sequence[Extension]:
        if self._wanted is None:
            self._advance(None)
        return self._wanted or []

    def receive(self, outputs: Outputs, first: int) -> None:
        assert self._wanted is not None
        answers = []
        for i in range(first, first + len(self._wanted)):
            rows = slice(outputs.starts[i], outputs.starts[i + 1])
            answers.append(Answer(outputs.logits[rows], outputs.hidden[i] if outputs.hidden else None))
        if any(e.wanted for e in self._wanted):
            self._prompt = ()
        self._advance(answers)

    def _advance(self, answers: list[Answer] | None) -> None:
        try:
            self._wanted = next(self._steps) if answers is None else self._steps.send(answers)
        except StopIteration as end:
            self._finish(end.value)
        except Exception as error:  # a search's own failure ends that search alone
            self.fail(error)

    def _finish(self, result: Any) -> None:
        self.close()
        self.handle.future.set_result(result)

    def cancel(self) -> None:
        result = self._on_cancel() if self._on_cancel is not None else None
        self._finish(result)

    def fail(self, error: BaseException) -> None:
        self.close()
        if not self.handle.future.done():
            self.handle.future.set_exception(error)

    def close(self) -> None:
        self.done = True
        self._wanted = None
        self._steps.close()
        if self._owns:
            self._branches.close()
