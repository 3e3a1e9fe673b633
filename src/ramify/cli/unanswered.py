"""`ramify unanswered`: requests that a facet's approved completions could not answer."""

from typing import Annotated

import typer

from ramify.cli import listing
from ramify.cli import prompt as asked
from ramify.cli.selecting import Limit, many
from ramify.cli.workspace import AsJson, Where, open_workspace
from ramify.errors import InputError

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Requests that no approved completion answers: list, show, add, take, dismiss.",
)

STATES = ("waiting", "answered", "dismissed")
Request = Annotated[int, typer.Argument(metavar="REQUEST", help="A request's number, as `ramify unanswered list` prints it.")]
OneFacet = Annotated[str | None, typer.Option("--facet", metavar="NAME", help="Only those under this facet.")]


@app.command("list")
def list_requests(
    facet: OneFacet = None,
    state: Annotated[str, typer.Option("--state", metavar="WORD", help=f"{', '.join(STATES)}.")] = "waiting",
    limit: Limit = 50,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """The queue, oldest first."""
    if state not in STATES:
        raise InputError(f"the state is {state!r}; it must be one of {', '.join(STATES)}")
    with open_workspace(workspace) as database:
        found = database.unanswered.list(facet, state=state, limit=limit)
    if as_json:
        for each in found:
            listing.print_json(each)
        return
    listing.columns(
        ("request", "facet", "asked", "last (UTC)", "sample", "prompt"),
        [
            (
                *(str(each.id), each.facet, str(each.asked), f"{each.asked_at:%Y-%m-%d %H:%M}"),
                *("" if each.sample_id is None else str(each.sample_id), listing.said(each.prompt)),
            )
            for each in found
        ],
    )


@app.command()
def show(request: Request, as_json: AsJson = False, workspace: Where = None) -> None:
    """A request with its whole prompt."""
    with open_workspace(workspace) as database:
        found = database.unanswered.get(request)
    if as_json:
        listing.print_json(found)
        return
    listing.facts(
        {
            "request": found.id,
            "facet": found.facet,
            "state": found.state,
            "asked": f"{found.asked} time{'s' * (found.asked > 1)}, last {found.asked_at:%Y-%m-%d %H:%M} UTC",
            "sample": found.sample_id,
        }
    )
    typer.echo()
    messages = [{"role": "", "content": found.prompt}] if isinstance(found.prompt, str) else found.prompt
    for message in messages:
        listing.echo((f"{message['role']}: " if message["role"] else "") + str(message["content"]))


@app.command()
def add(
    facet: Annotated[str, typer.Option("--facet", metavar="NAME", help="The facet under which it was asked.")],
    prompt: asked.Text = None,
    file: asked.File = None,
    exact: asked.Exact = False,
    chat: asked.Chat = False,
    system: asked.System = None,
    messages: asked.Messages = None,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """Put a request into the queue; one that waits already is counted again."""
    given = asked.read_prompt(prompt, file=file, exact=exact, chat=chat, system=system, messages=messages)
    with open_workspace(workspace) as database:
        found = database.unanswered.add(facet, given)
    if as_json:
        listing.print_json(found)
    else:
        typer.echo(found.id)


@app.command()
def take(request: Request, as_json: AsJson = False, workspace: Where = None) -> None:
    """The sample with this request's prompt, made where there is none: its id goes to standard output.

    Make completions of it, then approve one under the facet (`ramify completions approve`): that settles the request.
    """
    with open_workspace(workspace) as database, database.action("take request", str(request)):
        found = database.unanswered.get(request)
        there = [each for each in database.samples.find(found.prompt) if each.prompt == found.prompt]
        sample = there[0] if there else database.samples.add(found.prompt, group=f"unanswered/{found.facet}")
    if as_json:
        listing.print_json(sample)
    else:
        typer.echo(sample.id)


@app.command()
def dismiss(
    requests: Annotated[list[int], typer.Argument(metavar="REQUEST...", help="Requests' numbers.")], workspace: Where = None
) -> None:
    """Settle requests without an answer; one that is asked again waits anew."""
    with open_workspace(workspace) as database:
        with database.action("dismiss requests", ", ".join(map(str, requests))):
            for request in dict.fromkeys(requests):
                database.unanswered.dismiss(request)
        listing.echo(f"{many('request', requests)} dismissed")
