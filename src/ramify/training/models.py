"""The model that is trained: made new, loaded in float32, or with an adapter laid over it; and saved as others load it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ramify.errors import InputError

__all__ = ["LoraConfig", "add_adapter", "load_model", "new_model", "save_model", "without_dropout"]


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """A PEFT LoRA adapter. Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"
    """Names of modules, or all-linear: every linear layer but the output projection."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"rank is {self.rank}; it must be at least 1")
        if not self.alpha > 0:
            raise InputError(f"alpha is {self.alpha}; it must be more than 0")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; it must be from 0 to below 1")


def new_model(
    *,
    vocab_size: int,
    hidden_size: int,
    layers: int,
    heads: int,
    kv_heads: int,
    intermediate_size: int,
    seed: int = 0,
    context_window: int = 2048,
) -> Any:
    """A Llama with random weights and tied embeddings, its special ids those of `tokenizers.SPECIAL_TOKENS`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    if hidden_size % heads or heads % kv_heads:
        raise InputError(f"hidden_size {hidden_size}, heads {heads}, kv_heads {kv_heads}: each must be a multiple of the next")
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": vocab_size, "hidden_size": hidden_size, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": intermediate_size, "max_position_embeddings": context_window,
        "tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**settings))


def load_model(folder: Path) -> Any:
    """A causal LM in float32, ready to be trained. `folder` may hold bfloat16 weights or a checkpoint of a run."""
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no model: there is no config.json")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)


def without_dropout(model: Any) -> None:
    """Take the dropout out of a model that has some (GPT-2, say)."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def add_adapter(model: Any, lora: LoraConfig, *, seed: int = 0) -> Any:
    """The model with a new adapter, which alone is trained and at first changes nothing. Raises InputError for odd targets."""
    import peft

    torch.manual_seed(seed)
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, task_type="CAUSAL_LM"
    )
    try:
        made = peft.get_peft_model(model, config)
    except ValueError as error:
        raise InputError(f"the adapter's targets {lora.targets!r} cannot be used: {error}") from None
    head = made.get_base_model().get_output_embeddings()
    if any(p.requires_grad for p in head.parameters()) or "lora" in type(head).__module__:
        raise InputError("an adapter over the output projection is not trained here; leave it out of the targets")
    return made


def save_model(model: Any, folder: Path, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """The weights in `dtype` and the configuration, as a Hugging Face folder. The model itself is left as it is."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    named = dict(model.named_parameters())  # tied weights come once
    save_file(
        {name: p.detach().to(dtype).contiguous() for name, p in named.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    settings = model.config.to_dict() | {"dtype": str(dtype).removeprefix("torch.")}
    settings.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    ids = {key: settings.get(f"{key}_token_id") for key in ("bos", "eos", "pad")}
    generation = {f"{key}_token_id": value for key, value in ids.items()}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
