"""Rows in JSON Lines files."""

from pathlib import Path

import pytest

from ramify.errors import InputError
from ramify.training.examples import IGNORED, Example
from ramify.training.rows import read_documents, read_examples, read_rows, texts_of
from ramify.training.tokenizers import train_tokenizer

TOKENIZER = train_tokenizer(["ab"], 400)
A, B = (TOKENIZER.encode(letter, add_special_tokens=False).ids[0] for letter in "ab")
AB = TOKENIZER.encode("ab", add_special_tokens=False).ids


def test_a_text_is_learned_whole_and_cut_into_windows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a\\nb"}\n\n{"text": "a"}\n')
    newline = TOKENIZER.encode("\n", add_special_tokens=False).ids[0]
    windows = [(1, A, newline), (B, 2), (1, A, 2)]
    assert read_documents(path, TOKENIZER, max_length=3) == [Example(window, window) for window in windows]


def test_a_conversation_is_learned_whole_in_pretraining_and_by_its_answer_in_tuning(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "ab"}]}\n')
    [document], [pair] = read_documents(path, TOKENIZER, max_length=99), read_examples(path, TOKENIZER)
    assert document.token_ids == document.labels == pair.token_ids
    ending = (*AB, 2)
    assert pair.labels == (*[IGNORED] * (len(pair.token_ids) - len(ending)), *ending)


def test_the_texts_of_a_row_are_its_contents() -> None:
    assert list(texts_of({"text": "a"})) == ["a"]
    assert list(texts_of({"prompt": "a", "completion": "b"})) == ["a", "b"]
    assert list(texts_of({"messages": [{"role": "user", "content": "hi"}]})) == ["user", "hi"]


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text"\n')
    with pytest.raises(InputError, match=r"rows.jsonl, line 2 is not JSON"):
        read_rows(path)
    path.write_text("[1]\n")
    with pytest.raises(InputError, match=r"line 1 is list; each line must be a JSON object"):
        read_rows(path)
    with pytest.raises(InputError, match="does not exist"):
        read_rows(tmp_path / "none.jsonl")
