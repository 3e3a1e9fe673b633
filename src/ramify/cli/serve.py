"""`ramify serve`."""

import contextlib
import secrets
from typing import Annotated, Any

import typer

from ramify.cli import options, workspace
from ramify.settings import read_key

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

VARIABLE = "RAMIFY_API_KEY"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")


@app.command()
@options.takes_model
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", metavar="NAME", help="A model to serve, the first by default; may be repeated. Unset: tiny."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--workspace", "-w", metavar="PATH|URL", help="A workspace to serve under /api; unset: none."),
    ] = None,
    files: options.ImportFolders = None,
    host: Annotated[str, typer.Option(help="The address to listen on; unset: this machine alone can reach it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="A further name in the Host header that is this server; may be repeated."
        ),
    ] = None,
    max_queue: Annotated[
        int, typer.Option("--max-queue", min=0, metavar="NUMBER", help="Completions that may wait for a model; beyond them: 429.")
    ] = 256,
    request_timeout: Annotated[
        float, typer.Option("--request-timeout", min=0.1, metavar="SECONDS", help="The longest that one request may take.")
    ] = 600,
    drain_timeout: Annotated[
        float, typer.Option("--drain-timeout", min=0, metavar="SECONDS", help="How long requests may go on after SIGTERM.")
    ] = 30,
    batch_root: options.BatchRoots = None,
    allow_code_evaluator: options.AllowCodeEvaluator = False,
    *,
    how: dict[str, Any],
) -> None:
    """Serve completions over HTTP, as OpenAI's and LLM Engine's clients speak it.

    The token comes from RAMIFY_API_KEY; where that is unset, one is made and printed once.
    """
    options.check_sandbox(allow_code_evaluator)
    from ramify.api.app import create_app
    from ramify.api.serving import bound, serve
    from ramify.api.state import Limits
    from ramify.models.registry import Registry
    from ramify.workbench.workspace import Workspace

    key = read_key(VARIABLE)
    token = secrets.token_urlsafe(32) if key is None else key.reveal()
    names = model or ["tiny"]
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(workspace.open_workspace(where)) if where is not None else None
        listener = stack.enter_context(bound(host, port))
        served = create_app(
            token=token,
            workspace=None if opened is None else Workspace(opened),
            folders=files or (),
            load=lambda name: options.open_model(name, **how),
            model=names[0],
            models=names[1:],
            registry=Registry(),
            hosts=(*LOOPBACK, *([] if host in EVERYWHERE else [host]), *(allow_host or [])),
            any_address=host not in LOOPBACK,
            batch_roots=[workspace.place(root) for root in batch_root or ()],
            allow_code_evaluator=allow_code_evaluator,
            limits=Limits(max_queue=max_queue, request_timeout_s=request_timeout, drain_timeout_s=drain_timeout),
        )
        place = f"[{host}]" if ":" in host else host
        typer.echo(f"http://{place}:{listener.getsockname()[1]}", err=True)
        if key is None:
            typer.echo(f"token: {token}", err=True)
        serve(served, listener)
