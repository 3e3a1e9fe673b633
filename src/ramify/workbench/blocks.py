"""Block by block: the model proposes paragraphs, a person accepts, edits, or asks for others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.engine.requests import TokenLogprob
from ramify.errors import ConfigError, InputError, UnsupportedError
from ramify.models.detokenizer import StreamDecoder
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, NewCompletion, SampleRecord, SpanRecord
from ramify.workbench.asking import ALTERNATIVES
from ramify.workbench.conversion import kept_logprobs
from ramify.workbench.editing import edit_of

__all__ = ["Block", "Blocks"]

BORDER = "\n\n"


@dataclass(frozen=True, slots=True)
class Block:
    """A proposed paragraph. token_ids are those that were generated for it, the border or the EOS that ended it included."""

    text: str
    token_ids: tuple[int, ...]
    ends: bool
    """Whether the model ended the whole completion with it."""
    logprobs: tuple[TokenLogprob, ...]
    instruction: str = ""
    seed: int = 0
    """With it the same candidate comes again."""


class Blocks:
    """A completion in the making, paragraph by paragraph. `propose`, then `accept` or `write`; `save` at any time."""

    def __init__(self, database: Database, model: Model, sample: SampleRecord, *, border: str = BORDER) -> None:
        """border: what stands between two blocks."""
        if not border:
            raise InputError("a border is what ends a block; give at least one character, such as an empty line")
        self.border = border
        self.proposed: list[Block] = []
        self.ended = False
        self._database, self._model, self._sample = database, model, sample
        self._ids: list[int] = []
        self._spans: list[SpanRecord] = []
        self._measured: list[TokenLogprob] | None = []
        self._config = GenerationConfig()
        self._history: list[tuple[int, int, list[TokenLogprob] | None, bool]] = []
        self._made: list[dict[str, Any]] = []
        """Where each block begins, and what was asked for it."""

    @property
    def text(self) -> str:
        """What was accepted so far."""
        return self._model.codec.decode(self._ids)

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(self._ids)

    @property
    def model_name(self) -> str:
        return self._model.info.name

    @property
    def accepted(self) -> list[tuple[str, tuple[str, ...]]]:
        """Each block so far and where its tokens came from; the joined texts are `text`."""
        starts = [(ids, spans) for ids, spans, _, _ in self._history]
        ends = [*starts[1:], (len(self._ids), len(self._spans))] if starts else []
        decoder = StreamDecoder(self._model.codec.token_bytes)
        found: list[tuple[str, tuple[str, ...]]] = []
        for (ids, spans), (ids_end, spans_end) in zip(starts, ends, strict=True):
            text = "".join(map(decoder.feed, self._ids[ids:ids_end])) + (decoder.flush() if ids_end == len(self._ids) else "")
            found.append((text, tuple(dict.fromkeys(s.origin for s in self._spans[spans:spans_end] if s.end > s.start))))
        return found

    def propose(self, n: int = 3, config: GenerationConfig | None = None, *, instruction: str = "", **fields: Any) -> list[Block]:
        """`n` candidates for the next block. An instruction goes to the model with the last user message, and is not kept in it.

        Raises UnsupportedError for an instruction where the prompt is raw text, which has nobody to instruct.
        """
        if self.ended:
            raise InputError("the model ended this completion with the last block; undo takes it back")
        base = config or GenerationConfig(do_sample=n > 1)
        if base.stop_strings or base.include_stop_str_in_output or base.num_return_sequences != 1:
            raise ConfigError(
                "a block ends at its border, and n says how many candidates there are; leave stop_strings, "
                "include_stop_str_in_output and num_return_sequences out",
                ("stop_strings", "include_stop_str_in_output", "num_return_sequences"),
            )
        settings = base.replace(num_return_sequences=n, stop_strings=(self.border,), include_stop_str_in_output=True, **fields)
        prompt_ids, _ = self._model.ids_of(self._prompt(instruction))
        request = self._model.request_of_ids((*prompt_ids, *self._ids), self.token_ids, settings, logprobs=ALTERNATIVES)
        self._config = settings
        self.proposed = [
            Block(
                text=result.generated_text,
                token_ids=result.generated_token_ids,
                ends=result.finish_reason == "eos",
                logprobs=result.logprobs or (),
                instruction=instruction,
                seed=result.seed,
            )
            for result in self._model.result(request)
        ]
        return self.proposed

    def rewrite(self, instruction: str, n: int = 3, config: GenerationConfig | None = None, **fields: Any) -> list[Block]:
        """Other candidates for the same place, told what to do differently."""
        return self.propose(n, config, instruction=instruction, **fields)

    def shorter(self, index: int, n: int = 3, config: GenerationConfig | None = None, **fields: Any) -> list[Block]:
        """Candidates of fewer tokens than the proposed one."""
        most = len(self._chosen(index).token_ids) - 1
        if most < 1:
            raise InputError(f"candidate {index} is one token; there is nothing shorter")
        return self.propose(n, config, max_new_tokens=most, **fields)

    def longer(self, index: int, n: int = 3, config: GenerationConfig | None = None, **fields: Any) -> list[Block]:
        """Candidates that may not end the completion before they are longer than the proposed one."""
        least = len(self._chosen(index).token_ids) + 1
        return self.propose(n, config, min_new_tokens=least, **fields)

    def accept(self, index: int, *, edited: str | None = None) -> None:
        """Take a candidate, as it is or edited; tokens that the edit leaves keep their ids."""
        block = self._chosen(index)
        if edited is None or edited == block.text:
            whole = [SpanRecord(0, len(block.token_ids), "sampled")]
            self._append(block.token_ids, whole, block.logprobs, ends=block.ends, asked=block)
            return
        kept = edit_of(self._model.codec, block.token_ids, block.text, edited)
        end = len(block.token_ids) - kept.kept_end
        ids = (*block.token_ids[: kept.kept_start], *kept.typed, *block.token_ids[end:])
        typed_end = kept.kept_start + len(kept.typed)
        spans = [
            SpanRecord(0, kept.kept_start, "sampled"),
            SpanRecord(kept.kept_start, typed_end, "typed"),
            SpanRecord(typed_end, len(ids), "sampled"),
        ]
        self._append(ids, spans, None, ends=block.ends and kept.kept_end > 0, asked=block)

    def write(self, text: str) -> None:
        """A block of one's own; the border that follows it is part of the text."""
        if self.ended:
            raise InputError("the model ended this completion with the last block; undo takes it back")
        ids = self._model.codec.encode(text)
        self._append(ids, [SpanRecord(0, len(ids), "typed")], None, ends=False)

    def undo(self) -> None:
        """Take the last block back. Raises InputError where there is none."""
        if not self._history:
            raise InputError("there is no block to take back")
        ids, spans, self._measured, self.ended = self._history.pop()
        self._made.pop()
        del self._ids[ids:], self._spans[spans:]
        self.proposed = []

    def save(self) -> CompletionRecord:
        """Keep it: truncated unless the model ended it, with logprobs where every token was sampled."""
        new = NewCompletion(
            text=self.text,
            model=self._model.info.name,
            fingerprint=self._model.info.fingerprint,
            finish_reason="eos" if self.ended else "user",
            token_ids=self.token_ids,
            spans=[span for span in self._spans if span.end > span.start],
            config=self._config.to_dict(),
            processors=self._config.order,
            logprobs=kept_logprobs(self._measured) if self._measured is not None else None,
            details={"blocks": self._made},
        )
        return self._database.completions.add(self._sample.id, new)

    def _append(
        self,
        ids: Sequence[int],
        spans: Sequence[SpanRecord],
        measured: Sequence[TokenLogprob] | None,
        *,
        ends: bool,
        asked: Block | None = None,
    ) -> None:
        start = len(self._ids)
        self._made.append(
            {"start": start} if asked is None else {"start": start, "instruction": asked.instruction, "seed": asked.seed}
        )
        self._history.append((start, len(self._spans), self._measured, self.ended))
        self._ids += ids
        self._spans += [SpanRecord(start + s.start, start + s.end, s.origin) for s in spans]
        if self._measured is not None:
            self._measured = None if measured is None else [*self._measured, *measured]
        self.ended = ends
        self.proposed = []

    def _chosen(self, index: int) -> Block:
        if not 0 <= index < len(self.proposed):
            raise InputError(f"there is no candidate {index}; {len(self.proposed)} are proposed (0 to {len(self.proposed) - 1})")
        return self.proposed[index]

    def _prompt(self, instruction: str) -> str | Sequence[Mapping[str, Any]]:
        prompt = self._sample.prompt
        if not instruction:
            return prompt
        if isinstance(prompt, str):
            raise UnsupportedError("an instruction needs messages to go with, and this sample's prompt is raw text; leave it out")
        last = max((i for i, message in enumerate(prompt) if message["role"] == "user"), default=None)
        if last is None:
            raise UnsupportedError("an instruction goes with the last user message, and this sample has none; leave it out")
        told = {**prompt[last], "content": f"{prompt[last]['content']}\n\n{instruction}"}
        return [*prompt[:last], told, *prompt[last + 1 :]]
