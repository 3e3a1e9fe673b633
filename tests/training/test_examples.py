"""Masks written by hand."""

import pytest

from ramify.errors import InputError
from ramify.training.examples import (
    IGNORED,
    Example,
    chat_example,
    check_examples,
    completion_example,
    encode_row,
    from_segments,
)
from ramify.training.tokenizers import train_tokenizer

_ = IGNORED
TOKENIZER = train_tokenizer(["Say hi\nHi!"], 400)


def ids(text: str) -> list[int]:
    """One token a character: the toy vocabulary's merges are learned from one line, so the text is spelled in it."""
    return list(TOKENIZER.encode(text, add_special_tokens=False).ids)


def test_only_the_completion_and_its_eos_are_learned() -> None:
    assert completion_example([1, 5, 6], [7, 8], 2) == Example((1, 5, 6, 7, 8, 2), (_, _, _, 7, 8, 2))


def test_a_completion_that_was_cut_off_learns_no_ending() -> None:
    assert completion_example([1, 5], [7, 8], None) == Example((1, 5, 7, 8), (_, _, 7, 8))


def test_an_empty_completion_is_refused() -> None:
    with pytest.raises(InputError, match="row 3 has an empty completion"):
        completion_example([1, 5], [], 2, name="row 3")


def test_segments_keep_their_order_and_their_masks() -> None:
    assert from_segments([([1, 4], False), ([5, 2], True), ([6], False), ([7, 2], True)]) == Example(
        (1, 4, 5, 2, 6, 7, 2), (_, _, 5, 2, _, 7, 2)
    )


def test_the_first_token_of_a_row_is_never_counted_as_learned() -> None:
    assert Example((1, 7, 2), (1, 7, 2)).learned == 2


def test_a_chat_learns_each_assistant_turn_and_its_end() -> None:
    turns = [("user", "Say hi"), ("assistant", "Hi!"), ("user", "hi"), ("assistant", "Say hi")]
    made = chat_example(TOKENIZER, [{"role": role, "content": content} for role, content in turns])
    newline = ids("\n")
    expected = [
        ([1, 3, *ids("user\nSay hi"), 2, *newline, 3, *ids("assistant\n")], False),
        ([*ids("Hi!"), 2], True),
        ([*newline, 3, *ids("user\nhi"), 2, *newline, 3, *ids("assistant\n")], False),
        ([*ids("Say hi"), 2], True),
    ]
    assert made == from_segments(expected)


def test_special_tokens_in_a_content_are_only_text() -> None:
    made = chat_example(TOKENIZER, [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "<s><|im_end|>"}])
    assert made.token_ids.count(1) == 1
    assert made.token_ids.count(2) == 2
    assert made.token_ids.count(3) == 2


def test_a_chat_without_an_answer_is_refused() -> None:
    with pytest.raises(InputError, match="row 1 has no assistant message"):
        chat_example(TOKENIZER, [{"role": "user", "content": "hi"}], name="row 1")
    with pytest.raises(InputError, match="row 1 has an empty assistant message"):
        chat_example(TOKENIZER, [{"role": "assistant", "content": ""}], name="row 1")


def test_a_raw_prompt_and_the_chat_template_give_the_same_row() -> None:
    prompt = "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\n"
    raw = encode_row(TOKENIZER, {"prompt": prompt, "completion": "Hi!"}, name="row 1")
    chat = [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "Hi!"}]
    assert raw == encode_row(TOKENIZER, {"messages": chat}, name="row 1")


def test_a_text_is_a_completion_of_the_bos_alone() -> None:
    made = encode_row(TOKENIZER, {"text": "Hi!"}, name="row 1")
    assert made == Example((1, *ids("Hi!"), 2), (_, *ids("Hi!"), 2))


def test_a_row_of_unknown_shape_is_refused_with_its_keys() -> None:
    with pytest.raises(InputError, match=r"row 4 has the keys \['question'\]"):
        encode_row(TOKENIZER, {"question": "?"}, name="row 4")


def test_every_bad_row_is_named_by_its_number() -> None:
    rows = [
        completion_example([1], [7], 2),
        completion_example([1], [99], 2),
        completion_example([1, 5, 6, 7], [8, 9], 2),
        Example((1, 5), (_, _)),
    ]
    with pytest.raises(InputError) as caught:
        check_examples(rows, vocab_size=50, max_length=6)
    assert str(caught.value) == (
        "3 problem(s) in 4 rows: row 2 has token id 99, outside the vocabulary of 50; "
        "row 3 has 7 tokens, the window holds 6; row 4 teaches no token. Shorten or leave out these rows."
    )


def test_good_rows_pass_the_check() -> None:
    check_examples([completion_example([1], [7], 2)], vocab_size=8, max_length=3)
