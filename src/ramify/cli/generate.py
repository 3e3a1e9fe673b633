"""`ramify generate text`: document 003's command."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ramify.cli import options, render
from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError
from ramify.settings import Settings

__all__ = ["app"]

app = typer.Typer(
    help="Text from a prompt, in the words of document 003; `ramify complete` shows more.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ASKED: tuple[tuple[str, str, str, str], ...] = (
    # key of generate.json, the question, what stands where nothing is answered, the kind of answer
    ("model", "Model (a name of `ramify models list`, a folder, or a file inside one)", "tiny", "text"),
    ("tokenizer", "Tokenizer folder to check against the model (empty: none)", "", "text"),
    ("max_new_tokens", "Most tokens of an answer", "100", "number"),
    ("temperature", "Temperature (0 means greedy)", "0.8", "number"),
    ("top_k", "Top-k (0: off)", "0", "number"),
    ("top_p", "Top-p (1: off)", "1.0", "number"),
    ("system", "What a chat tells the model first (empty: nothing)", "", "text"),
)


@app.callback()
def generate() -> None:
    """Text from a prompt, in the words of document 003; `ramify complete` shows more."""


@app.command()
@options.takes_settings
def text(
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="What to complete.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="A name of `ramify models list`, a folder, or a file inside one."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", "-t", metavar="FOLDER", help="Refused unless it is the model's own."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="NUMBER", help="The same as --max-new-tokens.")
    ] = None,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Chat, as `ramify chat` does.")] = False,
    setup: Annotated[bool, typer.Option("--setup", help="Ask for model and settings, and keep them for later calls.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No remarks on standard error.")] = False,
    device: options.Device = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Complete a prompt, or chat. Standard output gets the completion alone.

    What was answered to --setup holds where nothing else is given; what is given goes before it.
    """
    if setup:
        _set_up()
        if prompt is None and not interactive:
            return
    if interactive == (prompt is not None):
        raise InputError("give either --prompt TEXT or --interactive" + (", not both" if interactive else ", or --setup first"))
    if max_tokens is not None:
        if "max_new_tokens" in settings:
            raise InputError("--max-tokens and --max-new-tokens are the same setting; give one of them")
        settings["max_new_tokens"] = max_tokens
    kept = _read()
    config = options.settings_from(_over(kept, settings))
    name = model or kept.get("model") or "tiny"
    # A model named now does not have the saved one's tokenizer.
    checked = tokenizer or (kept.get("tokenizer") if model is None else None)
    if config.num_return_sequences > 1:
        raise InputError(f"num_return_sequences is {config.num_return_sequences}; `ramify complete` gives several completions")
    with options.open_model(name, device=device) as loaded:
        if checked:
            from ramify.inference.models import check_tokenizer

            check_tokenizer(loaded, checked)
        if interactive:
            from ramify.cli.chat import talk
            from ramify.cli.conversation import Conversation

            if loaded.chat is None:
                raise InputError(f"{name} has no chat template, so it cannot chat; --prompt takes raw text")
            talk(Conversation(loaded, config, kept.get("system") or None), quiet=quiet)
            return
        result = loaded.complete(prompt or "", config, logprobs=None)
        out = render.console()
        typer.echo(render.shown(result.generated_text) if out.is_terminal else result.generated_text)
        tokens = len(result.generated_token_ids)
        render.note(f"[{result.finish_reason} after {tokens} token{'' if tokens == 1 else 's'}]", quiet)


def _file() -> Path:
    return Settings.load().home / "generate.json"


def _read() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{str(_file())!r} cannot be read ({error}); run `ramify generate text --setup` again") from error
    if not isinstance(found, dict):
        raise InputError(f"{str(_file())!r} is damaged; run `ramify generate text --setup` again")
    return found


def _over(kept: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The saved settings under the given ones; saved sampling gives way where greedy or a search is asked for."""
    saved = {name: kept[name] for name in ("max_new_tokens", "temperature", "top_k", "top_p") if kept.get(name) is not None}
    greedy = given.get("temperature") == 0 or given.get("do_sample") is False
    searching = {"num_beams", "penalty_alpha", "beam_rule", "num_beam_groups"} & given.keys()
    if greedy or searching:
        saved = {name: value for name, value in saved.items() if name == "max_new_tokens"}
    return {**saved, **given}


def _set_up() -> None:
    """Ask everything, check it, and write it whole; nothing is kept when an answer cannot be used."""
    kept, answers = _read() if _file().exists() else {}, {}
    for key, question, default, kind in ASKED:
        shown = str(kept.get(key, default) if kept.get(key) is not None else default)
        given = typer.prompt(question, default=shown, show_default=bool(shown)).strip()
        answers[key] = options.one_setting(key, given) if kind == "number" else given
    for name, off in (("top_k", 0), ("top_p", 1)):
        if answers[name] == off or answers["temperature"] == 0:  # greedy: a filter could not act
            answers[name] = None
    config = GenerationConfig.from_dict({name: answers[name] for name in ("max_new_tokens", "temperature", "top_k", "top_p")})
    from ramify.models.registry import Registry

    # A model that cannot be found is said now, and not at the first prompt.
    Registry().gguf(answers["model"]) or Registry().resolve(answers["model"])
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(f".{os.getpid()}.tmp")
    content = {**config.to_dict(), **{name: answers[name] for name in ("model", "tokenizer", "system") if answers[name]}}
    beside.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
    beside.replace(file)
    typer.echo(f"kept in {file}")
