"""Guesses at coming tokens from what stands in the text already: after the same few tokens, the same ones may follow again.

A guess is checked by the model, never believed (`rows.py`): it saves passes where texts repeat, and changes no token.
Source: Saxena 2023, "Prompt Lookup Decoding".
"""

from collections.abc import Sequence

__all__ = ["Lookup"]

SIZES = (3, 2)
"""Tokens that must have stood there before, longest first."""


class Lookup:
    """One row's tokens, and where each run of two or three of them ended last."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)
        self._after: dict[tuple[int, ...], int] = {}
        self._indexed = 0

    def draft(self, new_ids: Sequence[int], most: int) -> list[int]:
        """Append tokens, and return up to `most` that followed the last ones where they stood before; [] where they never did."""
        self._ids += new_ids
        ids = self._ids
        # Runs that end before the last token: the last one's own run must not find itself.
        for end in range(self._indexed + 1, len(ids)):
            for size in SIZES:
                if end >= size:
                    self._after[tuple(ids[end - size : end])] = end
            self._indexed = end
        for size in SIZES:
            if len(ids) >= size and (at := self._after.get(tuple(ids[-size:]))) is not None:
                return ids[at : at + most]
        return []
