"""llama2.c checkpoints as Hugging Face folders.

A llama2.c file (the legacy layout of `export.py --version 0`) is a header of seven int32 and float32 matrices in a
fixed order. Its tokenizer file has a score and the bytes of each piece; texts are split by merging, again and again,
the two neighbours whose union has the highest score. Sources: llama2.c's run.c and export.py.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ramify.errors import InputError

__all__ = ["bpe_from_scores", "convert"]

UNK, BOS, EOS = 0, 1, 2
SPACE = "\u2581"
HEADER_BYTES = 7 * 4

Matrix = npt.NDArray[np.float32]


def convert(
    model_bin: str | Path, tokenizer_bin: str | Path, out_dir: str | Path, *, rope_theta: float = 10000.0, norm_eps: float = 1e-5
) -> Path:
    """Write config.json, model.safetensors (float32), tokenizer.json and generation_config.json into `out_dir`, which
    is made.

    rope_theta, norm_eps: what the file does not say; the defaults are llama2.c's own. Returns the folder.
    Raises InputError for files that are not what they should be, and for a folder that already holds a model.
    """
    out = Path(out_dir)
    if (out / "config.json").exists():
        raise InputError(f"{str(out)!r} holds a model already; choose another folder")
    header, weights = _read_model(Path(model_bin))
    pieces = _read_tokenizer(Path(tokenizer_bin), header["vocab_size"])
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **header,
        "hidden_act": "silu",
        "rms_norm_eps": norm_eps,
        "rope_theta": rope_theta,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "torch_dtype": "float32",
    }
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    _write_json(out / "tokenizer.json", bpe_from_scores(pieces))
    _write_json(out / "tokenizer_config.json", _tokenizer_config(header["max_position_embeddings"]))
    _write_json(out / "generation_config.json", {"bos_token_id": BOS, "eos_token_id": EOS})
    # The last file makes the folder a model.
    _write_json(out / "config.json", config)
    return out


# Weights.


def _read_model(file: Path) -> tuple[dict[str, Any], dict[str, Matrix]]:
    data = _read(file)
    if len(data) < HEADER_BYTES:
        raise InputError(f"{str(file)!r} is not a llama2.c checkpoint: {len(data)} bytes are less than its header")
    width, ffn, layers, heads, kv_heads, vocabulary, window = struct.unpack_from("<7i", data)
    tied, vocabulary = vocabulary > 0, abs(vocabulary)  # A negative vocabulary says that the output matrix follows.
    if min(width, ffn, layers, heads, kv_heads, vocabulary, window) <= 0 or width % heads or heads % kv_heads:
        raise InputError(
            f"{str(file)!r} is not a llama2.c checkpoint of the legacy layout: its header says dim {width}, hidden "
            f"{ffn}, "
            f"layers {layers}, heads {heads}, kv_heads {kv_heads}, vocabulary {vocabulary}, window {window}"
        )
    head = width // heads
    kv_width = kv_heads * head
    stacks = {
        "input_layernorm": (width,),
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (kv_width, width),
        "self_attn.v_proj": (kv_width, width),
        "self_attn.o_proj": (width, width),
        "post_attention_layernorm": (width,),
        "mlp.gate_proj": (ffn, width),
        "mlp.down_proj": (width, ffn),
        "mlp.up_proj": (ffn, width),
    }
    frequencies = 2 * window * (head // 2)
    floats = vocabulary * width + layers * sum(int(np.prod(shape)) for shape in stacks.values()) + width + frequencies
    floats += 0 if tied else vocabulary * width
    if len(data) != HEADER_BYTES + 4 * floats:
        raise InputError(
            f"{str(file)!r} has {len(data):,} bytes; its header asks for {HEADER_BYTES + 4 * floats:,}: "
            "it is cut off, or of another version than llama2.c's legacy layout"
        )
    numbers = np.frombuffer(data, dtype="<f4", offset=HEADER_BYTES)
    taken = 0

    def take(*shape: int) -> Matrix:
        nonlocal taken
        taken += int(np.prod(shape))
        return np.array(numbers[taken - int(np.prod(shape)) : taken], dtype=np.float32).reshape(shape)

    weights = {"model.embed_tokens.weight": take(vocabulary, width)}
    for name, shape in stacks.items():
        for layer, matrix in enumerate(take(layers, *shape)):
            if name.endswith(("q_proj", "k_proj")):
                matrix = _halves(matrix, head)
            weights[f"model.layers.{layer}.{name}.weight"] = np.ascontiguousarray(matrix)
    weights["model.norm.weight"] = take(width)
    take(frequencies)  # Rotary tables, which follow from rope_theta.
    if not tied:
        weights["lm_head.weight"] = take(vocabulary, width)
    header = {
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": window,
        "tie_word_embeddings": tied,
    }
    return header, weights


def _halves(matrix: Matrix, head: int) -> Matrix:
    """Reorder each head's rows: llama2.c rotates neighbours (2i, 2i + 1), transformers halves (i, i + head/2)."""
    rows, width = matrix.shape
    return matrix.reshape(rows // head, head // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


# Tokenizer.


def _read_tokenizer(file: Path, vocabulary: int) -> list[tuple[str, float]]:
    data = _read(file)
    pieces: list[tuple[str, float]] = []
    at = 4  # After the length of the longest piece.
    try:
        while at < len(data):
            score, length = struct.unpack_from("<fi", data, at)
            at += 8
            if not 0 <= length <= len(data) - at:
                raise struct.error
            pieces.append((data[at : at + length].decode(), score))
            at += length
    except (struct.error, UnicodeDecodeError) as error:
        raise InputError(f"{str(file)!r} is not a llama2.c tokenizer: piece {len(pieces)} is broken") from error
    if len(pieces) != vocabulary:
        raise InputError(f"{str(file)!r} has {len(pieces)} pieces, and the model {vocabulary}: they do not belong together")
    return [(text.replace(" ", SPACE), score) for text, score in pieces]


def bpe_from_scores(pieces: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """A SentencePiece BPE vocabulary, (piece, score) in the order of ids, as the content of a tokenizer.json.

    Pieces have `▁` for a space; ids 0, 1, 2 are <unk>, <s>, </s>, whatever the pieces say. A text gets a space before
    it, BOS before that, and bytes where a character has no piece. Merges follow descending scores; where several splits
    of one piece compete for the same characters (only in periodic strings, such as a row of spaces), the first in order
    of their parts' scores wins.
    """
    words = ["<unk>", "<s>", "</s>", *(text for text, _ in pieces[3:])]
    vocabulary = {word: i for i, word in enumerate(words)}
    if len(vocabulary) != len(words):
        raise InputError("the vocabulary has the same piece twice")
    scores = {word: score for word, (_, score) in zip(words, pieces, strict=True)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(i, words[i]) for i in (UNK, BOS, EOS)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": list(_merges(scores)),
        },
    }


def _merges(scores: Mapping[str, float]) -> Iterator[list[str]]:
    """Every pair of pieces whose union is a piece, likeliest union first."""
    order = {word: i for i, word in enumerate(scores)}
    byte_pieces = {f"<0x{byte:02X}>" for byte in range(256)}
    usable = {word for word in list(scores)[3:] if word not in byte_pieces}
    splits = [
        (-scores[word], order[word], order[word[:at]], order[word[at:]], word[:at], word[at:])
        for word in usable
        for at in range(1, len(word))
        if word[:at] in usable and word[at:] in usable
    ]
    for *_, left, right in sorted(splits):
        yield [left, right]


def _special(token_id: int, text: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token_id, "content": text, **flags}


def _tokenizer_config(window: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": window,
        "clean_up_tokenization_spaces": False,
    }


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror}") from error


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
