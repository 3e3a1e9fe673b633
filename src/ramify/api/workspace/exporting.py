"""Taking training sets out: templates, what would go out and why the rest stays, the export, and its files."""

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from starlette.responses import FileResponse, StreamingResponse

from ramify.api.errors import ApiError
from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.exchange_shapes import in_fields, translated
from ramify.api.workspace.export_shapes import (
    ExportBody,
    ExportShape,
    FormShape,
    FormsShape,
    NewTemplate,
    TemplateFields,
    TemplateShape,
    export_shape,
)
from ramify.api.workspace.shapes import Items
from ramify.api.workspace.tasks import Task, ended
from ramify.api.workspace.upload_folders import checked_name
from ramify.errors import InputError, NotFoundError, RamifyError
from ramify.exchange.exporting import ExportReport, export
from ramify.exchange.templates import (
    FILE_TYPES,
    FORMS,
    KINDS,
    ORDERS,
    PROMPTS,
    ExportTemplate,
    delete_template,
    named_template,
    save_template,
    saved_templates,
    template,
)
from ramify.workbench.exchanging import token_counter

__all__ = ["chosen_template", "router"]

router = APIRouter(tags=["exchange"])

PIECE = 1 << 18
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The date of every file in an archive: equal files make an equal archive."""
BYTES = {"schema": {"type": "string", "format": "binary"}}


@router.get("/exports/forms")
def forms() -> FormsShape:
    """Kinds of training sets, and which forms have words for them."""
    return FormsShape(
        kinds=list(KINDS),
        forms=[FormShape(name=name, kinds=list(kinds)) for name, kinds in FORMS.items()],
        file_types=list(FILE_TYPES),
        orders=list(ORDERS),
        prompts=list(PROMPTS),
    )


@router.get("/exports/templates")
def templates(desk: DeskState) -> Items[TemplateShape]:
    """Saved templates, by name."""
    found = saved_templates(desk.database)
    return Items(items=[_template_shape(name, found[name]) for name in sorted(found)])


@router.put("/exports/templates")
def keep_template(desk: DeskState, body: NewTemplate) -> TemplateShape:
    """Keep a template, in place of an earlier one of that name."""
    kept = _checked(lambda: template(body.template.changes()))
    save_template(desk.database, body.name, kept)
    return _template_shape(body.name, kept)


@router.delete("/exports/templates", status_code=204)
def forget_template(desk: DeskState, name: Annotated[str, Query(max_length=1000)]) -> Response:
    """Forget a saved template."""
    delete_template(desk.database, name)
    return Response(status_code=204)


@router.post("/exports", status_code=201)
async def start_export(request: Request, desk: DeskState, body: ExportBody) -> ExportShape:
    """Begin an export, or a dry run of one. Its files are downloaded when it is done."""
    checked_name(body.file)
    if body.examples and not body.dry_run:
        raise InputError("examples are rows that a dry run shows; set dry_run, or leave them out")
    made = chosen_template(desk, body.saved, body.template)
    folder: Path | None = None

    def work(task: Task) -> ExportReport:
        nonlocal folder
        folder = Path(tempfile.mkdtemp(prefix="export-", dir=desk.uploads.folder()))
        try:
            return export(
                desk.database,
                made,
                folder / body.file,
                password=body.password,
                dry_run=body.dry_run,
                count_tokens=None if made.max_tokens is None else token_counter(desk.model),
                told=task.told,
                examples=body.examples,
            )
        except RamifyError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise translated(error, lambda text: text.replace(f"{folder}/", "")) from None

    def files() -> list[Path]:
        return [] if folder is None or not folder.is_dir() else sorted(folder.iterdir())

    about = {"dry_run": body.dry_run, "files": files, "file": body.file}
    task = desk.tasks.start("export", f"{made.kind}: {body.file}", work, passing=body.dry_run, about=about)
    task.close = lambda: shutil.rmtree(folder, ignore_errors=True) if folder is not None else None
    if body.wait:
        await ended(task, request.receive)
    return export_shape(task)


@router.get("/exports")
def exports(desk: DeskState) -> Items[ExportShape]:
    """Exports of this server, the newest first."""
    return Items(items=[export_shape(task) for task in desk.tasks.all() if task.kind == "export"])


@router.get("/exports/{export_key}")
def get_export(desk: DeskState, export_key: str) -> ExportShape:
    """How far an export is, or what went out."""
    return export_shape(desk.tasks.get(export_key, "export"))


@router.get(
    "/exports/{export_key}/download", response_class=StreamingResponse, responses={200: {"content": {"application/zip": BYTES}}}
)
def download(desk: DeskState, export_key: str) -> Response:
    """Every file of an export in one zip archive, the manifest among them, as a stream."""
    task, files = _made(desk, export_key)
    name = f"{task.about['file'].partition('.')[0] or 'export'}.zip"
    return StreamingResponse(_zipped(files), media_type="application/zip", headers=_attachment(name))


@router.get(
    "/exports/{export_key}/files/{number}",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": BYTES}}},
)
def download_file(desk: DeskState, export_key: str, number: Annotated[int, InPath(ge=0, le=1000)]) -> Response:
    """One file of an export, by its number in `files`."""
    _, files = _made(desk, export_key)
    if number >= len(files):
        raise NotFoundError(f"the export has no file {number}; it has 0 to {len(files) - 1}")
    return FileResponse(files[number], media_type="application/octet-stream", headers=_attachment(files[number].name))


def chosen_template(desk: Desk, saved: str | None, said: TemplateFields) -> ExportTemplate:
    """Raises InputError for what contradicts itself, NotFoundError for an unknown name."""
    changes = said.changes()
    if saved is None:
        return _checked(lambda: template(changes))
    return _checked(lambda: named_template(desk.database, saved, changes))


def _checked(make: Callable[[], ExportTemplate]) -> ExportTemplate:
    try:
        return make()
    except NotFoundError:
        raise
    except InputError as error:
        raise InputError(in_fields(str(error))) from None


def _template_shape(name: str, kept: ExportTemplate) -> TemplateShape:
    return TemplateShape(name=name, template=TemplateFields.model_validate(kept.to_data(), strict=False))


def _made(desk: Desk, key: str) -> tuple[Task, list[Path]]:
    """Raises NotFoundError, ApiError 409 where there is nothing to download (yet)."""
    task = desk.tasks.get(key, "export")
    if task.state != "done" or task.about["dry_run"]:
        why = "it was a dry run" if task.about["dry_run"] else f"it is {task.state}"
        raise ApiError(409, f"the export has no files: {why}", code="not_ready")
    return task, task.about["files"]()


def _attachment(name: str) -> dict[str, str]:
    return {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}", "cache-control": "no-store"}


class _Pieces:
    """A file that cannot be sought in: what is written waits to be taken."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def flush(self) -> None:
        """Nothing lies between."""

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken


def _zipped(files: list[Path]) -> Iterator[bytes]:
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
        for path in files:
            about = zipfile.ZipInfo(path.name, LONG_AGO)
            about.compress_type = zipfile.ZIP_DEFLATED
            about.external_attr = 0o644 << 16
            with path.open("rb") as file, archive.open(about, "w", force_zip64=True) as out:
                while data := file.read(PIECE):
                    out.write(data)
                    yield pieces.take()
    yield pieces.take()
