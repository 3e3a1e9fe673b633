"""Models by name, folder or file; once for all; and never with somebody else's tokenizer."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import models_made_here
import ramify
from ramify.engine import model as engine_model
from ramify.errors import ConfigError, InputError, ModelNotFoundError, UnsafeModelError
from ramify.inference import batch_generate, forget_models, generate_text, interactive_cli, stream_generate
from ramify.inference.models import opened


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that are really loaded, from an empty memory on."""
    forget_models()
    seen: list[str] = []
    real = engine_model.load

    def load(name: str, **how: Any) -> Any:
        seen.append(name)
        return real(name, **how)

    monkeypatch.setattr(engine_model, "load", load)
    return seen


def test_a_model_is_loaded_once_however_it_is_named(folder: Path, loads: list[str]) -> None:
    first = opened(folder)
    assert opened(str(folder)) is opened(folder / "config.json") is opened(folder / "model.safetensors") is first
    assert opened(folder, folder) is first
    assert len(loads) == 1


def test_threads_that_ask_at_once_share_one_load(folder: Path, loads: list[str]) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(opened(folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(set(map(id, found))) == 1


def test_a_folder_whose_files_changed_is_loaded_anew(folder: Path, loads: list[str], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    before = opened(copy)
    shutil.copyfile(models_made_here.folder("llama") / "model.safetensors", copy / "new")
    (copy / "new").replace(copy / "model.safetensors")
    import os

    os.utime(copy / "model.safetensors", ns=(1, 1))
    assert opened(copy) is not before
    assert len(loads) == 2


def test_a_bare_pt_is_refused_with_its_conversion(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"anything")
    with pytest.raises(UnsafeModelError, match=r"ramify models convert MODEL.* by `model.save_pretrained"):
        generate_text(file, prompt="a")
    with pytest.raises(ModelNotFoundError, match="there is no file or folder"):
        generate_text("./model/model.pt", prompt="a")


def test_another_tokenizer_is_refused_with_the_first_id_that_differs(folder: Path) -> None:
    with pytest.raises(InputError, match=r"4096 ids\) is not that of .* \(300 ids\): id \d+ is b'"):
        generate_text(folder, "tiny", prompt="a")
    assert generate_text(folder, folder / "tokenizer.json", prompt="a", max_new_tokens=2, ignore_eos=True)


def test_a_loaded_model_stands_for_itself(folder: Path) -> None:
    model = opened(folder)
    assert opened(model) is model
    with pytest.raises(InputError, match="device and precision are decided"):
        opened(model, device="cpu")
    with pytest.raises(InputError, match="model_path is a int"):
        opened(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call", [generate_text, stream_generate, interactive_cli, ramify.ChatInterface, ramify.InteractiveGenerator]
)
def test_unknown_settings_are_refused_and_not_dropped(folder: Path, call: Any) -> None:
    given = {"prompt": "a"} if call in (generate_text, stream_generate) else {}
    with pytest.raises(ConfigError, match=r"max_tokens=5 is not a setting; did you mean max_new_tokens"):
        call(folder, **given, max_tokens=5)
    with pytest.raises(ConfigError, match="num_return_sequences is 2"):
        call(folder, **given, num_return_sequences=2, do_sample=True)


def test_what_is_missing_is_said(folder: Path) -> None:
    with pytest.raises(InputError, match="no prompt was given"):
        generate_text(folder)
    with pytest.raises(InputError, match="prompts is 'a'; give a list"):
        batch_generate(folder, prompts="a")


def test_a_batch_and_a_stream_are_what_each_call_alone_gives(folder: Path) -> None:
    prompts = ["Once", "One day, Sonic", "The end"]
    settings: dict[str, Any] = {"temperature": 0.9, "seed": 4, "max_new_tokens": 30}
    alone = [generate_text(folder, prompt=prompt, **settings) for prompt in prompts]
    assert batch_generate(folder, prompts=prompts, batch_size=2, **settings) == alone
    assert ["".join(stream_generate(folder, prompt=prompt, **settings)) for prompt in prompts] == alone


def test_a_model_without_a_template_completes_and_does_not_chat(tmp_path: Path, folder: Path) -> None:
    import json

    copy = Path(shutil.copytree(folder, tmp_path / "plain"))
    said = json.loads((copy / "tokenizer_config.json").read_text("utf-8"))
    said.pop("chat_template")
    (copy / "tokenizer_config.json").write_text(json.dumps(said), "utf-8")
    with pytest.raises(InputError, match="no chat template, so it cannot chat; generate_text completes raw text"):
        ramify.InteractiveGenerator(copy)
    writer = ramify.CreativeWriter(copy, style="plain")
    assert len(writer.continue_story("Once", length=5).split()) <= 5
