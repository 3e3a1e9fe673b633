"""`ramify tokens`: a completion picked token by token, in a terminal or through a pipe."""

import contextlib
import json
import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len
from rich.text import Text

from ramify.cli import listing, making, options, render
from ramify.cli.selecting import place_in
from ramify.cli.steps import TAIL, Steps, unescaped
from ramify.cli.workspace import Quiet, Where, model_for, open_models, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig
    from ramify.engine.model import Model
    from ramify.store.records import CompletionRecord
    from ramify.workbench.token_by_token import Candidate, TokenByToken

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

HELP = """\
NUMBER     pick this token
/TEXT      the tokens that contain TEXT; / alone: the likeliest again
t TEXT     type TEXT, all that stands after the one space; \\n is a line end, \\t a tab, \\\\ a backslash
u          take back the last token, or what the model wrote
g          let the model write the rest, with the settings of the command line
s          save and leave
q          leave without saving (so does the end of input)
?          this"""


@app.command()
@options.takes_settings
@options.takes_model
def tokens(
    sample: Annotated[
        int | None,
        typer.Argument(metavar="[SAMPLE]", help="A sample's id, as `ramify samples list` prints it.", show_default=False),
    ] = None,
    completion: Annotated[
        str | None,
        typer.Option("--completion", metavar="ID[:PLACE]", help="Begin with a completion's tokens, or its first PLACE ones."),
    ] = None,
    prefill: making.Prefill = None,
    facet: making.Facet = None,
    shown: Annotated[int, typer.Option("--show", metavar="N", help="How many candidates; every EOS comes on top.")] = 12,
    as_json: Annotated[
        bool, typer.Option("--json", help="An object after each step, and the saved completion; one a line.")
    ] = False,
    quiet: Quiet = False,
    workspace: Where = None,
    model: Annotated[
        str | None,
        options.model_option("Unset: the facet's target, else the one that made the completion, else the workspace's."),
    ] = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Make a completion token by token: the model proposes, you pick; after a sample's prompt, or from a token of a completion.

    A line from standard input is a step; ? lists them. Probabilities are the model's own, at temperature 1; behind an arrow
    those under the settings, with which the model writes the rest (g).
    """
    config = options.settings_from(settings, preset)
    if shown < 1:
        raise InputError(f"--show is {shown}; it must be at least 1")
    if config.num_return_sequences > 1:
        raise InputError(f"num_return_sequences is {config.num_return_sequences}; one completion is made here")
    if (sample is None) == (completion is None):
        raise InputError("give a SAMPLE, or --completion ID[:PLACE] to branch from a completion; not both, not neither")
    if completion is not None and prefill is not None:
        raise InputError("--prefill is what follows a sample's prompt, and --completion begins elsewhere; leave one of them out")
    with open_workspace(workspace) as database:
        record = None if sample is None else database.samples.get(sample)
        parent, place = (None, None) if completion is None else place_in(database, completion)
        if facet is not None:
            database.facets.get(facet)
        with contextlib.ExitStack() as stack:
            (loaded,) = stack.enter_context(open_models([model_for(database, model, facet=facet, maker=parent)], how))
            from ramify.workbench.beginnings import inside
            from ramify.workbench.token_by_token import TokenByToken

            start: Any = record
            if parent is not None:
                start = inside(database, loaded, parent, place, codec=making.codec_of(database, parent, stack))
            with TokenByToken(database, loaded, start, prefill=prefill) as making_one:
                saved = Picking(making_one, loaded, config, shown, as_json=as_json, quiet=quiet).run(
                    f"{loaded.info.name}; ? lists the steps, s saves, q leaves"
                )
        if saved is not None:
            making.show(saved, as_json=as_json, quiet=quiet)


class Picking(Steps):
    """Lines in, steps out."""

    def __init__(
        self, made: "TokenByToken", model: "Model", config: "GenerationConfig", shown: int, *, as_json: bool, quiet: bool
    ) -> None:
        super().__init__(as_json=as_json, quiet=quiet)
        self.made, self.model, self.config, self.shown = made, model, config, shown
        self.finished: str | None = None
        """The whole text, once the model wrote the rest."""
        self.offered: list[Candidate] = []
        """What the numbers mean."""

    def begin(self) -> None:
        self.show()

    def save(self) -> "CompletionRecord":
        return self.made.save()

    def step(self, line: str) -> None:
        """Obey a line that does not leave."""
        if not line.strip():
            return
        if line == "?":
            typer.echo(HELP)
            return
        search = None
        if line.isascii() and line.strip().isdigit():
            self._pick(int(line))
        elif line.startswith("/"):
            search = unescaped(line[1:]) or None
        elif line.startswith("t "):
            self.made.type(unescaped(line[2:]))
        elif line == "u":
            self.made.undo()
            self.finished = None
        elif line == "g":
            self.finished = self.made.finish(self.config).text
        else:
            raise InputError(f"{line!r} is no step; ? lists them, and t {line} types it")
        self.show(search)

    def _pick(self, number: int) -> None:
        if not 1 <= number <= len(self.offered):
            raise InputError(f"there is no candidate {number}; they have the numbers 1 to {len(self.offered)}")
        self.made.pick(self.offered[number - 1].token_id)

    def show(self, search: str | None = None) -> None:
        """The text so far and what could stand next."""
        over = self.made.ended or self.finished is not None
        text = self.made.text if self.finished is None else self.finished
        found = None if over else self.made.candidates(self.shown, search=search, config=self.config)
        self.offered = [] if found is None else list(found.shown)
        if self.as_json:
            told = {"text": text, "token_ids": list(self.made.token_ids), "over": over}
            candidates = [{"number": i, **listing.plain(each)} for i, each in enumerate(self.offered, start=1)]
            typer.echo(json.dumps({**told, "candidates": candidates, "others": found and found.others}, ensure_ascii=False))
            sys.stdout.flush()
            return
        listing.echo(("…" if len(text) > TAIL else "") + text[-TAIL:])
        if found is None:
            ended = "ended by EOS" if self.finished is None else "the model wrote the rest"
            typer.echo(f"  [{ended}; s saves, u takes it back]")
            return
        if search is not None and not self.offered:
            typer.echo(f"  [no token contains {search!r}]")
            return
        # What is left of 1 after float32 sums is no probability.
        self._table(found.others if found.others > 1e-6 else 0.0)

    def _table(self, others: float) -> None:
        out = render.console()
        colour = render.has_colour(out)
        words = [self._word(each) for each in self.offered]
        widest = max(len("others"), *map(cell_len, words))
        for number, (each, word) in enumerate(zip(self.offered, words, strict=True), start=1):
            line = Text(f"{number:>4}  ")
            line.append_text(render.shaded(word, each.probability, colour=colour))
            line.append(" " * (widest - cell_len(word)))
            line.append(f"  {_percent(each.probability):>6} %{_after(each)}" + ("  ends it" if each.ends else ""))
            out.print(line)
        out.print(Text(f"      {'others':<{widest}}  {_percent(others):>6} %", style="dim"))

    def _word(self, candidate: "Candidate") -> str:
        from ramify.engine.requests import Alternative

        # Its bytes, since half a character has no text.
        literal = self.model.codec.literal_bytes[candidate.token_id]
        return render.visible(Alternative(candidate.token_id, literal, math.nan))


def _after(candidate: "Candidate") -> str:
    """What the settings make of it, where they act."""
    if candidate.processed is None:
        return ""
    return f" → {_percent(candidate.processed):>6} %" if candidate.processed else " → removed "


def _percent(probability: float) -> str:
    return "< 0.01" if 0 < probability < 0.00005 else f"{100 * probability:.2f}"
