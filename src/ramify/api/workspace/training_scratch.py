"""From scratch over HTTP: a vocabulary, or a new model, of texts that were uploaded. The run is one like the others."""

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from ramify.api.workspace.desk import Desk, DeskState
from ramify.api.workspace.shapes import Body, Shape
from ramify.api.workspace.training import check_free, run_of
from ramify.api.workspace.training_shapes import RunShape, TrainFields
from ramify.api.workspace.training_work import ROWS
from ramify.api.workspace.upload_folders import Upload
from ramify.errors import InputError
from ramify.training.config import TrainConfig
from ramify.training.documents import READERS
from ramify.training.scratch_plans import PRESETS, ScratchPlan

__all__ = ["router"]

router = APIRouter(tags=["training"])

Part = Annotated[int, Field(ge=1, le=65_536)]


class ShapeFields(Body):
    """Parts of the new model's shape; null: the preset's."""

    hidden_size: Part | None = None
    layers: Part | None = None
    heads: Part | None = None
    kv_heads: Part | None = None
    intermediate_size: Part | None = None


class NewScratch(Body):
    """Texts come from uploads; nothing in it is a path."""

    method: Literal["tokenizer", "pretrain"]
    name: Annotated[str, Field(max_length=100)] = Field(description="Of the run; and of the model, which enters the registry.")
    upload: Annotated[str, Field(max_length=50)] = Field(description="The key of POST /api/uploads: files of text.")
    validation_upload: Annotated[str, Field(max_length=50)] | None = Field(
        default=None, description="Files that are measured and never learned."
    )
    tokenizer: str | None = Field(
        default=None, description="A model, or a tokenizer's run, whose vocabulary it gets; null: learned."
    )
    vocab_size: Annotated[int, Field(ge=1, le=200_000)] = Field(default=4096, description="Of a vocabulary that is learned.")
    preset: Literal["small", "tiny", "medium", "large"] = Field(default="small", description="The new model's shape.")
    shape: ShapeFields = Field(default_factory=ShapeFields)
    duplicates: Literal["keep", "exact", "normalised", "near"] = Field(default="exact", description="Which texts come once.")
    unreadable: Literal["refuse", "leave-out"] = Field(default="refuse", description="What becomes of files without text.")
    train: TrainFields = Field(default_factory=TrainFields)


class PresetShape(Shape):
    name: str
    shape: dict[str, int]


class ScratchSettings(Shape):
    presets: list[PresetShape]
    endings: list[str] = Field(description="Of files that are read.")


@router.get("/training/scratch")
def scratch_settings() -> ScratchSettings:
    """The shapes of new models, and which files hold texts."""
    return ScratchSettings(
        presets=[PresetShape(name=name, shape=dict(parts)) for name, parts in PRESETS.items()], endings=list(READERS)
    )


@router.post("/training/scratch", status_code=201)
async def start_scratch(desk: DeskState, body: NewScratch) -> RunShape:
    """Begin a run from scratch, in a process of its own. Its texts are read there; what is wrong with them ends it."""
    return await desk.waiting(_start, desk, body)


def _start(desk: Desk, body: NewScratch) -> RunShape:
    check_free(desk, body.name)
    uploads = [desk.uploads.get(key) for key in (body.upload, body.validation_upload) if key is not None]
    learned, held = _files(uploads[0]), [file for upload in uploads[1:] for file in _files(upload)]
    both = {file.name for file in learned} & {file.name for file in held}
    if both:
        raise InputError(f"{sorted(both)[0]!r} is among the texts that are learned and those that are measured; give it once")
    folder = desk.trainings.folder(body.name)
    given: dict[str, Any] = body.train.model_dump(exclude_none=True)
    if body.method == "pretrain" and not any(name in given for name in ("max_steps", "max_seconds", "epochs")):
        given["epochs"] = 1
    plan = ScratchPlan(
        method=body.method,
        out=str(folder),
        rows=tuple(str(folder / ROWS / file.name) for file in learned),
        validation_rows=tuple(str(folder / ROWS / file.name) for file in held),
        workspace=desk.trainings.workspace,
        name=body.name if body.method == "pretrain" else None,
        tokenizer=_tokenizer(desk, body.tokenizer),
        vocab_size=body.vocab_size,
        preset=body.preset,
        shape=body.shape.model_dump(exclude_none=True),
        duplicates=body.duplicates,
        unreadable=body.unreadable,
        train=TrainConfig.of(**{"log_every": 1, **(given if body.method == "pretrain" else {"max_steps": 1})}),
    )
    for upload in uploads:
        upload.begin()
    try:
        desk.trainings.start(plan, [*learned, *held])
    finally:
        for upload in uploads:
            upload.end()
    return run_of(desk, body.name)


def _files(upload: Upload) -> list[Path]:
    """Raises InputError for an upload without files, and for one that is no text."""
    if not upload.sizes:
        raise InputError("the upload has no files; bring at least one")
    strange = next((name for name in sorted(upload.sizes) if Path(name).suffix.lower() not in READERS), None)
    if strange is not None:
        raise InputError(f"{strange!r} is no file of text that is read; those end in {', '.join(READERS)}")
    return [upload.path(name) for name in sorted(upload.sizes)]


def _tokenizer(desk: Desk, name: str | None) -> str | None:
    """A model's name as it is, a tokenizer's run as its folder. Raises ModelNotFoundError."""
    if name is None:
        return None
    runs = {key: record for key, record in desk.trainings.list() if record.plan["method"] == "tokenizer"}
    if name in runs:
        if runs[name].state != "completed":
            raise InputError(f"the tokenizer {name!r} is {runs[name].state}; wait for its end, or let it go on")
        return str(desk.trainings.folder(name))
    desk.models.check(name)
    return name
