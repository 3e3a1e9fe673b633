"""Masked training examples, made from token ids.

    prompt       <s> <|im_start|> user ⏎ Say hi <|im_end|> ⏎ <|im_start|> assistant ⏎
    completion                                                                        Hi ! <|im_end|>

    token_ids    1   3   …   …  …  …  …  2      …  3   …        …                      7  8  2
    labels      -100 -100  … -100 everywhere under the prompt …            -100        7  8  2

The model reads all of `token_ids`; it learns only what `labels` names. Position t of the model predicts label t + 1 (the
shift is the loss's work, see `loss.py`). The EOS after a completion is learned like any other token, for it is what ends
generation; a completion that was cut off carries none.

Source: document 001, "Masked Cross-Entropy Loss".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from ramify.errors import InputError
from ramify.training.tokenizers import SpecialIds, encode_plain

__all__ = ["IGNORED", "Example", "Segment", "chat_example", "check_examples", "completion_example", "encode_row", "from_segments"]

IGNORED = -100
"""The label of a token that is read but not learned."""

Segment = tuple[Sequence[int], bool]
"""Token ids and whether they are learned."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row: `labels[t]` is `token_ids[t]` where the token is learned and -100 where it is only read."""

    token_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def learned(self) -> int:
        """How many tokens the row teaches. The first token of a row has no predecessor, so it is never counted."""
        return sum(label != IGNORED for label in self.labels[1:])

    @property
    def ended(self) -> bool:
        """Whether the last token is learned: of a completion that has its EOS, the model learns to stop there."""
        return bool(self.labels) and self.labels[-1] != IGNORED


def from_segments(segments: Sequence[Segment]) -> Example:
    """Join segments in order: prompt, completion, prompt, completion, and so on."""
    token_ids: list[int] = []
    labels: list[int] = []
    for ids, learned in segments:
        token_ids.extend(ids)
        labels.extend(ids if learned else [IGNORED] * len(ids))
    return Example(tuple(token_ids), tuple(labels))


def completion_example(
    prompt_ids: Sequence[int], completion_ids: Sequence[int], eos_token_id: int | None, *, name: str = "the row"
) -> Example:
    """Prompt, completion, EOS. `eos_token_id=None` for a completion that was cut off: no ending is learned.

    Raises InputError where the completion is empty, even if an EOS would follow.
    """
    if not completion_ids:
        raise InputError(f"{name} has an empty completion; there is nothing to learn from it. Leave it out.")
    ending = [] if eos_token_id is None else [eos_token_id]
    return from_segments([(prompt_ids, False), ([*completion_ids, *ending], True)])


def chat_example(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], *, name: str = "the row") -> Example:
    """A ChatML conversation; the contents of the assistant's turns and the `<|im_end|>` after each are learned.

    Nothing inside a content is special. Raises InputError where no assistant turn exists or one is empty.
    """
    if not any(message["role"] == "assistant" for message in messages):
        raise InputError(f"{name} has no assistant message; there is nothing to learn from it.")
    special = SpecialIds.of(tokenizer)
    pieces = [f"{m['role']}\n" if m["role"] == "assistant" else f"{m['role']}\n{m['content']}" for m in messages]
    contents = [m["content"] if m["role"] == "assistant" else "" for m in messages]
    heads, bodies = encode_plain(tokenizer, pieces), encode_plain(tokenizer, contents)
    newline = encode_plain(tokenizer, ["\n"])[0]
    segments: list[Segment] = [([special.bos], False)]
    for message, head, body in zip(messages, heads, bodies, strict=True):
        segments.append(([special.start, *head], False))
        if message["role"] == "assistant":
            if not body:
                raise InputError(f"{name} has an empty assistant message; there is nothing to learn from it.")
            segments.append(([*body, special.end], True))
        else:
            segments.append(([special.end], False))
        segments.append((newline, False))
    # The newline after the last turn is never needed to generate it.
    return from_segments(segments[:-1] if messages[-1]["role"] == "assistant" else segments)


def encode_row(tokenizer: Tokenizer, row: Mapping[str, Any], *, name: str) -> Example:
    """One row of a JSON Lines file: {"messages": […]}, {"prompt": …, "completion": …} or {"text": …}.

    "prompt" is raw: its special tokens are parsed and the tokenizer's BOS is added. "completion" and "text" are plain.
    """
    special = SpecialIds.of(tokenizer)
    if "messages" in row:
        return chat_example(tokenizer, row["messages"], name=name)
    if "prompt" in row and "completion" in row:
        prompt = tokenizer.encode(row["prompt"]).ids
        return completion_example(prompt, encode_plain(tokenizer, [row["completion"]])[0], special.end, name=name)
    if "text" in row:
        ids = encode_plain(tokenizer, [row["text"]])[0]
        return completion_example([special.bos], ids, special.end, name=name)
    raise InputError(f"{name} has the keys {sorted(row)}; it needs messages, or prompt and completion, or text")


def check_examples(examples: Sequence[Example], *, vocab_size: int, max_length: int) -> None:
    """Refuse rows that cannot be trained on, all of them in one InputError that names each by its number (from 1)."""
    problems: list[str] = []
    for number, example in enumerate(examples, start=1):
        outside = [token for token in example.token_ids if not 0 <= token < vocab_size]
        if outside:
            problems.append(f"row {number} has token id {outside[0]}, outside the vocabulary of {vocab_size}")
        if len(example.token_ids) > max_length:
            problems.append(f"row {number} has {len(example.token_ids)} tokens, the window holds {max_length}")
        if example.learned == 0:
            problems.append(f"row {number} teaches no token")
    if problems:
        shown = "; ".join(problems[:10])
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise InputError(f"{len(problems)} problem(s) in {len(examples)} rows: {shown}{more}. Shorten or leave out these rows.")
