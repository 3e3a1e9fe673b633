"""A job's `checkpoint_path`: weights in place of the model's own, from a folder or a URL.

Only what the checkpoint brings is replaced: where it has no tokenizer or config.json, the model's own stand in. What came from a
URL is kept in the data folder, under a name that changes when the files there do.
"""

import contextlib
import hashlib
import os
import posixpath
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ramify.batch.places import is_url
from ramify.errors import InputError
from ramify.models.loading import TOKENIZER_FILES
from ramify.models.registry import Registry, is_remote
from ramify.settings import Settings

__all__ = ["checkpoint_folder"]

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
KEPT = ("config.json", "generation_config.json", "chat_template.jinja", "tokenizer_config.json", "special_tokens_map.json")


def checkpoint_folder(path: str, model: str, *, settings: Settings | None = None) -> Path:
    """A folder that can be loaded. Raises InputError where there is none, or the model is remote; loading checks the rest."""
    settings = settings or Settings.load()
    if is_remote(model, settings=settings):
        raise InputError(f"{model!r} is remote, and a checkpoint is weights of a local model; leave checkpoint_path out")
    folder = _fetched(path, settings) if is_url(path) else Path(path.removeprefix("file://")).expanduser()
    if not folder.is_dir():
        raise InputError(f"checkpoint_path is {path}, and there is no such folder")
    if not any(file.suffix in WEIGHTS for file in folder.iterdir()):
        raise InputError(f"checkpoint_path is {path}, which holds no weights; it must have .safetensors files")
    complete = (folder / "config.json").is_file() and any((folder / name).is_file() for name in TOKENIZER_FILES)
    return folder if complete else _completed(folder, model, settings)


def _fetched(url: str, settings: Settings) -> Path:
    import fsspec

    try:
        system, inside = fsspec.core.url_to_fs(url)
        found = {each["name"]: each for each in system.ls(inside, detail=True) if each.get("type") == "file"}
    except FileNotFoundError:
        raise InputError(f"checkpoint_path is {url}, and there is nothing there") from None
    except ImportError as error:
        raise InputError(f"{url} cannot be opened: {error}; install what it names") from None
    except Exception as error:  # each file system has errors of its own
        raise InputError(f"{url} cannot be read: {type(error).__name__}: {error}") from error
    told = sorted((name, info.get("size"), str(info.get("ETag") or info.get("mtime") or "")) for name, info in found.items())
    name = hashlib.sha256(repr((url, told)).encode()).hexdigest()[:24]

    def fill(folder: Path) -> None:
        for each in found:
            system.get_file(each, str(folder / posixpath.basename(each)))

    return _made(settings.home / "checkpoints" / name, fill)


def _completed(folder: Path, model: str, settings: Settings) -> Path:
    """The checkpoint's files with the model's own where it has none."""
    own = Registry(settings).resolve(model)
    stats = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir() if file.is_file())
    name = hashlib.sha256(repr((str(folder.resolve()), stats, str(own.path), "own")).encode()).hexdigest()[:24]

    def fill(made: Path) -> None:
        theirs = [file for file in folder.iterdir() if file.is_file()]
        names = {file.name for file in theirs}
        tokenizer = not any(name in names for name in TOKENIZER_FILES)
        for source in dict.fromkeys((own.path, own.tokenizer_path)):
            for file in source.iterdir():
                wanted = file.name in KEPT or (tokenizer and file.name in TOKENIZER_FILES)
                if file.is_file() and wanted and file.name not in names:
                    shutil.copyfile(file, made / file.name)
        for file in theirs:
            _linked(file, made / file.name)

    return _made(settings.home / "checkpoints" / name, fill)


def _linked(file: Path, name: Path) -> None:
    try:
        os.symlink(file.resolve(), name)
    except OSError:  # a file system without links
        shutil.copyfile(file, name)


def _made(folder: Path, fill: Any) -> Path:
    """A folder that is whole or is not there, also where two processes make it."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    begun = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    try:
        fill(begun)
        with contextlib.suppress(OSError):  # another process was quicker
            os.rename(begun, folder)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    return folder
