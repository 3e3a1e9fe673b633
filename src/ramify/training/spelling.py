"""How one model spells prompts and completions in token ids, and which token ends a completion.

A prompt is spelt as generation spells it, so training reads what the model will read. A stored completion brings its own ids;
they are this model's where they spell its text, whoever sampled them.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ramify.errors import InputError
from ramify.models.chat import ChatTemplate
from ramify.models.loading import ModelFolder
from ramify.models.registry import Registry, fingerprint
from ramify.models.tokenizer import Tokenizer
from ramify.models.tools import told_apart
from ramify.store.records import Prompt
from ramify.training.examples import Segment

__all__ = ["Spelling"]


class Spelling:
    """A tokenizer with its chat template. No weights are loaded."""

    def __init__(self, codec: Tokenizer, *, name: str = "the model", fingerprint: str = "", window: int = 2**20) -> None:
        self.codec = codec
        self.name = name
        self.fingerprint = fingerprint
        self.window = window
        """Tokens the model was made for."""
        self.chat = ChatTemplate(codec) if codec.chat_template else None

    @classmethod
    def of(cls, model: str | ModelFolder) -> "Spelling":
        """By a model's name or resolved folder. Raises ModelNotFoundError, UnsafeModelError, UnsupportedError."""
        folder = model if isinstance(model, ModelFolder) else Registry().resolve(model)
        config = folder.config.get("text_config") or folder.config
        codec = Tokenizer.from_folder(folder, vocab_size=config.get("vocab_size"))
        names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
        window = next((config[name] for name in names if isinstance(config.get(name), int) and config[name] > 0), 2**20)
        return cls(codec, name=folder.name, fingerprint=fingerprint(folder).id, window=window)

    # Prompts.

    def prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """Raw text, its special tokens parsed; or messages by the model's template, up to where the answer begins."""
        if isinstance(prompt, str):
            return tuple(self.codec.encode(prompt, special=True))
        messages, tools = told_apart(list(prompt))
        return tuple(self._template().render(messages, tools=tools))

    def turns(self, prompt: Prompt) -> list[Segment]:
        """The prompt in stretches, of which the assistant's earlier turns, each with its ending, are learned.

        Raises InputError for a template that renders earlier turns otherwise than last ones (it drops reasoning, say).
        """
        whole = self.prompt(prompt)
        if isinstance(prompt, str):
            return [(whole, False)]
        segments: list[Segment] = []
        at = 0
        for number, message in enumerate(prompt):
            if message["role"] != "assistant" or not number:
                continue
            begin = self.prompt(prompt[:number])
            size = _common(begin, whole)
            if size < len(begin):
                raise InputError(
                    f"the chat template of {self.name} writes an earlier turn otherwise than the last one, so earlier turns "
                    "cannot be learned; learn the last turn only (turns: last)"
                )
            end = self._end_of_turn(whole, len(begin), str(message["content"] or ""))
            segments += [(whole[at : len(begin)], False), (whole[len(begin) : end], True)]
            at = end
        return [*segments, (whole[at:], False)]

    def _end_of_turn(self, ids: Sequence[int], start: int, content: str) -> int:
        """Behind the ending of a turn whose words begin at `start`; behind its words, where the template writes no ending."""
        table, wanted, at = self.codec.token_bytes, content.strip().encode(), start
        seen = b""
        while at < len(ids) and wanted not in seen:
            seen += table[ids[at]]
            at += 1
        return at + 1 if at < len(ids) and ids[at] in self.codec.eos_token_ids else at

    # Completions.

    def text(self, text: str) -> tuple[int, ...]:
        """A completion's text: nothing in it is special, nothing is added."""
        return tuple(self.codec.encode(text))

    def spells(self, ids: Sequence[int], text: str, *, cut: bool = False) -> bool:
        """Whether the ids are this model's and their text is `text`; `cut`: or goes on behind it, as before a stop string."""
        if any(not 0 <= token_id < self.codec.vocab_size for token_id in ids):
            return False
        said = self.codec.decode(ids)
        return said.startswith(text) if cut else said == text

    def ending(self, prompt: Prompt) -> int | None:
        """The EOS that ends an answer: after messages the one that the template writes, else the first that the model knows."""
        if not isinstance(prompt, str) and self._chat_ending is not None:
            return self._chat_ending
        return next(iter(self.codec.eos_token_ids), None)

    @cached_property
    def _chat_ending(self) -> int | None:
        asked: list[Mapping[str, Any]] = [{"role": "user", "content": "a"}]
        try:
            begin = len(self._template().render(asked))
            whole = self._template().render([*asked, {"role": "assistant", "content": "b"}], add_generation_prompt=False)
        except InputError:
            return None
        return next((token_id for token_id in whole[begin:] if token_id in self.codec.eos_token_ids), None)

    def _template(self) -> ChatTemplate:
        if self.chat is None:
            raise InputError(f"{self.name} has no chat template, so it takes no messages; train it on raw prompts")
        return self.chat


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
