"""`ramify studio`."""

import contextlib
import secrets
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import options, workspace
from ramify.errors import InputError
from ramify.settings import read_key

if TYPE_CHECKING:
    import socket

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

VARIABLE = "RAMIFY_API_KEY"
PORT = 8642
"""The usual one, so that the browser remembers the look; another free one where it is taken."""


@app.command()
@options.takes_model
def studio(
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKSPACE]",
            help="A file, made where there is none, or postgresql://…; unset: RAMIFY_WORKSPACE, else the last one used.",
        ),
    ] = None,
    model: options.ModelName = "tiny",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help=f"0 takes a free one; unset: {PORT}, or a free one where it is taken.")
    ] = None,
    files: options.ImportFolders = None,
    batch_root: options.BatchRoots = None,
    allow_code_evaluator: options.AllowCodeEvaluator = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="Fill a workspace that is not there yet with a demonstration; takes some seconds.")
    ] = False,
    *,
    how: dict[str, Any],
) -> None:
    """Open the studio on a workspace, in the browser. It runs until Ctrl+C; only this machine can reach it.

    The address holds the access token behind `#`, which browsers send to nobody. It comes from RAMIFY_API_KEY, else is made anew.
    """
    options.check_sandbox(allow_code_evaluator)
    from ramify.web.modules import missing

    if missing():
        raise InputError(
            f"the studio's modules are not here ({', '.join(missing()[:3])}, …); "
            "in a checkout `make setup` fetches them (it needs npm), and a wheel has them"
        )
    from ramify.api.app import create_app
    from ramify.api.serving import serve
    from ramify.models.registry import Registry
    from ramify.workbench.workspace import Workspace

    _make_first(where, model if demo else None)
    key = read_key(VARIABLE)
    token = secrets.token_urlsafe(32) if key is None else key.reveal()
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(workspace.open_workspace(where))
        listener = stack.enter_context(_listener(port))
        served = create_app(
            token=token,
            workspace=Workspace(opened),
            folders=files or (),
            load=lambda name: options.open_model(name, **how),
            model=model,
            registry=Registry(),
            batch_roots=[workspace.place(root) for root in batch_root or ()],
            allow_code_evaluator=allow_code_evaluator,
        )
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/#token={token}"
        typer.echo(address)
        if not no_browser:
            webbrowser.open(address)
        serve(served, listener)


def _make_first(where: str | None, demo: str | None) -> None:
    """Make the workspace that was named, where there is no such file; with a model for the demonstration, filled.

    Raises InputError where a demonstration is wanted and the workspace is none that could be made.
    """
    if where is None or not where.strip() or "://" in where:
        if demo is not None:
            raise InputError("--demo makes a new file; name it: `ramify studio demo.ramify --demo`")
        return
    file = Path(workspace.place(where))
    if file.exists():
        return
    from ramify.workbench.workspace import Workspace

    if demo is None:
        Workspace.open(file).close()
        typer.echo(f"made {where}", err=True)
        return
    from ramify.workbench.demonstration import fill

    typer.echo("making the demonstration, some seconds …", err=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Under another name until it is whole: a demonstration that was interrupted does not stay.
    begun = file.with_name(file.name + ".new")
    begun.unlink(missing_ok=True)
    with Workspace.open(begun) as made:
        fill(made, model=demo)
    begun.rename(file)


def _listener(port: int | None) -> "socket.socket":
    from ramify.api.serving import bound

    if port is not None:
        return bound("127.0.0.1", port)
    try:
        return bound("127.0.0.1", PORT)
    except InputError:
        return bound("127.0.0.1", 0)
