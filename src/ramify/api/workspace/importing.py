"""Bringing files in: what a file is, what an import would do, the import itself, and what was wrong."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request

from ramify.api.errors import ApiError
from ramify.api.state import Server, ServerState
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.exchange_shapes import ProblemShape, in_fields, page_of, translated
from ramify.api.workspace.import_shapes import (
    FormatShape,
    FormatsShape,
    Given,
    ImportBody,
    ImportShape,
    LookBody,
    LookShape,
    TwinShape,
    import_shape,
    look_shape,
    problem_shape,
)
from ramify.api.workspace.shapes import After, Items, Limit, Page
from ramify.api.workspace.tasks import Task, ended
from ramify.api.workspace.upload_folders import Upload
from ramify.errors import InputError, RamifyError, RecordError
from ramify.exchange.files import size_of
from ramify.exchange.formats import FILE_FORMATS, ROW_FORMATS
from ramify.exchange.formats.columns import FIELDS
from ramify.exchange.importing import ImportOptions, ImportReport, import_files
from ramify.exchange.looking import look
from ramify.exchange.reading import HUB, SUFFIXES

__all__ = ["router"]

router = APIRouter(tags=["exchange"])

HUB_NAME = re.compile(r"hf:[A-Za-z0-9][\w.-]*(/[\w.-]+){0,2}(@[\w.\[\]:%+-]+)?")
"""A data set of the hub; a folder is named as a path."""
LONGEST_PATH = 1000


@dataclass(frozen=True)
class Wanted:
    """Files to read, and how to name them to the client."""

    paths: list[str]
    names: list[str]
    shown: Callable[[str], str]
    upload: Upload | None


@router.get("/imports/formats")
def formats(server: ServerState) -> FormatsShape:
    """What can be read, and what a column can be."""
    known = [*FILE_FORMATS.items(), *((each.name, each.what) for each in ROW_FORMATS.values())]
    return FormatsShape(
        formats=[FormatShape(name=name, what=what) for name, what in known],
        fields=list(FIELDS),
        endings=list(SUFFIXES),
        folders=[str(folder) for folder in server.folders],
    )


@router.post("/imports/look")
def look_at(desk: DeskState, server: ServerState, body: LookBody) -> LookShape:
    """What files are, and what their first records would become; nothing is written."""
    wanted = _wanted(desk, server, body)
    with _reading(wanted):
        found = look(wanted.paths, _options(body), count=body.count)
    return look_shape(found, wanted.shown)


@router.post("/imports", status_code=201)
async def start_import(request: Request, desk: DeskState, server: ServerState, body: ImportBody) -> ImportShape:
    """Begin an import, or a dry run of one; it is one step of the history."""
    options = _options(body)
    wanted = _wanted(desk, server, body)
    size = sum(size_of(Path(path)) for path in wanted.paths) or None

    def work(task: Task) -> ImportReport:
        try:
            with _translating(wanted):
                return import_files(
                    desk.database,
                    wanted.paths,
                    options,
                    told=lambda read, records: task.told(f"{records} records", read, size),
                    detail=task.title,
                )
        finally:
            if wanted.upload is not None:
                wanted.upload.end()

    if wanted.upload is not None:
        wanted.upload.begin()
    try:
        about = {"dry_run": body.dry_run, "upload": body.upload, "shown": wanted.shown}
        task = desk.tasks.start("import", ", ".join(wanted.names)[:200], work, passing=body.dry_run, about=about)
    except BaseException:
        if wanted.upload is not None:
            wanted.upload.end()
        raise
    if body.wait:
        await ended(task, request.receive)
    return import_shape(task)


@router.get("/imports")
def imports(desk: DeskState) -> Items[ImportShape]:
    """Imports of this server, the newest first."""
    return Items(items=[import_shape(task) for task in desk.tasks.all() if task.kind == "import"])


@router.get("/imports/{import_key}")
def get_import(desk: DeskState, import_key: str) -> ImportShape:
    """How far an import is, or what it did."""
    return import_shape(desk.tasks.get(import_key, "import"))


@router.get("/imports/{import_key}/problems")
def problems(desk: DeskState, import_key: str, limit: Limit = 50, after: After = None) -> Page[ProblemShape]:
    """The bad records that were left out, or the one that ended it; the first thousand."""
    task = desk.tasks.get(import_key, "import")
    shown = task.about["shown"]
    found = [] if task.result is None else [problem_shape(each, shown) for each in task.result.problems]
    if isinstance(task.cause, RecordError):
        found = [ProblemShape(file=task.cause.file, line=task.cause.line, reason=task.cause.reason)]
    return page_of(found, limit, after)


@router.get("/imports/{import_key}/duplicates")
def twins(desk: DeskState, import_key: str, limit: Limit = 50, after: After = None) -> Page[TwinShape]:
    """Records that were left out because they are like others; the first thousand."""
    task = desk.tasks.get(import_key, "import")
    shown = task.about["shown"]
    found = [] if task.result is None else task.result.duplicates
    return page_of([TwinShape(**{**each, "file": shown(each["file"]), "of": shown(each["of"])}) for each in found], limit, after)


# ------------------------------------------------------------ which files


def _wanted(desk: Desk, server: Server, body: Given) -> Wanted:
    """Raises InputError, NotFoundError, ApiError 403 for a path that is not under the server's folders."""
    if (body.upload is None) == (body.paths is None):
        raise InputError("give an upload's key or paths; one of them")
    if body.upload is not None:
        upload = desk.uploads.get(body.upload)
        names = body.files if body.files is not None else _all_of(upload)
        if not names:
            raise InputError("no file was named")
        return Wanted([str(upload.path(name)) for name in names], list(names), upload.shown, upload)
    if body.files is not None:
        raise InputError("files are an upload's; name them under paths")
    if not body.paths:
        raise InputError("no file was named")
    return Wanted([_allowed(path, server.folders) for path in body.paths], list(body.paths), lambda text: text, None)


def _all_of(upload: Upload) -> list[str]:
    """What is meant by a whole upload: a description of data sets stands for the files that it describes."""
    return ["dataset_info.json"] if "dataset_info.json" in upload.sizes else sorted(upload.sizes)


def _allowed(given: str, folders: tuple[Path, ...]) -> str:
    if "\0" in given or len(given) > LONGEST_PATH:
        raise InputError(f"a path has a NUL character, or more than {LONGEST_PATH} characters")
    try:
        return _found(given, folders)
    except OSError as error:
        raise InputError(f"{given[:300]!r} cannot be looked for: {error.strerror}") from None


def _found(given: str, folders: tuple[Path, ...]) -> str:
    if given.startswith(HUB):
        if not HUB_NAME.fullmatch(given) or Path(given.removeprefix(HUB).partition("@")[0]).exists():
            raise ApiError(
                403, f"{given[:100]!r} is no data set of the hub; write hf:NAME or hf:ORG/NAME@SPLIT", code="not_allowed"
            )
        return given
    if not folders:
        raise ApiError(
            403,
            "this server reads no files of its machine; upload the file, or start the server with --files FOLDER",
            code="not_allowed",
        )
    for folder in folders:
        path = (folder / given).resolve()
        if path.is_relative_to(folder.resolve()) and path.exists():
            return str(path)
    if any((folder / given).resolve().is_relative_to(folder.resolve()) for folder in folders):
        raise InputError(f"there is no file {given[:300]!r}")
    raise ApiError(403, f"{given[:300]!r} is not under a folder that this server may read", code="not_allowed")


def _options(body: Given) -> ImportOptions:
    """Raises InputError for what contradicts itself, in the API's words."""
    told = body.model_dump(exclude={"upload", "files", "paths", "wait", "count"})
    for name in ("tags", "only", "datasets"):
        if name in told:
            told[name] = tuple(told[name])
    try:
        return ImportOptions(**told)
    except InputError as error:
        raise InputError(in_fields(str(error))) from None


@contextmanager
def _translating(wanted: Wanted) -> Iterator[None]:
    try:
        yield
    except RamifyError as error:
        raise translated(error, wanted.shown) from None


@contextmanager
def _reading(wanted: Wanted) -> Iterator[None]:
    if wanted.upload is not None:
        wanted.upload.begin()
    try:
        with _translating(wanted):
            yield
    finally:
        if wanted.upload is not None:
            wanted.upload.end()
