"""Train a byte-fallback BPE tokenizer and save it as a Hugging Face folder.

Characters that the vocabulary lacks are spelled in UTF-8 bytes (`<0x00>` to `<0xFF>`), so any text can be written and
`decode(encode(text)) == text` holds exactly. Spaces stay literal inside tokens (" the"), a newline and a digit are always
tokens of their own. No normalisation takes place.

Source: Sennrich et al. 2016 (byte-pair encoding); byte fallback as in Kudo and Richardson 2018, "SentencePiece".
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from ramify.errors import InputError

__all__ = ["CHATML", "SPECIAL_TOKENS", "SpecialIds", "encode_plain", "load_tokenizer", "save_tokenizer", "train_tokenizer"]

PAD, BOS, END, START = SPECIAL_TOKENS = ("<pad>", "<s>", "<|im_end|>", "<|im_start|>")
"""Ids 0, 1, 2 and 3. `<|im_end|>` ends every turn and every document: it is the one EOS."""

CHATML = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# Clitics; words in small letters with the space before them; other words without it; punctuation; one digit; one newline;
# other white space but its last character. A capitalized name is thus the same tokens after a space and inside quotes, so
# copying a name is copying ids. The space before a capital joins the punctuation before it, if there is any.
_PIECES = (
    r"'(?:s|t|re|ve|m|ll|d)(?!\p{L})| ?\p{Ll}\p{L}*|\p{L}+| ?[^\s\p{L}\p{N}]+(?: (?=\p{Lu}))?|\p{N}|\n|[^\S\n]+(?!\S)|[^\S\n]"
)
_ASCII = [chr(code) for code in range(32, 127)] + ["\n", "\t"]


def train_tokenizer(texts: Iterable[str], vocab_size: int = 4096, *, alphabet_size: int = 128) -> Tokenizer:
    """Learn a vocabulary of exactly `vocab_size` tokens: 4 special, 256 bytes, `alphabet_size` characters at most, merges.

    Too little text for that many merges gives a smaller vocabulary. Raises InputError where no room is left for merges.
    """
    least = len(SPECIAL_TOKENS) + 256 + alphabet_size
    if vocab_size <= least:
        raise InputError(f"vocab_size is {vocab_size}; it must be more than {least} (special tokens, bytes, alphabet)")
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(SPECIAL_TOKENS) - 256,
            initial_alphabet=_ASCII,
            limit_alphabet=alphabet_size,
            show_progress=False,
        ),
    )
    learned = json.loads(learner.to_str())["model"]
    words = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    order = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    merges = [(left, right) for left, right in learned["merges"]]
    return _assemble({word: index for index, word in enumerate(order)}, merges)


def _assemble(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, context_window: int = 2048) -> None:
    """Write tokenizer.json and tokenizer_config.json (with the ChatML template) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [START],
        "model_max_length": context_window,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHATML,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face folder. Raises InputError where the folder has none or lacks a special token."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{folder} has no tokenizer.json; make one with: ramify train tokenizer")
    tokenizer = Tokenizer.from_file(str(path))
    SpecialIds.of(tokenizer)
    return tokenizer


@dataclass(frozen=True)
class SpecialIds:
    """The ids of the special tokens of one tokenizer."""

    bos: int
    end: int
    start: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "SpecialIds":
        """Raises InputError where the tokenizer lacks one."""
        found = [tokenizer.token_to_id(token) for token in (BOS, END, START)]
        ids = [index for index in found if index is not None]
        if len(ids) < len(found):
            raise InputError(f"the tokenizer lacks one of {BOS} {END} {START}, which ChatML training needs")
        return cls(*ids)


def encode_plain(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts in which nothing is special: "<s>" in a text is three characters, and no BOS is added."""
    tokenizer.encode_special_tokens = True
    try:
        return [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    finally:
        tokenizer.encode_special_tokens = False
