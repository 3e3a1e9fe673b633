"""Small random models of many architectures, made on this machine in Hugging Face format: the tests' raw material.

A folder holds `model.safetensors`, `config.json`, `generation_config.json` and a byte-level BPE tokenizer of 300 ids
trained on a few lines of text. Every weight is a formula of its name and position (`formula`), so the model is the same
wherever it is made, and transformers 4.49 and 5 read the same one. Distributions are neither flat nor certain (logits
have a standard deviation of two or three), and EOS is likely enough that sequences end within a few dozen tokens.

Folders are kept in `.cache/models_made_here/` under a name that changes with this file, and are put in place whole.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import architectures_made_here

TEXT = (
    "Once upon a time there was a little hedgehog named Sonic. He lived in a warm burrow under the old oak tree.",
    "One day Sonic wanted to see the sea. He walked and walked until he met a grey cat who was very hungry.",
    "“Hello,” said the cat, “where are you going?” “To the sea!” said Sonic. They went there together.",
    '{"action": "transfer", "amount": 100, "currency": "RUB", "to": "Mike"}',
    "Naïve café 😀 — привет, мир! 你好世界. The end.",
)
SPECIALS = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
PAD, BOS, EOS, IM_START, IM_END = range(5)
TOKENIZER_SIZE = 300
# Qwen2's published pre-tokenization.
QWEN2_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 256}
_GATED = _SMALL | {"intermediate_size": 96, "num_key_value_heads": 2, "hidden_act": "silu", "rms_norm_eps": 1e-6}
_ROPE = {"rope_theta": 10000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}

# What config.json says, by name. Where nothing else is written, `vocab_size` is TOKENIZER_SIZE and embeddings are untied.
CONFIGS: dict[str, dict[str, Any]] = {
    # A window that holds a prompt of several pieces.
    "llama": _GATED | _ROPE | {"model_type": "llama", "max_position_embeddings": 1280},
    # 20 ids more than the tokenizer has, and two EOS ids, as Qwen2's own checkpoints.
    "qwen2": _GATED | _ROPE | {"model_type": "qwen2", "vocab_size": 320, "eos_token_id": [IM_END, EOS]},
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 64,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 256,
        "tie_word_embeddings": True,
        "bos_token_id": EOS,
    },
    "mistral": _GATED | _ROPE | {"model_type": "mistral", "sliding_window": 8, "max_position_embeddings": 1280},
    "gemma2": _GATED
    | _ROPE
    | {
        "model_type": "gemma2",
        "head_dim": 16,
        "sliding_window": 8,
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 8.0,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    },
    "gpt_neox": _SMALL | _ROPE | {"model_type": "gpt_neox", "intermediate_size": 128, "rotary_pct": 0.5},
    "phi3": _GATED | _ROPE | {"model_type": "phi3", "original_max_position_embeddings": 256},
    "qwen3": _GATED | _ROPE | {"model_type": "qwen3", "head_dim": 16},
    "olmo2": _GATED | _ROPE | {"model_type": "olmo2"},
    "bloom": {"model_type": "bloom", "hidden_size": 64, "n_layer": 3, "n_head": 4, "tie_word_embeddings": True},
    # No attention at all: nothing to keep per token, only a state.
    "mamba": {
        "model_type": "mamba",
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "state_size": 8,
        "conv_kernel": 4,
        "expand": 2,
        "time_step_rank": 4,
    },
}
# Those that every equality is tried on, and the others, which show that no architecture is special.
MAIN = ("llama", "qwen2", "gpt2", "mistral")
OTHERS = tuple(name for name in CONFIGS if name not in MAIN)
for _name, _said in (architectures_made_here.DIFFERENT | architectures_made_here.ALIKE).items():
    CONFIGS[_name] = _said | {"model_type": _name}
# Their norms multiply by one plus the weight.
ONE_PLUS = ("gemma", "gemma2", "gemma3_text", "vaultgemma", "recurrent_gemma", "qwen3_next", "nemotron")
EMBEDDINGS = ("embed_tokens", "embed_in", "wte", "word_embeddings", "embeddings", "tokens_embed", "w")
# How far out the rows of the endings are drawn, where it is not 2.6: two EOS ids need less, tied embeddings more.
SPREAD = {"qwen2": 1.7, "gpt2": 4.0, "mistral": 2.8, "gemma2": 5.0, "bloom": 5.0}


def formula(name: str, shape: tuple[int, ...], std: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Uniform numbers of mean 0 and standard deviation `std`, from the name alone.

    They are computed from Philox' raw bits, which are the same in every version of numpy.
    """
    bits = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(math.prod(shape))
    uniform = (bits >> np.uint64(40)).astype(np.float64) / 2**24 + 2.0**-25
    return ((uniform - 0.5) * (std * math.sqrt(12))).astype(np.float32).reshape(shape)


@cache
def folder(name: str) -> Path:
    """The folder of the model `name` (a key of CONFIGS), made at the first call on this machine."""
    sources = (Path(__file__), Path(architectures_made_here.__file__))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    place = Path(__file__).parents[1] / ".cache" / "models_made_here" / digest / name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{name}-"))
        try:
            _write(name, made)
            made.chmod(0o755)
            os.rename(made, place)
        except OSError:
            # Another process was quicker; its folder has the same bytes.
            if not place.exists():
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return place


def _write(name: str, place: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    given = {"vocab_size": TOKENIZER_SIZE, "tie_word_embeddings": False} | ids | CONFIGS[name]
    config = AutoConfig.for_model(**given)
    with torch.random.fork_rng(), torch.no_grad():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        # Buffers are not weights: MiniMax' causal mask is one.
        for key, tensor in model.named_parameters(remove_duplicate=False):
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(_weight(name, key, tuple(tensor.shape))))
        model.save_pretrained(place)
    # Both spellings of the two settings that transformers 5 renamed, so that 4.49 reads the same model.
    said = json.loads((place / "config.json").read_text()) | given
    both = said | {"dtype": "float32", "torch_dtype": "float32", "architectures": [type(model).__name__]}
    (place / "config.json").write_text(json.dumps(both, indent=1, sort_keys=True))
    asked = {key: given[key] for key in ids}
    (place / "generation_config.json").write_text(json.dumps(asked, indent=1, sort_keys=True))
    _write_tokenizer(name, place)


def _weight(model: str, key: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Norms near their neutral value, matrices that keep a vector's size, embeddings that give logits their spread."""
    parts = key.split(".")
    if parts[-1] in ("A_log", "D") or key.endswith("dt_proj.bias"):
        return formula(f"{model}/{key}", shape, 0.3) + np.float32(0.5)
    if parts[-1] in ("time_decay", "time_first", "recurrent_param"):
        return formula(f"{model}/{key}", shape, 0.5) - np.float32(1.0)
    if any("norm" in part or part.startswith("ln_") for part in parts):
        neutral = 0.0 if parts[-1] == "bias" or model in ONE_PLUS else 1.0
        return formula(f"{model}/{key}", shape, 0.1) + np.float32(neutral)
    if len(shape) == 1:
        return formula(f"{model}/{key}", shape, 0.1)
    head = parts[0] in ("lm_head", "embed_out", "output_projection", "head")
    if head or any(part in EMBEDDINGS for part in parts):
        values = formula(f"{model}/{key}", shape, 0.3)
        # Endings are drawn further out, so that one is often the likeliest token; so are ids that no tokenizer knows:
        # a decoder that lets them through is found out at once.
        endings = [EOS, IM_END] if model == "qwen2" else [EOS]
        values[endings] *= np.float32(SPREAD.get(model, 2.6))
        values[TOKENIZER_SIZE:] *= np.float32(2.5)
        return values
    if parts[-2] == "wpe":
        return formula(f"{model}/{key}", shape, 0.3)
    # Conv1D of GPT-2 has its inputs first, a stack of experts its matrices last.
    fan_in = shape[0] if parts[-2] in ("c_attn", "c_proj", "c_fc") else shape[-1] if "experts" in parts else math.prod(shape[1:])
    return formula(f"{model}/{key}", shape, 1.6 / math.sqrt(fan_in))


def _write_tokenizer(name: str, place: Path) -> None:
    """A byte-level BPE of TOKENIZER_SIZE ids, the SPECIALS first; `llama` puts `<s>` before a raw prompt."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    specials = [*SPECIALS[:EOS], "<|endoftext|>", *SPECIALS[IM_START:]] if name == "qwen2" else list(SPECIALS)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "qwen2":
        # transformers 5 builds these two parts of a Qwen2 tokenizer itself; 4.49 believes the file.
        words = pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENIZER_SIZE,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    if name == "llama":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
        )
    tokenizer.save(str(place / "tokenizer.json"))
    asked = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "<|im_end|>" if name == "qwen2" else "</s>",
        "unk_token": "<|endoftext|>" if name == "qwen2" else None,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "model_max_length": 256,
        "chat_template": "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    }
    (place / "tokenizer_config.json").write_text(json.dumps(asked, indent=1, sort_keys=True))


if __name__ == "__main__":
    # The folder that holds all of the MAIN models, for tests/oracles/make_transformers_449.py.
    print({folder(name).parent for name in MAIN}.pop())
