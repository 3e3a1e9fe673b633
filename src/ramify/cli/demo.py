"""`ramify demo`: what a stranger sees first."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from ramify.cli import options, render
from ramify.prompts import HEDGEHOG, PAYMENT

if TYPE_CHECKING:
    from rich.console import Console

    from ramify.engine.model import Model

__all__ = ["STRATEGIES", "app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

STRATEGIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("greedy: always the likeliest token", {"do_sample": False}),
    ("sampled: drawn from the whole distribution", {"do_sample": True}),
    ("nucleus, inclusive: drawn from the likeliest tokens that reach 90 % together", {"top_p": 0.9}),
    (
        "nucleus, exclusive: drawn from the likeliest tokens that stay within 90 %",
        {"top_p": 0.9, "nucleus_rule": "exclusive"},
    ),
    ("beams: 4 at a time, the best finished one", {"num_beams": 4}),
    ("beams, early-stopped: the search ends when 4 have finished", {"num_beams": 4, "beam_rule": "early_stopped"}),
)

NEXT = """\
Try next:
  ramify complete "Once upon a time" --temperature 0.8 --stream
  ramify complete "Once upon a time" --max-new-tokens 12 --logprobs 3
  ramify chat
  ramify models probe tiny
Your own model: ramify models add NAME FOLDER, then --model NAME. Everything else: ramify --help, README.md, docs/."""


@app.command()
def demo(
    model: options.ModelName = "tiny",
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of everything that is drawn.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(metavar="NUMBER", help="Most tokens of a completion.")] = 300,
) -> None:
    """Complete document 004's two prompts in six ways, with every token's probability."""
    out = render.console()
    began = time.perf_counter()
    with options.open_model(model) as loaded:
        for title, prompt in (("A story", HEDGEHOG), ("A payment as JSON", PAYMENT)):
            _heading(out, title, prompt)
            for words, settings in STRATEGIES:
                _one(out, loaded, prompt, words, {"seed": seed, "max_new_tokens": max_new_tokens, **settings})
        out.print(render.legend(colour=render.has_colour(out), numbers=True))
        out.print(f"{len(STRATEGIES) * 2} completions by {loaded.info.name} in {time.perf_counter() - began:.0f} s\n")
    out.print(NEXT)


def _heading(out: "Console", title: str, prompt: str) -> None:
    out.print(Text(f"━━ {title} ━━", style="bold"))
    out.print(Text(render.shown(prompt), style="dim"))


def _one(out: "Console", model: "Model", prompt: str, words: str, settings: dict[str, Any]) -> None:
    result = model.complete(prompt, **settings)
    tokens, colour = result.logprobs or (), render.has_colour(out)
    how = f"{len(tokens)} tokens, {result.finish_reason}"
    how += f", seed {result.seed}" if result.config.samples else ""
    how += "" if result.beam_score is None else f", score {result.beam_score:.3f}"
    out.print(Text(f"{words} ({how})", style="bold"))
    width = out.width if out.is_terminal else None
    out.print(render.heatmap(tokens, render.names_of(model), colour=colour, numbers=True, width=width))
