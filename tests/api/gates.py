"""A model whose steps a test lets through one by one."""

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import ramify
from ramify.engine.model import Model
from ramify.models.base import Extension, Outputs

__all__ = ["Gate", "gated"]


class Gate:
    """Every forward pass waits here until it is let through."""

    def __init__(self) -> None:
        self._open = threading.Semaphore(0)
        self._arrived = threading.Semaphore(0)
        self._always = False
        self.widest = 0
        """The most rows that one pass had."""

    def arrives(self) -> None:
        """Wait until a pass stands at the gate."""
        assert self._arrived.acquire(timeout=120)

    def step(self, count: int = 1) -> None:
        """Let so many passes through."""
        self._open.release(count)

    def open(self) -> None:
        """Let all passes through, until it is shut again."""
        self._always = True
        self._open.release()

    def shut(self) -> None:
        """Take back what was let through and not used, and forget who stood here."""
        self._always = False
        for semaphore in (self._open, self._arrived):
            while semaphore.acquire(blocking=False):
                pass

    def leave_open(self) -> None:
        self._always = True
        self._open.release(10**6)

    def pass_through(self, rows: int = 1) -> None:
        self.widest = max(self.widest, rows)
        self._arrived.release()
        if not self._always:
            assert self._open.acquire(timeout=300)


class GatedBackend:
    """A backend behind a gate."""

    def __init__(self, backend: Any, gate: Gate) -> None:
        self._backend = backend
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def extend(self, rows: Sequence[Extension]) -> Outputs:
        self._gate.pass_through(len(rows))
        found: Outputs = self._backend.extend(rows)
        return found


@cache
def _tiny() -> Model:
    return ramify.load("tiny", device="cpu", precision="float32")


def gated(*, max_rows: int = 64) -> tuple[Model, Gate]:
    """`tiny` behind a gate. The weights are shared: one such model at a time."""
    plain, gate = _tiny(), Gate()
    backend: Any = GatedBackend(plain.engine.backend, gate)
    return Model(backend, chat=plain.chat, max_rows=max_rows, kept_bytes=0), gate
