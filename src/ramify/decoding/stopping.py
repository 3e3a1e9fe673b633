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
        # Every way in which some stop string may have begun, for the longest possible suffix.
        self._beginnings = frozenset(string[:size] for string in self.strings for size in range(1, len(string)))
        self._longest = max((len(beginning) for beginning in self._beginnings), default=0)

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
        held = next((size for size in range(min(self._longest, len(text)), 0, -1) if text[-size:] in self._beginnings), 0)
        shown, self._held = text[: len(text) - held], text[len(text) - held :]
        return shown, None

    def flush(self) -> str:
        """The text still held back, when the completion ended in another way."""
        held, self._held = self._held, ""
        return held
