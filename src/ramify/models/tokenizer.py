"""Text to token ids and back, with the exact bytes of every id.

Three families of tokenizers are told apart by their own description, not by their name: byte-level BPE (GPT-2, Qwen,
Llama 3), SentencePiece-like (Llama 2, Gemma, Mistral; `▁` for a space, `<0xNN>` for a byte), and the rest (WordPiece
and other lossy ones), whose bytes are what decoding the token inside a text gives; `Tokenizer.exact` is False for
those.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ramify.errors import InputError, ModelNotFoundError, UnsafeModelError
from ramify.models.loading import ModelFolder, eos_token_ids

__all__ = ["TokenTable", "Tokenizer"]

SPACE = "\u2581"
"""`▁`, which SentencePiece writes in place of a space."""

UTF8_BYTES = [*range(0xC0), *range(0xC2, 0xF5)]
"""The bytes that occur in UTF-8 text."""


class TokenTable:
    """The ids of a tokenizer and their bytes.

    vocab_size: V, the width of the model's logits. token_bytes: V entries, b"" for special tokens and for ids without a
    token. literal_bytes: the same, with special tokens spelt out. exists: (V,) bool, which ids have a token: no other
    may be sampled. size: one more than the highest id that has a token.
    """

    def __init__(
        self,
        literal_bytes: Mapping[int, bytes],
        *,
        special_ids: Iterable[int],
        vocab_size: int | None = None,
        eos_token_ids: Sequence[int] = (),
        bos_token_id: int | None = None,
        pad_token_id: int | None = None,
    ) -> None:
        self.vocab_size = max(literal_bytes, default=-1) + 1 if vocab_size is None else vocab_size
        known = {i: data for i, data in literal_bytes.items() if 0 <= i < self.vocab_size}
        self.exists = np.zeros(self.vocab_size, dtype=np.bool_)
        self.exists[list(known)] = True
        self.size = max(known, default=-1) + 1
        self.special_ids = frozenset(i for i in special_ids if i in known)
        self.literal_bytes = tuple(known.get(i, b"") for i in range(self.vocab_size))
        self.token_bytes = tuple(b"" if i in self.special_ids else self.literal_bytes[i] for i in range(self.vocab_size))
        self.eos_token_ids = tuple(i for i in eos_token_ids if i in known)
        self.bos_token_id = bos_token_id if bos_token_id in known else None
        self.pad_token_id = pad_token_id if pad_token_id in known else None

    def join(self, ids: Iterable[int], *, keep_special: bool = False) -> bytes:
        """The bytes of the tokens, one after the other; special tokens are left out unless kept.

        Raises InputError for an id outside 0 .. V-1.
        """
        table = self.literal_bytes if keep_special else self.token_bytes
        ids = list(ids)
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            wrong = next(i for i in ids if not 0 <= i < self.vocab_size)
            raise InputError(f"token id {wrong} is outside the model's vocabulary; ids go from 0 to {self.vocab_size - 1}")
        return b"".join([table[i] for i in ids])

    def decode(self, ids: Iterable[int], *, keep_special: bool = False) -> str:
        """The text of the tokens: their bytes joined, invalid UTF-8 replaced by U+FFFD."""
        return self.join(ids, keep_special=keep_special).decode("utf-8", "replace")

    def token_text(self, token_id: int) -> str:
        """One token spelt out, special ones too, for display."""
        return self.decode([token_id], keep_special=True)

    @property
    def spells_everything(self) -> bool:
        """Whether there is a token for each byte, so that every text has tokens."""
        return all(bytes([byte]) in self._by_bytes[0] for byte in UTF8_BYTES)

    def described_to_llguidance(self, encode: Callable[[str], list[int]]) -> Any:
        """The table as `llguidance.LLTokenizer`, for a tokenizer that is none of Hugging Face's."""
        import llguidance

        class Described(SimpleNamespace):
            def __call__(self, text: str | bytes) -> list[int]:
                return encode(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)

        # The library wants some bytes for every id; padding is masked before a constraint sees it, and 0xFF occurs in
        # no UTF-8 text.
        described = Described(
            eos_token_id=self.eos_token_ids[0],
            bos_token_id=self.bos_token_id,
            tokens=[self.literal_bytes[i] or b"\xff<pad%d>" % i for i in range(self.vocab_size)],
            special_token_ids=sorted([*self.special_ids, *(i for i in range(self.vocab_size) if not self.exists[i])]),
        )
        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(described), n_vocab=self.vocab_size)

    def _joined(self, ids: Iterable[int]) -> bytes:
        table, size = self.token_bytes, self.vocab_size
        return b"".join([table[i] if i < size else b"" for i in ids])

    def _longest_first(self, data: bytes) -> list[int]:
        """Spell bytes with the longest ordinary token at each place.

        Bytes that no token has are dropped: then nothing can be exact.
        """
        by_bytes, longest = self._by_bytes
        ids: list[int] = []
        at = 0
        while at < len(data):
            for end in range(min(len(data), at + longest), at, -1):
                if (found := by_bytes.get(data[at:end])) is not None:
                    ids.append(found)
                    at = end
                    break
            else:
                at += 1
        return ids

    @cached_property
    def _by_bytes(self) -> tuple[dict[bytes, int], int]:
        ordinary = {data: i for i, data in reversed(list(enumerate(self.token_bytes))) if data}
        return ordinary, max(map(len, ordinary), default=0)


class Tokenizer(TokenTable):
    """A Hugging Face fast tokenizer, made exact. Safe to use from several threads."""

    def __init__(self, fast: Any, *, vocab_size: int | None = None, eos_token_ids: Sequence[int] = ()) -> None:
        """fast: a transformers fast tokenizer.

        eos_token_ids: the model's; the tokenizer's own is added when it is none of them.
        """
        self._fast = fast
        self._state: dict[str, Any] = json.loads(fast.backend_tokenizer.to_str())
        self._state["truncation"] = self._state["padding"] = None
        ends = [*eos_token_ids, *([] if fast.eos_token_id is None else [fast.eos_token_id])]
        ends = list(dict.fromkeys(int(i) for i in ends))
        special = {int(i) for i in fast.all_special_ids} | set(ends)
        special |= {token["id"] for token in self._state["added_tokens"] if token["special"]}
        for token in self._state["added_tokens"]:
            token["special"] = token["id"] in special
        self.family = _family(self._state)
        super().__init__(
            _literal_bytes(fast.backend_tokenizer, self._state, self.family),
            special_ids=special,
            vocab_size=vocab_size,
            eos_token_ids=ends,
            bos_token_id=fast.bos_token_id,
            pad_token_id=fast.pad_token_id,
        )
        self.exact = self.family != "other" and self.spells_everything
        """Whether every text is the joined bytes of its tokens.

        Without a token for each byte some characters become <unk>.
        """
        self.special_tokens: dict[str, str] = {
            name: str(value) for name, value in fast.special_tokens_map.items() if isinstance(value, str)
        }
        """The named ones, as templates want them: {"bos_token": "<s>", "eos_token": "</s>", ...}."""
        self.added_tokens: dict[str, int] = {token["content"]: token["id"] for token in self._state["added_tokens"]}
        self.swallows_before = frozenset(token["content"] for token in self._state["added_tokens"] if token["lstrip"])
        """Added tokens that take the white space before them out of the text."""
        self.swallows_after = frozenset(token["content"] for token in self._state["added_tokens"] if token["rstrip"])
        self.chat_template: str | dict[str, str] | None = getattr(fast, "chat_template", None)

    @classmethod
    def from_folder(
        cls,
        folder: ModelFolder | Path | str,
        *,
        vocab_size: int | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
    ) -> "Tokenizer":
        """Load the tokenizer of a resolved model folder, or of any folder (or hub name) that has one.

        vocab_size: V, the width of the model's logits; by default the tokenizer's own size. Raises ModelNotFoundError
        when there is no usable tokenizer, UnsafeModelError when it asks for code and no flag allows it.
        """
        if isinstance(folder, ModelFolder):
            ends = folder.eos_token_ids
            fast = _load(folder.tokenizer_path, folder.trust_remote_code, None)
        else:
            ends = eos_token_ids(Path(folder)) if Path(folder).is_dir() else ()
            fast = _load(folder, trust_remote_code, revision)
        return cls(fast, vocab_size=vocab_size, eos_token_ids=ends)

    # Text to ids.

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of a text.

        special=True, for raw prompts: as the Hugging Face tokenizer does it: special tokens in the text are parsed,
        those that the tokenizer puts around a text (BOS) are added. special=False, for message contents and prefills:
        special tokens in the text are plain text, nothing is added (no BOS, no space before the first word), nothing
        normalised: for an `exact` tokenizer the joined bytes of the ids are the bytes of the text, for every text.
        Raises InputError for text that is not Unicode (a lone surrogate), with its position.
        """
        data = _utf8(text)
        if special:
            return self._checked(self._run(self._parser, text, add=True))
        ids = self._run(self._reader, text)
        if self.exact and self._joined(ids) != data:
            ids = self._repaired(text)
        return self._checked(ids)

    def encode_rendered(self, text: str) -> list[int]:
        """Token ids of a rendered chat template: special tokens are parsed, none is added."""
        _utf8(text)
        return self._checked(self._run(self._parser, text))

    def encode_literal(self, text: str) -> list[int]:
        """Token ids of a stretch of a rendered template in which special tokens are plain text.

        As `encode(special=False)`, but where the tokenizer writes a space before every stretch between special tokens,
        so does this.
        """
        prefix = " " if text and self._prefixes_stretches else ""
        return self.encode(prefix + text, special=False)

    @cached_property
    def _parser(self) -> Any:
        import tokenizers

        return tokenizers.Tokenizer.from_str(json.dumps(self._state))

    @cached_property
    def _reader(self) -> Any:
        """The same vocabulary, with everything taken out that changes the text or gives a special token."""
        import tokenizers

        state = dict(self._state)
        state["normalizer"] = _without_prefix(state["normalizer"], exact=self.exact)
        state["pre_tokenizer"] = _without_prefix(state["pre_tokenizer"])
        reader = tokenizers.Tokenizer.from_str(json.dumps(state))
        reader.encode_special_tokens = True
        return reader

    @cached_property
    def _prefixes_stretches(self) -> bool:
        if any(part["type"] == "Prepend" for part in _parts(self._state["normalizer"], "normalizers")):
            return True
        parts = _parts(self._state["pre_tokenizer"], "pretokenizers")
        return any(part["type"] == "Metaspace" and part.get("prepend_scheme") == "always" for part in parts)

    @staticmethod
    def _run(backend: Any, text: str, *, add: bool = False) -> list[int]:
        # The batch call without offsets takes half the time of `encode` on megabytes of text.
        return list(backend.encode_batch_fast([text], add_special_tokens=add)[0].ids)

    def _checked(self, ids: list[int]) -> list[int]:
        if ids and max(ids) >= self.vocab_size:
            raise InputError(
                f"the text gives token id {max(ids)}, but the model knows only {self.vocab_size} ids: "
                "this tokenizer belongs to another model, or the model's embeddings were not enlarged for its added "
                "tokens"
            )
        return ids

    # Texts that the tokenizer itself cannot give back: a literal `▁` or `<0x41>`, a special token that is also an
    # ordinary piece.

    def _repaired(self, text: str) -> list[int]:
        # Long stretches first, then the words of those that fail: a single odd character costs little in megabytes.
        ids: list[int] = []
        for stretch, good in self._tried(re.findall(r"(?s).{1,4000}(?= |\Z)|.{1,4000}", text)):
            if good is not None:
                ids.extend(good)
                continue
            for word, part in self._tried(re.findall(r" ?[^ ]+| +", stretch)):
                ids.extend(self._longest_first(word.encode()) if part is None else part)
        return ids

    def _tried(self, texts: list[str]) -> Iterator[tuple[str, list[int] | None]]:
        """Each text with its ids, or with None where they do not give it back."""
        for text, encoding in zip(texts, self._reader.encode_batch_fast(texts, add_special_tokens=False), strict=True):
            yield text, encoding.ids if self._joined(encoding.ids) == text.encode() else None

    # What others need of it.

    @cached_property
    def llguidance(self) -> Any:
        """This tokenizer as `llguidance.LLTokenizer`, for constraints.

        Takes seconds for a large vocabulary; made once.
        """
        import llguidance.hf

        ends = list(self.eos_token_ids) or None
        return llguidance.hf.from_tokenizer(self._fast, n_vocab=self.vocab_size, eos_token=ends)

    @property
    def huggingface(self) -> Any:
        """The transformers tokenizer itself."""
        return self._fast

    def fingerprint(self) -> str:
        """SHA-256 of everything that decides which ids a text gets, as hexadecimal."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        described = {"tokenizer": self._state, "special": self.special_tokens, "eos": self.eos_token_ids}
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _load(path: Path | str, trust_remote_code: bool, revision: str | None) -> Any:
    import transformers
    from transformers.convert_slow_tokenizer import convert_slow_tokenizer

    local = Path(path).is_dir()
    try:
        fast = transformers.AutoTokenizer.from_pretrained(
            str(path),
            use_fast=True,
            trust_remote_code=trust_remote_code,
            local_files_only=local,
            revision=None if local else revision,
        )
    except Exception as error:  # The library raises many kinds; the reader needs one sentence.
        if "trust_remote_code" in str(error):
            raise UnsafeModelError(
                f"the tokenizer of {str(path)!r} asks to run its own Python code; pass trust_remote_code=True "
                "(--trust-remote-code) if you trust its author, or use a folder with a tokenizer.json"
            ) from error
        raise ModelNotFoundError(
            f"no usable tokenizer in {str(path)!r}; expected tokenizer.json, or a SentencePiece tokenizer.model, or "
            "vocab.json "
            f"with merges.txt ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no details'})"
        ) from error
    if not hasattr(fast, "backend_tokenizer"):
        wrapped: Any = transformers.PreTrainedTokenizerFast
        try:
            fast = wrapped(tokenizer_object=convert_slow_tokenizer(fast), **fast.special_tokens_map)
        except Exception as error:
            raise ModelNotFoundError(
                f"the tokenizer of {str(path)!r} is a {type(fast).__name__}, which has no fast form; convert it to a "
                "tokenizer.json first"
            ) from error
    return fast


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}; "
            "it is not Unicode text: replace it, or decode the original bytes as UTF-8"
        ) from None


def _parts(part: Any, key: str) -> list[dict[str, Any]]:
    """A normalizer, pre-tokenizer or decoder as the flat list of its parts."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [inner for each in part[key] for inner in _parts(each, key)]
    return [part]


def _family(state: Mapping[str, Any]) -> str:
    kinds = {part["type"] for part in _parts(state["decoder"], "decoders")}
    if "ByteLevel" in kinds:
        return "byte-level"
    replaces = {
        part["content"] for part in _parts(state["decoder"], "decoders") if part["type"] == "Replace" and _is_string(part, SPACE)
    }
    if "Metaspace" in kinds or " " in replaces:
        return "sentencepiece"
    if "ByteFallback" in kinds:
        return "byte-fallback"
    return "other"


def _is_string(part: Mapping[str, Any], text: str) -> bool:
    pattern = part["pattern"]
    return isinstance(pattern, Mapping) and pattern.get("String") == text


def _without_prefix(part: Any, *, exact: bool = False) -> Any:
    """A normaliser or pre-tokenizer that puts no space before a text.

    exact: nor changes it, but for writing `▁` for a space.
    """
    if part is None or part["type"] == "Prepend":
        return None
    for key in ("normalizers", "pretokenizers"):
        if key in part:
            kept = [done for each in part[key] if (done := _without_prefix(each, exact=exact)) is not None]
            return {**part, key: kept} if kept else None
    if exact and not (part["type"] == "Replace" and part["content"] == SPACE and _is_string(part, " ")):
        return None
    if part["type"] == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    if part["type"] == "ByteLevel":
        return {**part, "add_prefix_space": False}
    return part


def _literal_bytes(backend: Any, state: Mapping[str, Any], family: str) -> dict[int, bytes]:
    added = {token["id"]: token["content"].encode() for token in state["added_tokens"]}
    words: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    if family == "byte-level":
        to_byte = _byte_alphabet()
        table = {i: _byte_level(word, to_byte) for word, i in words.items()}
    elif family == "sentencepiece":
        table = {i: _byte_fallback(word.replace(SPACE, " ")) for word, i in words.items()}
    elif family == "byte-fallback":
        table = {i: _byte_fallback(word) for word, i in words.items()}
    else:
        table = {i: _in_a_text(backend, word, words) for word, i in words.items()}
    return {**table, **added}


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-in of every byte in byte-level vocabularies. Source: OpenAI's GPT-2 encoder."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def _byte_level(word: str, to_byte: Mapping[str, int]) -> bytes:
    try:
        return bytes([to_byte[character] for character in word])
    except KeyError:
        return word.encode()


def _byte_fallback(word: str) -> bytes:
    if len(word) == 6 and (found := re.fullmatch(r"<0x([0-9A-F]{2})>", word)):
        return bytes([int(found[1], 16)])
    return word.encode()


def _in_a_text(backend: Any, word: str, words: Mapping[str, int]) -> bytes:
    """What the decoder writes for a token that follows another one."""
    if backend.decoder is None:
        return word.encode()
    anchor = "a" if "a" in words else next(iter(words))
    before, both = (backend.decoder.decode([anchor]), backend.decoder.decode([anchor, word]))
    text: str = both[len(before) :] if both.startswith(before) else backend.decoder.decode([word])
    return text.encode()
