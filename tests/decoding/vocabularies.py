"""A small vocabulary for tests: byte-level BPE with a few merges, special tokens first, logits wider than it."""

from functools import cached_property

import llguidance
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SPECIAL = ("<pad>", "<s>", "</s>", "<|im_end|>")
MERGED = (
    "th",
    "the",
    "in",
    "ing",
    " t",
    " the",
    "er",
    "ne",
    "ve",
    "nev",
    "ever",
    "never",
    '":',
    '{"',
    "ca",
    "at",
    "the cat",
)


class SmallVocabulary:
    """Ids 0–3 are special (2 and 3 end a text), 4–259 the bytes, then `MERGED`; a few ids beyond have no token."""

    def __init__(self, width: int = 300, eos_token_ids: tuple[int, ...] = (2, 3)) -> None:
        self.vocab_size = width
        self.eos_token_ids = eos_token_ids
        self.special_ids = frozenset(range(len(SPECIAL)))
        # ByteLevel spells the bytes that do not print with other letters, in order.
        printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
        letters = {byte: chr(byte) for byte in printing}
        letters |= {byte: chr(256 + rank) for rank, byte in enumerate(b for b in range(256) if b not in letters)}
        table = {name: place for place, name in enumerate(SPECIAL)}
        table |= {letters[byte]: len(SPECIAL) + byte for byte in range(256)}
        pieces = [b""] * len(SPECIAL) + [bytes([byte]) for byte in range(256)]
        for text in MERGED:
            table["".join(letters[byte] for byte in text.encode())] = len(pieces)
            pieces.append(text.encode())
        self.size = len(pieces)
        self.token_bytes = (*pieces, *[b""] * (width - len(pieces)))
        self._by_bytes = {piece: place for place, piece in enumerate(pieces) if piece}
        # Without merges the tokenizer spells by bytes; what matters here are the pieces' bytes.
        self._tokenizer = Tokenizer(models.BPE(vocab=table, merges=[]))
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        self._tokenizer.add_special_tokens(list(SPECIAL))

    @cached_property
    def llguidance(self) -> llguidance.LLTokenizer:
        return llguidance.LLTokenizer(self._tokenizer.to_str(), n_vocab=self.vocab_size, eos_token=list(self.eos_token_ids))

    def encode(self, text: str, /) -> list[int]:
        """Longest piece first."""
        data, found = text.encode(), []
        while data:
            size = next(size for size in range(len(data), 0, -1) if data[:size] in self._by_bytes)
            found.append(self._by_bytes[data[:size]])
            data = data[size:]
        return found

    def text(self, ids: list[int]) -> str:
        return b"".join(self.token_bytes[token] for token in ids).decode("utf-8", "replace")
