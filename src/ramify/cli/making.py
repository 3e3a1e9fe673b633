"""`ramify completions`: generate, write, edit, continue, save."""

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import bulk, listing, options, render
from ramify.cli import prompt as asked
from ramify.cli.selecting import CompletionId, Filter, SampleId, all_samples, one_completion
from ramify.cli.workspace import AsJson, Quiet, Where, model_for, open_any, open_models, open_workspace
from ramify.errors import InputError, RamifyError

if TYPE_CHECKING:
    from ramify.decoding.config import GenerationConfig
    from ramify.models.base import TextCodec
    from ramify.store.database import Database
    from ramify.store.records import CompletionRecord, SampleRecord
    from ramify.workbench.asking import AnyModel
    from ramify.workbench.bulk import BulkStep
    from ramify.workbench.drafts import Draft
    from ramify.workbench.remote_writing import RemoteDraft

__all__ = ["COMMANDS", "codec_of", "show"]

Models = Annotated[
    list[str] | None,
    options.model_option("As in `ramify complete`; may be repeated. Unset: the facet's target, else the workspace's."),
]
Samples = Annotated[
    list[int] | None,
    typer.Argument(metavar="[SAMPLE]...", help="Samples' ids, as `ramify samples list` prints them.", show_default=False),
]
Facet = Annotated[str | None, typer.Option("--facet", metavar="NAME", help="Take this facet's target model.")]
Prefill = Annotated[str | None, typer.Option("--prefill", metavar="TEXT", help="The completion begins exactly so.")]
Typed = Annotated[str | None, typer.Argument(metavar="TEXT", help="The completion's text; - reads it from standard input.")]
File = Annotated[str | None, typer.Option("--file", "-f", metavar="FILE", help="Read the text from a file.")]
Exact = Annotated[bool, typer.Option("--exact", help="Keep the line end that closes a file or standard input.")]


@options.takes_settings
@options.takes_model
def generate(
    samples: Samples = None,
    every: bulk.Every = False,
    filter_: Filter = None,
    group: bulk.Group = None,
    run: bulk.RunName = "",
    prefill: Prefill = None,
    facet: Facet = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Show it as it is made, and keep it as a draft; Ctrl-C keeps what is there.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
    model: Models = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Let one or several models complete a sample's prompt, and keep what they say.

    Of many samples (several ids, --filter, --group, --all) each is kept as it is done: Ctrl-C keeps what is there, and the same
    command goes on.
    """
    config = options.settings_from(settings, preset)
    with open_workspace(workspace) as database:
        wanted = bulk.chosen(database, samples, every=every, filters=filter_, group=group, kind="sample")
        one = isinstance(wanted, list) and len(wanted) == 1 and not run
        if draft and not one:
            raise InputError("a draft is of one sample; leave --draft out, or name one sample")
        record = database.samples.get(wanted[0]) if one else None
        if isinstance(wanted, list):
            all_samples(database, wanted)
        names = model or [model_for(database, None, facet=facet)]
        if facet is not None and model:
            database.facets.get(facet)
        with open_any(names, how) as loaded:
            if record is not None:
                _one(database, loaded, record, config, prefill, draft=draft, as_json=as_json, quiet=quiet)
                return
            from ramify.workbench.bulk_lanes import bulk_generate

            work = bulk_generate(database, loaded, wanted, config, prefill=prefill, name=run)
            bulk.drive(work, _step, as_json=as_json, quiet=quiet)


def _one(
    database: "Database",
    models: "list[AnyModel]",
    sample: "SampleRecord",
    config: "GenerationConfig",
    prefill: str | None,
    *,
    draft: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from ramify.workbench import generation
    from ramify.workbench.asking import name_of, question

    if not draft:
        failed = list[RamifyError]()
        for model, made in generation.generate_by(database, models, sample, config, prefill=prefill):
            if isinstance(made, RamifyError):
                failed.append(made)
                if len(models) > 1:
                    render.note(f"{name_of(model)}: {made}")
                continue
            for record in made:
                show(record, as_json=as_json, quiet=quiet)
        if failed and len(models) > 1:
            render.note(f"[{len(failed)} of {len(models)} models failed]", quiet)
            raise typer.Exit(1)
        if failed:
            raise failed[0]
        return
    for each in models:  # all are checked before the first one writes
        question(each, sample.prompt, config, prefill=prefill)
    for each in models:
        _stream(generation.draft(database, each, sample, config, prefill=prefill), as_json=as_json, quiet=quiet)


def _step(step: "BulkStep") -> dict[str, Any]:
    error = None if step.error is None else str(step.error)
    return {"sample": step.id, "model": step.model, "completions": step.made, "error": error}


def _stream(draft: "Draft | RemoteDraft", *, as_json: bool, quiet: bool) -> None:
    escape = sys.stdout.isatty()
    filled = draft.record.text
    events = draft.events()
    try:
        with contextlib.closing(events):  # type: ignore[type-var]
            if not as_json:
                typer.echo(render.shown(filled) if escape else filled, nl=False)
            for event in events:
                if not as_json:
                    typer.echo(render.shown(event.text) if escape else event.text, nl=False)
                    sys.stdout.flush()
    except KeyboardInterrupt:
        _close(draft.record, as_json=as_json, quiet=quiet)
        raise
    _close(draft.record, as_json=as_json, quiet=quiet)


def _close(record: "CompletionRecord", *, as_json: bool, quiet: bool) -> None:
    if as_json:
        listing.print_json(record)
        return
    typer.echo()
    _remark(record, quiet)
    render.note(f"[a draft; `ramify completions save {record.id}` keeps it]", quiet)


@options.takes_settings
@options.takes_model
def continue_(
    completion: CompletionId,
    as_json: AsJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
    model: Annotated[str | None, options.model_option("Unset: the one that made it, else the workspace's.")] = None,
    preset: options.PresetName = None,
    *,
    settings: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Go on where a truncated completion ends, from its own tokens; it stays, and its child has both."""
    config = options.settings_from(settings, preset)
    with open_workspace(workspace) as database:
        parent = one_completion(database, completion)
        if parent.finish_reason == "eos":
            raise InputError(f"completion {completion} was ended by EOS, so there is nothing to continue; edit it instead")
        with contextlib.ExitStack() as stack:
            (loaded,) = stack.enter_context(open_any([model_for(database, model, maker=parent)], how))
            from ramify.workbench import generation

            codec = codec_of(database, parent, stack)
            for made in generation.continue_completion(database, loaded, parent, config, codec=codec):
                show(made, as_json=as_json, quiet=quiet)


def codec_of(database: "Database", completion: "CompletionRecord", stack: contextlib.ExitStack) -> "Callable[[], TextCodec]":
    """What gives the tokenizer of a completion's own model, loaded when it is asked for, for as long as `stack` is open."""
    return lambda: stack.enter_context(options.open_model(model_for(database, None, maker=completion))).codec


def write(
    sample: SampleId,
    text: Typed = None,
    file: File = None,
    exact: Exact = False,
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="Who or what wrote it; any name.")] = "manual",
    truncated: Annotated[bool, typer.Option("--truncated", help="It ends early.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
) -> None:
    """Keep a completion that was typed, or pasted from elsewhere."""
    with open_workspace(workspace) as database:
        record = database.samples.get(sample)
        typed = asked.read_typed(text, file, exact=exact, what="text")
        from ramify.workbench import editing

        show(editing.write(database, record, typed, model=model, truncated=truncated), as_json=as_json, quiet=quiet)


@options.takes_model
def edit(
    completion: CompletionId,
    text: Typed = None,
    file: File = None,
    exact: Exact = False,
    replace: Annotated[
        tuple[str, str] | None,
        typer.Option("--replace", metavar="OLD NEW", help="Change this one place instead of giving the whole text."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Who or what wrote it; unset: the name stays.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    workspace: Where = None,
    *,
    how: dict[str, Any],
) -> None:
    """Make a child with another text: untouched tokens stay as they are, and the typed part is marked."""
    if replace is not None and (text is not None or file is not None):
        raise InputError("a text and --replace were given; give one of them")
    with open_workspace(workspace) as database:
        parent = one_completion(database, completion)
        new = _replaced(parent, *replace) if replace else asked.read_typed(text, file, exact=exact, what="text")
        if new == parent.text:
            raise InputError(f"the text is the same as completion {parent.id}'s; change it, or leave it as it is")
        names = [model_for(database, None, maker=parent)] if parent.token_ids is not None and parent.fingerprint else []
        with open_models(names, how) as loaded:
            from ramify.workbench import editing

            made = editing.edit(database, parent, new, model=loaded[0] if loaded else None, name=name)
        show(made, as_json=as_json, quiet=quiet)


def _replaced(parent: "CompletionRecord", old: str, new: str) -> str:
    places = parent.text.count(old) if old else 0
    if places != 1:
        often = "is not in" if places == 0 else f"occurs {places} times in"
        raise InputError(f"{old!r} {often} completion {parent.id}; give a text that is there once")
    return parent.text.replace(old, new)


def save(completion: CompletionId, as_json: AsJson = False, quiet: Quiet = False, workspace: Where = None) -> None:
    """Make a draft a completion like any other: ranked and exported."""
    with open_workspace(workspace) as database:
        if not one_completion(database, completion).draft:
            raise InputError(f"completion {completion} is saved already")
        show(database.completions.save(completion), as_json=as_json, quiet=quiet)


def show(record: "CompletionRecord", *, as_json: bool, quiet: bool) -> None:
    """What was made: the text on standard output, its id and how it ended beside it."""
    if as_json:
        listing.print_json(record)
        return
    typer.echo(render.shown(record.text) if sys.stdout.isatty() else record.text)
    _remark(record, quiet)


def _remark(record: "CompletionRecord", quiet: bool) -> None:
    many = record.token_count
    told = f"completion {record.id} by {record.model}: {record.finish_reason}"
    told += "" if record.stop_string is None else f" {record.stop_string!r}"
    told += "" if many is None else f", {many} token{'' if many == 1 else 's'}"
    told += ", truncated" if record.truncated else ""
    told += "" if record.beam_score is None else f", beam score {record.beam_score:.4f}"
    told += f", seed {record.seed}" if _drawn(record) else ""
    told += "" if record.parent_id is None else f", from completion {record.parent_id}"
    render.note(f"[{told}]", quiet)


def _drawn(record: "CompletionRecord") -> bool:
    from ramify.decoding.config import GenerationConfig

    return record.seed is not None and GenerationConfig.from_dict(record.config).samples


COMMANDS: dict[str, Callable[..., None]] = {
    "generate": generate,
    "write": write,
    "edit": edit,
    "continue": continue_,
    "save": save,
}
