"""`ramify samples`: fixed prompts and what is known about them."""

import hashlib
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify import prompts
from ramify.cli import listing
from ramify.cli import prompt as asked
from ramify.cli.selecting import (
    MOST_NAMED,
    Archived,
    Back,
    Filter,
    Hidden,
    Limit,
    Put,
    SampleId,
    SampleIds,
    Take,
    check_tags,
    conditions,
    many,
    meant,
)
from ramify.cli.workspace import AsJson, Where, open_workspace
from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.store.records import ImageRecord

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Prompts of the workspace: add, list, show, edit, revise, tag, archive, hide, delete.",
)

EXAMPLES = {"hedgehog": prompts.HEDGEHOG, "payment": prompts.PAYMENT}

Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="A name for people.")]
Group = Annotated[str | None, typer.Option("--group", metavar="PATH", help='Where it belongs, such as "letters/legal".')]
Notes = Annotated[str | None, typer.Option("--notes", metavar="TEXT", help="For people; no model sees them.")]
IMAGE = "An image that belongs to it, which stays where it is"


@app.command()
def add(
    prompt: asked.Text = None,
    file: asked.File = None,
    exact: asked.Exact = False,
    chat: asked.Chat = False,
    system: asked.System = None,
    messages: asked.Messages = None,
    example: Annotated[
        str | None, typer.Option("--example", metavar="NAME", help=f"A prompt that is inside: {', '.join(EXAMPLES)}.")
    ] = None,
    title: Title = None,
    group: Group = None,
    notes: Notes = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="NAME", help="A tag; may be repeated.")] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="FILE|URL", help=f"{IMAGE}; may be repeated. No model sees it.")
    ] = None,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """Add a prompt. Its id goes to standard output."""
    given: Any
    if example is None:
        given = asked.read_prompt(prompt, file=file, exact=exact, chat=chat, system=system, messages=messages)
    elif any(each is not None for each in (prompt, file, messages, system)):
        raise InputError("--example is a whole prompt; leave the others out")
    elif example not in EXAMPLES:
        raise InputError(f"there is no example {example!r}; there are {', '.join(EXAMPLES)}")
    else:
        given = EXAMPLES[example]
    images = [_image(each) for each in image or ()]
    with open_workspace(workspace) as database:
        record = database.samples.add(
            given, title=title or "", group=group or "", notes=notes or "", tags=tag or (), images=images
        )
    if as_json:
        listing.print_json(record)
    else:
        typer.echo(record.id)


@app.command("list")
def list_samples(
    filter_: Filter = None,
    group: Annotated[str | None, typer.Option("--group", metavar="PATH", help="Only this group and those below it.")] = None,
    order: Annotated[str, typer.Option("--order", metavar="WORD", help="newest or oldest first.")] = "newest",
    limit: Limit = 50,
    archived: Archived = False,
    hidden: Hidden = False,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """Samples, newest first."""
    with open_workspace(workspace) as database:
        wanted = conditions(database, filter_)
        if group:
            wanted.append({"field": "group", "op": "under", "value": group})
        found = database.search.samples({"all": wanted}, order=order, limit=limit, archived=archived, hidden=hidden)
    if as_json:
        for each in found:
            listing.print_json(each)
    else:
        listing.samples(found)


@app.command()
def show(sample: SampleId, as_json: AsJson = False, workspace: Where = None) -> None:
    """A sample with its prompt, its revisions and its completions."""
    with open_workspace(workspace) as database:
        record = database.samples.get(sample)
        revisions = database.samples.revisions(sample)
        completions = database.completions.of(sample, archived=None, hidden=None)
    if as_json:
        listing.print_json(record, revisions=revisions, completions=[each.id for each in completions])
        return
    listing.facts(
        {
            "sample": record.id,
            "title": record.title,
            "group": record.group,
            "tags": ", ".join(record.tags),
            "notes": record.notes,
            "images": ", ".join(each.path for each in record.images),
            "revision": f"{record.revision} of {len(revisions)}" if len(revisions) > 1 else None,
            "archived": "yes" if record.archived else None,
            "hidden": "yes" if record.hidden else None,
            "made": f"{record.created_at:%Y-%m-%d %H:%M} UTC",
        }
    )
    typer.echo()
    if isinstance(record.prompt, str):
        listing.echo(record.prompt.removesuffix("\n"))
    else:
        for message in record.prompt:
            listing.echo(f"{message['role']}: {message['content']}")
    if completions:
        typer.echo()
        listing.completions(completions)


@app.command()
def edit(
    sample: SampleId,
    title: Title = None,
    group: Group = None,
    notes: Notes = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="FILE|URL", help=f"{IMAGE}, in place of those it has; may be repeated, empty for none."),
    ] = None,
    workspace: Where = None,
) -> None:
    """Change what surrounds the prompt."""
    if title is None and group is None and notes is None and not image:
        raise InputError("nothing was given to change; give --title, --group, --notes or --image")
    images = [_image(each) for each in image or () if each]
    with open_workspace(workspace) as database:
        with database.action("edit sample", str(sample)):
            database.samples.edit(sample, title=title, group=group, notes=notes)
            if image:
                database.samples.attach(sample, images)
        listing.echo(f"sample {sample} is changed")


@app.command()
def revise(
    sample: SampleId,
    prompt: asked.Text = None,
    file: asked.File = None,
    exact: asked.Exact = False,
    chat: asked.Chat = False,
    system: asked.System = None,
    messages: asked.Messages = None,
    workspace: Where = None,
) -> None:
    """Change the prompt: in place while it has no completions, else as a new revision; the old completions keep the old one."""
    given: Any = asked.read_prompt(prompt, file=file, exact=exact, chat=chat, system=system, messages=messages)
    with open_workspace(workspace) as database:
        record = database.samples.revise(sample, given)
        listing.echo(f"sample {sample} has revision {record.revision}")


@app.command()
def tag(samples: SampleIds = None, filter_: Filter = None, put: Put = None, take: Take = None, workspace: Where = None) -> None:
    """Put tags on samples, or take them off."""
    check_tags(put, take)
    with open_workspace(workspace) as database:
        ids = meant(database, "sample", samples, filter_)
        with database.action("tag samples", ", ".join(map(str, ids[:MOST_NAMED]))):
            database.tags.take(take or (), samples=ids)
            database.tags.put(put or (), samples=ids)
        if len(ids) > MOST_NAMED or not ids:
            listing.echo(f"{many('sample', ids)} tagged")
            return
        for each in database.samples.get_many(ids):
            listing.echo(f"sample {each.id}: {', '.join(each.tags) or 'no tags'}")


@app.command()
def archive(samples: SampleIds = None, filter_: Filter = None, back: Back = False, workspace: Where = None) -> None:
    """Put samples away: kept, but out of lists, rankings and exports."""
    with open_workspace(workspace) as database:
        ids = meant(database, "sample", samples, filter_, archived=back)
        database.samples.archive(ids, not back)
        listing.echo(f"{many('sample', ids)} {'out of' if back else 'in'} the archive")


@app.command()
def hide(samples: SampleIds = None, filter_: Filter = None, back: Back = False, workspace: Where = None) -> None:
    """Remove samples from view only: rankings and exports still have them."""
    with open_workspace(workspace) as database:
        ids = meant(database, "sample", samples, filter_, hidden=back)
        database.samples.hide(ids, not back)
        listing.echo(f"{many('sample', ids)} {'shown again' if back else 'out of view'}")


@app.command()
def delete(samples: SampleIds = None, filter_: Filter = None, workspace: Where = None) -> None:
    """Remove samples with their completions and judgements; only `ramify undo` brings them back."""
    with open_workspace(workspace) as database:
        ids = meant(database, "sample", samples, filter_)
        database.samples.delete(ids)
        listing.echo(f"{many('sample', ids)} deleted; `ramify undo` brings back")


def _image(said: str) -> "ImageRecord":
    """A file with its type and hash, an address as it is. Raises InputError for what is neither, or is no image."""
    from ramify.store.records import ImageRecord

    media_type = mimetypes.guess_type(said)[0] or ""
    if "://" in said:
        return ImageRecord(path=said, media_type=media_type)
    file = Path(said).expanduser()
    if not file.is_file():
        raise InputError(f"there is no file {said!r}; give an image's file or its address")
    if not media_type.startswith("image/"):
        raise InputError(f"{said!r} is no image by its name; it must end as one does, such as .png or .jpg")
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    return ImageRecord(path=str(file.absolute()), media_type=media_type, sha256=found)
