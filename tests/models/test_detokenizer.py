"""Streams of text: whole characters at every step, and the whole at the end."""

from hypothesis import example, given
from hypothesis import strategies as st

from ramify.models.detokenizer import StreamDecoder

pieces = st.lists(
    st.one_of(
        st.binary(max_size=4), st.text(max_size=3).map(str.encode), st.sampled_from([b"\xf0\x9f", b"\xa6\x94", b"\xe2", b""])
    ),
    max_size=12,
)


@given(pieces)
@example([b"\xf0", b"\x9f", b"\xa6", b"\x94"])
@example([b"\xf0\x9f", b"a"])
@example([b"\xed\xa0", b"\x80"])
@example([b"\xf0\x9f\xa6"])
def test_the_joined_stream_is_the_whole(tokens: list[bytes]) -> None:
    stream = StreamDecoder(tokens)
    parts = [stream.feed(i) for i in range(len(tokens))]
    assert "".join(parts) + stream.flush() == b"".join(tokens).decode("utf-8", "replace")


@given(pieces)
def test_a_copy_goes_on_as_the_original_does(tokens: list[bytes]) -> None:
    stream = StreamDecoder(tokens)
    for i in range(len(tokens) // 2):
        stream.feed(i)
    other = stream.copy()
    rest = range(len(tokens) // 2, len(tokens))
    assert [other.feed(i) for i in rest] + [other.flush()] == [stream.feed(i) for i in rest] + [stream.flush()]


def test_a_split_emoji_is_held_back_until_it_is_whole() -> None:
    stream = StreamDecoder([b" \xf0\x9f", b"\xa6", b"\x94!", b""])
    assert stream.feed(0) == " "
    assert stream.pending == b"\xf0\x9f"
    assert [stream.feed(3), stream.feed(1), stream.feed(2)] == ["", "", "🦔!"]
    assert (stream.pending, stream.flush()) == (b"", "")


def test_an_unfinished_character_becomes_one_replacement_and_the_decoder_is_fresh() -> None:
    stream = StreamDecoder([b"\xf0\x9f\xa6", b"a"])
    assert [stream.feed(0), stream.flush(), stream.feed(1), stream.flush()] == ["", "�", "a", ""]
