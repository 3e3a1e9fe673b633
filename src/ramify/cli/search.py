"""`ramify search`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ramify.cli import listing, render
from ramify.cli.selecting import Limit
from ramify.cli.workspace import AsJson, Where, open_workspace

if TYPE_CHECKING:
    from ramify.store.search import Hit

__all__ = ["app"]

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

BEFORE = 20
"""Characters before the first word found: it is seen in a narrow terminal, too."""
PIECE = 160
"""As long as the store's pieces are."""


@app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help='Words that must all occur; "a phrase", beginn*, -without.')],
    limit: Limit = 50,
    as_json: AsJson = False,
    workspace: Where = None,
) -> None:
    """Find words in completions, prompts, titles and notes.

    A query that begins with - comes after --.
    """
    with open_workspace(workspace) as database:
        hits = database.search.text(text, limit=limit)
    if as_json:
        for each in hits:
            listing.print_json(each)
    else:
        listing.columns(("", "id", "text"), [(each.kind, str(each.id), _marked(each)) for each in hits], preview=PIECE)


def _marked(hit: "Hit") -> Text:
    """The piece around the words on one line, the words in bold."""
    first = hit.spans[0][0] if hit.spans else 0
    at = max(0, first - BEFORE)
    made = Text("…" if at else "")
    for start, end in hit.spans:
        made.append(_flat(hit.snippet[at:start]))
        made.append(_flat(hit.snippet[start:end]), style="bold")
        at = end
    made.append(_flat(hit.snippet[at:]))
    return made


def _flat(text: str) -> str:
    return render.shown(text).replace("\n", "⏎").replace("\t", "⇥")
