"""`ramify complete`."""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import options, render
from ramify.cli import prompt as asked
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig
    from ramify.engine.model import Model
    from ramify.engine.requests import CompletionResult, Prompt, TokenEvent

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

PROMPT, OUTPUT, MODEL = "Prompt", "Output", options.MODEL


@app.command()
@options.takes_settings
@options.takes_model
def complete(
    prompt: asked.Text = None,
    file: asked.File = None,
    exact: asked.Exact = False,
    chat: asked.Chat = False,
    system: asked.System = None,
    messages: asked.Messages = None,
    prefill: Annotated[
        str | None, typer.Option("--prefill", metavar="TEXT", help="The completion begins exactly so.", rich_help_panel=PROMPT)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object for each completion, one a line.", rich_help_panel=OUTPUT)
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="Show tokens as they are made; with --json an object for each event.", rich_help_panel=OUTPUT
        ),
    ] = False,
    logprobs: Annotated[
        int | None,
        typer.Option(
            "--logprobs",
            metavar="K",
            help="Show every token's probability; K > 0 adds a table with K alternatives.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    numbers: Annotated[
        bool,
        typer.Option("--numbers", help="Probabilities as numbers too, where they are shown as colours.", rich_help_panel=OUTPUT),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No remarks on standard error.", rich_help_panel=OUTPUT)] = False,
    model: Annotated[
        str,
        options.model_option(
            "A name of `ramify models list`, a folder, gguf:PATH, hf:org/name, or a remote one: openai:NAME, anthropic:NAME."
        ),
    ] = "tiny",
    preset: options.PresetName = None,
    model_defaults: Annotated[
        bool,
        typer.Option(
            "--model-defaults", help="Apply the sampling values of the model's generation_config.json.", rich_help_panel=MODEL
        ),
    ] = False,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Complete a prompt.

    Standard output gets the completion alone, its prefill included; remarks (why it ended, its seed) go to standard error.
    """
    given = asked.read_prompt(prompt, file=file, exact=exact, chat=chat, system=system, messages=messages)
    config = options.settings_from(settings, preset)
    if stream and not as_json and config.num_return_sequences > 1:
        raise InputError(
            f"--stream shows one completion at a time, and {config.num_return_sequences} were asked for; "
            "leave --stream out, or add --json"
        )
    from ramify.models.registry import is_remote

    if is_remote(model):
        options.refuse_loading(model, how | {"model_defaults": model_defaults})
        from ramify.cli.complete_remote import complete_remote

        shown = {"stream": stream, "as_json": as_json, "numbers": numbers, "quiet": quiet}
        complete_remote(model, given, config, prefill=prefill, logprobs=logprobs, **shown)
        return
    with options.open_model(model, **how) as loaded:
        if model_defaults:
            config = options.settings_from(settings, preset, _defaults(loaded, quiet))
        elif loaded.info.left_over:
            told = ", ".join(f"{name}={value}" for name, value in loaded.info.left_over.items())
            render.note(f"generation_config.json says {told}; not applied (--model-defaults applies it)", quiet)
        measured = logprobs if logprobs is not None or not as_json else 0
        ask: dict[str, Any] = {"prefill": prefill, "logprobs": measured}
        if stream:
            _stream(loaded, given, config, ask, as_json=as_json, numbers=numbers, quiet=quiet)
            return
        results = loaded.completions(given, config, **ask)
        for index, result in enumerate(results):
            if as_json:
                typer.echo(json.dumps(render.as_json(result, index=index), ensure_ascii=False))
                continue
            _show(result, render.names_of(loaded), logprobs=logprobs, numbers=numbers)
            _remark(result, quiet, f"completion {index + 1} of {len(results)}: " if len(results) > 1 else "")


def _defaults(model: "Model", quiet: bool) -> dict[str, Any]:
    from ramify.models.loading import defaults_of

    fields, reasons = defaults_of(model.info.left_over)
    taken = ", ".join(f"{name}={value}" for name, value in fields.items()) or "nothing"
    left = "".join(f"; {name} not, as {why}" if why else "" for name, why in reasons.items())
    render.note(f"from generation_config.json: {taken}{left}", quiet)
    return fields


# What is answered.


def _show(result: "CompletionResult", names: Mapping[int, str], *, logprobs: int | None, numbers: bool) -> None:
    out = render.console()
    if logprobs is None:
        typer.echo(render.shown(result.text) if out.is_terminal else result.text)
        return
    tokens, colour = result.logprobs or (), render.has_colour(out)
    width = out.width if out.is_terminal else None
    if given := result.text.removesuffix(result.generated_text):
        out.print(render.prefilled(given), end="")
    out.print(render.heatmap(tokens, names, colour=colour, numbers=numbers, width=width), end="")
    out.print(render.legend(colour=colour, numbers=numbers))
    if logprobs:
        out.print(render.table(tokens, names, width), end="")


def _stream(
    model: "Model",
    prompt: "Prompt",
    config: "GenerationConfig",
    how: dict[str, Any],
    *,
    as_json: bool,
    numbers: bool,
    quiet: bool,
) -> None:
    out = render.console()
    colour, names = render.has_colour(out), render.names_of(model)
    measured = how["logprobs"] is not None and not as_json
    if how["prefill"] and measured:
        out.print(render.prefilled(how["prefill"]), end="")
    elif how["prefill"] and not as_json:
        typer.echo(how["prefill"], nl=False)
    ended: list[CompletionResult] = []
    for event in model.stream(prompt, config, **how):
        if as_json:
            typer.echo(json.dumps(_event(event), ensure_ascii=False))
        elif measured:
            for token in event.logprobs:
                out.print(render.piece(token, names, colour=colour, numbers=numbers or not colour), end="")
                if token.token_bytes.endswith(b"\n"):
                    out.print()
        else:
            typer.echo(render.shown(event.text) if out.is_terminal else event.text, nl=False)
        sys.stdout.flush()
        if event.result is not None:
            ended.append(event.result)
    if as_json:
        return
    typer.echo()
    for result in ended:
        if measured:
            out.print(render.legend(colour=colour, numbers=numbers))
            if how["logprobs"]:
                width = out.width if out.is_terminal else None
                out.print(render.table(result.logprobs or (), names, width), end="")
        _remark(result, quiet)


def _event(event: "TokenEvent") -> dict[str, Any]:
    made: dict[str, Any] = {"index": event.index, "text": event.text, "token_ids": list(event.token_ids)}
    if event.result is not None:
        made["finish_reason"] = event.finish_reason
        made["result"] = render.as_json(event.result, index=event.index)
    return made


def _remark(result: "CompletionResult", quiet: bool, before: str = "") -> None:
    tokens = len(result.generated_token_ids)
    told = f"{before}{result.finish_reason}"
    if result.stop_string is not None:
        told += f" {result.stop_string!r}"
    told += f" after {tokens} token{'' if tokens == 1 else 's'}"
    if result.truncated and result.finish_reason in ("length", "time"):
        told += ", truncated: the model would have gone on"
    score = "" if result.beam_score is None else f", beam score {result.beam_score:.4f}"
    drawn = f", seed {result.seed}" if result.config.samples else ""
    render.note(f"[{told}{score}{drawn}]", quiet)
