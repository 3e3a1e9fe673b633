"""`ramify train`: check, sft, dpo, kto; tokenizer, pretrain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ramify.cli import listing, render
from ramify.cli.training_options import plan_of, takes_plan

if TYPE_CHECKING:
    from ramify.training.documents import Texts
    from ramify.training.runs import Outcome, Prepared
    from ramify.training.viewing import RowView, View

__all__ = ["app"]

app = typer.Typer(
    help="Train on completions and judgements: check, sft, dpo, kto, report; or from scratch: tokenizer, pretrain.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No lines while it trains.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
BAD = 1


# ---------------------------------------------------------------- on completions and judgements


@app.command()
@takes_plan("sft")
def sft(plan: Path | None, given: dict[str, Any], quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Train on completions: what follows the prompt, and its EOS, is learned."""
    _train("sft", plan, given, quiet, as_json)


@app.command()
@takes_plan("dpo")
def dpo(plan: Path | None, given: dict[str, Any], quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Train on preferences: the better completion of a pair gains on the worse."""
    _train("dpo", plan, given, quiet, as_json)


@app.command()
@takes_plan("kto")
def kto(plan: Path | None, given: dict[str, Any], quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Train on completions that are good and completions that are bad."""
    _train("kto", plan, given, quiet, as_json)


def _train(method: str, plan: Path | None, given: dict[str, Any], quiet: bool, as_json: bool) -> None:
    from ramify.training.runs import execute, prepare
    from ramify.training.stopping import stopping

    _hush()
    ready = prepare(plan_of(method, plan, given))
    if not as_json:
        _tell_rows(ready, quiet)
    with stopping() as stop:
        outcome = execute(ready.plan, report=_Lines(quiet or as_json), prepared=ready, stop=stop)
    if as_json:
        listing.print_json({"folder": str(outcome.folder), "name": outcome.entry and outcome.entry.name, **_told(outcome)})
        return
    listing.facts({"saved in": str(outcome.folder), **_told(outcome), **_name(outcome)})


@app.command("work", hidden=True)
def work(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where a run's record is.")],
    report: Annotated[bool, typer.Option("--report", help="Only measure before and after.")] = False,
) -> None:
    """Do what a run's record says: what a server starts, in a process of its own."""
    from ramify.training import process

    _hush()
    if report:
        process.measure(folder)
    else:
        process.work(folder)


def _hush() -> None:
    """No bars and remarks of the libraries."""
    import warnings

    import transformers

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def _told(outcome: "Outcome") -> dict[str, Any]:
    return {"steps": outcome.steps, "seconds": round(outcome.seconds, 1), "fingerprint": outcome.fingerprint.id}


def _name(outcome: "Outcome") -> dict[str, str]:
    return {} if outcome.entry is None else {"name": outcome.entry.name}


def _tell_rows(ready: "Prepared", quiet: bool) -> None:
    rows = ready.gathered
    learned = sum(each.learned for row in rows.training for each in row.examples)
    held = f", {len(rows.validation)} to validate" if rows.validation else ""
    render.note(f"{ready.plan.method} of {ready.plan.model}: {len(rows.training)} rows{held}, {learned} tokens to learn", quiet)
    for decision in rows.chosen:
        render.note(decision, quiet)


class _Lines:
    """A line for each line of the log, with the curve so far."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._losses: list[float] = []

    def __call__(self, line: dict[str, Any]) -> None:
        if "loss" in line:
            self._losses.append(line["loss"])
        if self._quiet:
            return
        from ramify.training.curves import curve

        shown = "  ".join(f"{key} {value}" for key, value in line.items())
        typer.echo(f"{shown}  {curve(self._losses, 24)}" if "loss" in line and len(self._losses) > 1 else shown)


# ---------------------------------------------------------------- the gate


@app.command()
@takes_plan("")
def check(
    plan: Path | None,
    given: dict[str, Any],
    method: Annotated[str | None, typer.Option("--method", metavar="NAME", help="sft, dpo or kto; unset: the plan's.")] = None,
    row: Annotated[
        list[int] | None, typer.Option("--row", metavar="N", help="Show row N token by token; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See every row as the trainer sees it, before anything is trained. Exits with 1 where a row cannot be trained on."""
    from ramify.training.runs import gather
    from ramify.training.viewing import numbered, view, view_row

    found = gather(
        plan_of(method or "", plan, given if plan is not None or method else {"method": "sft", **given}, needs_out=False)
    )
    seen = view(found.gathered, found.spelling, found.window)
    rows = [view_row(r, n, seen.kind, found.spelling, found.window) for n, r in numbered(found.gathered, row or [])]
    if as_json:
        listing.print_json(seen.to_data(), shown=rows)
    else:
        _tell_view(seen)
        for each in rows:
            _tell_row(each)
    if not seen.passes:
        raise typer.Exit(BAD)


def _tell_view(seen: "View") -> None:
    facts: dict[str, Any] = {
        "rows": f"{seen.rows} for {seen.kind} of {seen.model}",
        "to validate": seen.validation_rows,
        "tokens": f"{seen.tokens}, {seen.learned} of them learned",
        "longest": f"{seen.longest} of {seen.window}",
        "without EOS": f"{seen.without_eos}: the model does not learn to end these",
    }
    listing.facts({key: str(value) for key, value in facts.items() if value and not str(value).startswith("0:")})
    for reason, count in seen.stayed.items():
        render.note(f"stay: {count} ({reason})")
    for bad in seen.bad:
        listing.echo(f"row {bad.number}, {bad.name}: {'; '.join(bad.problems)}")
    listing.echo(f"{len(seen.bad)} of {seen.rows} rows cannot be trained on" if seen.bad else "every row can be trained on")


def _tell_row(row: "RowView") -> None:
    label = "" if row.label is None else f", {'good' if row.label else 'bad'}"
    listing.echo(f"\nrow {row.number}, {row.name}{label}: {row.tokens} tokens, {row.prompt_tokens} of the prompt")
    for side in row.sides:
        listing.columns(
            ["place", "id", "learned", "token"],
            [
                [str(place), str(token_id), "yes" if learned else "", render.spelled(text)]
                for place, (token_id, learned, text) in enumerate(zip(side.token_ids, side.learned, side.texts, strict=True))
            ],
        )
        listing.echo(f"ends with EOS {side.eos_id}" if side.eos else "no EOS is learned")


# ---------------------------------------------------------------- before and after


@app.command()
def report(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model before.")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="The model after; its manifest says which rows.")],
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="FILE", help="A page (.html), .md or .json; unset: here.")
    ] = None,
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", metavar="PATH|URL", help="Where the rows are now.")
    ] = None,
    unrelated: Annotated[
        str | None,
        typer.Option("--unrelated", metavar="FILE", help="Texts that are to stay as likely; unset: what BASE says unasked."),
    ] = None,
    target_of: Annotated[
        str | None, typer.Option("--target-of", metavar="FACET", help="Make TUNED the target model of this facet, without alarm.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a model before and after: every curated completion by its tokens, pairs, unrelated text. Exits with 1 on alarm."""
    from dataclasses import replace

    from ramify.cli.workspace import open_workspace
    from ramify.errors import InputError
    from ramify.training import report_page
    from ramify.training.plans import plan_from
    from ramify.training.report import made_by
    from ramify.training.report import report as compare

    if out is not None and Path(out).suffix not in (".html", ".md", ".json"):
        raise InputError(f"{out!r} must end in .html, .md or .json")
    _hush()
    plan = plan_from(made_by(tuned)["plan"])
    if workspace is not None and plan.workspace is not None:
        plan = replace(plan, workspace=workspace)
    found = compare(base, tuned, plan=plan, unrelated=unrelated)
    if as_json:
        listing.print_json(found.to_data())
    if out is not None:
        _write(
            out, {".html": report_page.as_html, ".md": report_page.as_markdown}.get(Path(out).suffix, _as_json)(found), overwrite
        )
    elif not as_json:
        listing.echo(report_page.as_markdown(found).rstrip("\n"))
    if found.alarm:
        render.note(f"alarm: unrelated text became {found.unrelated['worse']:.1%} less likely")
        raise typer.Exit(BAD)
    if target_of is not None:
        with open_workspace(workspace or plan.workspace) as database:
            database.facets.edit(target_of, target_model=tuned)
        render.note(f"{tuned} is the target model of {target_of}")


def _as_json(found: Any) -> str:
    import json

    return json.dumps(listing.plain(found.to_data()), ensure_ascii=False, indent=1) + "\n"


def _write(out: str, text: str, overwrite: bool) -> None:
    from ramify.exchange.outputs import Outputs

    with Outputs(overwrite=overwrite) as outputs:
        outputs.add(Path(out)).write(text.encode())


# ---------------------------------------------------------------- from scratch

FILES = "file or folder of .txt, .md, .pdf, .docx or JSON Lines"
Rows = Annotated[list[Path], typer.Option("--rows", help=f"A {FILES}; may be repeated.")]
Held = Annotated[list[Path] | None, typer.Option("--validation-rows", help=f"A {FILES} to measure; may be repeated.")]
Duplicates = Annotated[
    Literal["keep", "exact", "normalised", "near"],
    typer.Option(help="Texts that come once: equal ones; but for case, space and punctuation; nearly equal ones. keep: none."),
]
Unreadable = Annotated[
    Literal["refuse", "leave-out"],
    typer.Option(help="Locked, broken, scanned or empty files: refuse, or leave them out."),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the result, its checkpoint and log.jsonl.")]
Seconds = Annotated[float | None, typer.Option(help="Train for this long; the schedule is laid over it.")]
Steps = Annotated[int | None, typer.Option(help="Train for this many steps.")]
Tokens = Annotated[int, typer.Option(help="Tokens a step, padding included.")]
Rate = Annotated[float, typer.Option(help="AdamW's learning rate, for embeddings and norms.")]
MatrixRate = Annotated[float, typer.Option(help="Muon's learning rate, for the hidden layers' matrices.")]
Schedule = Annotated[Literal["constant", "linear", "cosine"], typer.Option(help="linear and cosine: down to 0 at the end.")]
Length = Annotated[int, typer.Option(help="Longest row in tokens.")]
Seed = Annotated[int, typer.Option(help="Seed of the weights and of the order of rows.")]
Bf16 = Annotated[bool, typer.Option(help="Compute in bfloat16; weights stay in float32.")]
Compile = Annotated[bool, typer.Option(help="Compile the model first; needs a C++ compiler on a CPU.")]
Preset = Annotated[
    Literal["small", "tiny", "medium", "large"], typer.Option(help="The new model's shape; its parts can be given one by one.")
]


def _found(read: "Texts") -> None:
    render.note(
        f"{len(read.rows)} texts of {read.files} files" + (f", {read.duplicates} duplicates left out" if read.duplicates else "")
    )
    for problem in read.left_out:
        render.note(f"left out: {problem}")


@app.command()
def tokenizer(
    rows: Rows,
    out: Out,
    vocab_size: Annotated[int, typer.Option(help="Tokens in the vocabulary.")] = 4096,
    duplicates: Duplicates = "exact",
    unreadable: Unreadable = "refuse",
) -> None:
    """Learn a byte-fallback BPE vocabulary from the texts and save it as a Hugging Face folder."""
    from ramify.training.scratch import make
    from ramify.training.scratch_plans import ScratchPlan

    plan = ScratchPlan(
        method="tokenizer", out=str(out), rows=tuple(map(str, rows)), vocab_size=vocab_size, duplicates=duplicates,
        unreadable=unreadable,
    )  # fmt: skip
    typer.echo(f"{make(plan, told=_found)} tokens in {out}")


@app.command()
def pretrain(
    rows: Rows,
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer, or a model that has it.")],
    out: Out,
    validation_rows: Held = None,
    preset: Preset = "tiny",
    hidden_size: int | None = None,
    layers: int | None = None,
    heads: int | None = None,
    kv_heads: int | None = None,
    intermediate_size: int | None = None,
    max_seconds: Seconds = None,
    max_steps: Steps = None,
    tokens_per_step: Tokens = 8192,
    learning_rate: Rate = 3e-3,
    matrix_learning_rate: MatrixRate = 6e-3,
    schedule: Schedule = "linear",
    max_length: Length = 512,
    seed: Seed = 0,
    bf16: Bf16 = False,
    compile: Compile = False,
    duplicates: Duplicates = "exact",
    unreadable: Unreadable = "refuse",
) -> None:
    """Train a new Llama on whole texts; longer ones are cut into windows. Goes on from the checkpoint in the folder."""
    from ramify.training.config import TrainConfig
    from ramify.training.scratch import make
    from ramify.training.scratch_plans import ScratchPlan

    _hush()
    config = TrainConfig(
        max_steps=max_steps, max_seconds=max_seconds, tokens_per_step=tokens_per_step, learning_rate=learning_rate,
        matrix_learning_rate=matrix_learning_rate, schedule=schedule, max_length=max_length, seed=seed,
        bf16=bf16, compile=compile,
    )  # fmt: skip
    parts = {"hidden_size": hidden_size, "layers": layers, "heads": heads, "kv_heads": kv_heads,
             "intermediate_size": intermediate_size}  # fmt: skip
    plan = ScratchPlan(
        method="pretrain", out=str(out), rows=tuple(map(str, rows)), validation_rows=tuple(map(str, validation_rows or ())),
        tokenizer=str(tokenizer), preset=preset, shape={name: value for name, value in parts.items() if value is not None},
        duplicates=duplicates, unreadable=unreadable, train=config,
    )  # fmt: skip
    make(plan, told=_found, report=_Lines(False))
    typer.echo(f"saved in {out}")
