"""From a name to a folder that is safe to load.

Nothing here loads weights: files are found, their kinds checked and their JSON read. Pickled weights and folders that
want to run their own Python code are refused, unless a flag asks for them.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ramify.errors import InputError, ModelNotFoundError, UnsafeModelError, UnsupportedError
from ramify.models.places import place_of

__all__ = ["ModelFolder", "defaults_of", "eos_token_ids", "resolve"]

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
NOT_WEIGHTS = {"training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state.pth"}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
SMALL_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "tokenizer*", "*.tiktoken"]
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A model in Hugging Face format, on disk and checked."""

    name: str
    """As it was asked for."""
    path: Path
    """The folder with config.json and the weights (of the base model, for an adapter)."""
    weights: tuple[Path, ...]
    pickled: bool
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any] = field(default_factory=dict)
    adapter: Path | None = None
    """A PEFT LoRA folder to lay over the weights."""
    tokenizer_path: Path
    """The adapter's folder when it brings a tokenizer, else `path`."""
    eos_token_ids: tuple[int, ...] = ()
    """Every EOS id named by generation_config.json, config.json and the tokenizer's files, in that order."""
    left_over: Mapping[str, Any] = field(default_factory=dict)
    """Values of generation_config.json that would change decoding: seen, not applied unless asked (`defaults_of`)."""
    allow_pickle: bool = False
    trust_remote_code: bool = False
    revision: str | None = None


def resolve(
    name: str | Path,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    adapter: str | Path | None = None,
) -> ModelFolder:
    """Find a model: a folder, a file inside one, `org/name` or `hf:org/name` of the Hugging Face hub, or a PEFT LoRA
    folder.

    revision: branch, tag or commit, for hub names only. adapter: a LoRA folder or hub name to lay over the model.
    Raises ModelNotFoundError (nothing there, or a part is missing), UnsafeModelError (pickled weights without
    `allow_pickle`, own Python code without `trust_remote_code`), UnsupportedError (another format), InputError (broken
    JSON, contradictory input).
    """
    flags = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code}
    folder = _find(name, revision, **flags)
    own_adapter = folder if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file() else None
    if own_adapter is not None:
        if adapter is not None:
            raise InputError(f"{str(name)!r} is an adapter already, and adapter={str(adapter)!r} was given too; give one of them")
        adapter_folder: Path | None = own_adapter
        folder = _base_of(own_adapter, **flags)
    else:
        adapter_folder = _find(adapter, None, **flags) if adapter is not None else None
    if adapter_folder is not None:
        _check_adapter(adapter_folder, allow_pickle)

    config = _read_json(folder / "config.json")
    if config is None:
        raise ModelNotFoundError(
            f"{str(folder)!r} has no config.json, so it is not a model in Hugging Face format; "
            f"it holds {_listing(folder)}. Give the folder that holds config.json, the weights and the tokenizer"
        )
    tokenizer_path = folder
    if adapter_folder is not None and any((adapter_folder / file).is_file() for file in TOKENIZER_FILES):
        tokenizer_path = adapter_folder
    if not trust_remote_code:
        _check_code(folder, config)
        _check_code(tokenizer_path, config)
    weights, pickled = _weights(folder, allow_pickle)
    if not trust_remote_code and not any((tokenizer_path / file).is_file() for file in TOKENIZER_FILES):
        raise ModelNotFoundError(
            f"{str(folder)!r} has no tokenizer; expected one of {', '.join(TOKENIZER_FILES)}. "
            "Copy the tokenizer's files of the model it was trained from into the folder"
        )
    generation = _read_json(folder / "generation_config.json") or {}
    return ModelFolder(
        name=str(name),
        path=folder,
        weights=weights,
        pickled=pickled,
        config=config,
        generation_config=generation,
        adapter=adapter_folder,
        tokenizer_path=tokenizer_path,
        eos_token_ids=eos_token_ids(folder, tokenizer_path),
        left_over=_left_over(generation),
        revision=revision,
        **flags,
    )


# Where it is.


def _find(name: str | Path, revision: str | None, *, allow_pickle: bool, trust_remote_code: bool) -> Path:
    text = str(name)
    if not text.strip():
        raise ModelNotFoundError("the model's name is empty; give a folder, a registered name, or a hub name such as hf:org/name")
    forced = text.startswith("hf:")
    path = place_of(text)
    if not forced and path.exists():
        if revision is not None:
            raise InputError(f"revision={revision!r} was given for the folder {text!r}; only hub names have revisions")
        return path.resolve() if path.is_dir() else _folder_of_file(path.resolve())
    hub_name = text.removeprefix("hf:")
    if HUB_NAME.fullmatch(hub_name):
        return _download(hub_name, revision, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    if forced:
        raise ModelNotFoundError(f"{text!r} is not a hub name; expected hf:organisation/model, such as hf:Qwen/Qwen2-0.5B")
    if path.suffix in (*PICKLED, ".safetensors", ".gguf") or "/" in text or text.startswith((".", "~")):
        raise ModelNotFoundError(f"there is no file or folder {text!r}")
    raise ModelNotFoundError(
        f"no model is named {text!r}, and there is no such folder; see `ramify models list`, "
        "give a folder in Hugging Face format, or a hub name such as hf:org/name"
    )


def _folder_of_file(file: Path) -> Path:
    folder = file.parent
    belongs = (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()
    if file.suffix == ".gguf":
        raise UnsupportedError(
            f"{file.name!r} is a GGUF file and no folder in Hugging Face format; as a model's name it is loaded by llama.cpp"
        )
    if file.suffix in PICKLED and not belongs:
        raise UnsafeModelError(
            f"{file.name!r} is a bare file of pickled weights: loading it could run any code, and it names no "
            "architecture and no "
            "tokenizer. Convert it: a llama2.c checkpoint with `ramify models convert MODEL.bin TOKENIZER.bin FOLDER`, "
            "any other by "
            "`model.save_pretrained(FOLDER)` and `tokenizer.save_pretrained(FOLDER)` in the program that trained it, "
            "then give the folder"
        )
    if not belongs:
        raise ModelNotFoundError(
            f"{str(file)!r} is a file, and its folder has no config.json; give a folder in Hugging Face format, or a "
            "file inside one"
        )
    return folder


def _base_of(adapter: Path, *, allow_pickle: bool, trust_remote_code: bool) -> Path:
    described = _read_json(adapter / "adapter_config.json") or {}
    base = described.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelNotFoundError(
            f"{str(adapter)!r} is an adapter whose adapter_config.json names no base_model_name_or_path; "
            "load the base model and pass this folder as adapter="
        )
    beside = adapter / base
    try:
        return _find(
            beside if beside.is_dir() else base,
            described.get("revision"),
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
        )
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"the adapter {str(adapter)!r} is made for the base model {base!r}, which was not found: {error}. "
            "Load the base model from where it is and pass this folder as adapter="
        ) from error


def _download(name: str, revision: str | None, *, allow_pickle: bool, trust_remote_code: bool) -> Path:
    """The snapshot folder of a hub model; small files come first, and what is unsafe is refused before its weights."""
    import huggingface_hub
    from huggingface_hub import errors

    code = ["*.py"] if trust_remote_code else []
    try:
        listed = huggingface_hub.HfApi().model_info(name, revision=revision, timeout=10)
        files = [sibling.rfilename for sibling in listed.siblings or []]
        safe = any(file.endswith(".safetensors") for file in files)
        pickled = [file for file in files if file.endswith(PICKLED) and file not in NOT_WEIGHTS]
        if not safe and pickled and not allow_pickle:
            raise _pickle_error(f"hf:{name}", pickled)
        folder = Path(huggingface_hub.snapshot_download(name, revision=listed.sha, allow_patterns=SMALL_FILES + code))
        if not trust_remote_code:
            _check_code(folder, _read_json(folder / "config.json") or {})
        weights = ["*.safetensors"] if safe else ["*.bin", "*.pt", "*.pth"]
        huggingface_hub.snapshot_download(name, revision=listed.sha, allow_patterns=weights)
        return folder
    except errors.RevisionNotFoundError as error:
        raise ModelNotFoundError(f"the hub's model {name!r} has no revision {revision!r}") from error
    except errors.GatedRepoError as error:
        raise ModelNotFoundError(
            f"the hub's model {name!r} is gated: accept its terms on its page, then `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFoundError(f"the hub has no model {name!r} (or it is private: `hf auth login`)") from error
    except InputError:
        raise
    except Exception as error:  # Every kind of network trouble, of several libraries.
        trouble = error
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        raise ModelNotFoundError(
            f"{name!r} is not a folder here, is not in the hub's cache, and the hub was not reached "
            f"({type(trouble).__name__}). Check the network, or fetch the model where there is one "
            f"(`hf download {name}`) and give its folder"
        ) from trouble


# What is in it.


def _weights(folder: Path, allow_pickle: bool) -> tuple[tuple[Path, ...], bool]:
    safe = sorted(folder.glob("*.safetensors"))
    pickled = sorted(file for file in folder.iterdir() if file.suffix in PICKLED and file.name not in NOT_WEIGHTS)
    index = _read_json(folder / "model.safetensors.index.json")
    if index is not None:
        shards = sorted(set(index.get("weight_map", {}).values()))
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise ModelNotFoundError(
                f"{str(folder)!r} lacks weights that its index names: {', '.join(missing)}; copy or download the folder again"
            )
        return tuple(folder / shard for shard in shards), False
    usable = [file for file in safe if not file.name.startswith("adapter_")]
    if usable:
        return tuple(usable), False
    if pickled and not allow_pickle:
        raise _pickle_error(str(folder), [file.name for file in pickled])
    if pickled:
        return tuple(pickled), True
    raise ModelNotFoundError(f"{str(folder)!r} has no weights; expected model.safetensors. It holds {_listing(folder)}")


def _check_adapter(folder: Path, allow_pickle: bool) -> None:
    if _read_json(folder / "adapter_config.json") is None:
        raise ModelNotFoundError(f"{str(folder)!r} has no adapter_config.json, so it is not a PEFT adapter")
    if (folder / "adapter_model.safetensors").is_file():
        return
    if (folder / "adapter_model.bin").is_file():
        if not allow_pickle:
            raise _pickle_error(str(folder), ["adapter_model.bin"])
        return
    raise ModelNotFoundError(f"the adapter {str(folder)!r} has no weights; expected adapter_model.safetensors")


def _pickle_error(where: str, files: Iterable[str]) -> UnsafeModelError:
    return UnsafeModelError(
        f"{where!r} has only pickled weights ({', '.join(files)}), and loading a pickle can run any code. Prefer "
        "safetensors: another "
        "revision of the model, or load it once where that is safe and call `model.save_pretrained(FOLDER)`. "
        "To load it anyway pass allow_pickle=True (--allow-pickle)"
    )


def _check_code(folder: Path, config: Mapping[str, Any]) -> None:
    tokenizer = _read_json(folder / "tokenizer_config.json") or {}
    asking = {"config.json": config.get("auto_map"), "tokenizer_config.json": tokenizer.get("auto_map")}
    for file, wanted in asking.items():
        if wanted:
            raise UnsafeModelError(
                f"{str(folder)!r} asks to run Python code of its own (auto_map in {file}: {json.dumps(wanted)}). Pass "
                "trust_remote_code=True (--trust-remote-code) if you have read that code; or, where transformers knows "
                "the "
                f"architecture itself ({config.get('model_type', 'unnamed')!r}), take auto_map out of a copy of the "
                "folder"
            )


def _read_json(file: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None when there is no such file."""
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{str(file)!r} is not valid JSON ({error}); copy or download it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{str(file)!r} holds a JSON {type(content).__name__}; expected an object")
    return content


def _listing(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir())
    return (", ".join(names[:8]) + (" …" if len(names) > 8 else "")) if names else "nothing"


# What ends a completion.


def eos_token_ids(folder: Path, tokenizer_path: Path | None = None) -> tuple[int, ...]:
    """Every EOS id that the files name: of generation_config.json, of config.json, of the tokenizer; each once."""
    tokenizer_path = tokenizer_path or folder
    found: list[int] = []
    for file in ("generation_config.json", "config.json"):
        content = _read_json(folder / file) or {}
        for value in (content.get("eos_token_id"), (content.get("text_config") or {}).get("eos_token_id")):
            found.extend(i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int))
    described = (
        _read_json(tokenizer_path / "tokenizer_config.json") or _read_json(tokenizer_path / "special_tokens_map.json") or {}
    )
    text = described.get("eos_token")
    text = text.get("content") if isinstance(text, Mapping) else text
    if isinstance(text, str) and (known := _id_of(text, tokenizer_path, described)) is not None:
        found.append(known)
    return tuple(dict.fromkeys(found))


def _id_of(text: str, folder: Path, described: Mapping[str, Any]) -> int | None:
    for key, token in (described.get("added_tokens_decoder") or {}).items():
        if token.get("content") == text:
            return int(key)
    stored = _read_json(folder / "tokenizer.json") or {}
    for token in stored.get("added_tokens") or ():
        if token["content"] == text:
            return int(token["id"])
    vocabulary = _read_json(folder / "vocab.json") or (stored.get("model") or {}).get("vocab")
    found = vocabulary.get(text) if isinstance(vocabulary, dict) else None
    return int(found) if found is not None else None


# What the model's makers would have set.

IDS_AND_HISTORY = {"transformers_version", "_from_model_config"}
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
APPLICABLE = {
    *SAMPLING,
    *("do_sample", "max_length", "max_new_tokens", "min_new_tokens", "repetition_penalty", "no_repeat_ngram_size"),
    *("encoder_repetition_penalty", "num_beams", "num_beam_groups", "diversity_penalty", "length_penalty", "early_stopping"),
    *("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "forced_eos_token_id", "penalty_alpha", "guidance_scale"),
    *("exponential_decay_length_penalty", "sequence_bias", "stop_strings"),
}


def _left_over(generation: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in generation.items()
        if value is not None
        and key not in IDS_AND_HISTORY
        and not (key.endswith(("_token_id", "_token_ids")) and not key.startswith("forced_"))
    }


def defaults_of(left_over: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The model's own values as `GenerationConfig` fields, for `--model-defaults`.

    Returns (fields, reasons): reasons says of each value not taken why. As in Hugging Face's library, sampling values
    do not act unless do_sample is true, and the completion is then greedy.
    """
    fields: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    samples = left_over.get("do_sample") is True
    for key, value in left_over.items():
        if key not in APPLICABLE:
            reasons[key] = "not a setting of decoding here"
        elif key in SAMPLING and not samples:
            reasons[key] = "it does not act, as do_sample is not true"
        else:
            fields[key] = value
    if any(key in SAMPLING for key in reasons):
        fields["do_sample"] = False
    return fields, reasons
