"""Tokens for eyes: colours in a terminal, numbers elsewhere, and nothing that a model says reaches the terminal as a command."""

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color
from rich.console import Console

from ramify.cli import render
from ramify.engine.requests import Measured, TokenLogprob


def token(text: str | bytes, probability: float = 0.5, token_id: int = 7) -> TokenLogprob:
    token_bytes = text.encode() if isinstance(text, str) else text
    return TokenLogprob(token_id, token_bytes, Measured(math.log(probability), 1, 0.0))


def terminal(no_color: bool = False, colours: str = "truecolor") -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system=colours,
        no_color=no_color,
        width=40,
        markup=False,
        highlight=False,
    )


@pytest.mark.parametrize(
    ("token_bytes", "expected"),
    [
        (b" the", "·the"),
        (b"\n\n", "⏎⏎"),
        (b"\t", "⇥"),
        ("é".encode(), "é"),
        (b"\xe2\x98", "<E2 98>"),
        (b"\x1b[2J", "␛[2J"),
        (b"\x7f", "␡"),
        ("\u202eabc".encode(), "<U+202E>abc"),
        (b"", "∅"),
    ],
)
def test_whitespace_half_characters_and_controls_are_visible(token_bytes: bytes, expected: str) -> None:
    assert render.visible(token(token_bytes)) == expected


def test_a_special_token_is_shown_by_its_name() -> None:
    assert render.visible(token("", token_id=2), {2: "</s>"}) == "</s>"


@given(st.text())
def test_what_is_shown_holds_no_control_character(text: str) -> None:
    assert not [c for c in render.shown(text) if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in render.TURNS]


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(1.0, "99"), (0.999, "99"), (0.99, "99"), (0.989, "98"), (0.5, "50"), (0.01, "1"), (0.0099, "0"), (0.0, "0")],
)
def test_percentages_have_two_digits_at_most(probability: float, expected: str) -> None:
    assert render.percent(probability) == expected


def test_a_line_is_full_between_tokens_and_ends_after_a_newline() -> None:
    tokens = [token(word) for word in ("Once", " upon", " a\n", " time")]
    made = render.heatmap(tokens, colour=True, numbers=False, width=9)
    assert made.plain == "Once·upon\n·a⏎\n·time\n"
    assert render.heatmap(tokens, colour=True, numbers=False, width=8).plain == "Once\n·upon·a⏎\n·time\n"
    assert render.heatmap(tokens, colour=False, numbers=False).plain == "Once⁵⁰·upon⁵⁰·a⏎⁵⁰\n·time⁵⁰\n"


def test_no_token_loses_its_colour_and_lightness_follows_probability() -> None:
    def lightness(probability: float) -> float:
        style = render.piece(token("x", probability), colour=True, numbers=False).style
        red, green, blue = style.bgcolor.get_truecolor()  # type: ignore[union-attr]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    steps = [lightness(probability) for probability in (0.95, 0.8, 0.6, 0.4, 0.2, 0.05, 0.001)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == 7


@pytest.mark.parametrize("probability", [0.95, 0.8, 0.6, 0.4, 0.2, 0.05, 0.001])
def test_letters_can_be_read_on_every_colour(probability: float) -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    style = render.piece(token("x", probability), colour=True, numbers=False).style
    pair = [luminance(tuple(c.get_truecolor())) for c in (style.color, style.bgcolor)]  # type: ignore[union-attr, arg-type]
    # WCAG's contrast for large text is 3, for all text 4.5.
    assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5


def test_256_colours_keep_the_steps_apart() -> None:
    from rich.color import ColorSystem

    nearest = [Color.parse(background).downgrade(ColorSystem.EIGHT_BIT).number for _, background, _ in render.SCALE]
    assert len(set(nearest)) == len(render.SCALE)


def test_colours_need_a_terminal_that_wants_them() -> None:
    assert render.has_colour(terminal())
    assert render.has_colour(terminal(colours="256"))
    assert not render.has_colour(terminal(colours="standard"))  # Sixteen colours do not hold seven steps in order.
    assert not render.has_colour(terminal(no_color=True))
    assert not render.has_colour(Console(file=io.StringIO()))


def test_a_table_is_cut_to_the_width_of_the_terminal() -> None:
    lines = render.table([token("a" * 40)], width=30).plain.splitlines()
    assert [len(line) for line in lines] == [30, 30]
    assert lines[0].endswith("…")


def test_markup_in_a_token_stays_text() -> None:
    out = terminal()
    out.print(render.heatmap([token("[red]x[/red]")], colour=False, numbers=False))
    assert "[red]x[/red]⁵⁰" in out.file.getvalue()  # type: ignore[attr-defined]
