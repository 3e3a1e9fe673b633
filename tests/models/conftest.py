"""Real tokenizers, built once a run from the data beside the project."""

import gzip
import json
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"
VECTORS = SHARED / "tokenizers" / "vectors"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared/data with real tokenizers and models is not here")
    return SHARED


@pytest.fixture(scope="session")
def folder_of(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`folder_of(name)`: a folder with a real tokenizer: qwen2, gpt2, llama (SentencePiece), stories (SentencePiece, 512 ids)."""
    from ramify.models.convert_llama2c import bpe_from_scores, convert

    @cache
    def made(name: str) -> Path:
        place = tmp_path_factory.mktemp(name)
        if name == "qwen2":
            packed = shared / "tokenizers" / "qwen2" / "qwen2.tokenizer.json.gz"
            (place / "tokenizer.json").write_bytes(gzip.decompress(packed.read_bytes()))
            said = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
            (place / "tokenizer_config.json").write_text(json.dumps(said))
            (place / "generation_config.json").write_text(json.dumps({"eos_token_id": [151645, 151643]}))
        elif name == "gpt2":
            data = shared / "tokenizers" / "gpt2"
            (place / "vocab.json").write_bytes((data / "encoder.json").read_bytes())
            (place / "merges.txt").write_bytes((data / "vocab.bpe").read_bytes())
            (place / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
        elif name == "llama":
            about = read_gguf(VECTORS / "ggml-vocab-llama-spm.gguf")
            pieces = list(zip(about["tokenizer.ggml.tokens"], about["tokenizer.ggml.scores"], strict=True))
            (place / "tokenizer.json").write_text(json.dumps(bpe_from_scores(pieces)))
            said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
            (place / "tokenizer_config.json").write_text(json.dumps(said))
        else:
            data = shared / "models" / "stories260K"
            convert(data / "stories260K.bin", data / "tok512.bin", place)
        return place

    return made


@pytest.fixture(scope="session")
def tokenizer_of(folder_of: Callable[[str], Path]) -> Callable[[str], Any]:
    """`tokenizer_of(name)`: the same, loaded; qwen2 for logits 151,936 wide."""
    from ramify.models.tokenizer import Tokenizer

    @cache
    def loaded(name: str) -> Tokenizer:
        return Tokenizer.from_folder(folder_of(name), vocab_size=151_936 if name == "qwen2" else None)

    return loaded


def read_gguf(file: Path) -> dict[str, Any]:
    """The metadata of a GGUF file, version 2 or later."""
    data = file.read_bytes()
    magic, _, _, count = struct.unpack_from("<4sIQQ", data)
    assert magic == b"GGUF"
    at = struct.calcsize("<4sIQQ")
    numbers = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def number(form: str) -> Any:
        nonlocal at
        (value,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return value

    def text() -> str:
        nonlocal at
        size = number("Q")
        at += size
        return data[at - size : at].decode()

    def value(kind: int) -> Any:
        if kind == 8:
            return text()
        if kind == 9:
            inner, size = number("I"), number("Q")
            return [value(inner) for _ in range(size)]
        return number(numbers[kind])

    found = {}
    for _ in range(count):
        key = text()
        found[key] = value(number("I"))
    return found
