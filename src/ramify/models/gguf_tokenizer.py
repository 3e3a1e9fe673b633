"""The tokenizer of a GGUF file.

A file that carries its Hugging Face tokenizer (`tokenizer.huggingface.json`, as ours do) gets exactly that one: the same ids for
every text as the folder it was made of. For all others llama.cpp's own vocabulary splits texts.
"""

import ctypes
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ramify.errors import InputError
from ramify.models.gguf_context import Context, library
from ramify.models.gguf_files import GGUFFile
from ramify.models.tokenizer import Tokenizer, TokenTable

__all__ = ["EOS_KEY", "HUGGING_FACE_KEY", "SPECIAL_KEY", "GGUFCodec", "GGUFTokenizer", "codec_of"]

HUGGING_FACE_KEY = "tokenizer.huggingface.json"
EOS_KEY = "ramify.eos_token_ids"
"""All ids that end a completion, as text with commas: GGUF's own keys have room for one."""
SPECIAL_KEY = "ramify.special_tokens"
"""The named special tokens as JSON, such as {"bos_token": "<s>"}: what templates read."""
SPACE_PREFIX = "tokenizer.ggml.add_space_prefix"

# llama.cpp's attributes of tokens.
UNKNOWN, UNUSED, CONTROL, USER, STRIPS_LEFT, STRIPS_RIGHT = (1 << i for i in (0, 1, 3, 4, 7, 8))
SENTENCEPIECE = 1


class GGUFTokenizer(TokenTable):
    """llama.cpp's vocabulary, made exact. Safe to use from several threads."""

    def __init__(self, file: GGUFFile, context: Context) -> None:
        lib = self._lib = library()
        self._file, self._vocab = file, context.vocab
        self._context = context  # keeps the vocabulary alive
        size = context.vocab_size
        kinds = [int(lib.llama_vocab_get_attr(self._vocab, i)) for i in range(size)]
        pieces = {i: self._piece(i) for i, kind in enumerate(kinds) if not kind & UNUSED}
        ends = _ends(file, lib, self._vocab, size)
        super().__init__(
            pieces,
            special_ids=[*(i for i, kind in enumerate(kinds) if kind & (CONTROL | UNKNOWN)), *ends],
            vocab_size=size,
            eos_token_ids=ends,
            bos_token_id=int(lib.llama_vocab_bos(self._vocab)),
            pad_token_id=int(lib.llama_vocab_pad(self._vocab)),
        )
        self.exact = self.spells_everything
        ids = {"bos_token": self.bos_token_id, "eos_token": next(iter(ends), None), "pad_token": self.pad_token_id}
        self.special_tokens = {name: self.token_text(i) for name, i in ids.items() if i is not None}
        added = {i: self.token_text(i) for i, kind in enumerate(kinds) if kind & (CONTROL | USER) or i in self.special_ids}
        self.added_tokens = {text: i for i, text in added.items() if text}
        self.swallows_before = frozenset(text for i, text in added.items() if kinds[i] & STRIPS_LEFT)
        self.swallows_after = frozenset(text for i, text in added.items() if kinds[i] & STRIPS_RIGHT)
        self.chat_template = _template(file.metadata)
        prefixes = file.metadata.get(SPACE_PREFIX, int(lib.llama_vocab_type(self._vocab)) == SENTENCEPIECE)
        self._prefixes_stretches = bool(prefixes)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids as `Tokenizer.encode` gives them: with special=False exactly the text's bytes, where the tokenizer can."""
        data = _utf8(text)
        if special:
            return self._run(self._vocab, data, add=True, parse=True)
        ids = self._run(self._plain, data, add=False, parse=False)
        if self.exact and self._joined(ids) != data:
            return [i for word in re.findall(rb"(?s) ?[^ ]+| +", data) for i in self._longest_first(word)]
        return ids

    def encode_rendered(self, text: str) -> list[int]:
        """Token ids of a rendered chat template: special tokens are parsed, none is added."""
        return self._run(self._vocab, _utf8(text), add=False, parse=True)

    def encode_literal(self, text: str) -> list[int]:
        """Token ids of a stretch of a rendered template in which special tokens are plain text."""
        return self.encode((" " if text and self._prefixes_stretches else "") + text)

    def fingerprint(self) -> str:
        """SHA-256 of the vocabulary and of what the file says of it, as hexadecimal."""
        about = {key: value for key, value in self._file.metadata.items() if key.startswith("tokenizer.ggml.")}
        described = repr((self.literal_bytes, sorted(self.special_ids), self.eos_token_ids, sorted(about.items())))
        return hashlib.sha256(described.encode()).hexdigest()

    @cached_property
    def llguidance(self) -> Any:
        """This vocabulary as `llguidance.LLTokenizer`."""
        return self.described_to_llguidance(self.encode)

    @cached_property
    def _plain(self) -> Any:
        """The vocabulary without the space that SentencePiece puts before a text: loaded once more, told so."""
        if not self._prefixes_stretches:
            return self._vocab
        given = self._lib.llama_model_default_params()
        given.vocab_only = True
        overrides = (self._lib.llama_model_kv_override * 2)()
        overrides[0].key, overrides[0].tag = SPACE_PREFIX.encode(), 2  # a boolean
        overrides[0].value.val_bool = False
        given.kv_overrides = overrides
        self._second = self._lib.llama_model_load_from_file(str(self._file.path).encode(), given)
        return self._lib.llama_model_get_vocab(self._second)

    def _run(self, vocab: Any, data: bytes, *, add: bool, parse: bool) -> list[int]:
        room = len(data) + 8
        while True:
            ids = (ctypes.c_int32 * room)()
            count = int(self._lib.llama_tokenize(vocab, data, len(data), ids, room, add, parse))
            if count >= 0:
                return list(ids[:count])
            room = -count

    def _piece(self, token_id: int) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = int(self._lib.llama_token_to_piece(self._vocab, token_id, buffer, room, 0, True))
            if count >= 0:
                return buffer.raw[:count]
            room = -count


GGUFCodec = Tokenizer | GGUFTokenizer


def codec_of(file: GGUFFile, context: Context) -> GGUFCodec:
    """The file's tokenizer."""
    described = file.metadata.get(HUGGING_FACE_KEY)
    if not isinstance(described, str):
        return GGUFTokenizer(file, context)
    import tokenizers
    import transformers

    try:
        said: Mapping[str, Any] = json.loads(file.metadata.get(SPECIAL_KEY) or "{}")
        inner = tokenizers.Tokenizer.from_str(described)
        given = {name: text for name, text in said.items() if isinstance(text, str)} or _named(file, inner)
        wrapped: Any = transformers.PreTrainedTokenizerFast
        fast = wrapped(tokenizer_object=inner, **given)
    except Exception as error:  # whatever the libraries say of a tokenizer that is none
        raise InputError(
            f"{file.path.name!r} has a {HUGGING_FACE_KEY} that cannot be read ({error}); convert it again"
        ) from error
    fast.chat_template = _template(file.metadata)
    lib = library()
    return Tokenizer(fast, vocab_size=context.vocab_size, eos_token_ids=_ends(file, lib, context.vocab, context.vocab_size))


def _named(file: GGUFFile, inner: Any) -> dict[str, str]:
    ids = {name: file.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    return {f"{name}_token": inner.id_to_token(i) for name, i in ids.items() if i is not None and inner.id_to_token(i)}


def _ends(file: GGUFFile, lib: Any, vocab: Any, size: int) -> tuple[int, ...]:
    """The ids that end a completion: as our own files say, else llama.cpp's, the file's EOS before the ends of turns."""
    said = file.metadata.get(EOS_KEY)
    if isinstance(said, str) and re.fullmatch(r"\d+(,\d+)*", said):
        return tuple(map(int, said.split(",")))
    first = [int(lib.llama_vocab_eos(vocab)), int(lib.llama_vocab_eot(vocab))]
    others = [i for i in range(size) if lib.llama_vocab_is_eog(vocab, i)]
    return tuple(dict.fromkeys(i for i in (*first, *others) if i >= 0))


def _template(metadata: Mapping[str, Any]) -> str | dict[str, str] | None:
    """The file's chat template; where it has several, each by its name."""
    key = "tokenizer.chat_template"
    default = metadata.get(key)
    named = {name.removeprefix(f"{key}."): text for name, text in metadata.items() if name.startswith(f"{key}.")}
    if not named:
        return default if isinstance(default, str) else None
    return named | ({"default": default} if isinstance(default, str) else {})


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}; it is not Unicode text"
        ) from None
