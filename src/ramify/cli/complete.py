"""`ramify complete`."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import options, render
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig
    from ramify.engine.model import Model
    from ramify.engine.requests import CompletionResult, Prompt, TokenEvent

__all__ = ["app", "read_messages"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

PROMPT, OUTPUT, MODEL = "Prompt", "Output", options.MODEL


@app.command()
@options.takes_settings
def complete(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The text to complete; - reads it from standard input.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="Read the prompt from a file.", rich_help_panel=PROMPT)
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep the line end that closes a file or standard input.", rich_help_panel=PROMPT)
    ] = False,
    chat: Annotated[
        bool,
        typer.Option("--chat", help="The prompt is a user's message, through the model's chat template.", rich_help_panel=PROMPT),
    ] = False,
    system: Annotated[
        str | None,
        typer.Option(
            "--system", "-s", metavar="TEXT", help="A system message before it; implies --chat.", rich_help_panel=PROMPT
        ),
    ] = None,
    messages: Annotated[
        str | None,
        typer.Option(
            "--messages",
            metavar="FILE",
            help="A JSON file with a list of {role, content}; - is standard input.",
            rich_help_panel=PROMPT,
        ),
    ] = None,
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
    model: options.ModelName = "tiny",
    preset: options.PresetName = None,
    model_defaults: Annotated[
        bool,
        typer.Option(
            "--model-defaults", help="Apply the sampling values of the model's generation_config.json.", rich_help_panel=MODEL
        ),
    ] = False,
    precision: options.Precision = None,
    device: options.Device = None,
    adapter: options.Adapter = None,
    revision: options.Revision = None,
    allow_pickle: options.AllowPickle = False,
    trust_remote_code: options.TrustRemoteCode = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Complete a prompt.

    Standard output gets the completion alone, its prefill included; remarks (why it ended, its seed) go to standard error.
    """
    given = _prompt(prompt, file=file, exact=exact, chat=chat, system=system, messages=messages)
    config = options.settings_from(settings, preset)
    if stream and not as_json and config.num_return_sequences > 1:
        raise InputError(
            f"--stream shows one completion at a time, and {config.num_return_sequences} were asked for; "
            "leave --stream out, or add --json"
        )
    with options.open_model(
        model,
        precision=precision,
        device=device,
        adapter=adapter,
        revision=revision,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    ) as loaded:
        if model_defaults:
            config = options.settings_from(settings, preset, _defaults(loaded, quiet))
        elif loaded.info.left_over:
            told = ", ".join(f"{name}={value}" for name, value in loaded.info.left_over.items())
            render.note(f"generation_config.json says {told}; not applied (--model-defaults applies it)", quiet)
        measured = logprobs if logprobs is not None or not as_json else 0
        how: dict[str, Any] = {"prefill": prefill, "logprobs": measured}
        if stream:
            _stream(loaded, given, config, how, as_json=as_json, numbers=numbers, quiet=quiet)
            return
        results = loaded.completions(given, config, **how)
        for index, result in enumerate(results):
            if as_json:
                typer.echo(json.dumps(render.as_json(result, index=index), ensure_ascii=False))
                continue
            _show(result, render.names_of(loaded), logprobs=logprobs, numbers=numbers)
            _remark(result, quiet, f"completion {index + 1} of {len(results)}: " if len(results) > 1 else "")


# What is asked.


def _prompt(
    prompt: str | None, *, file: str | None, exact: bool, chat: bool, system: str | None, messages: str | None
) -> "Prompt":
    sources = {"a prompt": prompt, "--file": file, "--messages": messages}
    named = [name for name, value in sources.items() if value is not None]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} were given; give one of them")
    if messages is not None:
        if system is not None or chat:
            raise InputError("--messages holds the whole conversation; leave --system and --chat out")
        return read_messages(_stdin() if messages == "-" else options.read_text(messages), messages)
    if prompt is not None and prompt != "-":
        text = prompt
    elif file is not None:
        text = _closed(_stdin() if file == "-" else options.read_text(file), exact)
    elif prompt == "-" or not sys.stdin.isatty():
        text = _closed(_stdin(), exact)
    else:
        raise InputError("there is no prompt; give it as text, with --file, or on standard input (-)")
    if not chat and system is None:
        return text
    before = [] if system is None else [{"role": "system", "content": system}]
    return [*before, {"role": "user", "content": text}]


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 text ({error.reason} at byte {error.start})") from error


def _closed(text: str, exact: bool) -> str:
    """Editors and `echo` close a text with a line end that nobody meant."""
    return text if exact else text.removesuffix("\n").removesuffix("\r")


def read_messages(text: str, where: str) -> Sequence[Mapping[str, Any]]:
    """Messages from JSON: a list, or an object that has one under `messages` (what `/save` in the chat writes)."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where!r} is not JSON ({error}); give a list of {{role, content}}") from None
    found = found.get("messages") if isinstance(found, dict) else found
    if not isinstance(found, list) or not found:
        raise InputError(f"{where!r} holds no messages; give a list of {{role, content}}, at least one")
    for position, message in enumerate(found):
        if not isinstance(message, dict):
            raise InputError(f"{where!r}: message {position} is {message!r}; it must be an object with role and content")
    return found


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
