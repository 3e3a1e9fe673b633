"""A tokenizer as GGUF's metadata: for other programs as a vocabulary in their own terms, for ours as the tokenizer itself."""

import json
from collections.abc import Mapping
from typing import Any

from ramify.models.gguf_tokenizer import EOS_KEY, HUGGING_FACE_KEY, SPECIAL_KEY
from ramify.models.tokenizer import SPACE, Tokenizer

__all__ = ["write_vocabulary"]

# How published byte-level tokenizers cut texts into words, and llama.cpp's names of these ways.
_QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_WAYS = {_QWEN2: "qwen2", _LLAMA3: "llama-bpe"}


NO_MERGE = f"{SPACE} {SPACE}"
"""llama.cpp wants a list of merges, and GGUF has no empty one: characters that no byte-level text has."""


def write_vocabulary(gguf: Any, writer: Any, codec: Tokenizer) -> str | None:
    """Write tokens, special ids, chat template and the tokenizer itself.

    Returns llama.cpp's name for the way it splits texts, or None.
    """
    state: dict[str, Any] = json.loads(codec.huggingface.backend_tokenizer.to_str())
    way = _bytes(gguf, writer, codec, state) if codec.family == "byte-level" else _pieces(gguf, writer, codec, state)
    for name, token_id in (
        ("eos", next(iter(codec.eos_token_ids), None)),
        ("bos", codec.bos_token_id),
        ("pad", codec.pad_token_id),
    ):
        if token_id is not None:
            getattr(writer, f"add_{name}_token_id")(token_id)
    begun = codec.encode("a", special=True)
    writer.add_add_bos_token(codec.bos_token_id is not None and begun[:1] == [codec.bos_token_id])
    writer.add_add_eos_token(begun[-1] in codec.eos_token_ids)
    writer.add_string(EOS_KEY, ",".join(map(str, codec.eos_token_ids)))
    writer.add_string(SPECIAL_KEY, json.dumps(codec.special_tokens, ensure_ascii=False))
    writer.add_string(HUGGING_FACE_KEY, json.dumps(state, ensure_ascii=False))
    _template(writer, codec.chat_template)
    return way


def _template(writer: Any, template: str | Mapping[str, str] | None) -> None:
    if isinstance(template, str):
        writer.add_chat_template(template)
        return
    for name, text in (template or {}).items():
        writer.add_string("tokenizer.chat_template" + ("" if name == "default" else f".{name}"), text)


def _bytes(gguf: Any, writer: Any, codec: Tokenizer, state: Mapping[str, Any]) -> str | None:
    """Byte-level BPE: the words as they are, and their merges."""
    way = _way(state["pre_tokenizer"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(way or "default")
    words = _words(codec)
    writer.add_token_list([words.get(i, f"[PAD{i}]") for i in range(codec.vocab_size)])
    writer.add_token_types([int(_kind(gguf, codec, i, words.get(i))) for i in range(codec.vocab_size)])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["model"].get("merges") or ()]
    writer.add_token_merges(merges or [NO_MERGE])
    return way


def _pieces(gguf: Any, writer: Any, codec: Tokenizer, state: Mapping[str, Any]) -> str | None:
    """Everything else as SentencePiece's pieces: `▁` for a space, <0xNN> for a byte, the lower id first."""
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    words = _words(codec)
    spelt = {i: word if i in codec.special_ids else word.replace(" ", SPACE) for i, word in words.items()}
    writer.add_token_list([spelt.get(i, f"[PAD{i}]") for i in range(codec.vocab_size)])
    writer.add_token_scores([-float(i) for i in range(codec.vocab_size)])
    writer.add_token_types([int(_kind(gguf, codec, i, words.get(i))) for i in range(codec.vocab_size)])
    writer.add_add_space_prefix(codec.join(codec.encode_rendered("a")).startswith(b" "))
    return "llama" if codec.family == "sentencepiece" and state["model"]["type"] == "BPE" else None


def _words(codec: Tokenizer) -> dict[int, str]:
    return {i: word for word, i in codec.huggingface.backend_tokenizer.get_vocab(with_added_tokens=True).items()}


def _kind(gguf: Any, codec: Tokenizer, token_id: int, word: str | None) -> Any:
    kinds = gguf.TokenType
    if word is None or not codec.exists[token_id]:
        return kinds.UNUSED
    if word == codec.special_tokens.get("unk_token") and token_id not in codec.eos_token_ids:
        return kinds.UNKNOWN
    if token_id in codec.special_ids:
        return kinds.CONTROL
    if word in codec.added_tokens:
        return kinds.USER_DEFINED
    if codec.family != "byte-level" and len(word) == 6 and word.startswith("<0x"):
        return kinds.BYTE
    return kinds.NORMAL


def _way(pre_tokenizer: Mapping[str, Any] | None) -> str | None:
    if pre_tokenizer is None:
        return None
    if pre_tokenizer["type"] == "ByteLevel":
        return "gpt-2" if pre_tokenizer.get("use_regex", True) and not pre_tokenizer.get("add_prefix_space") else None
    parts = pre_tokenizer.get("pretokenizers") or []
    if [part["type"] for part in parts] != ["Split", "ByteLevel"]:
        return None
    return _WAYS.get(str(parts[0]["pattern"].get("Regex")))
