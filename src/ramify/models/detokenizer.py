"""Text from tokens as they come, whole characters only."""

import codecs
from collections.abc import Mapping, Sequence

__all__ = ["StreamDecoder"]


class StreamDecoder:
    """Turns token ids into text, one at a time.

    Law: the joined results of `feed`, and then of `flush`, are the joined bytes decoded at once with invalid UTF-8
    replaced by U+FFFD. A character whose bytes are split over tokens is held back until it is whole; special tokens
    (b"") add nothing.
    """

    def __init__(self, token_bytes: Sequence[bytes] | Mapping[int, bytes]) -> None:
        """token_bytes: the bytes of each id (`Tokenizer.token_bytes`)."""
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """The text that is certain now."""
        return self._decoder.decode(self._token_bytes[token_id])

    def flush(self) -> str:
        """What an unfinished character becomes at the end: U+FFFD, or nothing. The decoder can be used anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest

    @property
    def pending(self) -> bytes:
        """The bytes held back."""
        return self._decoder.getstate()[0]

    def copy(self) -> "StreamDecoder":
        """A second decoder in the same state, for a fork."""
        other = StreamDecoder(self._token_bytes)
        other._decoder.setstate(self._decoder.getstate())
        return other
