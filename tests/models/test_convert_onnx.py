"""A model as ONNX: ONNX Runtime says what torch says, or there is no folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import models_made_here
from ramify.cli.main import app
from ramify.errors import InputError, UnsupportedError
from ramify.models import convert_onnx
from ramify.models.convert_onnx import OnnxFolder, convert
from ramify.models.loading import resolve


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> OnnxFolder:
    """Ten seconds of tracing."""
    return convert(resolve(models_made_here.folder("qwen2")), tmp_path_factory.mktemp("onnx") / "out")


@pytest.mark.slow
def test_onnx_runtime_says_what_the_model_says_at_other_sizes_than_it_was_exported_with(exported: OnnxFolder) -> None:
    import onnxruntime
    from transformers import AutoModelForCausalLM

    made, source = exported, resolve(models_made_here.folder("qwen2"))
    assert made.largest_difference < 1e-3
    assert sorted(each.name for each in made.path.glob("*.json")) == [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    ids = torch.tensor([[5, 9, 30, 31, 32, 33, 7, 8, 9]])
    model = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    with torch.no_grad():
        said = model(ids).logits.numpy()
    session = onnxruntime.InferenceSession(str(made.path / "model.onnx"))
    (read,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": np.ones((1, 9), dtype=np.int64)})
    assert np.abs(read - said).max() < 1e-3
    assert json.loads((made.path / "config.json").read_text())["model_type"] == "qwen2"
    assert [each.name for each in made.path.parent.iterdir()] == ["out"]


def test_a_folder_that_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    source = resolve(models_made_here.folder("qwen2"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="exists; choose another folder, or --replace it"):
        convert(source, tmp_path / "mine")
    with pytest.raises(InputError, match="is no folder of an ONNX model, so it is not replaced"):
        convert(source, tmp_path / "mine", replace=True)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


@pytest.mark.slow
def test_a_result_that_says_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: OnnxFolder
) -> None:
    def other(model: torch.nn.Module, file: Path) -> None:
        shutil.copytree(exported.path, file.parent, dirs_exist_ok=True)
        with torch.no_grad():
            next(iter(model.parameters())).mul_(1.5)

    monkeypatch.setattr(convert_onnx, "_export", other)
    with pytest.raises(UnsupportedError, match="says something else than the model: a logit differs by"):
        convert(resolve(models_made_here.folder("qwen2")), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_is_replaced_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: OnnxFolder) -> None:
    def again(model: object, file: Path) -> None:
        shutil.copytree(exported.path, file.parent, dirs_exist_ok=True)

    monkeypatch.setattr(convert_onnx, "_export", again)
    shutil.copytree(exported.path, tmp_path / "out")
    (tmp_path / "out" / "old.txt").write_text("of the one before")
    made = convert(resolve(models_made_here.folder("qwen2")), tmp_path / "out", replace=True)
    assert {each.name for each in made.path.iterdir()} == {each.name for each in exported.path.iterdir()}
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_missing_library_is_named_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        InputError, match=r"ONNX is written with onnxscript, which is not installed; pip install 'ramify\[onnx\]'"
    ):
        convert(resolve(models_made_here.folder("qwen2")), tmp_path / "out")


@pytest.mark.slow
def test_the_command_says_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: OnnxFolder) -> None:
    def again(model: object, file: Path) -> None:
        shutil.copytree(exported.path, file.parent, dirs_exist_ok=True)

    monkeypatch.setattr(convert_onnx, "_export", again)
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    said = CliRunner().invoke(app, ["models", "to-onnx", str(models_made_here.folder("qwen2")), str(tmp_path / "out")])
    assert said.exit_code == 0, said.output
    assert "read back: logits within" in said.output


def test_the_command_refuses_a_folder_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    said = CliRunner().invoke(app, ["models", "to-onnx", "tiny", str(tmp_path)])
    assert said.exit_code == 2
    assert "exists; choose another folder" in said.output
