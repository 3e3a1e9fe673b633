"""Names of models, and what exactly stands behind a name.

Built-in names need no entry: `tiny` (shipped in the package), `hf:org/name`, paths of folders, `gguf:PATH` and paths of GGUF
files, and `openai:NAME` and `anthropic:NAME`, remote models at the endpoint of the environment. Other names are entries of
`models.json` in the data folder; it is written whole and renamed into place, under a lock, so that no reader sees half of it.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import importlib.resources
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ramify.errors import InputError, ModelNotFoundError, UnsupportedError
from ramify.models import gguf_files, loading
from ramify.models.endpoints import PROVIDERS, Endpoint
from ramify.models.gguf_files import GGUFFile
from ramify.models.kept_files import locked, replace_json
from ramify.models.loading import ModelFolder
from ramify.models.places import place_of
from ramify.settings import Settings

__all__ = ["BUILT_IN", "NAME", "Entry", "Fingerprint", "Registry", "check_name", "fingerprint", "is_remote"]

BUILT_IN = {"tiny": "the embedded model: short stories and small structured requests, shipped in the package"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")
OLLAMA = "ollama:"
REMOTE = re.compile(r"(openai|anthropic):(?=\S)[^\x00-\x1f\x7f]*\S")
FORMAT = 1


def check_name(name: str) -> None:
    """Raises InputError for what no model can be called."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be a model's name; use letters, digits and . _ @ + -, beginning with a letter or digit"
        )


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A name of the registry."""

    name: str
    target: str
    """A folder, `hf:org/name`, `gguf:PATH`, another built-in name, or `openai:` or `anthropic:` and the endpoint's name of it."""
    adapter: str | None = None
    revision: str | None = None
    note: str = ""
    added_at: str | None = None
    """ISO 8601, UTC; None for what is built in."""
    endpoint: Endpoint | None = None
    """Where a remote model is asked; None for a local one. It names the variable of a key, and never holds one."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """SHA-256 of everything that decides what a model says, each part as hexadecimal; None for a part that it lacks."""

    weights: str
    config: str
    tokenizer: str
    template: str | None = None
    adapter: str | None = None
    generation_config: str | None = None
    precision: str | None = None
    """By its own name, not hashed; None for float32 and for what the weights say themselves."""

    @property
    def id(self) -> str:
        """All parts in one: 16 hexadecimal digits."""
        parts = asdict(self)
        if self.precision is None:  # as versions that did not know of it had it
            del parts["precision"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Registry:
    """The names known here."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._home = (settings or Settings.load()).home

    @property
    def file(self) -> Path:
        """Where the entries are kept."""
        return self._home / "models.json"

    def list(self) -> tuple[Entry, ...]:
        """Built-in names first, then the added ones by name."""
        built_in = [Entry(name=name, target=str(_embedded(name)), note=note) for name, note in BUILT_IN.items()]
        return (*built_in, *sorted(self._read().values(), key=lambda entry: entry.name))

    def show(self, name: str) -> Entry:
        """What a name stands for. Paths and hub names stand for themselves.

        Raises ModelNotFoundError, with the names that look alike, for anything else.
        """
        known = {entry.name: entry for entry in self.list()}
        if name in known:
            return known[name]
        if _is_far(name):
            return Entry(name=name, target=_remote(name), endpoint=_spoken(name, Endpoint()))
        if name.startswith(OLLAMA):
            raise _of_ollama(name)
        if name.startswith("hf:") or gguf_files.is_gguf(name) or "/" in name or os.sep in name or place_of(name).exists():
            return Entry(name=name, target=name)
        alike = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, alike))}? " if alike else ""
        raise ModelNotFoundError(
            f"no model is named {name!r}; {hint}Known are {', '.join(known)}. "
            "Give one of them, a folder in Hugging Face format, or a hub name such as hf:org/name; `ramify models add` "
            "makes a name"
        )

    def resolve(
        self,
        name: str | Path,
        *,
        adapter: str | Path | None = None,
        revision: str | None = None,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
    ) -> ModelFolder:
        """The folder behind a name, checked (`loading.resolve`). What is given here goes before what the entry says.

        Raises UnsupportedError for a remote model and for a GGUF file (`gguf` finds those).
        """
        entry = self.show(str(name))
        if entry.endpoint is None and gguf_files.is_gguf(entry.target):
            raise UnsupportedError(
                f"{str(name)!r} is a GGUF file: it completes, scores and grows trees, and cannot be trained or converted; "
                "give the folder in Hugging Face format that it was made of"
            )
        if entry.endpoint is not None:
            raise UnsupportedError(
                f"{str(name)!r} is a remote model ({entry.target}) and has no files here, so it gives no branches, logits or "
                "training; `ramify complete` and `ramify completions generate` ask it, and in Python Workspace.generate and "
                "ramify.models.remote.connect"
            )
        if entry.name in BUILT_IN and not Path(entry.target).is_dir():
            raise ModelNotFoundError(
                f"the embedded model {entry.name!r} is not in this installation; run `make embedded-model`, or reinstall"
            )
        folder = loading.resolve(
            entry.target,
            adapter=adapter or entry.adapter,
            revision=revision or entry.revision,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
        )
        return _renamed(folder, str(name))

    def gguf(self, name: str | Path, *, adapter: str | Path | None = None, revision: str | None = None) -> GGUFFile | None:
        """The GGUF file behind a name, its head read; None where something else is behind it.

        Raises UnsupportedError for an adapter or a revision, which such a file cannot have, and what `gguf_files.read` raises.
        """
        entry = self.show(str(name))
        if entry.endpoint is not None or not gguf_files.is_gguf(entry.target):
            return None
        for option, given in (("adapter", adapter or entry.adapter), ("revision", revision or entry.revision)):
            if given is not None:
                raise UnsupportedError(
                    f"{option} is {str(given)!r}, and {str(name)!r} is a GGUF file, which takes none; merge an adapter with "
                    "`ramify models to-gguf FOLDER FILE.gguf --adapter ADAPTER`"
                )
        return dataclasses.replace(gguf_files.read(entry.target), name=str(name))

    def add(
        self,
        name: str,
        target: str | Path,
        *,
        adapter: str | Path | None = None,
        revision: str | None = None,
        note: str = "",
        endpoint: Endpoint | None = None,
        replace: bool = False,
    ) -> Entry:
        """Give a folder, hub model or remote model a name. Folders are kept as absolute paths, and must exist.

        endpoint: where a target `openai:NAME` or `anthropic:NAME` is asked; unset, what the environment says.
        Raises InputError for a name that is not one word or is taken (unless replace=True; built-in names never are), and for
        an endpoint of what is not remote.
        """
        check_name(name)
        if name in BUILT_IN:
            raise InputError(f"{name!r} is built in; choose another name")
        remote = _is_far(str(target))
        if remote and (adapter is not None or revision is not None):
            raise InputError(f"{str(target)!r} is remote; an adapter or a revision is the endpoint's affair. Leave them out")
        if gguf_files.is_gguf(str(target)) and (adapter is not None or revision is not None):
            raise InputError(f"{str(target)!r} is a GGUF file, which takes no adapter and no revision. Leave them out")
        if endpoint is not None and not remote:
            raise InputError(f"{str(target)!r} is not remote and has no endpoint; give a target such as openai:gpt-4o")
        entry = Entry(
            name=name,
            target=_remote(str(target)) if remote else self._absolute(target),
            adapter=None if adapter is None else self._absolute(adapter),
            revision=revision,
            note=note,
            added_at=datetime.now(UTC).isoformat(timespec="seconds"),
            endpoint=_spoken(str(target), endpoint or Endpoint()) if remote else None,
        )
        with self._changing() as entries:
            if name in entries and not replace:
                raise InputError(
                    f"{name!r} is taken by {entries[name].target!r}; remove it first, choose another name, or ask to replace it"
                )
            entries[name] = entry
        return entry

    def remove(self, name: str) -> Entry:
        """Forget a name; the model's files stay.

        Raises InputError for a built-in name, ModelNotFoundError for an unknown one.
        """
        if name in BUILT_IN:
            raise InputError(f"{name!r} is built in and cannot be removed")
        with self._changing() as entries:
            if name not in entries:
                alike = difflib.get_close_matches(name, entries, n=3, cutoff=0.5)
                hint = (
                    f"did you mean {' or '.join(map(repr, alike))}?"
                    if alike
                    else (f"added names are {', '.join(entries)}" if entries else "no name was added; tiny is built in")
                )
                raise ModelNotFoundError(f"no model is named {name!r}; {hint}")
            return entries.pop(name)

    def _absolute(self, target: str | Path) -> str:
        text = str(target)
        if gguf_files.is_gguf(text):
            return f"{gguf_files.PREFIX}{gguf_files.read(text).path}"
        if text.startswith(OLLAMA):
            raise _of_ollama(text)
        path = place_of(text)
        if not text.startswith("hf:") and path.exists():
            return str(path.resolve())
        if text in BUILT_IN:
            return str(_embedded(text))
        if text.startswith("hf:") or loading.HUB_NAME.fullmatch(text):
            return text if text.startswith("hf:") else f"hf:{text}"
        raise ModelNotFoundError(f"there is no folder {text!r}; give one that exists, or a hub name such as hf:org/name")

    def _read(self) -> dict[str, Entry]:
        try:
            stored = json.loads(self.file.read_text("utf-8"))
            if stored["format"] != FORMAT:
                raise InputError(
                    f"{str(self.file)!r} has format {stored['format']}; this version reads {FORMAT}: use a newer Ramify"
                )
            return {item["name"]: _entry(item) for item in stored["models"]}
        except FileNotFoundError:
            return {}
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{str(self.file)!r} is damaged ({error}); repair it, or delete it to begin anew") from error

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Entry]]:
        self._home.mkdir(parents=True, exist_ok=True)
        with locked(self.file.with_suffix(".lock")):
            entries = self._read()
            yield entries
            models = [_stored(entry) for entry in sorted(entries.values(), key=lambda entry: entry.name)]
            replace_json(self.file, {"format": FORMAT, "models": models})


def is_remote(name: str, *, settings: Settings | None = None) -> bool:
    """Whether a name stands for a model behind an endpoint. A name that nobody knows does not; loading it says so."""
    try:
        return Registry(settings).show(name).endpoint is not None
    except (ModelNotFoundError, UnsupportedError):
        return False


def _is_far(target: str) -> bool:
    return target.startswith(tuple(f"{provider}:" for provider in PROVIDERS))


def _of_ollama(target: str) -> UnsupportedError:
    return UnsupportedError(
        f"{target!r}: Ollama speaks OpenAI's protocol, and where it listens must be said; give it a name: `ramify models add "
        f"NAME openai:{target.removeprefix(OLLAMA) or 'MODEL'} --base-url http://localhost:11434/v1 --dialect ollama`"
    )


def _remote(target: str) -> str:
    if not REMOTE.fullmatch(target):
        provider = target.split(":")[0]
        raise InputError(
            f"{target!r} names no remote model; give {provider}: and the endpoint's name of it, such as openai:gpt-4o or "
            "anthropic:claude-sonnet-4-5"
        )
    return target


def _spoken(target: str, endpoint: Endpoint) -> Endpoint:
    """The endpoint in the protocol that the target's name begins with."""
    provider = target.split(":")[0]
    if endpoint.provider == provider:
        return endpoint
    if provider == "anthropic" and endpoint.dialect is None:
        return dataclasses.replace(endpoint, dialect="anthropic")
    raise InputError(
        f"{target!r} speaks {provider.title()}'s protocol and dialect is {endpoint.dialect!r}; leave the dialect out, or give "
        f"{endpoint.provider}:{target.split(':', 1)[1]}"
    )


def _entry(stored: Mapping[str, Any]) -> Entry:
    endpoint = stored.get("endpoint")
    return Entry(**{**stored, "endpoint": None if endpoint is None else Endpoint(**endpoint)})


def _stored(entry: Entry) -> dict[str, Any]:
    # Local entries stay as versions without remote models wrote them, and can read them.
    return {key: value for key, value in asdict(entry).items() if key != "endpoint" or value is not None}


def fingerprint(folder: ModelFolder | GGUFFile, *, settings: Settings | None = None, precision: str | None = None) -> Fingerprint:
    """Hash a model's files. precision: in which it is loaded, where that changes what it says.

    Hashes of weights are kept in the data folder by (path, size, time of change), so a second call is quick.
    """
    cache = _HashCache((settings or Settings.load()).home / "hashes.json")
    if isinstance(folder, GGUFFile):  # everything is in the one file
        hashed = _combined(folder.parts, cache)
        cache.save()
        return Fingerprint(weights=hashed, config=hashed, tokenizer=hashed)
    tokenizer = sorted(
        {*_files(folder.tokenizer_path, ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "spiece", "tekken"))}
    )
    template = sorted(folder.tokenizer_path.glob("**/*.jinja"))
    adapter = _files(folder.adapter, ("adapter_",)) if folder.adapter else []
    made = Fingerprint(
        weights=_combined(folder.weights, cache),
        config=_of_json(folder.config),
        tokenizer=_combined(tokenizer, cache),
        template=_combined(template, cache) if template else _inline_template(folder.tokenizer_path),
        adapter=_combined(adapter, cache) if adapter else None,
        generation_config=_of_json(folder.generation_config) if folder.generation_config else None,
        precision=None if precision == "float32" else precision,
    )
    cache.save()
    return made


def _files(folder: Path, prefixes: tuple[str, ...]) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and file.name.startswith(prefixes))


def _combined(files: Iterable[Path], cache: "_HashCache") -> str:
    named = [(file.name, cache.sha256(file)) for file in files]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _of_json(content: Mapping[str, Any]) -> str:
    # Which library version wrote a file changes nothing of what the model says.
    meant = {key: value for key, value in content.items() if key not in ("transformers_version", "_name_or_path")}
    return hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()


def _inline_template(folder: Path) -> str | None:
    for name in ("chat_template.json", "tokenizer_config.json"):
        file = folder / name
        template = json.loads(file.read_text("utf-8")).get("chat_template") if file.is_file() else None
        if template:
            return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
    return None


class _HashCache:
    """SHA-256 of files that did not change since they were last read. Losing it costs time, nothing else."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError):
            stored = json.loads(file.read_text("utf-8"))
            self._known = stored if isinstance(stored, dict) else {}

    def sha256(self, file: Path) -> str:
        status = file.stat()
        key, state = str(file.resolve()), [status.st_size, status.st_mtime_ns]
        known = self._known.get(key)
        if known is not None and known[:2] == state:
            return str(known[2])
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        self._known[key] = [*state, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        if self._changed:
            with contextlib.suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                replace_json(self._file, self._known)


def _embedded(name: str) -> Path:
    return Path(str(importlib.resources.files("ramify.models"))) / "embedded" / name


def _renamed(folder: ModelFolder, name: str) -> ModelFolder:
    return dataclasses.replace(folder, name=name)
