"""Tokenizers of every family: exact bytes, exact texts, and special tokens only where they are meant."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ramify.errors import InputError, ModelNotFoundError
from ramify.models.tokenizer import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")
REAL = ("qwen2", "gpt2", "llama", "stories")
TRICKY = (
    "▁",
    "<0x41>",
    "<s>",
    "</s>",
    "<unk>",
    "<|im_end|>",
    "<|endoftext|>",
    "e\u0301",
    "ﬁ",
    " ",
    "  ",
    "\n",
    "\0",
    "🦔",
    "👩‍👩‍👧",
)
texts = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(TRICKY)), max_size=8).map("".join)


@pytest.mark.parametrize(("name", "file"), [("gpt2", "gpt-2"), ("qwen2", "qwen2"), ("llama", "llama-spm")])
def test_the_ids_are_those_of_the_published_vectors(
    name: str, file: str, shared: Path, tokenizer_of: Callable[[str], Tokenizer]
) -> None:
    stem = shared / "tokenizers" / "vectors" / f"ggml-vocab-{file}.gguf"
    cases = stem.with_name(stem.name + ".inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")[:-1]
    lines = stem.with_name(stem.name + ".out").read_text().split("\n")
    tokenizer = tokenizer_of(name)
    expected = [[int(i) for i in line.split()] for line in lines[: len(cases)]]

    got = [[i for i in tokenizer.encode(case, special=True) if i != tokenizer.bos_token_id or name != "llama"] for case in cases]

    assert len(cases) == 46
    assert got == expected


@pytest.mark.parametrize("name", REAL)
@settings(deadline=None, derandomize=True, max_examples=60)
@given(text=texts)
@example(text="".join(TRICKY))
@example(text="")
def test_joined_bytes_of_the_tokens_are_the_text(name: str, text: str, tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of(name)
    ids = tokenizer.encode(text)
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == text.encode()
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special_ids & set(ids)


def test_one_odd_character_leaves_the_rest_of_a_long_text_as_it_is(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of("llama")
    before, after = "Once upon a time there was a girl." * 200, " She was happy." * 500
    ids = tokenizer.encode(before + "▁" + after)
    assert tokenizer.decode(ids) == before + "▁" + after
    assert abs(len(ids) - len(tokenizer.encode(before)) - len(tokenizer.encode(after)) - 3) <= 8


@pytest.mark.parametrize("name", REAL)
def test_raw_prompts_are_encoded_as_the_library_does(name: str, tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of(name)
    for text in ("Once upon a time", " two  spaces", "<s>a</s>", "<|im_start|>user\nHi<|im_end|>\n", "e\u0301 é", ""):
        assert tokenizer.encode(text, special=True) == tokenizer.huggingface.encode(text)


def test_special_tokens_are_parsed_in_raw_prompts_and_never_in_contents(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of("qwen2")
    assert tokenizer.encode("<|im_end|>", special=True) == [151645]
    assert tokenizer.encode("<|im_end|>") == [27, 91, 318, 6213, 91, 29]
    assert tokenizer_of("llama").encode("a</s>", special=True) == [1, 263, 2]
    assert 2 not in tokenizer_of("llama").encode("a</s>")


def test_a_prefill_gets_no_space_before_it(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of("llama")
    assert [tokenizer.token_text(i) for i in tokenizer.encode("Hello world", special=True)] == ["<s>", " Hello", " world"]
    assert [tokenizer.token_text(i) for i in tokenizer.encode("Hello world")] == ["Hello", " world"]
    assert [tokenizer.token_text(i) for i in tokenizer.encode(" Hello")] == [" Hello"]


def test_ids_beyond_the_tokenizer_have_no_token(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of("qwen2")
    assert (tokenizer.vocab_size, tokenizer.size, len(tokenizer.token_bytes)) == (151_936, 151_646, 151_936)
    assert np.flatnonzero(~tokenizer.exists).tolist() == list(range(151_646, 151_936))
    assert set(tokenizer.token_bytes[151_646:]) == {b""}
    assert tokenizer.eos_token_ids == (151645, 151643)
    assert tokenizer.special_ids == frozenset({151643, 151644, 151645})


def test_special_tokens_are_silent_unless_kept(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of("qwen2")
    ids = [151644, 14990, 151645]
    assert tokenizer.decode(ids) == "hello"
    assert tokenizer.decode(ids, keep_special=True) == "<|im_start|>hello<|im_end|>"
    assert (tokenizer.token_bytes[151645], tokenizer.literal_bytes[151645]) == (b"", b"<|im_end|>")


def test_half_a_character_is_shown_as_a_replacement(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    tokenizer = tokenizer_of("stories")
    ids = tokenizer.encode("🦔")
    assert [tokenizer.token_bytes[i] for i in ids] == [b"\xf0", b"\x9f", b"\xa6", b"\x94"]
    assert tokenizer.decode(ids[:3]) == "�"


@pytest.mark.parametrize("special", [False, True])
def test_a_lone_surrogate_is_refused_with_its_place(special: bool, tokenizer_of: Callable[[str], Tokenizer]) -> None:
    with pytest.raises(InputError, match=r"lone surrogate \(U\+D83E\) at character 3"):
        tokenizer_of("gpt2").encode("abc\ud83e", special=special)


def test_an_id_outside_the_vocabulary_is_refused(tokenizer_of: Callable[[str], Tokenizer]) -> None:
    with pytest.raises(InputError, match="token id 512 is outside the model's vocabulary; ids go from 0 to 511"):
        tokenizer_of("stories").decode([1, 512])


def test_a_tokenizer_wider_than_the_model_is_refused_where_it_matters(folder_of: Callable[[str], Path]) -> None:
    narrow = Tokenizer.from_folder(folder_of("stories"), vocab_size=300)
    assert narrow.size == 300
    with pytest.raises(InputError, match="the model knows only 300 ids"):
        narrow.encode("Once upon a time", special=True)


@pytest.mark.parametrize("name", REAL)
def test_constraints_see_the_same_bytes(name: str, tokenizer_of: Callable[[str], Tokenizer]) -> None:
    import llguidance
    import llguidance.numpy

    tokenizer = tokenizer_of(name)
    matcher = llguidance.LLMatcher(tokenizer.llguidance, llguidance.LLMatcher.grammar_from_regex("[0-9]{1,9}x"))
    mask = llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab_size)
    llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
    allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")[: tokenizer.vocab_size])

    def fits(data: bytes) -> bool:
        digits = data.removesuffix(b"x") if len(data) > 1 else data
        return 0 < len(digits) < 10 and all(byte in b"0123456789" for byte in digits)

    assert allowed.tolist() == [i for i, data in enumerate(tokenizer.token_bytes) if fits(data)]


def test_the_fingerprint_is_of_the_content(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    source = folder_of("stories")
    for file in source.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    first = Tokenizer.from_folder(source).fingerprint()
    assert Tokenizer.from_folder(tmp_path).fingerprint() == Tokenizer.from_folder(source, vocab_size=600).fingerprint() == first
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    state["model"]["merges"].pop()
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    assert Tokenizer.from_folder(tmp_path).fingerprint() != first


def test_every_eos_id_is_special_whatever_the_tokenizer_says(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    for file in folder_of("stories").glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    state["added_tokens"] += [{"id": 512, "content": "<|end|>", **flags}, {"id": 513, "content": "<think>", **flags}]
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 512}))
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.eos_token_ids == (512, 2)
    assert 512 not in tokenizer.encode("a<|end|>")
    assert tokenizer.encode("a<|end|>", special=True)[-1] == 512
    # A token that is not special is an ordinary word, in contents too.
    assert tokenizer.encode("<think>") == [513]
    assert tokenizer.decode([513, 512]) == "<think>"


def metaspace(scheme: str, *, bytes_too: bool) -> dict[str, Any]:
    """A Unigram tokenizer with the pre-tokenizer of recent SentencePiece models."""
    pieces = ["<unk>", "</s>", *([f"<0x{byte:02X}>" for byte in range(256)] if bytes_too else []), "▁", "▁a", "a", "b", "ab"]
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": None,
        "added_tokens": [{"id": i, "content": pieces[i], **flags} for i in (0, 1)],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": space,
        "post_processor": None,
        "decoder": space if not bytes_too else {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, space]},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [[piece, -1.0] for piece in pieces], "byte_fallback": bytes_too},
    }


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
@settings(deadline=None, derandomize=True, max_examples=40)
@given(text=texts)
def test_texts_are_exact_under_every_way_of_writing_spaces(scheme: str, text: str) -> None:
    tokenizer = of_state(metaspace(scheme, bytes_too=True))
    assert tokenizer.exact
    assert tokenizer.join(tokenizer.encode(text)) == text.encode()


def of_state(state: dict[str, Any]) -> Tokenizer:
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=Backend.from_str(json.dumps(state)), eos_token="</s>"))


def test_a_tokenizer_without_bytes_says_that_it_is_not_exact() -> None:
    tokenizer = of_state(metaspace("always", bytes_too=False))
    assert not tokenizer.exact
    assert tokenizer.decode(tokenizer.encode("ab a")) == "ab a"
    assert tokenizer.decode(tokenizer.encode("ab 🦔")) == "ab "


def test_word_pieces_are_spelt_as_inside_a_text(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "a", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert not tokenizer.exact
    assert tokenizer.token_bytes == (b"", b"", b"", b"", b"", b" play", b"ing", b" a", b".")
    assert tokenizer.encode("Playing a", special=True) == [2, 5, 6, 7, 3]
    assert tokenizer.encode("Playing a") == [5, 6, 7]


def test_a_folder_without_a_tokenizer_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelNotFoundError, match=r"no usable tokenizer in .* expected tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)


def test_a_tokenizer_with_no_fast_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a</w>": 0, "<unk>": 1}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CTRLTokenizer"}))
    with pytest.raises(ModelNotFoundError, match="CTRLTokenizer, which has no fast form"):
        Tokenizer.from_folder(tmp_path)
