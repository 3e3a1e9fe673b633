"""`ramify complete` with a model behind an endpoint: shows what it tells, and refuses by name what it cannot be asked for."""

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from ramify.cli import listing, render
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig
    from ramify.models.remote import Remote
    from ramify.models.remote_answers import RemoteAlternative, RemoteCompletion, RemoteToken

__all__ = ["complete_remote"]


def complete_remote(
    name: str,
    prompt: Any,
    config: "GenerationConfig",
    *,
    prefill: str | None,
    logprobs: int | None,
    stream: bool,
    as_json: bool,
    numbers: bool,
    quiet: bool,
) -> None:
    """Raises UnsupportedError naming what the endpoint cannot do, before it is asked, RemoteError for what goes wrong there."""
    if stream and logprobs is not None and not as_json:
        raise InputError(
            f"--stream with --logprobs shows tokens as they come, and {name} is remote; leave one out, or add --json"
        )
    from ramify.models.remote import connect

    with connect(name) as remote:
        ask = {"prefill": prefill, "logprobs": logprobs}
        if stream:
            _stream(remote, prompt, config, ask, as_json=as_json, quiet=quiet)
            return
        made = remote.complete(prompt, config, **ask)  # type: ignore[arg-type]
        for number, each in enumerate(made, start=1):
            if as_json:
                typer.echo(json.dumps(_told(remote, config, each), ensure_ascii=False))
                continue
            _show(remote, config, each, logprobs, numbers=numbers, quiet=quiet)
            _remark(each, quiet, f"completion {number} of {len(made)}: " if len(made) > 1 else "", last=number == len(made))


def _stream(
    remote: "Remote", prompt: Any, config: "GenerationConfig", ask: dict[str, Any], *, as_json: bool, quiet: bool
) -> None:
    from ramify.workbench.remote_writing import without_prefill

    escape, begun = sys.stdout.isatty(), ask["prefill"] or ""
    if begun and not as_json:
        typer.echo(begun, nl=False)
    with remote.stream(prompt, config, **ask) as arriving:
        for event in without_prefill((each for each in arriving), remote, prompt, begun):
            ended = event.completion
            if as_json:
                more = {} if ended is None else {"finish_reason": ended.finish_reason, "result": _told(remote, config, ended)}
                typer.echo(json.dumps({"index": event.index, "text": event.text, **more}, ensure_ascii=False))
            else:
                typer.echo(render.shown(event.text) if escape else event.text, nl=False)
            sys.stdout.flush()
            if ended is not None and not as_json:
                typer.echo()
                _remark(ended, quiet)


def _show(
    remote: "Remote",
    config: "GenerationConfig",
    made: "RemoteCompletion",
    logprobs: int | None,
    *,
    numbers: bool,
    quiet: bool,
) -> None:
    from ramify.workbench.remote_writing import kept_remote

    kept, out = kept_remote(remote, config, made), render.console()
    if logprobs is None or kept.spelt is None:
        typer.echo(render.shown(kept.text) if out.is_terminal else kept.text)
        if logprobs is not None:
            render.note(f"{remote.name} gave no logprobs that can be laid over the text", quiet)
        return
    tokens, colour = listing.measured(kept.spelt), render.has_colour(out)
    width = out.width if out.is_terminal else None
    if kept.generated_start:
        out.print(render.prefilled(kept.text[: kept.generated_start]), end="")
    out.print(render.heatmap(tokens, {}, colour=colour, numbers=numbers, width=width), end="")
    out.print(render.legend(colour=colour, numbers=numbers))
    if logprobs:
        out.print(render.table(tokens, {}, width), end="")


def _told(remote: "Remote", config: "GenerationConfig", made: "RemoteCompletion") -> dict[str, Any]:
    """A completion as a JSON object, named as a local one's; what else the endpoint said is under `remote`."""
    from ramify.workbench.remote_writing import kept_remote

    kept = kept_remote(remote, config, made)
    return {
        "index": made.index,
        "text": kept.text,
        "generated_text": kept.text[kept.generated_start :],
        "finish_reason": kept.finish_reason,
        "stop_string": kept.stop_string,
        "truncated": kept.truncated,
        "seed": kept.seed,
        "config": dict(kept.config),
        "model": kept.model,
        "fingerprint": kept.fingerprint,
        "logprobs": None if made.tokens is None else [_token(each) for each in made.tokens],
        **kept.details,
    }


def _token(token: "RemoteToken") -> dict[str, Any]:
    return {**_spelt(token), "alternatives": [_spelt(each) for each in token.alternatives]}


def _spelt(token: "RemoteToken | RemoteAlternative") -> dict[str, Any]:
    known = None if token.token_bytes is None else list(token.token_bytes)
    return {"token_id": token.token_id, "text": token.text, "bytes": known, "logprob": token.logprob}


def _remark(made: "RemoteCompletion", quiet: bool, before: str = "", *, last: bool = True) -> None:
    """Why it ended; with the last one what the whole request was billed."""
    told = before + made.finish_reason
    told += f" ({made.reported_finish})" if made.finish_reason == "error" and made.reported_finish else ""
    told += "" if made.stop_string is None else f" {made.stop_string!r}"
    told += ", truncated: the model would have gone on" if made.finish_reason in ("length", "time") else ""
    if last and made.usage is not None:
        told += f"; {made.usage.prompt_tokens} + {made.usage.completion_tokens} tokens billed"
    render.note(f"[{told}]", quiet)
