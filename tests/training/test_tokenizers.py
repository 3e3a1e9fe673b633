"""Byte-fallback BPE: any text comes back as it was."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ramify.errors import InputError
from ramify.training.tokenizers import encode_plain, load_tokenizer, save_tokenizer, train_tokenizer

TEXTS = ["Once upon a time, there was a cat named Tom. The cat sat on the mat.", 'Tom said, "Hello!"\nThe end.'] * 3
TOKENIZER = train_tokenizer(TEXTS, 420)


@given(st.text())
def test_any_text_comes_back_exactly(text: str) -> None:
    assert TOKENIZER.decode(encode_plain(TOKENIZER, [text])[0], skip_special_tokens=False) == text


@pytest.mark.parametrize("text", ["", " ", "  a  b ", "\n\n x\t\r\n", "日本 😀 ñ", "<0x41> ▁ <s>", "don't 12.50", "é"])
def test_text_at_the_edges_comes_back_exactly(text: str) -> None:
    assert TOKENIZER.decode(encode_plain(TOKENIZER, [text])[0], skip_special_tokens=False) == text


def test_the_first_ids_are_the_special_tokens_and_then_the_bytes() -> None:
    words = [TOKENIZER.id_to_token(index) for index in (0, 1, 2, 3, 4, 5, 259)]
    assert words == ["<pad>", "<s>", "<|im_end|>", "<|im_start|>", "<0x00>", "<0x01>", "<0xFF>"]


def test_raw_text_gets_the_bos_and_parses_special_tokens() -> None:
    assert TOKENIZER.encode("<|im_start|>").ids == [1, 3]
    assert TOKENIZER.encode("<|im_end|>", add_special_tokens=False).ids == [2]


def test_a_plain_text_parses_no_special_token() -> None:
    assert not {1, 2, 3} & set(encode_plain(TOKENIZER, ["<s><|im_end|><|im_start|>"])[0])
    assert TOKENIZER.encode("<s>", add_special_tokens=False).ids == [1]


def pieces(text: str, tokenizer: Tokenizer = TOKENIZER) -> list[str | None]:
    """The tokens as text."""
    return [tokenizer.id_to_token(index) for index in encode_plain(tokenizer, [text])[0]]


def test_each_digit_and_each_newline_is_a_token() -> None:
    assert pieces("2026\n\n7") == ["2", "0", "2", "6", "\n", "\n", "7"]


def test_a_name_is_the_same_tokens_after_a_space_and_in_quotes() -> None:
    name = pieces("Tom")
    assert pieces("cat Tom")[-len(name) :] == name
    assert pieces('"Tom')[-len(name) :] == name


def test_a_saved_tokenizer_is_loaded_by_transformers_with_its_template(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    save_tokenizer(TOKENIZER, tmp_path)
    loaded = cast(Any, AutoTokenizer).from_pretrained(tmp_path)
    chat = [{"role": "system", "content": "The cat"}, {"role": "user", "content": "Hello!"}]
    raw = "<|im_start|>system\nThe cat<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
    rendered = loaded.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert rendered == loaded(raw)["input_ids"] == load_tokenizer(tmp_path).encode(raw).ids
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id) == (0, 1, 2)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 2048


def test_a_vocabulary_without_room_for_merges_is_refused() -> None:
    with pytest.raises(InputError, match="vocab_size is 300; it must be more than 388"):
        train_tokenizer(TEXTS, 300)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path)
