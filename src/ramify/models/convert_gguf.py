"""A folder in Hugging Face format to one GGUF file: weights, tokenizer, chat template and every EOS id.

Written are the Llama family (llama, mistral without a window) and Qwen2 and Qwen3; other architectures are refused by name, for
a tensor in the wrong order is silently wrong. The file gets its name last: before that, where llama.cpp is installed, it is read
back and compared with the model that it was made of.
"""

import importlib.util
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ramify.errors import InputError, UnsupportedError
from ramify.models.gguf_check import Check, check
from ramify.models.gguf_vocabulary import write_vocabulary
from ramify.models.loading import ModelFolder
from ramify.models.tokenizer import Tokenizer
from ramify.models.weights import load_folder

__all__ = ["ARCHITECTURES", "TYPES", "Written", "convert"]

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""transformers' model_type and GGUF's name of it."""
TYPES = ("float32", "float16", "bfloat16", "q8_0")
_GGML_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
_FILE_TYPES = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
Q8_BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class Written:
    """What `convert` made."""

    path: Path
    type: str
    size_bytes: int
    splits_like: str | None
    """What other programs split texts by, as llama.cpp names it; None where they have no name for this tokenizer's way."""
    check: Check | None
    """The comparison with the model it was made of; None where llama.cpp is not installed."""


def convert(folder: ModelFolder, out: Path | str, *, type: str = "q8_0", fingerprint: str = "", replace: bool = False) -> Written:
    """Write the model of a resolved folder, its adapter merged, as `out`.

    type: of the matrices; norms and biases stay float32, and so in q8_0 do rows that are no multiple of 32, as float16.
    Raises UnsupportedError for what cannot be written (an architecture, a setting) and without the package gguf, and InputError
    for a file that exists already (unless replace=True) or a result that does not agree with the model: nothing is left then.
    """
    out = Path(out).expanduser()
    if type not in TYPES:
        raise InputError(f"type is {type!r}; it must be one of {', '.join(TYPES)}")
    if out.suffix != ".gguf":
        raise InputError(f"{str(out)!r} must end in .gguf")
    if out.exists() and not replace:
        raise InputError(f"{str(out)!r} exists already; choose another name, or ask to replace it")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {str(out.parent)!r}; make it first")
    gguf = _library()
    architecture = _architecture(folder)
    model = load_folder(folder, torch.float32 if folder.adapter is not None else "auto").eval().requires_grad_(False)
    codec = Tokenizer.from_folder(folder, vocab_size=int(model.get_output_embeddings().weight.shape[0]))
    handle, beside = tempfile.mkstemp(dir=out.parent, prefix=f".{out.stem}-", suffix=".gguf")
    os.close(handle)
    try:
        writer = gguf.GGUFWriter(beside, architecture)
        _settings(writer, model.config, folder, fingerprint)
        splits_like = write_vocabulary(gguf, writer, codec)
        writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[type]))
        _tensors(gguf, writer, model, architecture, type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        found = check(Path(beside), model, codec, type) if importlib.util.find_spec("llama_cpp") else None
        os.chmod(beside, 0o644)
        os.replace(beside, out)
    finally:
        Path(beside).unlink(missing_ok=True)
    return Written(path=out, type=type, size_bytes=out.stat().st_size, splits_like=splits_like, check=found)


def _library() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise UnsupportedError(
            f"writing GGUF files needs the package gguf: `pip install gguf`, or `pip install 'ramify[gguf]'` ({error})"
        ) from error
    return gguf


# What can be written.


def _architecture(folder: ModelFolder) -> str:
    config = folder.config
    kind = str(config.get("model_type", "unnamed"))
    if kind not in ARCHITECTURES:
        raise UnsupportedError(
            f"{folder.name} has the architecture {kind!r}, which is not written as GGUF here; written are "
            f"{', '.join(ARCHITECTURES)}. llama.cpp's own convert_hf_to_gguf.py knows more"
        )
    rope = _rope(config)
    reasons = {
        "mlp_bias": bool(config.get("mlp_bias")),
        f"rope_type {rope.get('rope_type')!r}": rope.get("rope_type", "default") not in ("default", "llama3"),
        "sliding_window": kind != "qwen2" and config.get("sliding_window") is not None,
        "use_sliding_window": bool(config.get("use_sliding_window")),
        f"hidden_act {config.get('hidden_act')!r}": config.get("hidden_act", "silu") not in ("silu", "swish"),
        "quantization_config": bool(config.get("quantization_config")),
    }
    met = [name for name, present in reasons.items() if present]
    if met:
        raise UnsupportedError(f"{folder.name} ({kind}) cannot be written as GGUF here because its config says {', '.join(met)}")
    return ARCHITECTURES[kind]


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    said = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = said.get("rope_type") or said.get("type") or "default"
    return {"rope_theta": config.get("rope_theta", 10000.0), **said, "rope_type": kind}


def _settings(writer: Any, config: Any, folder: ModelFolder, fingerprint: str) -> None:
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_name(Path(folder.name).name)
    if fingerprint:
        writer.add_string("ramify.made_of", fingerprint)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(_rope(config.to_dict())["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


# Weights.


def _tensors(gguf: Any, writer: Any, model: Any, architecture: str, kind: str) -> None:
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    tied = bool(config.tie_word_embeddings)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise UnsupportedError(f"the tensor {name!r} has no name in GGUF's architecture {architecture!r}")
        if architecture == "llama" and ".q_proj." in name:
            tensor = _interleaved(tensor, config.num_attention_heads)
        elif architecture == "llama" and ".k_proj." in name:
            tensor = _interleaved(tensor, config.num_key_value_heads)
        _add(gguf, writer, found, tensor, kind)
    rope = _rope(config.to_dict())
    if rope["rope_type"] == "llama3":
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        writer.add_tensor("rope_freqs.weight", _llama3_factors(rope, head))


def _add(gguf: Any, writer: Any, name: str, tensor: Tensor, kind: str) -> None:
    values = tensor.detach().float().contiguous().numpy()
    if values.ndim == 1:
        kind = "float32"
    elif kind == "q8_0" and values.shape[-1] % Q8_BLOCK:
        kind = "float16"
    if kind == "float32":
        writer.add_tensor(name, values)
        return
    stored = getattr(gguf.GGMLQuantizationType, _GGML_NAMES[kind])
    writer.add_tensor(name, gguf.quants.quantize(values, stored), raw_dtype=stored)


def _interleaved(weight: Tensor, heads: int) -> Tensor:
    """Reorder each head's rows: transformers rotates a head's halves, llama.cpp neighbours. Weights (R, W) and biases (R,)."""
    shape = weight.shape
    return weight.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def _llama3_factors(rope: Mapping[str, Any], head: int) -> npt.NDArray[np.float32]:
    """How much slower each pair of a head turns than rope_theta says. Source: Llama 3.1's model card."""
    wavelengths = 2 * math.pi * float(rope["rope_theta"]) ** (np.arange(0, head, 2) / head)
    factor, low, high = (float(rope[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    turns = float(rope["original_max_position_embeddings"]) / wavelengths
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return np.asarray(1 / ((1 - smooth) / factor + smooth), np.float32)
