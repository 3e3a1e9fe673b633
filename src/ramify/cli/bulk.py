"""Bulk runs in the terminal: which ones are meant, a bar while it runs, Ctrl-C keeps what is done, the same command goes on."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import listing, render
from ramify.cli.selecting import conditions
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.store.database import Database
    from ramify.workbench.bulk import Bulk, BulkStep, Progress

__all__ = ["BULK", "Every", "Group", "RunName", "chosen", "drive"]

BULK = "Many at once"
"""The panel of `--help` for what chooses many."""

Every = Annotated[
    bool, typer.Option("--all", help="All but the archived and the hidden ones, each kept as it is done.", rich_help_panel=BULK)
]
Group = Annotated[
    str | None, typer.Option("--group", metavar="PATH", help="Only those of this group and below it.", rich_help_panel=BULK)
]
RunName = Annotated[
    str,
    typer.Option(
        "--run",
        metavar="NAME",
        help="A run of another name makes more; the same command goes on, does nothing twice, and leaves deleted what was.",
        rich_help_panel=BULK,
    ),
]


def chosen(
    database: "Database",
    ids: Sequence[int] | None,
    *,
    every: bool,
    filters: Sequence[str] | None,
    group: str | None,
    kind: str,
) -> Any:
    """What was chosen: ids, or a filter. Raises InputError for nothing, and for two ways at once."""
    ways = [name for name, given in (("ids", ids), ("--all", every), ("--filter or --group", filters or group)) if given]
    if not ways:
        raise InputError(f"no {kind} was named; give ids, --filter, --group, or --all")
    if ids and len(ways) > 1:
        raise InputError(f"{' and '.join(ways)} were given; give one of them")
    if ids:
        return list(ids)
    wanted = conditions(database, filters)
    if group is not None:
        wanted.append({"field": "group", "op": "under", "value": group})
    return {"all": wanted}


def drive(bulk: "Bulk", told: "Callable[[BulkStep], dict[str, Any]]", *, as_json: bool, quiet: bool) -> None:
    """Run it to its end. Failures go to standard error as they come; Ctrl-C keeps what is done; exit code 1 where some failed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    shown = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=shown, transient=True, disable=quiet or not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=bulk.progress.total, completed=bulk.progress.before)
        try:
            with bulk:
                for step in bulk:
                    failed = f"{step.progress.failed} failed" if step.progress.failed else ""
                    bar.update(task, completed=step.progress.total - step.progress.left, description=failed)
                    if as_json:
                        listing.print_json(told(step))
                    if step.error is not None:
                        shown.print(f"{step.model}, {step.id}: {step.error}", markup=False, highlight=False, soft_wrap=True)
        except BaseException:
            bar.stop()
            render.note(f"[stopped: {_counts(bulk.progress)}; the same command goes on from here]", quiet)
            raise
    if not as_json:
        typer.echo(_counts(bulk.progress))
    if bulk.progress.failed:
        raise typer.Exit(1)


def _counts(progress: "Progress") -> str:
    told = [f"{progress.done} done"]
    told += [f"{progress.before} before"] if progress.before else []
    told += [f"{progress.failed} failed"] if progress.failed else []
    told += [f"{progress.left} left"] if progress.left else []
    return f"{', '.join(told)} of {progress.total}"
