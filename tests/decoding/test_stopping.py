import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.decoding.stopping import StopStrings

texts = st.text(alphabet="ab\né", max_size=14)
stops = st.lists(st.text(alphabet="ab\né", min_size=1, max_size=4), min_size=1, max_size=3)


def run(strings: list[str], pieces: list[str], include: bool = False) -> tuple[str, str | None]:
    """The whole text shown, and the stop string."""
    stopping = StopStrings(strings, include)
    shown, matched = "", None
    for piece in pieces:
        more, matched = stopping.feed(piece)
        shown += more
    return shown + stopping.flush(), matched


@pytest.mark.parametrize(
    ("strings", "text", "include", "wanted"),
    [
        (["</s>"], "one</s>two", False, ("one", "</s>")),
        (["</s>"], "one</s>two", True, ("one</s>", "</s>")),
        (["</s>"], "one</s", False, ("one</s", None)),
        (["b", "ab"], "aab", False, ("a", "ab")),
        (["abcd", "c"], "abcd", False, ("ab", "c")),
        (["aab"], "aaab", False, ("a", "aab")),
        ([], "abc", False, ("abc", None)),
    ],
)
def test_the_match_that_ends_first_cuts_the_text(
    strings: list[str], text: str, include: bool, wanted: tuple[str, str | None]
) -> None:
    assert run(strings, [text], include) == wanted
    assert run(strings, list(text), include) == wanted


def test_text_that_may_become_a_stop_string_is_held_back_until_it_cannot() -> None:
    stopping = StopStrings(["\n\nUser", "\n\nEnd"], include=False)
    assert stopping.feed("Hello\n") == ("Hello", None)
    assert stopping.feed("\nUs") == ("", None)
    assert stopping.feed("ual\n\n") == ("\n\nUsual", None)
    assert stopping.feed("En") == ("", None)
    assert stopping.feed("d!") == ("", "\n\nEnd")
    assert stopping.feed("more") == ("", "\n\nEnd")
    assert stopping.flush() == ""


def test_flush_gives_what_was_held_back_once() -> None:
    stopping = StopStrings(["ab"], include=False)
    assert stopping.feed("xa") == ("x", None)
    assert stopping.flush() == "a"
    assert stopping.flush() == ""


@given(stops, texts, st.booleans())
def test_the_result_equals_reading_the_text_character_by_character(strings: list[str], text: str, include: bool) -> None:
    wanted: tuple[str, str | None] = (text, None)
    for end in range(1, len(text) + 1):
        ending = [string for string in strings if text[:end].endswith(string)]
        if ending:
            longest = max(ending, key=len)
            wanted = (text[:end] if include else text[: end - len(longest)], longest)
            break
    assert run(strings, [text], include) == wanted


@given(stops, st.lists(texts, max_size=6), st.booleans())
def test_cutting_the_text_into_pieces_changes_nothing(strings: list[str], pieces: list[str], include: bool) -> None:
    assert run(strings, pieces, include) == run(strings, ["".join(pieces)], include)


@given(stops, st.lists(texts, max_size=6))
def test_what_is_held_back_is_the_longest_suffix_that_may_begin_a_stop_string(strings: list[str], pieces: list[str]) -> None:
    stopping = StopStrings(strings, include=False)
    shown = ""
    for end in range(1, len(pieces) + 1):
        more, matched = stopping.feed(pieces[end - 1])
        shown += more
        if matched is not None:
            return
        text = "".join(pieces[:end])
        held = max(
            size for size in range(len(text) + 1) if size == 0 or any(string.startswith(text[-size:]) for string in strings)
        )
        assert shown == text[: len(text) - held]
