"""`ramify`: one command a module, imported when it is called.

Exit codes: 0 done; 1 it failed while running; 2 the command line or the input cannot be used; 130 interrupted.
"""

import sys
import traceback
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from ramify.errors import InputError, RamifyError

__all__ = ["COMMANDS", "app", "command", "main"]

COMMANDS = {
    "complete": "Complete a prompt: text, a file, standard input, or chat messages.",
    "generate": "Text from a prompt, in the words of document 003; `ramify complete` shows more.",
    "chat": "Talk with a model; the whole conversation is its prompt.",
    "new": "Make a workspace. Commands that name none use it from then on.",
    "samples": "Prompts of the workspace: add, list, show, edit, revise, tag, archive, hide, delete.",
    "completions": "Completions: generate, write, edit, continue, blocks; list, show, label, tag, approve, archive, delete.",
    "tokens": "Make a completion token by token: the model proposes, you pick.",
    "beams": "Trees of what a model could say: grow, look, search, finish; show, replay, rerank; pin, keep, prune, save; open.",
    "score": "Measure completions under any model, and keep the measures.",
    "facets": "Purposes under which completions are judged: add, list, show, edit, delete, judgements, rank, next, check.",
    "rate": "Rate a completion from 0 to 10 under a facet.",
    "prefer": "Say that one completion is better than another under a facet, or that neither is.",
    "unanswered": "Requests that no approved completion answers: list, show, add, take, dismiss.",
    "search": "Find words in completions, prompts, titles and notes.",
    "filters": "Conditions by name, for lists: add, list, show, delete.",
    "history": "What was done to the workspace, newest first.",
    "undo": "Take back the last action on the workspace.",
    "redo": "Put back what was undone last.",
    "import": "Bring data sets, benchmarks, logged runs or another workspace in.",
    "export": "Write a training set: SFT, DPO, KTO, reward; in TRL's, LLaMA-Factory's and others' forms.",
    "readiness": "Say what a facet could send out, what not and why, with plots.",
    "duplicates": "List samples or completions that are there more than once.",
    "decrypt": "Write the content of an encrypted export.",
    "batch": "Jobs over many prompts, that survive a crash: run, list, show, cancel, retry.",
    "lab": "The decoding lab: every strategy on the same prompts, side by side, as a report.",
    "why-not": "Say why a token does not stand at a place of a completion: which rule removed it.",
    "models": "Names of models: list, show, add, remove, probe, convert, to-gguf, to-onnx.",
    "studio": "Open the studio on a workspace, in the browser.",
    "serve": "Serve completions over HTTP, as OpenAI's and LLM Engine's clients speak it.",
    "train": "Train on completions and judgements: check, sft, dpo, kto, report; or from scratch: tokenizer, pretrain.",
    "demo": "Two prompts, every decoding strategy, every token's probability.",
}
"""What `ramify --help` says of each command, without importing it."""

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130

CODES = "Exit codes: 0 done, 1 failed while running, 2 the command line or the input cannot be used, 130 interrupted."


MODULES = {"import": "importing", "why-not": "why_not"}
"""Where a command's module cannot be called as the command is."""


def command(name: str) -> Any:
    """Import a command's module and return it as the parser wants it."""
    return typer.main.get_command(import_module(f"ramify.cli.{MODULES.get(name, name)}").app)


class Commands(TyperGroup):
    """The commands by name and one line each; and the one place where errors become messages and exit codes."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, help in COMMANDS.items():
            self.add_command(TyperCommand(name=name, help=help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, known, rest = super().resolve_command(ctx, args)
        return name, known if name is None else command(name), rest

    def invoke(self, ctx: Any) -> Any:
        debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except InputError as error:
            _stop(str(error), UNUSABLE, debug)
        except RamifyError as error:
            _stop(str(error), FAILED, debug)
        except (BrokenPipeError, typer.Exit, typer.Abort, typer.TyperException):
            raise
        except OSError as error:
            _stop(str(error), FAILED, debug)
        except Exception as error:  # A defect of ours, or of a library under us.
            _stop(f"{type(error).__name__}: {error} (`ramify --debug …` shows where)", FAILED, debug)


def _stop(message: str, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    typer.echo(f"ramify: {message}", err=True)
    raise typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        from ramify import __version__

        typer.echo(f"ramify {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.callback(epilog=CODES)
def ramify(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Grow, compare, choose and train completions: the texts a language model writes after a prompt."""


def main() -> None:
    """The entry point of the `ramify` command."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot write a character shows a substitute; it does not end the program.
        if hasattr(stream, "reconfigure") and (stream.encoding or "").lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")
    app(prog_name="ramify")


if __name__ == "__main__":
    main()
