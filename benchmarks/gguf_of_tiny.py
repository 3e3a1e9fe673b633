"""`tiny` as a GGUF file, for llama.cpp's server: the same weights in float32. Needs the package `gguf`.

Its vocabulary is written as a SentencePiece one, which shows tokens as they are; texts would be split into other tokens there, so
what is asked of that server is token ids.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

__all__ = ["write"]


def write(folder: Path, where: Path) -> None:
    """The model of a Llama folder as one file."""
    import gguf

    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(str(where), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _vocabulary(writer, folder, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, weight in load_file(folder / "model.safetensors").items():
        weight = weight.float()
        if name.endswith("q_proj.weight"):
            weight = _interleaved(weight, heads)
        elif name.endswith("k_proj.weight"):
            weight = _interleaved(weight, kv_heads)
        found = names.get_name(name, try_suffixes=(".weight",))
        assert found is not None, name
        writer.add_tensor(found, weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleaved(weight: Tensor, heads: int) -> Tensor:
    """llama.cpp rotates neighbouring rows together, where transformers rotates the halves of a head."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def _vocabulary(writer: Any, folder: Path, config: dict[str, Any]) -> None:
    from gguf import TokenType

    said = json.loads((folder / "tokenizer.json").read_text())
    special = {token["id"] for token in said["added_tokens"] if token["special"]}
    vocabulary = sorted(said["model"]["vocab"].items(), key=lambda item: item[1])
    kinds = [
        TokenType.CONTROL if i in special else TokenType.BYTE if text.startswith("<0x") else TokenType.NORMAL
        for text, i in vocabulary
    ]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text.replace(" ", "▁") for text, _ in vocabulary])
    writer.add_token_scores([-float(i) for _, i in vocabulary])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
