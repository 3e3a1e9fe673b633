"""`ramify import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ramify.cli import exchange, listing, render
from ramify.cli.workspace import Quiet, Where
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.exchange.importing import ImportReport

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

LMEVAL, JUDGING, RECORDS = "lm-evaluation-harness", "Judgements", "Records"


@app.command("import")
def import_(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE...", help="Files, folders of data sets, hf:NAME of the hub, or another workspace.", show_default=False
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--as", metavar="FORMAT", help="What they are; unset: found out. `--as list` names the formats.")
    ] = None,
    map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN",
            help="Which column is prompt (raw text), user (a user's turn), system, input, completion, chosen, rejected, "
            "messages, label, rating, model, title, group, notes or tags; may be repeated.",
        ),
    ] = None,
    facet: Annotated[
        str | None,
        typer.Option(
            "--facet", metavar="NAME", help="Keep judgements under this facet; made if it is not there.", rich_help_panel=JUDGING
        ),
    ] = None,
    good: Annotated[
        int,
        typer.Option(
            "--good", metavar="N", help="The rating of what is right, or meant to be imitated.", rich_help_panel=JUDGING
        ),
    ] = 8,
    bad: Annotated[int, typer.Option("--bad", metavar="N", help="The rating of what is wrong.", rich_help_panel=JUDGING)] = 2,
    unrated: Annotated[
        bool,
        typer.Option("--unrated", help="No rating for answers of which a file says nothing.", rich_help_panel=JUDGING),
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Who wrote the answers of files that do not say.")
    ] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="PATH", help="Where new samples go.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME", help="A tag for the samples; may be repeated.")
    ] = None,
    duplicates: Annotated[
        str,
        typer.Option(
            "--duplicates",
            metavar="KIND",
            help="exact: add nothing twice. normalised, near: nor prompts that are, but for case, space and punctuation, "
            "or nearly, another's.",
            rich_help_panel=RECORDS,
        ),
    ] = "exact",
    near: Annotated[
        float, typer.Option("--near", metavar="SHARE", help="How alike is nearly: 0 to 1.", rich_help_panel=RECORDS)
    ] = 0.85,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad records out; else the first stops everything.", rich_help_panel=RECORDS)
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", help="Stop after so many records.", rich_help_panel=RECORDS)
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset", metavar="NAME", help="Of a dataset_info.json only this one; may be repeated.", rich_help_panel=RECORDS
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="OUTCOME",
            help="Of two runs (the new one first): shared_success, shared_failure, new_failure, fixed; may be repeated.",
            rich_help_panel=LMEVAL,
        ),
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="NAME", help="The filter that decides; unset: the task's first.", rich_help_panel=LMEVAL
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="NAME", help="The metric that decides; unset: the first.", rich_help_panel=LMEVAL),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    password_file: exchange.PasswordFile = None,
    as_json: exchange.AsOneJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
) -> None:
    """Bring data sets, benchmarks, logged runs or another workspace in, as one step that `ramify undo` takes back.

    A workspace that is named and not there is made. What is in it already is not added again.
    """
    from ramify.exchange.formats import FILE_FORMATS, ROW_FORMATS
    from ramify.exchange.importing import ImportOptions, import_files
    from ramify.exchange.reading import HUB

    if format == "list":
        listing.columns(("format", "what"), [*FILE_FORMATS.items(), *((each.name, each.what) for each in ROW_FORMATS.values())])
        return
    if not files:
        raise InputError("no file was named; give FILE…, or `--as list` for what can be read")
    options = ImportOptions(
        format=format,
        mapping=_mapping(map or []),
        facet=facet,
        good_rating=good,
        bad_rating=bad,
        unrated=unrated,
        model=model,
        group=group,
        tags=tuple(tag or ()),
        duplicates=duplicates,
        near=near,
        skip_bad=skip_bad,
        dry_run=dry_run,
        only=tuple(only or ()),
        filter=filter,
        metric=metric,
        datasets=tuple(dataset or ()),
        limit=limit,
        password=exchange.password_of(password_file),
    )
    missing = [file for file in files if not file.startswith((HUB, "postgresql://")) and not Path(file).exists()]
    if missing:
        raise InputError(f"there is no file {missing[0]}")
    size = sum(Path(file).stat().st_size for file in files if Path(file).is_file()) or None
    with (
        exchange.open_or_make(workspace, dry_run=dry_run) as database,
        exchange.bar(not quiet and not as_json, "importing") as bar,
    ):
        report = import_files(
            database, files, options, told=lambda done, records: bar(f"importing, {records} records", done, size)
        )
    if as_json:
        listing.print_json(report.to_data())
    else:
        _tell(report, quiet)


def _mapping(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        field, sign, column = pair.partition("=")
        if not sign or not column:
            raise InputError(f"--map {pair!r} is not understood; write FIELD=COLUMN, such as --map prompt=question")
        if field in found:
            raise InputError(f"--map names {field} twice")
        found[field] = column
    return found


def _tell(report: "ImportReport", quiet: bool) -> None:
    would = "would be " if report.dry_run else ""
    facts = {
        "records": report.records,
        f"samples {would}added": report.samples_added,
        "samples that are there": report.samples_matched,
        f"completions {would}added": report.completions_added,
        "completions that are there": report.completions_matched,
        f"ratings {would}added": report.ratings_added,
        f"preferences {would}added": report.preferences_added,
        f"approvals {would}added": report.approvals_added,
        "left out as duplicates": report.duplicates_left_out,
        "bad records left out": report.bad_records,
    }
    listing.facts({name: str(count) for name, count in facts.items() if count or name == "records"})
    if report.compared:
        listing.echo(f"{report.compared[0]} compared with {report.compared[1]}:")
        names = ("shared_success", "shared_failure", "new_failure", "fixed", "undecided", "unpaired")
        listing.facts({name: str(getattr(report, name)) for name in names})
    for problem in report.problems[:20]:
        render.note(f"{problem['file']}, line {problem['line']}: {problem['reason']}", quiet)
    if report.bad_records > 20:
        render.note(f"and {report.bad_records - 20} more bad records; --json names up to a thousand", quiet)
    for each in report.duplicates[:20]:
        render.note(f"{each['file']}, line {each['line']}: like {each['of']} ({each['similarity']})", quiet)
    for remark in report.remarks:
        render.note(remark, quiet)
