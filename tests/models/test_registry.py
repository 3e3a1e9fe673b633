"""Names that are kept, and fingerprints of what they stand for."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ramify.errors import InputError, ModelNotFoundError, UnsupportedError
from ramify.models.endpoints import Endpoint
from ramify.models.loading import resolve
from ramify.models.registry import Entry, Registry, fingerprint
from ramify.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


def make_model(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "transformers_version": "5"}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_names_survive_a_new_start(settings: Settings, model: Path) -> None:
    added = Registry(settings).add("mine", model, note="a note")
    again = Registry(settings)
    assert again.show("mine") == added == Entry(name="mine", target=str(model), note="a note", added_at=added.added_at)
    assert [entry.name for entry in again.list()] == ["tiny", "mine"]
    found = again.resolve("mine")
    assert (found.name, found.path) == ("mine", model)
    assert again.remove("mine") == added
    assert [entry.name for entry in Registry(settings).list()] == ["tiny"]
    assert model.is_dir()


def test_a_folder_given_relatively_is_found_from_elsewhere(
    settings: Settings, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Registry(settings).add("mine", "model")
    monkeypatch.chdir("/")
    assert Registry(settings).resolve("mine").path == model


def test_paths_and_hub_names_stand_for_themselves(settings: Settings, model: Path) -> None:
    registry = Registry(settings)
    assert registry.show("hf:org/name") == Entry(name="hf:org/name", target="hf:org/name")
    assert registry.show("org/name") == Entry(name="org/name", target="org/name")
    assert registry.show(str(model)) == Entry(name=str(model), target=str(model))
    assert registry.resolve(model / "config.json").path == model
    assert registry.add("far", "org/name", revision="v1").target == "hf:org/name"


def test_an_entry_keeps_its_adapter(settings: Settings, model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    (adapter / "adapter_model.safetensors").write_bytes(b"lora")
    Registry(settings).add("tuned", model, adapter=adapter)
    assert Registry(settings).resolve("tuned").adapter == adapter


def test_a_remote_model_stands_for_itself_or_gets_a_name_with_its_endpoint(settings: Settings, model: Path) -> None:
    registry = Registry(settings)
    assert registry.show("openai:gpt-4o") == Entry(name="openai:gpt-4o", target="openai:gpt-4o", endpoint=Endpoint())
    described = Endpoint(base_url="http://localhost:8000/v1/", api_key_env="MY_KEY", dialect="vllm", prefill="assistant_turn")
    added = registry.add("far", "openai:org/name", endpoint=described, note="a note")
    assert Registry(settings).show("far") == added
    assert (added.target, added.endpoint) == ("openai:org/name", described)
    assert described.base_url == "http://localhost:8000/v1"
    assert registry.add("plain", "openai:gpt-4o").endpoint == Endpoint()
    with pytest.raises(UnsupportedError, match=r"'far' is a remote model \(openai:org/name\) and has no files here"):
        registry.resolve("far")


def test_an_endpoint_is_of_remote_models_only(settings: Settings, model: Path) -> None:
    registry = Registry(settings)
    with pytest.raises(InputError, match="is not remote and has no endpoint"):
        registry.add("mine", model, endpoint=Endpoint())
    with pytest.raises(InputError, match="an adapter or a revision is the endpoint's affair"):
        registry.add("mine", "openai:gpt-4o", revision="v1")
    assert [entry.name for entry in registry.list()] == ["tiny"]


def test_local_entries_are_written_as_before_remote_ones_existed(settings: Settings, model: Path) -> None:
    registry = Registry(settings)
    registry.add("mine", model)
    (written,) = json.loads(registry.file.read_text())["models"]
    assert list(written) == ["name", "target", "adapter", "revision", "note", "added_at"]
    registry.add("far", "openai:a", endpoint=Endpoint(base_url="http://h/v1"))
    damaged = registry.file.read_text().replace("http://h/v1", "h")
    registry.file.write_text(damaged)
    with pytest.raises(InputError, match="base_url is not an address"):
        registry.show("far")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("min", ModelNotFoundError, "no model is named 'min'; did you mean 'mine' or 'tiny'? Known are tiny, mine."),
        ("tinny", ModelNotFoundError, "did you mean 'tiny'?"),
        ("zzz", ModelNotFoundError, "no model is named 'zzz'; Known are tiny, mine."),
        (
            "ollama:some:1b",
            UnsupportedError,
            "models add NAME openai:some:1b --base-url http://localhost:11434/v1 --dialect ollama",
        ),
        ("openai:", InputError, "'openai:' names no remote model"),
        ("openai: gpt", InputError, "'openai: gpt' names no remote model"),
    ],
)
def test_an_unknown_name_names_those_that_look_alike(
    name: str, error: type[Exception], said: str, settings: Settings, model: Path
) -> None:
    registry = Registry(settings)
    registry.add("mine", model)
    with pytest.raises(error) as refusal:
        registry.show(name)
    assert said in str(refusal.value)


def test_names_that_cannot_be_given_are_refused(settings: Settings, model: Path) -> None:
    registry = Registry(settings)
    registry.add("mine", model)
    for name in ("", "two words", "a/b", "hf:x", "-x"):
        with pytest.raises(InputError, match="cannot be a model's name"):
            registry.add(name, model)
    with pytest.raises(InputError, match="'tiny' is built in; choose another name"):
        registry.add("tiny", model)
    with pytest.raises(InputError, match="'mine' is taken by"):
        registry.add("mine", model)
    with pytest.raises(ModelNotFoundError, match="there is no folder 'gone'"):
        registry.add("other", "gone")
    with pytest.raises(InputError, match="'tiny' is built in and cannot be removed"):
        registry.remove("tiny")
    with pytest.raises(ModelNotFoundError, match="no model is named 'mime'; did you mean 'mine'"):
        registry.remove("mime")
    with pytest.raises(UnsupportedError, match="models add NAME openai:llama3 --base-url"):
        registry.add("other", "ollama:llama3")
    assert registry.add("mine", "org/name", replace=True).target == "hf:org/name"
    registry.remove("mine")
    with pytest.raises(ModelNotFoundError, match="no model is named 'mime'; no name was added; tiny is built in"):
        registry.remove("mime")


def test_a_damaged_file_is_named_and_kept(settings: Settings, model: Path) -> None:
    registry = Registry(settings)
    registry.add("mine", model)
    registry.file.write_text("{")
    with pytest.raises(InputError, match=r"models\.json' is damaged"):
        registry.add("other", model)
    assert registry.file.read_text() == "{"
    registry.file.write_text(json.dumps({"format": 2, "models": []}))
    with pytest.raises(InputError, match="has format 2; this version reads 1"):
        registry.list()


def test_names_added_at_the_same_time_by_many_processes_are_all_kept(settings: Settings, model: Path) -> None:
    code = (
        "import sys; from ramify.models.registry import Registry\n"
        "for i in range(5): Registry().add(f'{sys.argv[1]}-{i}', sys.argv[2])"
    )
    env = {**os.environ, "RAMIFY_HOME": str(settings.home)}
    running = [subprocess.Popen([sys.executable, "-c", code, f"p{n}", str(model)], env=env) for n in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    names = [entry.name for entry in Registry(settings).list()]
    assert names == ["tiny", *(f"p{n}-{i}" for n in range(3) for i in range(5))]
    assert sorted(file.name for file in settings.home.iterdir()) == ["models.json", "models.lock"]


# Fingerprints.


def change(folder: Path, file: str, content: Any) -> None:
    (folder / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def test_a_fingerprint_is_of_the_content_and_not_of_the_place(settings: Settings, tmp_path: Path) -> None:
    first, second = make_model(tmp_path / "a"), make_model(tmp_path / "b")
    change(second, "config.json", {"transformers_version": "6", "model_type": "llama"})
    assert fingerprint(resolve(first), settings=settings) == fingerprint(resolve(second), settings=settings)


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("model.safetensors", b"WEIGHTS", "weights"),
        ("config.json", {"model_type": "llama", "rope_theta": 1}, "config"),
        ("tokenizer.json", {"added_tokens": []}, "tokenizer"),
        ("chat_template.jinja", b"{{ messages }}", "template"),
        ("generation_config.json", {"temperature": 0.5}, "generation_config"),
    ],
)
def test_each_part_shows_in_the_fingerprint(file: str, content: Any, part: str, settings: Settings, model: Path) -> None:
    before = fingerprint(resolve(model), settings=settings)
    change(model, file, content)
    after = fingerprint(resolve(model), settings=settings)
    changed = [name for name in before.__dataclass_fields__ if getattr(before, name) != getattr(after, name)]
    assert changed == [part]
    assert before.id != after.id
    assert (len(before.id), len(before.weights)) == (16, 64)


def test_a_template_in_the_tokenizers_settings_counts_as_the_template(settings: Settings, model: Path) -> None:
    change(model, "tokenizer_config.json", {"chat_template": "a"})
    assert fingerprint(resolve(model), settings=settings).template is not None


def test_weights_that_did_not_change_are_not_read_again(settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint(resolve(model), settings=settings)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("the file was read again"))
    assert fingerprint(resolve(model), settings=settings) == first


def test_a_fingerprint_needs_no_writable_home(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = Settings(home=tmp_path / "file" / "home")
    assert fingerprint(resolve(model), settings=nowhere).id == fingerprint(resolve(model), settings=nowhere).id


@pytest.mark.parametrize("name", ["x" * 10_000, "a/" + "x" * 10_000, "~nobody/x", "a\0b"])
def test_a_name_that_no_file_can_have_is_not_found(settings: Settings, name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        Registry(settings).resolve(name)


@pytest.mark.parametrize("name", ["gguf:" + "x" * 10_000, "x" * 300 + ".gguf"])
def test_a_gguf_file_that_cannot_be_is_not_found(settings: Settings, name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        Registry(settings).gguf(name)
