"""Models by name, folder or file, loaded once however many calls name them."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.decoding.config import GenerationConfig
from ramify.errors import ConfigError, InputError

if TYPE_CHECKING:
    from ramify.engine.model import Model

__all__ = ["MOST_KEPT", "check_tokenizer", "forget_models", "opened", "single"]

MOST_KEPT = 4
"""Models remembered; of more the least recently used is let go, and lives on only where somebody still holds it."""

_KEPT: "OrderedDict[tuple[Any, ...], Model]" = OrderedDict()
_CHECKED: set[tuple[Any, ...]] = set()
_LOCK = threading.RLock()


def opened(
    model_path: "str | Path | Model",
    tokenizer_path: str | Path | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
) -> "Model":
    """The model behind a registry name, a hub name, a folder, or a file inside one; a loaded Model stands for itself.

    It is loaded once for all calls that name the same files, and again when the files have changed. tokenizer_path: a folder, a
    file inside one, or a model's name, whose vocabulary must be the model's own (`check_tokenizer`).
    Raises ModelNotFoundError, UnsafeModelError (a bare `.pt`: it says how to convert it), UnsupportedError, InputError.
    """
    if not isinstance(model_path, str | Path):
        from ramify.engine.model import Model

        if not isinstance(model_path, Model):
            raise InputError(f"model_path is a {type(model_path).__name__}; give a name, a folder, a file inside one, or a Model")
        if device is not None or precision is not None:
            raise InputError("this model is loaded already, so device and precision are decided; leave them out")
        if tokenizer_path is not None:
            check_tokenizer(model_path, tokenizer_path)
        return model_path
    model, key = _kept(str(model_path), device, precision)
    if tokenizer_path is not None:
        with _LOCK:
            seen = (*key, *_state(_tokenizer_folder(tokenizer_path)))
            if seen not in _CHECKED:
                check_tokenizer(model, tokenizer_path)
                _CHECKED.add(seen)
    return model


def forget_models() -> None:
    """Let go of every remembered model; the next call loads anew."""
    with _LOCK:
        _KEPT.clear()
        _CHECKED.clear()


def single(config: GenerationConfig | None, settings: dict[str, Any], what: str) -> GenerationConfig:
    """One config from a config and keywords laid over it, for a call that gives one text. Raises ConfigError."""
    if config is not None and not isinstance(config, GenerationConfig):
        raise InputError(f"config is a {type(config).__name__}; give a GenerationConfig, or its settings as keywords")
    found = (GenerationConfig() if config is None else config).replace(**settings)
    if found.num_return_sequences > 1:
        raise ConfigError(
            f"num_return_sequences is {found.num_return_sequences} and {what} gives one text; "
            "leave it out, or ask ramify.load(…).completions for several",
            ("num_return_sequences",),
        )
    return found


def check_tokenizer(model: "Model", tokenizer_path: str | Path) -> None:
    """Refuse a tokenizer that is not the model's: every id must stand for the same bytes in both.

    Raises InputError, which names the first id that differs, and ModelNotFoundError where there is no tokenizer.
    """
    from ramify.models.tokenizer import Tokenizer

    folder = _tokenizer_folder(tokenizer_path)
    try:
        given = Tokenizer.from_folder(folder)
    except InputError:
        raise
    except Exception as error:  # Whatever the library says of files that are no tokenizer.
        raise InputError(f"{str(folder)!r} holds no tokenizer that can be read ({error})") from error
    own = model.codec
    mine, theirs = own.literal_bytes[: own.size], given.literal_bytes[: given.size]
    for token_id in range(max(len(mine), len(theirs))):
        here = mine[token_id] if token_id < len(mine) else b""
        there = theirs[token_id] if token_id < len(theirs) else b""
        if here != there:
            raise InputError(
                f"the tokenizer in {str(folder)!r} ({given.size} ids) is not that of {model.info.name} ({own.size} ids): "
                f"id {token_id} is {there!r} there and {here!r} in the model. Give the tokenizer that the model was "
                "trained with, or leave tokenizer_path out"
            )


def _kept(name: str, device: str | None, precision: str | None) -> "tuple[Model, tuple[Any, ...]]":
    from ramify.engine.model import load
    from ramify.models.registry import Registry

    single = Registry().gguf(name)
    if single is not None:
        files = list(single.parts)
    else:
        folder = Registry().resolve(name)
        adapter = [] if folder.adapter is None else [folder.adapter]
        files = [*folder.weights, folder.path / "config.json", *adapter, folder.tokenizer_path]
    # Keyed by what the files are and not by how they were named; a retrained model is another one.
    key = (device, precision, *(part for file in files for part in _state(file)))
    with _LOCK:
        if key not in _KEPT:
            _KEPT[key] = load(name, device=device, precision=precision)
            while len(_KEPT) > MOST_KEPT:
                _KEPT.popitem(last=False)
        _KEPT.move_to_end(key)
        return _KEPT[key], key


def _state(file: Path) -> tuple[Any, ...]:
    if file.is_dir():
        parts = sorted(child for child in file.iterdir() if child.is_file() and "token" in child.name)
        return (str(file.resolve()), *(part for child in parts for part in _state(child)))
    status = file.stat()
    return (str(file.resolve()), status.st_size, status.st_mtime_ns)


def _tokenizer_folder(tokenizer_path: str | Path) -> Path:
    path = Path(tokenizer_path).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    from ramify.models.registry import Registry

    return Registry().resolve(str(tokenizer_path)).tokenizer_path
