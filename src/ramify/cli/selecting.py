"""Which records a command speaks of: ids, filters, tags."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ramify.cli.options import read_text
from ramify.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from ramify.store.database import Database
    from ramify.store.records import CompletionRecord, SampleRecord

__all__ = [
    "MOST_NAMED",
    "Archived",
    "Back",
    "CompletionId",
    "CompletionIds",
    "FacetName",
    "Filter",
    "Hidden",
    "Limit",
    "Put",
    "SampleId",
    "SampleIds",
    "Take",
    "all_completions",
    "all_samples",
    "check_tags",
    "conditions",
    "many",
    "meant",
    "one_completion",
    "place_in",
    "read_filter",
]

MOST_NAMED = 20
"""Ids that are printed one by one."""

SampleId = Annotated[int, typer.Argument(metavar="SAMPLE", help="A sample's id, as `ramify samples list` prints it.")]
SampleIds = Annotated[
    list[int] | None,
    typer.Argument(metavar="[SAMPLE]...", help="Samples' ids, as `ramify samples list` prints them.", show_default=False),
]
CompletionId = Annotated[
    int, typer.Argument(metavar="COMPLETION", help="A completion's id, as `ramify completions list` prints it.")
]
CompletionIds = Annotated[
    list[int] | None,
    typer.Argument(
        metavar="[COMPLETION]...", help="Completions' ids, as `ramify completions list` prints them.", show_default=False
    ),
]
FacetName = Annotated[str, typer.Option("--facet", metavar="NAME", help="The facet under which it is judged.")]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="NAME|JSON|@FILE",
        help="Only what matches: a saved filter, or a filter as JSON; several must all match.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", help="How many at most.")]
Archived = Annotated[bool, typer.Option("--archived", help="Those in the archive instead.")]
Hidden = Annotated[bool, typer.Option("--hidden", help="Those removed from view instead.")]
Back = Annotated[bool, typer.Option("--back", help="The other way: bring them back.")]
Put = Annotated[list[str] | None, typer.Option("--add", metavar="NAME", help="A tag to put on; may be repeated.")]
Take = Annotated[list[str] | None, typer.Option("--remove", metavar="NAME", help="A tag to take off; may be repeated.")]


def all_samples(database: "Database", ids: Sequence[int]) -> "list[SampleRecord]":
    """Every one of them, once each. Raises NotFoundError before anything is changed."""
    wanted = list(dict.fromkeys(ids))
    found = list(database.samples.get_many(wanted))
    _check(wanted, [record.id for record in found], "sample")
    return found


def all_completions(database: "Database", ids: Sequence[int]) -> "list[CompletionRecord]":
    """The same for completions."""
    wanted = list(dict.fromkeys(ids))
    found = database.completions.get_many(wanted)
    _check(wanted, [record.id for record in found], "completion")
    return found


def meant(
    database: "Database",
    kind: Literal["sample", "completion"],
    ids: Sequence[int] | None,
    filters: Sequence[str] | None,
    *,
    archived: bool = False,
    hidden: bool = False,
) -> list[int]:
    """The ids given, each there; or those that `list` shows with these filters. Raises InputError for neither and for both."""
    if not ids and not filters:
        raise InputError(f"no {kind} was named; give ids, or --filter for all that match")
    if ids and filters:
        raise InputError("ids and --filter were given; give one of them")
    if ids:
        given = all_samples(database, ids) if kind == "sample" else all_completions(database, ids)
        return [each.id for each in given]
    matching = database.search.all_sample_ids if kind == "sample" else database.search.all_completion_ids
    return matching({"all": conditions(database, filters)}, archived=archived, hidden=hidden)


def _check(wanted: Sequence[int], found: Sequence[int], kind: str) -> None:
    missing = [i for i in wanted if i not in set(found)]
    if missing:
        listed = ", ".join(map(str, missing))
        raise NotFoundError(f"there is no {kind} {listed}" if len(missing) == 1 else f"there are no {kind}s {listed}")


def one_completion(database: "Database", completion_id: int) -> "CompletionRecord":
    """Raises NotFoundError."""
    return all_completions(database, [completion_id])[0]


def place_in(database: "Database", said: str) -> "tuple[CompletionRecord, int | None]":
    """ID or ID:PLACE: the completion, and after how many of its tokens. Raises InputError, NotFoundError."""
    number, colon, place = said.partition(":")
    if not number.isdecimal() or (colon and not place.isdecimal()):
        raise InputError(f"{said!r} is no place in a completion; give ID, or ID:PLACE for after that many of its tokens")
    return one_completion(database, int(number)), int(place) if colon else None


def many(kind: str, ids: Sequence[int]) -> str:
    """ "completion 3", "completions 3, 4", "1,234 completions"."""
    if len(ids) > MOST_NAMED or not ids:
        return f"{len(ids):,} {kind}s"
    return f"{kind}{'' if len(ids) == 1 else 's'} {', '.join(map(str, ids))}"


def check_tags(put: Sequence[str] | None, take: Sequence[str] | None) -> None:
    """Raises InputError where there is nothing to do, or one tag is both put on and taken off."""
    if not put and not take:
        raise InputError("no tag was given; give --add NAME or --remove NAME")
    both = sorted(set(put or ()) & set(take or ()))
    if both:
        raise InputError(f"the tag {both[0]!r} is both put on and taken off; leave one of them out")


def read_filter(text: str) -> Any:
    """A filter's JSON form, from the text or from @FILE. Raises InputError for what is no filter."""
    from ramify.store.filters import parse, to_data

    told = read_text(text[1:]) if text.startswith("@") else text
    try:
        data = json.loads(told)
    except json.JSONDecodeError as error:
        raise InputError(
            f'{text!r} is not JSON ({error}); a filter is such as {{"field": "model", "op": "is", "value": "tiny"}}'
        ) from None
    return to_data(parse(data))


def conditions(database: "Database", filters: Sequence[str] | None) -> list[Any]:
    """The JSON forms of the filters given: JSON, @FILE, or the name of a saved one."""
    from ramify.store.filters import to_data

    found: list[Any] = []
    for text in filters or ():
        if text.lstrip().startswith("{") or text.startswith("@"):
            found.append(read_filter(text))
        else:
            found.append(to_data(database.filters.get(text)))
    return found
