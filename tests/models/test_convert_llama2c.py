"""llama2.c checkpoints, converted: the same tokens, the same continuation."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.errors import InputError
from ramify.models.convert_llama2c import convert
from ramify.models.tokenizer import Tokenizer

Source = tuple[Path, Path]


@pytest.fixture
def source(shared: Path) -> Source:
    folder = shared / "models" / "stories260K"
    return folder / "stories260K.bin", folder / "tok512.bin"


def test_the_greedy_continuation_is_the_reference(shared: Path, folder_of: Callable[[str], Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    reference = json.loads((shared / "models" / "stories260K" / "greedy_reference.json").read_text())
    expected = reference["greedy_from_BOS_ids"]
    model = AutoModelForCausalLM.from_pretrained(folder_of("stories"), local_files_only=True)
    tokenizer = Tokenizer.from_folder(folder_of("stories"), vocab_size=512)

    ids = model.generate(torch.tensor([[1]]), max_new_tokens=len(expected) - 1, do_sample=False)[0].tolist()

    assert ids == expected
    assert tokenizer.decode(ids) == reference["text"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids, tokenizer.size) == (1, (2,), 512)


def test_the_folder_is_a_whole_model(folder_of: Callable[[str], Path]) -> None:
    config = json.loads((folder_of("stories") / "config.json").read_text())
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["tie_word_embeddings"]) == (8, 4, True)
    assert sorted(file.name for file in folder_of("stories").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def pieces_of(file: Path) -> tuple[list[bytes], list[float]]:
    data, at = file.read_bytes(), 4
    pieces, scores = [], []
    while at < len(data):
        score, size = struct.unpack_from("<fi", data, at)
        pieces.append(data[at + 8 : at + 8 + size])
        scores.append(score)
        at += 8 + size
    return pieces, scores


def llama2c_ids(text: str, pieces: list[bytes], scores: list[float]) -> list[int]:
    """The published procedure: a space, characters (or bytes + 3), then the best merge, again and again; leftmost at ties."""
    known = {piece: i for i, piece in enumerate(pieces)}
    ids: list[int] = []
    for character in (" " + text) if text else "":
        data = character.encode()
        ids += [known[data]] if data in known else [byte + 3 for byte in data]
    while True:
        best = (-1e10, -1, -1)
        for i in range(len(ids) - 1):
            merged = known.get(pieces[ids[i]] + pieces[ids[i + 1]])
            if merged is not None and scores[merged] > best[0]:
                best = (scores[merged], merged, i)
        if best[1] < 0:
            return [1, *ids]
        ids[best[2] : best[2] + 2] = [best[1]]


words = st.sampled_from(
    ["Once upon a time", " little", "girl", "the", " ", "  ", "\n", "she's", "Lily", ".", "x", "é", "🦔", "!"]
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(parts=st.lists(st.one_of(words, st.text("abcdeilnoty s", max_size=6)), max_size=12))
def test_texts_are_split_as_llama2c_splits_them(
    parts: list[str], shared: Path, folder_of: Callable[[str], Path], tokenizer_of: Callable[[str], Tokenizer]
) -> None:
    pieces, scores = pieces_of(shared / "models" / "stories260K" / "tok512.bin")
    text = "".join(parts)
    assert tokenizer_of("stories").encode(text, special=True) == llama2c_ids(text, pieces, scores)


def test_untied_output_weights_are_read_too(tmp_path: Path) -> None:
    """A model of width 2: one head, one layer, three pieces; its numbers are 0, 1, 2 … in the order of the file."""
    import numpy as np
    from safetensors.numpy import load_file

    width, ffn, vocabulary, window = 2, 3, 4, 5
    sizes = [vocabulary * 2, 2, 4, 4, 4, 4, 2, 6, 6, 6, 2, 5, 5, vocabulary * 2]
    numbers = np.arange(sum(sizes), dtype="<f4")
    header = struct.pack("<7i", width, ffn, 1, 1, 1, -vocabulary, window)
    (tmp_path / "model.bin").write_bytes(header + numbers.tobytes())
    words = [b"<unk>", b"\n<s>\n", b"\n</s>\n", b"a"]
    pieces = b"".join(struct.pack("<fi", 0.0, len(word)) + word for word in words)
    (tmp_path / "tok.bin").write_bytes(struct.pack("<i", 5) + pieces)

    convert(tmp_path / "model.bin", tmp_path / "tok.bin", tmp_path / "out", rope_theta=500.0)

    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights["lm_head.weight"].ravel().tolist() == numbers[-8:].tolist()
    assert weights["model.layers.0.mlp.down_proj.weight"].shape == (2, 3)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["tie_word_embeddings"], config["rope_theta"]) == (False, 500.0)


def test_interleaved_pairs_become_halves(tmp_path: Path) -> None:
    import numpy as np

    from ramify.models.convert_llama2c import _halves

    rows = np.arange(8, dtype=np.float32)[:, None]
    assert _halves(rows, 4).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_files_that_are_something_else_are_refused(source: Source, tmp_path: Path) -> None:
    model, tokenizer = source
    (tmp_path / "short.bin").write_bytes(b"short")
    (tmp_path / "cut.bin").write_bytes(model.read_bytes()[:-4])
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "few.bin").write_bytes(tokenizer.read_bytes()[:4])
    (tmp_path / "broken.bin").write_bytes(tokenizer.read_bytes()[:-1])
    for name, other, said in (
        ("short.bin", tokenizer, "5 bytes are less than its header"),
        ("cut.bin", tokenizer, "has 1,056,536 bytes; its header asks for 1,056,540"),
        ("noise.bin", tokenizer, "is not a llama2.c checkpoint of the legacy layout"),
        ("gone.bin", tokenizer, "cannot be read: No such file or directory"),
        (model, "few.bin", "has 0 pieces, and the model 512"),
        (model, "broken.bin", "is not a llama2.c tokenizer: piece 511 is broken"),
    ):
        with pytest.raises(InputError) as refusal:
            convert(tmp_path / name, tmp_path / other, tmp_path / "out")
        assert said in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_model_is_never_written_over(source: Source, tmp_path: Path) -> None:
    convert(*source, tmp_path / "out")
    with pytest.raises(InputError, match="holds a model already; choose another folder"):
        convert(*source, tmp_path / "out")
