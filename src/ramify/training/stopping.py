"""How a run is asked to end: by a signal, or by its caller; between two steps, with a checkpoint to go on from."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from ramify.errors import CancelledError

__all__ = ["Stop", "stopping"]


class Stop:
    """Asked to end, or not. Before the first step the run ends at once, while steps are taken after the one at hand."""

    def __init__(self) -> None:
        self.asked = False
        self.between_steps = False
        """Whether the loop looks at `asked` by itself."""

    def ask(self) -> None:
        """Raises CancelledError where nobody would look."""
        self.asked = True
        if not self.between_steps:
            raise CancelledError("it was cancelled before its first step")

    def check(self) -> None:
        """Raises CancelledError once it was asked."""
        if self.asked:
            raise CancelledError("it was cancelled")


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """SIGTERM and Ctrl+C ask the run to end; a second one ends the process as it would have. For the main thread alone."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def asked(number: int, frame: Any) -> None:
        restore()
        stop.ask()

    before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield stop
    finally:
        restore()
