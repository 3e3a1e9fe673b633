"""`ramify export`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import exchange, listing, render, selecting
from ramify.cli.options import read_text
from ramify.cli.workspace import Quiet, Where, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.exchange.exporting import ExportReport
    from ramify.store.database import Database

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

WHICH, HOW = "Which completions", "How they are written"


@app.command()
def export(
    template: Annotated[
        str,
        typer.Argument(
            metavar="TEMPLATE", help="sft, dpo, kto, reward, prompts, stepwise; a saved template's name; or @FILE, JSON."
        ),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The file; its ending says what it is: .jsonl, .json, .parquet.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--form",
            metavar="NAME",
            help="trl, sharegpt, openai, alpaca, llama-factory, axolotl, chatml or hh; unset: trl.",
            rich_help_panel=HOW,
        ),
    ] = None,
    facet: Annotated[
        list[str] | None,
        typer.Option(
            "--facet",
            metavar="NAME[=N|=N%]",
            help="In order; with at most N samples, or N % of those that can go out; may be repeated.",
            rich_help_panel=WHICH,
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option("--order", metavar="ORDER", help="oldest, newest, or random (by --seed).", rich_help_panel=WHICH),
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME|JSON|@FILE",
            help="Only what matches: a saved filter, or a filter as JSON; several must all match.",
            rich_help_panel=WHICH,
        ),
    ] = None,
    good_rating: Annotated[
        int | None,
        typer.Option("--good-rating", metavar="N", help="Good from here on; unset: the facet's.", rich_help_panel=WHICH),
    ] = None,
    bad_rating: Annotated[
        int | None, typer.Option("--bad-rating", metavar="N", help="Bad up to here; unset: the facet's.", rich_help_panel=WHICH)
    ] = None,
    mean_logprob: Annotated[
        float | None,
        typer.Option("--mean-logprob", metavar="NATS", help="Under the target model; unset: the facet's.", rich_help_panel=WHICH),
    ] = None,
    min_logprob: Annotated[
        float | None,
        typer.Option(
            "--min-logprob", metavar="NATS", help="Of the least likely token; unset: the facet's.", rich_help_panel=WHICH
        ),
    ] = None,
    p10_logprob: Annotated[
        float | None,
        typer.Option("--p10-logprob", metavar="NATS", help="Nine tenths of the tokens are likelier.", rich_help_panel=WHICH),
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option(
            "--percentile",
            metavar="P",
            help="Not the lowest P % by mean logprob of all that the target measured.",
            rich_help_panel=WHICH,
        ),
    ] = None,
    target_model: Annotated[
        str | None, typer.Option("--target-model", metavar="NAME", help="Unset: the facet's.", rich_help_panel=WHICH)
    ] = None,
    on_policy: Annotated[
        bool | None, typer.Option("--on-policy", help="Only what the target model made alone.", rich_help_panel=WHICH)
    ] = None,
    per_sample: Annotated[
        int | None,
        typer.Option(
            "--per-sample", metavar="N", help="Rows a sample at most; unset: 1 for sft, else all.", rich_help_panel=WHICH
        ),
    ] = None,
    margin: Annotated[
        int | None,
        typer.Option("--margin", metavar="N", help="How far apart ratings make a pair; unset: 1.", rich_help_panel=WHICH),
    ] = None,
    truncated: Annotated[bool | None, typer.Option("--truncated", help="Truncated ones too.", rich_help_panel=WHICH)] = None,
    archived: Annotated[bool | None, typer.Option("--archived", help="Archived ones too.", rich_help_panel=WHICH)] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", metavar="N", help="Prompt and completion together, for the target model.", rich_help_panel=WHICH
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            metavar="KIND",
            help="as-is, as-user (raw text becomes a user's turn), raw, messages.",
            rich_help_panel=HOW,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Of random order and of the split.", rich_help_panel=HOW)
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            "--validation", metavar="SHARE", help="This share of the prompts goes into a second file.", rich_help_panel=HOW
        ),
    ] = None,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Under the password; `ramify decrypt` opens it.", rich_help_panel=HOW)
    ] = False,
    password_file: exchange.PasswordFile = None,
    save: Annotated[str | None, typer.Option("--save", metavar="NAME", help="Keep the template in the workspace.")] = None,
    overwrite: exchange.Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go out, and why the rest stays.")] = False,
    as_json: exchange.AsOneJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
) -> None:
    """Write a training set, with a manifest that leads every row back to the workspace.

    Truncated, archived and unsaved completions stay. Preferences count before ratings.
    """
    from ramify.exchange.exporting import export as write
    from ramify.exchange.templates import save_template

    given: dict[str, Any] = {
        name: value
        for name, value in {
            "form": form,
            "good_rating": good_rating,
            "bad_rating": bad_rating,
            "mean_logprob": mean_logprob,
            "min_logprob": min_logprob,
            "p10_logprob": p10_logprob,
            "percentile": percentile,
            "target_model": target_model,
            "on_policy": on_policy,
            "per_sample": per_sample,
            "margin": margin,
            "truncated": truncated,
            "archived": archived,
            "max_tokens": max_tokens,
            "prompts": prompts,
            "seed": seed,
            "validation": validation,
        }.items()
        if value is not None
    }
    if facet:
        given["facets"] = [exchange.facet_share(each, order or "oldest") for each in facet]
    elif order is not None:
        raise InputError("--order is of a facet's samples; name the facet too")
    password = exchange.password_of(password_file, needed=True) if encrypt else None
    with open_workspace(workspace) as database:
        if filter:
            given["filter"] = {"all": selecting.conditions(database, filter)}
        made = _template(database, template, given)
        if save is not None:
            save_template(database, save, made)
        with exchange.bar(not quiet and not as_json, "exporting") as bar:
            report = write(
                database,
                made,
                out,
                overwrite=overwrite,
                password=password,
                dry_run=dry_run,
                count_tokens=_counter() if made.max_tokens is not None else None,
                told=bar,
            )
    if as_json:
        listing.print_json(report.to_data())
    else:
        _tell(report, quiet)


def _template(database: "Database", name: str, given: dict[str, Any]) -> Any:
    from ramify.exchange.templates import named_template, template

    if not name.startswith("@"):
        return named_template(database, name, given)
    try:
        data = json.loads(read_text(name[1:]))
    except json.JSONDecodeError as error:
        raise InputError(f"{name[1:]} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{name[1:]} holds a {type(data).__name__}; a template is an object")
    return template({**data, **given})


def _counter() -> Any:
    from functools import cache

    from ramify.cli.options import open_model
    from ramify.workbench.exchanging import token_counter

    return token_counter(cache(lambda name: open_model(name).__enter__()))


def _tell(report: "ExportReport", quiet: bool) -> None:
    from ramify.exchange.planning import reasons_of

    told = {"rows that would go out" if report.dry_run else "rows": str(report.rows)}
    told |= {Path(each["file"]).name: f"{each['rows']} rows, sha256 {each['sha256']}" for each in report.files}
    listing.facts(told)
    for facet in report.facets:
        if facet.facet:
            listing.echo(f"{facet.facet}: {facet.taken} of {facet.available} samples that could go out, {facet.rows} rows")
        for reason, count in reasons_of(facet).items():
            render.note(f"stay: {count} ({reason})", quiet)
    for reason, count in report.left_out.items():
        render.note(f"stay: {count} ({report.form} cannot say it: {reason})", quiet)
