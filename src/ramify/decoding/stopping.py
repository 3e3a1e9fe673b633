"""When a completion ends, and what of its text may be shown meanwhile."""

from collections.abc import Sequence
from typing import Literal

__all__ = ["FinishReason", "StopStrings"]

FinishReason = Literal["eos", "stop", "length", "time", "cancelled", "error", "user", "written", "imported"]


class StopStrings:
    """Finds the first stop string in a text that arrives in pieces, and holds back what may still become one.

    The match that ends first counts; among those that end at the same character, the longest. So the result does not
    depend on how the text was cut into pieces. The text is cut where the match begins, or ends with `include`.
    """

    def __init__(self, strings: Sequence[str], include: bool = False) -> None:
        self.strings = tuple(strings)
        self.include = include
        self.matched: str | None = None
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """Take the next piece. Returns the text that may be shown now, and the stop string once one matched.

        After a match everything further is dropped.
        """
        if self.matched is not None:
            return "", self.matched
        text = self._held + text
        found = [(at + len(string), at, string) for string in self.strings if (at := text.find(string)) >= 0]
        if found:
            end, begin, self.matched = min(found)
            self._held = ""
            return text[: end if self.include else begin], self.matched
        held = max((_begun(text, string) for string in self.strings), default=0)
        shown, self._held = text[: len(text) - held], text[len(text) - held :]
        return shown, None

    def flush(self) -> str:
        """The text still held back, when the completion ended in another way."""
        held, self._held = self._held, ""
        return held


def _begun(text: str, string: str) -> int:
    """The length of the longest end of `text` that begins `string` and is not all of it.

    Nothing is kept between calls: all beginnings of a long string would take its length squared.
    """
    at = text.find(string[0], max(0, len(text) - len(string) + 1))
    while at >= 0:
        if string.startswith(text[at:]):
            return len(text) - at
        at = text.find(string[0], at + 1)
    return 0
