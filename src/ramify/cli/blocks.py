"""`ramify completions blocks`: paragraph by paragraph, in a terminal or through a pipe."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import listing, making, options
from ramify.cli.selecting import SampleId
from ramify.cli.steps import TAIL, Steps, unescaped
from ramify.cli.workspace import Quiet, Where, model_for, open_models, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig
    from ramify.store.records import CompletionRecord
    from ramify.workbench.blocks import Blocks

__all__ = ["blocks"]

HELP = """\
NUMBER        accept this paragraph
e NUMBER TEXT accept it as TEXT; what TEXT leaves of it keeps its tokens; \\n is a line end, \\\\ a backslash
e NUMBER      accept it as you change it in your editor (EDITOR)
- NUMBER      others that are shorter than this one
+ NUMBER      others that are longer than this one
r TEXT        others, made with this instruction to the model (for prompts that are messages)
n             others, the same way
t TEXT        a paragraph of your own; \\n is a line end
u             take back the last paragraph
s             save and leave
q             leave without saving (so does the end of input)
?             this"""


@options.takes_settings
@options.takes_model
def blocks(
    sample: SampleId,
    facet: making.Facet = None,
    shown: Annotated[int, typer.Option("--show", metavar="N", help="How many candidates for each paragraph.")] = 3,
    border: Annotated[
        str, typer.Option("--border", metavar="TEXT", help="What stands between two; \\n is a line end. [default: an empty line]")
    ] = "\\n\\n",
    as_json: Annotated[
        bool, typer.Option("--json", help="An object after each step, and the saved completion; one a line.")
    ] = False,
    quiet: Quiet = False,
    workspace: Where = None,
    model: Annotated[str | None, options.model_option("Unset: the facet's target, else the workspace's.")] = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Write a completion paragraph by paragraph: the model proposes some, you accept, edit, or ask for others.

    A line from standard input is a step; ? lists them. Several candidates are sampled unless the settings say how else.
    """
    if shown < 1:
        raise InputError(f"--show is {shown}; it must be at least 1")
    config = options.settings_from(settings, preset)
    if shown > 1 and config.strategy == "greedy" and "do_sample" not in settings:
        config = config.replace(do_sample=True)
    with open_workspace(workspace) as database:
        record = database.samples.get(sample)
        if facet is not None:
            database.facets.get(facet)
        with open_models([model_for(database, model, facet=facet)], how) as (loaded,):
            from ramify.workbench.blocks import Blocks

            made = Blocks(database, loaded, record, border=unescaped(border))
            saved = Writing(made, config, shown, as_json=as_json, quiet=quiet).run("? lists the steps, s saves, q leaves")
        if saved is not None:
            making.show(saved, as_json=as_json, quiet=quiet)


class Writing(Steps):
    """Lines in, paragraphs out."""

    def __init__(self, made: "Blocks", config: "GenerationConfig", shown: int, *, as_json: bool, quiet: bool) -> None:
        super().__init__(as_json=as_json, quiet=quiet)
        self.made, self.config, self.count = made, config, shown

    def begin(self) -> None:
        self.made.propose(self.count, self.config)
        self.show()

    def save(self) -> "CompletionRecord":
        if not self.made.token_ids:
            raise InputError("there is no paragraph to save yet; accept or type one")
        return self.made.save()

    def step(self, line: str) -> None:
        """Obey a line that does not leave."""
        if not line.strip():
            return
        verb, _, rest = line.partition(" ")
        if verb == "?":
            typer.echo(HELP)
            return
        if verb.isascii() and verb.isdigit() and not rest.strip():
            self.made.accept(self._index(verb))
        elif verb == "e" and rest:
            number, _, text = rest.partition(" ")
            index = self._index(number)
            self.made.accept(index, edited=unescaped(text) if text else self._edited(self.made.proposed[index].text))
        elif verb == "t" and rest:
            self.made.write(unescaped(rest))
        elif line.strip() == "u":
            self.made.undo()
        elif verb in ("-", "+") and rest.strip():
            change = self.made.shorter if verb == "-" else self.made.longer
            change(self._index(rest.strip()), self.count, self.config)
        elif verb == "r" and rest.strip():
            self.made.rewrite(rest.strip(), self.count, self.config)
        elif line.strip() != "n":
            raise InputError(f"{line!r} is no step; ? lists them, and t {line} types it")
        if (not self.made.proposed and not self.made.ended) or line.strip() == "n":
            self.made.propose(self.count, self.config)
        self.show()

    def _index(self, number: str) -> int:
        many = len(self.made.proposed)
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= many):
            raise InputError(
                f"there is no candidate {number}; " + (f"they have the numbers 1 to {many}" if many else "u takes the end back")
            )
        return int(number) - 1

    def _edited(self, text: str) -> str:
        if not self.interactive:
            raise InputError("an editor needs a terminal; give the text: e NUMBER TEXT")
        import click

        changed = click.edit(text)
        return text if changed is None else changed

    def show(self) -> None:
        """The text so far and the paragraphs that could stand next."""
        text = self.made.text
        if self.as_json:
            rows = [
                {
                    "number": i,
                    "text": each.text,
                    "token_ids": list(each.token_ids),
                    "ends": each.ends,
                    "instruction": each.instruction,
                    "mean_logprob": sum(token.logprob for token in each.logprobs) / max(1, len(each.logprobs)),
                }
                for i, each in enumerate(self.made.proposed, start=1)
            ]
            told = {"text": text, "token_ids": list(self.made.token_ids), "over": self.made.ended, "candidates": rows}
            typer.echo(json.dumps(told, ensure_ascii=False))
            sys.stdout.flush()
            return
        listing.echo(("…" if len(text) > TAIL else "") + text[-TAIL:])
        if self.made.ended:
            typer.echo("  [ended by EOS; s saves, u takes it back]")
        for number, each in enumerate(self.made.proposed, start=1):
            ends = " (ends it)" if each.ends else ""
            listing.echo(f"{number:>4}  {listing.first_line(each.text)}{ends}")
