"""Completions for eyes and for pipes: tokens coloured by probability, tables of alternatives, JSON.

What a model wrote is data: control characters are shown, never sent to the terminal.
"""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import Alternative, CompletionResult, Measured, TokenLogprob

__all__ = [
    "as_json",
    "console",
    "has_colour",
    "heatmap",
    "legend",
    "names_of",
    "note",
    "piece",
    "prefilled",
    "shaded",
    "shown",
    "spelled",
    "table",
    "visible",
]

# From the likeliest to the least likely; lightness falls in even steps, so the order shows without any hue.
# ColorBrewer's YlGnBu, one of its colour-blind-safe scales. (least probability, background, what the legend says)
SCALE = (
    (0.9, "#ffffcc", "≥ 90 %"),
    (0.7, "#c7e9b4", "70–90"),
    (0.5, "#7fcdbb", "50–70"),
    (0.3, "#41b6c4", "30–50"),
    (0.1, "#1d91c0", "10–30"),
    (0.01, "#225ea8", "1–10"),
    (0.0, "#0c2c84", "< 1 %"),
)
DARK = 5
"""From this step of the scale on, letters are white: so each has a contrast of 4.5 at least."""

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
TURNS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows them."""


def console(*, stderr: bool = False) -> Console:
    """A console that neither marks up nor highlights what it is given."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def has_colour(on: Console) -> bool:
    """Whether colours may carry meaning: on a terminal that tells the scale's steps apart, where NO_COLOR is not set."""
    return on.is_terminal and on.color_system in ("256", "truecolor") and not on.no_color


def note(text: str, quiet: bool = False) -> None:
    """A remark beside the completion, on standard error."""
    if not quiet:
        console(stderr=True).print(Text(shown(text), style="dim"))


def shown(text: str) -> str:
    """The text with control characters and turns of direction made visible; line ends and tabs stay."""
    return "".join(character if character in "\n\t" else _harmless(character) for character in text)


def names_of(model: "Model") -> Mapping[int, str]:
    """What the special tokens of a model are called: they have names and no text."""
    added: Mapping[str, int] = getattr(model.codec, "added_tokens", {})
    return {token_id: name for name, token_id in added.items() if token_id in model.codec.special_ids}


def visible(token: "TokenLogprob | Alternative", names: Mapping[int, str] | None = None) -> str:
    """A token's text with its whitespace visible; bytes that are no whole character as <E2 98>; special ones by name."""
    token_bytes = token.token_bytes
    if names and token.token_id in names:
        return spelled(names[token.token_id])
    try:
        text = token_bytes.decode("utf-8")
    except UnicodeDecodeError:
        return f"<{token_bytes.hex(' ').upper()}>"
    return spelled(text) or "∅"


def spelled(text: str) -> str:
    """A text on one line: whitespace and control characters visible."""
    return "".join({" ": "·", "\n": "⏎", "\t": "⇥"}.get(character) or _harmless(character) for character in text)


def _harmless(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if character in TURNS or unicodedata.category(character) == "Cc":
        return f"<U+{code:04X}>"
    return character


def _style(probability: float) -> Style:
    step = next(i for i, (least, _, _) in enumerate(SCALE) if probability >= least)
    return Style(bgcolor=SCALE[step][1], color="#ffffff" if step >= DARK else "#000000")


def percent(probability: float) -> str:
    """Two digits at most: 99 stands for 99 % and more, 0 for less than 1 %."""
    # float32 puts a half at 49.999998 %.
    return str(min(99, math.floor(probability * 100 + 1e-4)))


def piece(token: "TokenLogprob", names: Mapping[int, str] | None = None, *, colour: bool, numbers: bool) -> Text:
    """One token: whitespace visible, its probability as background, as a raised number, or both."""
    probability = math.exp(token.logprob)
    text = visible(token, names) + (percent(probability).translate(SUPERSCRIPTS) if numbers else "")
    return Text(text, style=_style(probability) if colour else "")


def shaded(text: str, probability: float, *, colour: bool) -> Text:
    """A text on the background of its probability."""
    return Text(text, style=_style(probability) if colour else "")


def prefilled(text: str) -> Text:
    """A prefill before its tokens' measures: given, not chosen, so it has no probability."""
    return Text(spelled(text), style="dim")


def heatmap(
    tokens: Iterable["TokenLogprob"],
    names: Mapping[int, str] | None = None,
    *,
    colour: bool,
    numbers: bool,
    width: int | None = None,
) -> Text:
    """Tokens one after the other; a line ends after a newline token, and between tokens where `width` cells are full.

    Without colour the numbers stand in for it. Returns text that ends in a line end.
    """
    found, used = Text(), 0
    for token in tokens:
        made = piece(token, names, colour=colour, numbers=numbers or not colour)
        cells = cell_len(made.plain)
        if width is not None and used and used + cells > width:
            found.append("\n")
            used = 0
        found.append_text(made)
        used += cells
        if token.token_bytes.endswith(b"\n"):
            found.append("\n")
            used = 0
    if used:
        found.append("\n")
    return found


def legend(*, colour: bool, numbers: bool) -> Text:
    """What colours and numbers mean: a line for the colours, and one for the numbers where there are both."""
    found = Text("probability in the model's own distribution: ")
    if colour:
        for least, _, words in SCALE:
            found.append(f" {words} ", style=_style(least))
    if numbers or not colour:
        found.append("\n" if colour else "")
        found.append("the raised number is per cent; 99 is 99 or more, 0 less than 1")
    return found


def table(tokens: Sequence["TokenLogprob"], names: Mapping[int, str] | None = None, width: int | None = None) -> Text:
    """A line a token: its text, probability, rank, entropy, and the alternatives it carries, best first."""
    widest = min(16, max((cell_len(visible(token, names)) for token in tokens), default=0))
    lines = [f"{'':>4} {'token':<{max(5, widest)}} {'prob %':>7} {'rank':>6} {'nats':>6}  alternatives"]
    for number, token in enumerate(tokens, start=1):
        word = visible(token, names)
        word += " " * (max(5, widest) - cell_len(word))
        others = "  ".join(f"{visible(other, names)} {_of(other):.2f}" for other in token.alternatives)
        # What a remote did not tell stays empty.
        rank, nats = token.rank or "", "" if math.isnan(token.entropy) else f"{max(0.0, token.entropy):.3f}"
        line = f"{number:>4} {word} {100 * math.exp(token.logprob):>7.2f} {rank:>6} {nats:>6}  {others}"
        lines.append(line)
    return Text("".join((line.rstrip() if width is None else _cut(line.rstrip(), width)) + "\n" for line in lines))


def _of(other: "Alternative") -> float:
    return 100 * math.exp(other.logprob)


def _cut(line: str, width: int) -> str:
    if cell_len(line) <= width:
        return line
    while cell_len(line) > width - 1:
        line = line[:-1]
    return line + "…"


def as_json(result: "CompletionResult", *, index: int = 0) -> dict[str, Any]:
    """A completion as a JSON object; bytes as lists of numbers, logprobs and entropies in nats."""
    return {
        "index": index,
        "text": result.text,
        "generated_text": result.generated_text,
        "finish_reason": result.finish_reason,
        "stop_string": result.stop_string,
        "truncated": result.truncated,
        "token_ids": list(result.token_ids),
        "generated_token_ids": list(result.generated_token_ids),
        "prompt_tokens": len(result.prompt_token_ids),
        "cached_tokens": result.cached_tokens,
        "seed": result.seed,
        "beam_score": result.beam_score,
        "config": result.config.to_dict(),
        "strategy": result.config.strategy,
        "processors": list(result.config.order),
        "model": result.model,
        "fingerprint": result.fingerprint,
        "spans": [{"start": span.start, "end": span.end, "origin": span.origin} for span in result.spans],
        "logprobs": None if result.logprobs is None else [_token(token) for token in result.logprobs],
    }


def _token(token: "TokenLogprob") -> dict[str, Any]:
    return {
        "token_id": token.token_id,
        "text": token.text,
        "bytes": list(token.token_bytes),
        **_measures(token.raw),
        "processed": None if token.processed is None else _measures(token.processed),
    }


def _measures(measured: "Measured") -> dict[str, Any]:
    return {
        # JSON has no infinity; a token that the distribution excludes has the logprob null.
        "logprob": _finite(measured.logprob),
        "rank": measured.rank,
        "entropy": _finite(measured.entropy),
        "alternatives": [
            {
                "token_id": other.token_id,
                "text": other.text,
                "bytes": list(other.token_bytes),
                "logprob": _finite(other.logprob),
            }
            for other in measured.alternatives
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
