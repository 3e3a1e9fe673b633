"""What is found behind a name, and what is refused before anything of it is loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ramify.errors import InputError, ModelNotFoundError, UnsafeModelError, UnsupportedError
from ramify.models.loading import defaults_of, eos_token_ids, resolve

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(name, **files)`: a folder; a file's content is JSON, or bytes; None leaves a usual file out."""

    def made(name: str = "model", files: dict[str, Any] | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        usual = {"config.json": {"model_type": "llama"}, "model.safetensors": b"x", "tokenizer.json": {"model": {"vocab": {}}}}
        for file, content in (usual | (files or {})).items():
            if content is not None:
                (folder / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return folder

    return made


def test_a_folder_and_any_file_inside_it_are_the_same_model(make: Make) -> None:
    folder = make()
    found = resolve(folder)
    assert (found.name, found.path, found.tokenizer_path, found.adapter) == (str(folder), folder, folder, None)
    assert (found.weights, found.pickled, found.config) == ((folder / "model.safetensors",), False, {"model_type": "llama"})
    for file in ("model.safetensors", "config.json"):
        assert resolve(folder / file).path == folder


def test_shards_are_those_of_the_index(make: Make) -> None:
    index = {"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-1.safetensors"}}
    files = {
        "model.safetensors": None,
        "model.safetensors.index.json": index,
        "model-1.safetensors": b"",
        "model-2.safetensors": b"",
    }
    folder = make("sharded", files)
    assert resolve(folder).weights == (folder / "model-1.safetensors", folder / "model-2.safetensors")
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"lacks weights that its index names: model-2\.safetensors"):
        resolve(folder)


def test_safetensors_go_before_pickles(make: Make) -> None:
    folder = make("both", {"pytorch_model.bin": b""})
    assert resolve(folder).weights == resolve(folder, allow_pickle=True).weights == (folder / "model.safetensors",)


def test_pickled_weights_are_taken_only_when_asked_for(make: Make) -> None:
    folder = make("pickled", {"model.safetensors": None, "pytorch_model.bin": b"", "training_args.bin": b""})
    found = resolve(folder, allow_pickle=True)
    assert (found.weights, found.pickled, found.allow_pickle) == ((folder / "pytorch_model.bin",), True, True)


def test_own_code_is_run_only_when_asked_for(make: Make) -> None:
    folder = make("coded", {"config.json": {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Config"}}})
    assert resolve(folder, trust_remote_code=True).trust_remote_code


AUTO_MAP = {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        ({"model.safetensors": None, "pytorch_model.bin": b""}, UnsafeModelError, "only pickled weights (pytorch_model.bin)"),
        ({"model.safetensors": None, "pytorch_model.bin": b""}, UnsafeModelError, "save_pretrained(FOLDER)"),
        ({"model.safetensors": None, "model.pt": b""}, UnsafeModelError, "pass allow_pickle=True (--allow-pickle)"),
        ({"config.json": {"model_type": "phi3", **AUTO_MAP}}, UnsafeModelError, "auto_map in config.json"),
        ({"config.json": {"model_type": "phi3", **AUTO_MAP}}, UnsafeModelError, "trust_remote_code=True (--trust-remote-code)"),
        ({"tokenizer_config.json": AUTO_MAP}, UnsafeModelError, "auto_map in tokenizer_config.json"),
        ({"model.safetensors": None}, ModelNotFoundError, "has no weights; expected model.safetensors. It holds config.json"),
        ({"model.safetensors": None, "training_args.bin": b""}, ModelNotFoundError, "has no weights"),
        ({"config.json": None}, ModelNotFoundError, "has no config.json, so it is not a model in Hugging Face format; it holds"),
        ({"tokenizer.json": None}, ModelNotFoundError, "has no tokenizer; expected one of tokenizer.json"),
        ({"config.json": b"{"}, InputError, "config.json' is not valid JSON"),
        ({"config.json": []}, InputError, "config.json' holds a JSON list; expected an object"),
        ({"generation_config.json": b"\xff"}, InputError, "generation_config.json' is not valid JSON"),
    ],
)
def test_what_is_unsafe_or_incomplete_is_refused(make: Make, files: dict[str, Any], kind: type[Exception], said: str) -> None:
    folder = make("refused", files)
    with pytest.raises(kind) as refusal:
        resolve(folder)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("", ModelNotFoundError, "the model's name is empty"),
        ("no-such", ModelNotFoundError, "no model is named 'no-such', and there is no such folder; see `ramify models list`"),
        ("./nowhere", ModelNotFoundError, "there is no file or folder './nowhere'"),
        ("nowhere.safetensors", ModelNotFoundError, "there is no file or folder"),
        ("hf:one", ModelNotFoundError, "'hf:one' is not a hub name; expected hf:organisation/model"),
        ("hf:a/b/c", ModelNotFoundError, "'hf:a/b/c' is not a hub name"),
        ("bare.pt", UnsafeModelError, "bare file of pickled weights"),
        ("bare.pt", UnsafeModelError, "ramify models convert"),
        ("bare.gguf", UnsupportedError, "is a GGUF file and no folder in Hugging Face format"),
        ("bare.txt", ModelNotFoundError, "is a file, and its folder has no config.json"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_to_do(
    name: str, kind: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("bare.pt", "bare.gguf", "bare.txt"):
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(kind) as refusal:
        resolve(name)
    assert said in str(refusal.value)


def test_a_folder_has_no_revision(make: Make) -> None:
    with pytest.raises(InputError, match="only hub names have revisions"):
        resolve(make(), revision="main")


# Adapters.

LORA = {"config.json": None, "tokenizer.json": None, "model.safetensors": None, "adapter_model.safetensors": b"a"}


def test_an_adapter_brings_its_base_model(make: Make) -> None:
    base = make("base")
    adapter = make("adapter", {**LORA, "adapter_config.json": {"base_model_name_or_path": str(base)}})
    for found in (resolve(adapter), resolve(adapter / "adapter_model.safetensors"), resolve(base, adapter=adapter)):
        assert (found.path, found.adapter, found.tokenizer_path) == (base, adapter, base)
        assert found.weights == (base / "model.safetensors",)


def test_an_adapter_with_a_tokenizer_uses_its_own(make: Make) -> None:
    base = make("base")
    said = {"base_model_name_or_path": "../base"}
    adapter = make("adapter", {**LORA, "adapter_config.json": said, "tokenizer.json": {"model": {}}})
    assert (resolve(adapter).path, resolve(adapter).tokenizer_path) == (base, adapter)


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        ({"adapter_config.json": {}}, ModelNotFoundError, "names no base_model_name_or_path"),
        ({"adapter_config.json": {"base_model_name_or_path": "./gone"}}, ModelNotFoundError, "made for the base model './gone'"),
        ({"adapter_config.json": None}, ModelNotFoundError, "has no config.json"),
    ],
)
def test_an_adapter_without_its_base_is_refused(make: Make, files: dict[str, Any], kind: type[Exception], said: str) -> None:
    adapter = make("adapter", LORA | files)
    with pytest.raises(kind) as refusal:
        resolve(adapter)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        ({"adapter_config.json": None}, ModelNotFoundError, "has no adapter_config.json, so it is not a PEFT adapter"),
        ({"adapter_model.safetensors": None}, ModelNotFoundError, "has no weights; expected adapter_model.safetensors"),
        (
            {"adapter_model.safetensors": None, "adapter_model.bin": b""},
            UnsafeModelError,
            "only pickled weights (adapter_model.bin)",
        ),
    ],
)
def test_a_broken_adapter_is_refused(make: Make, files: dict[str, Any], kind: type[Exception], said: str) -> None:
    base = make("base")
    adapter = make("adapter", LORA | {"adapter_config.json": {"base_model_name_or_path": str(base)}} | files)
    with pytest.raises(kind) as refusal:
        resolve(base, adapter=adapter)
    assert said in str(refusal.value)


def test_one_adapter_at_a_time(make: Make) -> None:
    base = make("base")
    adapter = make("adapter", {**LORA, "adapter_config.json": {"base_model_name_or_path": str(base)}})
    with pytest.raises(InputError, match="is an adapter already"):
        resolve(adapter, adapter=adapter)


# The hub.


class Hub:
    """A hub of one model, as huggingface_hub sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *, online: bool = True) -> None:
        import huggingface_hub

        self.asked: list[Any] = []

        def model_info(_: Any, name: str, revision: str | None = None, timeout: float | None = None) -> Any:
            if not online:
                raise ConnectionError("no route")
            files = [SimpleNamespace(rfilename=file.name) for file in sorted(folder.iterdir())]
            return SimpleNamespace(siblings=files, sha=f"commit-of-{revision}")

        def snapshot_download(name: str, *, revision: str | None = None, **rest: Any) -> str:
            if rest.get("local_files_only"):
                raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
            self.asked.append((name, revision, rest["allow_patterns"]))
            return str(folder)

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


@pytest.mark.parametrize("name", ["hf:org/name", "org/name"])
def test_a_hub_model_is_fetched_at_one_commit_small_files_first(name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make("remote", {"pytorch_model.bin": b""})
    hub = Hub(monkeypatch, folder)
    found = resolve(name, revision="v1")
    assert (found.name, found.path, found.revision) == (name, folder, "v1")
    assert [(asked[0], asked[1]) for asked in hub.asked] == [("org/name", "commit-of-v1")] * 2
    assert not {"*.bin", "*.safetensors", "*.py"} & set(hub.asked[0][2])
    assert hub.asked[1][2] == ["*.safetensors"]


def test_nothing_of_a_pickled_hub_model_is_fetched(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, make("remote", {"model.safetensors": None, "pytorch_model.bin": b""}))
    with pytest.raises(UnsafeModelError, match=r"'hf:org/name' has only pickled weights \(pytorch_model\.bin\)"):
        resolve("hf:org/name")
    assert hub.asked == []


def test_a_hub_model_with_code_is_refused_before_its_weights_are_fetched(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, make("remote", {"config.json": {"model_type": "x", **AUTO_MAP}}))
    with pytest.raises(UnsafeModelError, match="auto_map"):
        resolve("hf:org/name")
    assert len(hub.asked) == 1


def test_without_a_network_the_error_says_what_was_tried(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, make("remote"), online=False)
    with pytest.raises(ModelNotFoundError) as refusal:
        resolve("org/name")
    assert str(refusal.value) == (
        "'org/name' is not a folder here, is not in the hub's cache, and the hub was not reached (ConnectionError). "
        "Check the network, or fetch the model where there is one (`hf download org/name`) and give its folder"
    )


# Endings and left-over settings.


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ()),
        ({"generation_config.json": {"eos_token_id": [5, 3]}, "config.json": {"eos_token_id": 7}}, (5, 3, 7)),
        ({"generation_config.json": {"eos_token_id": 3}, "config.json": {"eos_token_id": [3, 4]}}, (3, 4)),
        ({"config.json": {"text_config": {"eos_token_id": 9}}}, (9,)),
        (
            {
                "config.json": {"eos_token_id": 2},
                "tokenizer_config.json": {"eos_token": "<e>", "added_tokens_decoder": {"8": {"content": "<e>"}}},
            },
            (2, 8),
        ),
        (
            {
                "tokenizer_config.json": {"eos_token": {"content": "<e>"}},
                "tokenizer.json": {"added_tokens": [{"id": 6, "content": "<e>"}]},
            },
            (6,),
        ),
        (
            {"special_tokens_map.json": {"eos_token": "</s>"}, "tokenizer.json": {"model": {"vocab": {"</s>": 2}}}},
            (2,),
        ),
        ({"tokenizer_config.json": {"eos_token": "</s>"}, "vocab.json": {"</s>": 4}}, (4,)),
        ({"tokenizer_config.json": {"eos_token": "<unheard-of>"}}, ()),
    ],
)
def test_eos_ids_are_gathered_in_order(make: Make, files: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert eos_token_ids(make("endings", files)) == expected


def test_left_over_values_are_shown_and_not_applied(make: Make) -> None:
    generation = {
        "transformers_version": "4.40",
        "_from_model_config": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": None,
        "forced_eos_token_id": 2,
        "cache_implementation": "hybrid",
    }
    found = resolve(make("left", {"generation_config.json": generation}))
    assert found.left_over == {
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.9,
        "forced_eos_token_id": 2,
        "cache_implementation": "hybrid",
    }
    assert defaults_of(found.left_over) == (
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "forced_eos_token_id": 2},
        {"cache_implementation": "not a setting of decoding here"},
    )


def test_sampling_values_of_a_greedy_model_do_not_act() -> None:
    assert defaults_of({"temperature": 0.6, "repetition_penalty": 1.1}) == (
        {"repetition_penalty": 1.1, "do_sample": False},
        {"temperature": "it does not act, as do_sample is not true"},
    )
    assert defaults_of({}) == ({}, {})


def test_the_models_own_values_make_a_config() -> None:
    from ramify.decoding.config import GenerationConfig
    from ramify.models.loading import APPLICABLE

    assert set(GenerationConfig.__dataclass_fields__) >= APPLICABLE
    fields, _ = defaults_of({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_length": 64})
    assert GenerationConfig.from_dict(fields).temperature == 0.6
