"""Server-sent events are read however they are written and however they are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.client.events import EventParser

STREAMS = [
    # what was sent, the data of its events
    (b"data: a\n\ndata: b\n\n", ["a", "b"]),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
    (b"data: a\r\rdata: b\r\r", ["a", "b"]),
    (b"data:a\n\ndata:  b\n\n", ["a", " b"]),
    (b'data: {"a":\ndata: 1}\n\n', ['{"a":\n1}']),
    (b": ping\n\ndata: a\n\n: ping\n\n", ["a"]),
    (b"event: piece\nid: 7\nretry: 10\ndata: a\n\n", ["a"]),
    (b"event: nothing\n\ndata: a\n\n", ["a"]),
    (b"data\n\n", [""]),
    (b"data:\n\n", [""]),
    (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
    ("data: é🙂\u2028\n\n".encode(), ["é🙂\u2028"]),
    (b"data: [DONE]\n\n", ["[DONE]"]),
    (b"data: a\n\ndata: half", ["a"]),
    (b"data: a\n\ndata: half\n", ["a"]),
    (b"database: a\n\n", []),
    (b"data: \xff\n\n", ["\ufffd"]),
    (b"\n\n\n", []),
    (b"", []),
]


@pytest.mark.parametrize(("sent", "expected"), STREAMS)
def test_events_are_the_same_whole_and_byte_by_byte(sent: bytes, expected: list[str]) -> None:
    assert EventParser().feed(sent) == expected
    parser = EventParser()
    assert [data for i in range(len(sent)) for data in parser.feed(sent[i : i + 1])] == expected


line_ends = st.sampled_from(["\n", "\r\n", "\r"])
words = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.lists(words, min_size=1, max_size=3), max_size=4), line_ends, st.lists(st.integers(0, 200), max_size=6))
def test_cuts_and_line_ends_change_nothing(events: list[list[str]], end: str, cuts: list[int]) -> None:
    sent = "".join("".join(f"data: {line}{end}" for line in event) + f": kept alive{end}{end}" for event in events).encode()
    parser, places = EventParser(), sorted({0, *(min(cut, len(sent)) for cut in cuts), len(sent)})
    found = [data for start, stop in pairwise(places) for data in parser.feed(sent[start:stop])]
    assert found == ["\n".join(event) for event in events]


def test_a_line_of_many_pieces_is_whole() -> None:
    parser = EventParser()
    assert [parser.feed(piece) for piece in (b"data: ", *[b"x" * 1000] * 1000, b"\n")] == [[]] * 1002
    assert parser.feed(b"\n") == ["x" * 1_000_000]
