"""Files that a client brings: written to the server's disk as they come, looked at and mended line by line, removed."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from ramify.api.errors import ApiError
from ramify.api.workspace.desk import DeskState
from ramify.api.workspace.shapes import Body, Items, Shape
from ramify.api.workspace.upload_folders import Upload, checked_name
from ramify.exchange.mending import lines_at, replace_lines

__all__ = ["router"]

router = APIRouter(tags=["exchange"])

PIECE = 1 << 20
"""Bytes that are written at once."""


class FileShape(Shape):
    name: str
    size_bytes: int


class UploadShape(Shape):
    key: str
    files: list[FileShape]


class LineShape(Shape):
    number: int
    text: str = Field(description="Bytes that are not UTF-8 are U+FFFD.")
    whole: bool = Field(description="false: it is too long to be shown, and cannot be mended here.")


class NewLines(Body):
    file: str
    first: int = Field(ge=1, description="The first line that goes.")
    count: int = Field(default=1, ge=0, le=50, description="How many go; 0 puts the text before `first`.")
    text: str = Field(description='What stands there instead, of any number of lines; "" removes them.')


def upload_shape(upload: Upload) -> UploadShape:
    files = [FileShape(name=name, size_bytes=size) for name, size in sorted(upload.sizes.items())]
    return UploadShape(key=upload.key, files=files)


@router.post(
    "/uploads",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_file(
    request: Request,
    desk: DeskState,
    name: Annotated[str, Query(max_length=1000, description="The file's name, without folders; its ending says what it is.")],
    into: Annotated[
        str | None, Query(max_length=50, description="An upload that it is added to, in place of a file of its name.")
    ] = None,
) -> UploadShape:
    """Bring a file to be imported; the body is its bytes. Files that belong together go into one upload."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/octet-stream":
        raise ApiError(415, "the body is the file's bytes; send it as application/octet-stream", code="unsupported_media_type")
    checked_name(name)
    upload = await asyncio.to_thread(desk.uploads.add) if into is None else desk.uploads.get(into)
    if upload.users:
        raise ApiError(409, "the upload is being imported; wait for its end", code="busy")
    part = upload.folder / f".{secrets.token_hex(8)}.part"
    try:
        size = await _written(request.stream(), part, desk.uploads.room())
        os.replace(part, upload.folder / name)
        upload.sizes[name] = size
    except BaseException:
        part.unlink(missing_ok=True)
        if into is None:
            desk.uploads.drop(upload.key)
        raise
    return upload_shape(upload)


async def _written(stream: AsyncIterator[bytes], part: Path, room: int) -> int:
    """Write what comes, a piece at a time. Raises ApiError 413 where there is no room for it."""
    size, waiting = 0, bytearray()
    file = await asyncio.to_thread(part.open, "wb")
    try:
        async for piece in stream:
            size += len(piece)
            if size > room:
                raise ApiError(413, "the uploads of this server are full; remove some, or import what is there", code="full")
            waiting += piece
            if len(waiting) >= PIECE:
                await asyncio.to_thread(file.write, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(file.write, bytes(waiting))
    finally:
        await asyncio.to_thread(file.close)
    return size


@router.get("/uploads/{upload_key}")
def get_upload(desk: DeskState, upload_key: str) -> UploadShape:
    """The files of an upload."""
    return upload_shape(desk.uploads.get(upload_key))


@router.delete("/uploads/{upload_key}", status_code=204)
def drop_upload(desk: DeskState, upload_key: str) -> Response:
    """Remove an upload with its files; what was imported of it stays."""
    desk.uploads.drop(upload_key)
    return Response(status_code=204)


@router.get("/uploads/{upload_key}/lines")
def file_lines(
    desk: DeskState,
    upload_key: str,
    file: Annotated[str, Query(max_length=1000)],
    first: Annotated[int, Query(ge=1, le=2**31)] = 1,
    count: Annotated[int, Query(ge=1, le=50)] = 1,
) -> Items[LineShape]:
    """Lines of an uploaded text file, to see what is wrong with one."""
    found = lines_at(desk.uploads.get(upload_key).path(file), first, count)
    return Items(items=[LineShape(number=line.number, text=line.text, whole=line.whole) for line in found])


@router.put("/uploads/{upload_key}/lines")
def mend_lines(desk: DeskState, upload_key: str, body: NewLines) -> Items[LineShape]:
    """Put other lines in the place of some, in the uploaded copy; gives them as they are now."""
    upload = desk.uploads.get(upload_key)
    path = upload.path(body.file)
    if upload.users:
        raise ApiError(409, "the upload is being imported; wait for its end", code="busy")
    replace_lines(path, body.first, body.count, body.text)
    upload.sizes[body.file] = path.stat().st_size
    found = lines_at(path, body.first, max(1, body.text.rstrip("\n").count("\n") + 1)) if body.text else []
    return Items(items=[LineShape(number=line.number, text=line.text, whole=line.whole) for line in found])
