"""A random model of Qwen2-0.5B's shape, made on the spot: speed depends on the shape, not on what the weights say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["folder"]

SHAPE: dict[str, Any] = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
    "rope_theta": 1_000_000.0,
}


def folder(cache: Path, shape: Mapping[str, Any] = SHAPE, name: str = "qwen2-0.5b-shape") -> Path:
    """A Hugging Face folder with bf16 weights (about 1 GB) and a byte-level tokenizer, made once under `cache`.

    The last two ids end a completion.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    path = cache / name
    if (path / "model.safetensors").exists():
        return path
    size = shape["vocab_size"]
    ends = [size - 2, size - 1]
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**shape, eos_token_id=ends, bos_token_id=ends[0])).to(torch.bfloat16)
    model.save_pretrained(path)
    # Every id has a token, so that no id is masked and both sides do the same work.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(alphabet)} | {f"<{i}>": i for i in range(len(alphabet), size)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=f"<{ends[0]}>").save_pretrained(path)
    return path
