"""`ramify why-not`: which rule removed this token here."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import listing, options, render
from ramify.cli.workspace import Where, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig
    from ramify.engine.model import Model
    from ramify.quality.explaining import Candidate

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command("why-not")
@options.takes_settings
@options.takes_model
def why_not(
    token: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOKEN]", help="The token asked about, its leading space included; without one, the likeliest are listed."
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="Complete this first, with the settings given.")
    ] = None,
    completion: Annotated[
        int | None, typer.Option("--completion", metavar="ID", help="Or read this completion of the workspace, with its own.")
    ] = None,
    at: Annotated[int, typer.Option("--at", metavar="POSITION", min=0, help="The place: 0 is the completion's first token.")] = 0,
    shown: Annotated[int, typer.Option("--show", metavar="N", min=1, help="How many of the likeliest.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False,
    workspace: Where = None,
    model: Annotated[str | None, options.model_option("Unset: tiny, or the one that made the completion.")] = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Say why a token does not stand at a place of a completion: which processor removed it, or that none did.

    The place is read again with the settings' processors, one after the other. Probabilities are the model's own at
    temperature 1, and what was left after all processors.
    """
    if (prompt is None) == (completion is None):
        raise InputError("give --prompt TEXT, or --completion ID of a workspace: one of the two")
    if prompt is not None:
        config = options.settings_from(settings, preset)
        with options.open_model(model or "tiny", **how) as loaded:
            result = loaded.complete(prompt, config, logprobs=None)
            where = Spot(loaded, result.prompt_token_ids, result.generated_token_ids, config.replace(seed=result.seed), at)
            _show(where, token, shown, as_json=as_json)
        return
    if settings or preset:
        given = ", ".join(settings or ["--preset"])
        raise InputError(f"completion {completion} is read with its own settings; leave {given} out, or give --prompt")
    with open_workspace(workspace) as database:
        from ramify.decoding.config import GenerationConfig
        from ramify.workbench.scoring import own_ids, prompt_of

        assert completion is not None
        record = database.completions.get(completion)
        if model is None and not record.fingerprint:
            raise InputError(f"completion {completion} was written by {record.model!r} and no model; name one with --model")
        with options.open_model(model or record.model, **how) as loaded:
            prompt_ids, ids = loaded.ids_of(prompt_of(database, record))[0], own_ids(database, loaded, record, keep=False)
            filled = next((span.end for span in record.spans if span.start == 0 and span.origin == "prefill"), 0)
            if at < filled and record.token_ids is not None:
                raise InputError(f"token {at} is of the prefill, which nobody chose; the model's own begin at {filled}")
            filled = filled if record.token_ids == ids else 0
            config = GenerationConfig.from_dict(dict(record.config))
            _show(
                Spot(loaded, (*prompt_ids, *ids[:filled]), ids[filled:], config, at - filled, filled),
                token,
                shown,
                as_json=as_json,
            )


@dataclass(frozen=True)
class Spot:
    """A place of a completion."""

    model: "Model"
    prompt_ids: Sequence[int]
    ids: Sequence[int]
    config: "GenerationConfig"
    at: int
    filled: int = 0
    """Tokens of prefill before `ids`."""


def _show(where: Spot, token: str | None, shown: int, *, as_json: bool) -> None:
    from ramify.quality.explaining import explain, percent, verdict
    from ramify.quality.explaining import why_not as ask

    model, at = where.model, where.at
    if not 0 <= at < len(where.ids):
        last = where.filled + len(where.ids) - 1
        raise InputError(f"--at is {at + where.filled}; the completion has tokens {where.filled} to {last}")
    (place,) = explain(model, where.prompt_ids, where.ids[: at + 1], where.config, top=shown)[at:]
    asked = None if token is None else ask(model, where.prompt_ids, where.ids, where.config, at, token)
    says = None if asked is None else verdict(asked, chosen=asked.token_id == place.token_id, config=where.config)
    spelt = model.codec.literal_bytes

    def text(token_id: int) -> str:
        return spelt[token_id].decode("utf-8", "replace")

    if as_json:
        found = {
            "position": at + where.filled,
            "before": model.codec.decode(where.ids[:at]),
            "chosen": text(place.token_id),
            "kept": place.kept,
            "candidates": [_plain(each, text) for each in place.candidates],
            "asked": None if asked is None else {**_plain(asked, text), "says": says},
        }
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    before = model.codec.decode(where.ids[max(0, at - 12) : at])
    typer.echo(f"…{render.spelled(before)}▸{render.spelled(text(place.token_id))}")
    kept = ", ".join(f"{name} kept {percent(share)}" for name, share in place.kept.items())
    typer.echo(f"token {at + where.filled}, rank {place.rank}, entropy {place.entropy:.2f} nats" + (f"; {kept}" if kept else ""))
    rows = [
        (
            render.spelled(text(each.token_id)) + (" ◂" if each.token_id == place.token_id else ""),
            percent(each.probability),
            each.removed_by or "stayed",
            percent(each.left),
        )
        for each in place.candidates
    ]
    listing.columns(("could stand here", "model", "removed by", "in the end"), rows)
    if says is not None:
        typer.echo(f"{render.spelled(token or '')}: {says}")


def _plain(found: "Candidate", text: Callable[[int], str]) -> dict[str, Any]:
    return {
        "token_id": found.token_id,
        "token": text(found.token_id),
        "probability": found.probability,
        "removed_by": found.removed_by,
        "left": found.left,
    }
