"""Server-sent events out of bytes, however they were cut on the way."""

__all__ = ["EventParser"]


class EventParser:
    """Takes bytes as they come and gives the data of each event that is whole.

    Lines end in LF, CRLF or CR; several `data:` lines of one event are joined by a line feed; comments, other fields and events
    without data are passed over; an event that its blank line never ended is none. Source: WHATWG HTML, "Server-sent events".
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._data: list[bytes] = []
        self._first_line = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that end in this chunk. What is not UTF-8 becomes U+FFFD."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._after_cr = self._after_cr or chunk.endswith(b"\r")
        found: list[str] = []
        for rest in lines[:-1]:
            line = b"".join((*self._pieces, rest))
            self._pieces = []
            event = self._take(line)
            if event is not None:
                found.append(event)
        # A line may be megabytes long: its pieces are joined once, when it ends.
        self._pieces.append(lines[-1])
        return found

    def _take(self, line: bytes) -> str | None:
        if self._first_line:
            line = line.removeprefix(b"\xef\xbb\xbf")
            self._first_line = False
        if not line:
            data, self._data = self._data, []
            return b"\n".join(data).decode("utf-8", errors="replace") if data else None
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        return None
