"""The model that ships inside: its size, its ids, its exact tokenizer, and its template."""

import importlib.resources
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.models.chat import ChatTemplate
from ramify.models.tokenizer import Tokenizer

FOLDER = Path(str(importlib.resources.files("ramify.models") / "embedded"))


@cache
def tiny() -> Tokenizer:
    return Tokenizer.from_folder(FOLDER / "tiny")


HEDGEHOG = (
    "<|im_start|>system\nYou are a storyteller. Generate a story based on user message.<|im_end|>\n"
    "<|im_start|>user\nGenerate me a short story about a tiny hedgehog named Sonic.<|im_end|>\n<|im_start|>assistant\n"
)
MESSAGES = [
    {"role": "system", "content": "You are a storyteller. Generate a story based on user message."},
    {"role": "user", "content": "Generate me a short story about a tiny hedgehog named Sonic."},
]


def test_it_takes_at_most_16_mb_of_the_package() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= 16_000_000


def test_its_ids_are_pad_0_bos_1_eos_2(load: Callable[[str], Any]) -> None:
    info = load("tiny").info
    assert (info.pad_token_id, info.bos_token_id, info.eos_token_ids) == (0, 1, (2,))
    assert info.context_window == 2048
    assert tiny().token_text(2) == "<|im_end|>"


def test_the_report_s_raw_prompt_is_what_the_template_gives() -> None:
    ids = ChatTemplate(tiny()).render(MESSAGES)
    assert ids == tiny().encode(HEDGEHOG, special=True)
    assert ids[0] == 1


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_every_text_is_the_joined_bytes_of_its_tokens(text: str) -> None:
    assert tiny().exact
    assert tiny().join(tiny().encode(text)) == text.encode()


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_has_a_token(byte: int) -> None:
    assert bytes([byte]) in tiny().token_bytes
