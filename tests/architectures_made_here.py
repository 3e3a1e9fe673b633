"""What config.json says of many more small models, one for each way in which an architecture can differ from a plain Llama."""

from typing import Any

_COMMON: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
}
_HEADS = {"head_dim": 16}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_GPT = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128}
_WINDOW = {"sliding_window": 16}
_LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
}
_STATE = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8}

# Different ways to attend, to place and to remember: every one has gone wrong somewhere.
DIFFERENT: dict[str, dict[str, Any]] = {
    "gpt_neo": {
        "hidden_size": 64,
        "num_layers": 4,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 2]],
        "window_size": 16,
        "max_position_embeddings": 128,
    },
    "gptj": _GPT | {"rotary_dim": 8},
    "opt": {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "ffn_dim": 96,
        "word_embed_proj_dim": 64,
        "max_position_embeddings": 128,
    },
    "mpt": {"d_model": 64, "n_heads": 4, "n_layers": 3, "max_seq_len": 128},
    "falcon": {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4},
    "gpt_bigcode": _GPT,
    "openai-gpt": _GPT,
    "phimoe": _COMMON | _WINDOW | {"num_local_experts": 4},
    "gemma3_text": _COMMON | _HEADS | _WINDOW,
    "cohere2": _COMMON | _HEADS | _WINDOW | {"logit_scale": 1.0},
    "gpt_oss": _COMMON | _HEADS | _WINDOW | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "llama4_text": _COMMON
    | _HEADS
    | {"attention_chunk_size": 16, "num_local_experts": 4, "intermediate_size_mlp": 96, "no_rope_layers": [1, 1, 1, 0]},
    "deepseek_v2": _COMMON | _EXPERTS | _LATENT,
    "qwen3_next": _COMMON
    | _EXPERTS
    | _HEADS
    | {
        "num_experts": 4,
        "shared_expert_intermediate_size": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"] * 2,
    },
    "minimax": _COMMON
    | _HEADS
    | {"num_local_experts": 4, "layer_types": ["linear_attention", "full_attention"] * 2, "block_size": 16},
    "jamba": _COMMON
    | {
        "num_experts": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
    },
    "bamba": _COMMON | _STATE | {"attn_layer_indices": [1, 3]},
    "mamba2": {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "state_size": 8,
        "num_heads": 8,
        "head_dim": 16,
        "n_groups": 1,
        "chunk_size": 8,
    },
    "recurrent_gemma": _COMMON | {"attention_window_size": 16, "lru_width": 64, "block_types": ["recurrent", "attention"]},
    "rwkv": {"hidden_size": 64, "num_hidden_layers": 3, "attention_hidden_size": 64, "context_length": 128},
    "lfm2": _COMMON | {"layer_types": ["conv", "full_attention"] * 2, "block_multiple_of": 16, "block_ff_dim": 96},
}

# Nearer relatives of models tested elsewhere.
ALIKE: dict[str, dict[str, Any]] = {
    "codegen": _GPT | {"rotary_dim": 8},
    "ctrl": _GPT | {"dff": 96},
    "xglm": {"d_model": 64, "num_layers": 3, "attention_heads": 4, "ffn_dim": 96, "max_position_embeddings": 128},
    "starcoder2": _COMMON | _WINDOW,
    "mixtral": _COMMON | _WINDOW | {"num_local_experts": 4},
    "olmo3": _COMMON | _WINDOW,
    "exaone4": _COMMON | _WINDOW | {"sliding_window_pattern": 2},
    "vaultgemma": _COMMON | _HEADS | _WINDOW,
    "ministral": _COMMON | _HEADS | _WINDOW,
    "smollm3": _COMMON | {"no_rope_layers": [1, 0, 1, 0]},
    "qwen3_moe": _COMMON | _EXPERTS | _HEADS | {"num_experts": 4},
    "qwen2_moe": _COMMON | _EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 32},
    "olmoe": _COMMON | {"num_experts": 4, "num_experts_per_tok": 2},
    "flex_olmo": _COMMON | {"num_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": _COMMON | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "jetmoe": _COMMON | {"num_local_experts": 4, "kv_channels": 16, "num_key_value_heads": 4},
    "falcon_h1": _COMMON
    | {
        "mamba_d_ssm": 64,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
    },
    "diffllama": _COMMON,
    "doge": _COMMON,
    "gemma": _COMMON | _HEADS,
    "glm": _COMMON | _HEADS,
    "glm4": _COMMON | _HEADS,
    "seed_oss": _COMMON | _HEADS,
    "helium": _COMMON | _HEADS,
    "hunyuan_v1_dense": _COMMON | _HEADS,
    "cohere": _COMMON | {"logit_scale": 1.0},
} | dict.fromkeys(
    [
        "apertus",
        "arcee",
        "biogpt",
        "bitnet",
        "ernie4_5",
        "granite",
        "nanochat",
        "nemotron",
        "olmo",
        "persimmon",
        "phi",
        "stablelm",
    ],
    _COMMON,
)
