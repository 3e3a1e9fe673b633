"""`ramify batch`: jobs over many rows, that survive a crash."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import listing, options, render, workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.store.database import Database
    from ramify.store.job_records import JobRecord

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Jobs over many prompts, that survive a crash: run, list, show, cancel, retry.",
)

JOB = "Job"
RUNTIME_S, SILENCE_S = 86_400, 600.0
Key = Annotated[str, typer.Argument(metavar="JOB", help="A job's key, as `ramify batch list` shows it.")]


def _job(*names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=JOB, **more)


@app.command("run")
@options.takes_model
@options.takes_settings
def run(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[INPUT]",
            help='A path or URL: {"prompts": […], …} as document 002 has it; an array of OpenAI requests; OpenAI batch lines; '
            "or JSON Lines, CSV or Parquet with a column prompt, messages or text.",
        ),
    ] = None,
    output: Annotated[
        str | None, _job("--output", "-o", metavar="PATH|URL", help="Written when all is done: .json, .jsonl or .parquet.")
    ] = None,
    job: Annotated[str | None, _job("--job", metavar="JOB", help="Go on with a job that was interrupted.")] = None,
    model: Annotated[
        str | None,
        options.model_option("Local or remote; unset: tiny."),
    ] = None,
    prompt_column: Annotated[
        str | None, _job("--prompt-column", metavar="NAME", help="Which column of plain rows holds the prompt.")
    ] = None,
    parallel: Annotated[
        int, _job("--data-parallelism", "-j", metavar="NUMBER", help="Processes to work at it, 1 to 64, where they fit.")
    ] = 1,
    runner: Annotated[
        str,
        _job(
            "--runner",
            metavar="local|ray",
            help="Where they work: on this machine, or on a Ray cluster (the one that RAY_ADDRESS names, else one started here).",
        ),
    ] = "local",
    max_runtime: Annotated[
        int, _job("--max-runtime-sec", metavar="SECONDS", help="The longest it may work; at most 172800.")
    ] = RUNTIME_S,
    label: Annotated[list[str] | None, _job("--label", metavar="NAME=VALUE", help="May be repeated.")] = None,
    checkpoint: Annotated[
        str | None, _job("--checkpoint-path", metavar="PATH|URL", help="A folder of weights, in place of the model's own.")
    ] = None,
    logprobs: Annotated[bool, _job("--token-logprobs", help="Every token with its logprob.")] = False,
    overwrite: Annotated[bool, _job("--overwrite", help="Replace an output that is there.")] = False,
    price: Annotated[
        str | None,
        _job("--price", metavar="IN,OUT", help="Of a million prompt and a million completion tokens; `show` then has the spend."),
    ] = None,
    request_timeout: Annotated[
        float, _job("--request-timeout", min=0.1, metavar="SECONDS", help="The longest silence of a remote model.")
    ] = SILENCE_S,
    tool: Annotated[
        str | None,
        _job("--tool", metavar="JSON", help='{"name": "code_evaluator", …}: run the code that the model writes, in a sandbox.'),
    ] = None,
    where: workspace.Where = None,
    quiet: workspace.Quiet = False,
    *,
    how: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Run a batch, or go on with one. Interrupted, killed or failed, it goes on where it was; nothing is done twice.

    Rows are kept in the workspace as they are done, and the output is written at the end, in the input's order.
    """
    from ramify.batch import jobs
    from ramify.batch.spec import JobSpec
    from ramify.models.registry import is_remote

    with workspace.open_workspace(where) as database:
        if job is not None:
            _check_alone(
                settings | how,
                INPUT=source,
                output=output,
                model=model,
                prompt_column=prompt_column,
                data_parallelism=parallel != 1,
                runner=runner != "local",
                max_runtime_sec=max_runtime != RUNTIME_S,
                label=label,
                checkpoint_path=checkpoint,
                token_logprobs=logprobs,
                overwrite=overwrite,
                price=price,
                request_timeout=request_timeout != SILENCE_S,
                tool=tool,
            )
            _drive(database, job, quiet)
            return
        if source is None or output is None:
            raise InputError("a batch has an input and an output; give INPUT and --output, or --job to go on with one")
        given = {name: value for name, value in how.items() if value not in (None, False)}
        if model is not None and is_remote(model):
            options.refuse_loading(model, given)
        seed = settings.pop("seed", None)
        spec = JobSpec(
            model=model or "tiny",
            input_path=workspace.place(source),
            output_path=workspace.place(output),
            prompt_column=prompt_column,
            settings=settings,
            logprobs=logprobs,
            data_parallelism=parallel,
            runner=runner,  # type: ignore[arg-type]  # judged by JobSpec
            max_runtime_sec=max_runtime,
            checkpoint_path=None if checkpoint is None else workspace.place(checkpoint),
            overwrite=overwrite,
            prices=None if price is None else _prices(price),
            timeout_s=request_timeout,
            tool=None if tool is None else _tool(tool),
            how=given,
            **({} if seed is None else {"seed": seed, "seeded": True}),
        )
        made = jobs.create(database, spec, labels=_labels(label or []))
        render.note(f"[{made.key}]", quiet)
        _drive(database, made.key, quiet)


@app.command("list")
def list_(
    state: Annotated[
        str | None, typer.Option("--state", metavar="WORD", help="queued, running, completed, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="NUMBER")] = 20,
    where: workspace.Where = None,
    as_json: workspace.AsJson = False,
) -> None:
    """Jobs, newest first."""
    with workspace.open_workspace(where) as database:
        for job in database.jobs.list(state=state, limit=limit):
            if as_json:
                listing.print_json(_told(database, job))
            else:
                typer.echo(f"{job.key}  {job.state:9}  {_counts(job)}  {job.spec.get('model')}")


@app.command("show")
def show(
    key: Key,
    errors: Annotated[bool, typer.Option("--errors", help="The rows that failed, and why.")] = False,
    where: workspace.Where = None,
    as_json: workspace.AsJson = False,
) -> None:
    """One job: how far it is, at what rate, how long it will take, what went wrong."""
    with workspace.open_workspace(where) as database:
        job = database.jobs.get(key)
        if as_json:
            listing.print_json(_told(database, job))
        else:
            for name, value in _told(database, job).items():
                if value is not None and value != {}:
                    typer.echo(
                        f"{name}: {value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)}"
                    )
        after = -1
        while errors and (page := database.jobs.rows(key, state="failed", after=after)):
            for row in page:
                if as_json:
                    listing.print_json({"row": row.number, "error": row.error, "attempts": row.attempts})
                else:
                    typer.echo(f"row {row.number}: {row.error}")
            after = page[-1].number


@app.command("cancel")
def cancel(key: Key, where: workspace.Where = None) -> None:
    """End a job. What is done is kept, and written; `retry` goes on with the rest."""
    from ramify.batch import jobs

    with workspace.open_workspace(where) as database:
        typer.echo(jobs.cancel(database, key).state)


@app.command("retry")
def retry(key: Key, where: workspace.Where = None, quiet: workspace.Quiet = False) -> None:
    """Run the failed rows of a job again, and those that it never came to."""
    with workspace.open_workspace(where) as database:
        database.jobs.retry(key)
        _drive(database, key, quiet)


@app.command("work", hidden=True)
def work(key: Key, where: workspace.Where = None) -> None:
    """Work at a job's rows beside other processes, which take in its input and write its output."""
    from ramify import batches
    from ramify.batch import jobs

    with workspace.open_workspace(where) as database:
        jobs.work(database, key, open_model=batches.open_model, asks=batches.asks)


# ---------------------------------------------------------------- running one


def _drive(database: "Database", key: str, quiet: bool) -> None:
    """Run it with a bar. Exit code 1 where it failed, or some of its rows did."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from ramify import batches
    from ramify.batch import jobs

    shown = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=shown, transient=True, disable=quiet or not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)

        def told(job: "JobRecord") -> None:
            bar.update(task, total=job.total, completed=job.finished, description=_rate(job))

        try:
            ended = jobs.run(
                database,
                key,
                open_model=batches.open_model,
                asks=batches.asks,
                command=batches.command_of(key, database.where),
                told=told,
            )
        except KeyboardInterrupt:
            bar.stop()
            render.note(f"[stopped; `ramify batch run --job {key}` goes on from here]", quiet)
            raise
    if ended.error is not None:
        typer.echo(f"ramify: {ended.error}", err=True)
    typer.echo(f"{key} {ended.state}: {_counts(ended)}")
    if ended.state != "completed" or ended.failed:
        raise typer.Exit(1)


def _rate(job: "JobRecord") -> str:
    rate = f"{job.rows_per_s:.1f} rows/s" if job.rows_per_s else ""
    return f"{rate} {job.failed} failed".strip() if job.failed else rate


def _counts(job: "JobRecord") -> str:
    told = [f"{job.done} done"]
    told += [f"{job.failed} failed"] if job.failed else []
    told += [f"{job.left} left"] if job.left else []
    return f"{', '.join(told)} of {job.total if job.total is not None else '?'}"


def _told(database: "Database", job: "JobRecord") -> dict[str, Any]:
    from ramify.batch.jobs import told_of

    return told_of(database, job)


# ---------------------------------------------------------------- what was said


def _check_alone(more: dict[str, Any], **given: Any) -> None:
    """Raises InputError where anything is said beside --job."""
    said = [name for name, value in {**given, **more}.items() if not (value is None or value is False or value == [])]
    if said:
        option = said[0] if said[0] == "INPUT" else f"--{said[0].replace('_', '-')}"
        raise InputError(f"--job names a job that says all of this already; leave {option} out, or begin another without --job")


def _labels(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = next((name + equals for name, equals, _ in pairs if not name or not equals), None)
    if wrong is not None:
        raise InputError(f"--label {wrong} has no value; give NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _prices(given: str) -> tuple[float, float]:
    try:
        into, out = (float(part) for part in given.split(","))
    except ValueError:
        raise InputError(f"--price is {given!r}; give two numbers, such as 0.15,0.60") from None
    if into < 0 or out < 0:
        raise InputError(f"--price is {given!r}; a price is not below 0")
    return into, out


def _tool(given: str) -> dict[str, Any]:
    from ramify.data_types import ToolConfig

    try:
        found = json.loads(given)
    except json.JSONDecodeError:
        found = {"name": given}
    if not isinstance(found, dict):
        raise InputError(f'--tool is {given!r}; give a name, or JSON such as {{"name": "code_evaluator", "max_iterations": 3}}')
    return dict(ToolConfig(**found).model_dump())
