"""`ramify lab`."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import options, render
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.quality.plans import LabPrompt, Plan

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def lab(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", metavar="NAME", help="A name of `ramify models list`, a folder, or hf:org/name; may be repeated."
        ),
    ] = None,
    plan: Annotated[
        str, typer.Option("--plan", metavar="document-004|FILE", help="A plan by name, or a JSON file: prompts and experiments.")
    ] = "document-004",
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="In place of the plan's: JSON Lines of {title, prompt, json_schema}, or any text file as one prompt.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", metavar="TEXT", help="A raw prompt; may be repeated.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="NUMBER", min=1, help="How often document-004 repeats sampling; unset: 5 times."),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option("--max-new-tokens", metavar="NUMBER", min=1, help="In place of the plan's; the window may leave less."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="NUMBER", min=0, help="In place of the plan's.")] = None,
    one_by_one: Annotated[
        bool, typer.Option("--one-by-one", help="Each completion alone, so that its seconds are its own.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="For lab.html and lab.md.")] = Path("lab"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No remarks on standard error.")] = False,
    precision: options.Precision = None,
    device: options.Device = None,
) -> None:
    """Try every experiment of a plan on every prompt and model, and write a report: one page, and Markdown.

    document-004 is the experiments of that report, with every other strategy beside them. Exit code 1 when a law that must hold
    between strategies did not.
    """
    wanted = _plan(plan, samples)
    changes: dict[str, Any] = {}
    if prompts is not None or prompt:
        changes["prompts"] = _prompts(prompts, prompt or [])
    if max_new_tokens is not None:
        changes["max_new_tokens"] = max_new_tokens
    if seed is not None:
        changes["seed"] = seed
    wanted = wanted.replaced(**changes) if changes else wanted
    _writable(out)

    from contextlib import ExitStack

    from ramify.quality.lab import run_plan
    from ramify.quality.lab_html import lab_html
    from ramify.quality.lab_markdown import lab_markdown

    with ExitStack() as stack:
        loaded = [
            stack.enter_context(options.open_model(name, precision=precision, device=device))
            for name in dict.fromkeys(model or ["tiny"])
        ]
        report = run_plan(loaded, wanted, one_by_one=one_by_one, progress=lambda line: render.note(line, quiet))
    for name, text in (("lab.html", lab_html(report)), ("lab.md", lab_markdown(report))):
        _write(out / name, text)
        typer.echo(str(out / name))
    broken = [
        f"{group.model}, {group.prompt.title}: {c.title}: {c.detail}"
        for group in report.groups
        for c in group.checks
        if c.holds is False
    ]
    for group in report.groups:
        if group.refused is not None:
            render.note(f"{group.model}, {group.prompt.title}: {group.refused}")
    for line in broken:
        render.note(f"did not hold: {line}")
    if broken:
        raise typer.Exit(1)
    if all(group.refused is not None for group in report.groups):
        raise InputError("no prompt could be run on any model; the report says why")


def _plan(name: str, samples: int | None) -> "Plan":
    from ramify.quality.plans import PLANS, SAMPLES, Plan

    if name in PLANS:
        return PLANS[name](samples or SAMPLES)
    if not Path(name).is_file():
        raise InputError(f"there is no plan {name!r}; give {', '.join(PLANS)}, or a JSON file")
    if samples is not None:
        raise InputError(f"--samples is of {', '.join(PLANS)}; {name!r} says itself how often each experiment is repeated")
    try:
        content = json.loads(options.read_text(name))
    except ValueError as error:
        raise InputError(f"{name!r} is not JSON ({error})") from error
    return Plan.from_dict(content)


def _prompts(file: Path | None, texts: list[str]) -> "tuple[LabPrompt, ...]":
    from ramify.quality.plans import LabPrompt

    found = []
    if file is not None:
        content = options.read_text(file)
        if file.suffix not in (".jsonl", ".ndjson"):
            found.append(LabPrompt(title=file.stem, prompt=content))
        else:
            for number, line in enumerate(content.splitlines(), 1):
                if line.strip():
                    found.append(_prompt(line, file, number))
    found += [
        LabPrompt(title=f"prompt {place}" if len(texts) > 1 else "prompt", prompt=text) for place, text in enumerate(texts, 1)
    ]
    return tuple(found)


def _prompt(line: str, file: Path, number: int) -> "LabPrompt":
    from ramify.quality.plans import LabPrompt

    try:
        content = json.loads(line)
        return LabPrompt(**{"title": f"line {number}", **content})
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{str(file)!r} line {number}: {error}; each line must be an object with prompt, and may have title and json_schema"
        ) from error


def _writable(folder: Path) -> None:
    """Said before an hour of work, not after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{str(folder)!r} cannot be made: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"{str(folder)!r} cannot be written to")


def _write(file: Path, text: str) -> None:
    beside = file.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(text, "utf-8")
    beside.replace(file)
