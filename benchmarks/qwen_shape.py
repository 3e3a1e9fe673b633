"""A random model of Qwen2-0.5B's shape, made on the spot: speed depends on the shape, not on what the weights say."""

from pathlib import Path
from typing import Any

import torch

__all__ = ["SHAPE", "folder", "tokenizer"]

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


def folder(cache: Path) -> Path:
    """A Hugging Face folder with bf16 weights (about 1 GB) and a byte-level tokenizer, made once under `cache`."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    path = cache / "qwen2-0.5b-shape"
    if (path / "model.safetensors").exists():
        return path
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, eos_token_id=[151643, 151645], bos_token_id=151643)).to(torch.bfloat16)
    model.save_pretrained(path)
    tokenizer(SHAPE["vocab_size"], eos_token="<151643>").save_pretrained(path)
    return path


def tokenizer(vocab_size: int, *, eos_token: str) -> Any:
    """Bytes, and "<256>" and so on. Every id has a token, so that no id is masked and both sides do the same work."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(alphabet)} | {f"<{i}>": i for i in range(len(alphabet), vocab_size)}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=eos_token)
