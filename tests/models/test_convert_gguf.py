"""Folders in Hugging Face format written as GGUF: what is refused, what is read back, and that no half file stays."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("gguf", reason="no package gguf: pip install 'ramify[gguf]'")

import models_made_here
from ramify.errors import InputError, UnsupportedError
from ramify.models import convert_gguf, gguf_check
from ramify.models.gguf_files import read
from ramify.models.loading import resolve


def changed(tmp_path: Path, name: str, **config: Any) -> Path:
    """The folder of a model made here with other words in its config.json."""
    folder = tmp_path / name
    shutil.copytree(models_made_here.folder(name), folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | config))
    return folder


def test_what_is_written_says_what_it_is(tmp_path: Path) -> None:
    written = convert_gguf.convert(resolve(models_made_here.folder("qwen2")), tmp_path / "q.gguf", type="q8_0", fingerprint="abc")
    found = read(str(written.path))
    assert (found.architecture, found.precision, written.splits_like) == ("qwen2", "q8_0", "qwen2")
    assert written.size_bytes == (tmp_path / "q.gguf").stat().st_size
    about = found.metadata
    assert about["ramify.eos_token_ids"] == f"{models_made_here.EOS},{models_made_here.IM_END}" or set(
        about["ramify.eos_token_ids"].split(",")
    ) == {str(models_made_here.EOS), str(models_made_here.IM_END)}
    assert about["tokenizer.chat_template"].startswith("{% for message in messages %}")
    assert (about["qwen2.attention.head_count"], about["qwen2.attention.head_count_kv"]) == (4, 2)
    assert about["ramify.made_of"] == "abc"
    assert found.tensors["blk.0.attn_q.bias"] == found.tensors["output_norm.weight"] == 0


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("gpt2", {}, "has the architecture 'gpt2', which is not written as GGUF here; written are llama, mistral, qwen2, qwen3"),
        ("mistral", {}, r"cannot be written as GGUF here because its config says sliding_window"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "rope_type 'yarn'"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
    ],
)
def test_what_cannot_be_written_is_refused_by_its_name(name: str, config: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = changed(tmp_path, name, **config)
    with pytest.raises(UnsupportedError, match=said):
        convert_gguf.convert(resolve(folder), tmp_path / "x.gguf")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_text("mine")
    folder = resolve(models_made_here.folder("llama"))
    with pytest.raises(InputError, match="exists already"):
        convert_gguf.convert(folder, tmp_path / "x.gguf")
    assert (tmp_path / "x.gguf").read_text() == "mine"
    refused = (
        ("x.bin", "q8_0", "must end in .gguf"),
        ("x.gguf", "q3", "type is 'q3'"),
        ("n/x.gguf", "q8_0", "there is no folder"),
    )
    for out, type, said in refused:
        with pytest.raises(InputError, match=said):
            convert_gguf.convert(folder, tmp_path / out, type=type, replace=True)
    assert convert_gguf.convert(folder, tmp_path / "x.gguf", replace=True).size_bytes > 1000


def test_a_file_that_says_something_else_never_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llama_cpp", reason="no llama.cpp: pip install 'ramify[gguf]' compiles it")
    monkeypatch.setattr(convert_gguf, "_interleaved", lambda weight, heads: weight)
    with pytest.raises(InputError, match="does not say what the model says"):
        convert_gguf.convert(resolve(models_made_here.folder("llama")), tmp_path / "x.gguf", type="float32")
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_without_merges_is_taken_by_llama_cpp(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="no llama.cpp: pip install 'ramify[gguf]' compiles it")
    folder = changed(tmp_path, "llama")
    said = json.loads((folder / "tokenizer.json").read_text())
    said["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(said))
    assert convert_gguf.convert(resolve(folder), tmp_path / "x.gguf", type="float32").check is not None


@pytest.mark.parametrize("type", convert_gguf.TYPES)
def test_llama_3s_rope_biases_and_an_adapter_come_through(type: str, tmp_path: Path) -> None:
    """Read back and compared by `convert` itself, within the bound of its type."""
    pytest.importorskip("llama_cpp", reason="no llama.cpp: pip install 'ramify[gguf]' compiles it")
    import peft
    import transformers

    torch.manual_seed(0)
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = {"attention_bias": True, "rope_parameters": rope | {"original_max_position_embeddings": 16}}
    folder = changed(tmp_path, "llama", **config)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig.from_pretrained(folder))
    for layer in model.model.layers:
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            torch.nn.init.normal_(projection.bias)
    model.save_pretrained(folder)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    plain = convert_gguf.convert(resolve(folder), tmp_path / "plain.gguf", type=type)
    merged = convert_gguf.convert(resolve(folder, adapter=tmp_path / "adapter"), tmp_path / "merged.gguf", type=type)
    assert plain.check is not None
    assert merged.check is not None
    assert max(plain.check.largest_difference, merged.check.largest_difference) <= gguf_check.LARGEST[type]
    assert plain.path.read_bytes() != merged.path.read_bytes()
    assert "rope_freqs.weight" in read(str(plain.path)).tensors
