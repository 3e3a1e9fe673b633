"""Completions that stream into the workspace while they are made."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult, TokenEvent
from ramify.errors import InputError
from ramify.models.remote import Remote
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, NewCompletion, SampleRecord, SpanRecord, TokenLogprob
from ramify.workbench.asking import ALTERNATIVES, AnyModel
from ramify.workbench.conversion import kept_logprobs, kept_result
from ramify.workbench.remote_writing import RemoteDraft

__all__ = ["Draft", "draft"]


def draft(
    database: Database,
    model: AnyModel,
    sample: SampleRecord,
    config: GenerationConfig,
    *,
    prefill: str | None = None,
    alternatives: int | None = ALTERNATIVES,
) -> "Draft | RemoteDraft":
    """A completion that streams into the workspace as a draft, by a model here or a remote one."""
    if config.num_return_sequences != 1:
        raise InputError(f"a draft is one completion, and {config.num_return_sequences} were asked for; make a draft for each")
    kind: Any = RemoteDraft if isinstance(model, Remote) else Draft
    made: Draft | RemoteDraft = kind(database, model, sample, config, prefill=prefill, alternatives=alternatives)
    return made


class Draft:
    """A completion that streams into the workspace: there after every event, cancelled ones keep their text, and out of ranking
    and export until `save`."""

    def __init__(
        self,
        database: Database,
        model: Model,
        sample: SampleRecord,
        config: GenerationConfig,
        *,
        prefill: str | None = None,
        alternatives: int | None = ALTERNATIVES,
        every_tokens: int = 16,
    ) -> None:
        """every_tokens: how often what has arrived is written to disk."""
        self._database, self._model, self._config = database, model, config
        self._events = model.stream(sample.prompt, config, prefill=prefill, logprobs=alternatives)
        self._prefill = prefill or ""
        self._filled = tuple(model.codec.encode(self._prefill)) if self._prefill else ()
        self._every = every_tokens
        self._text, self._ids, self._measured = "", list(self._filled), list[TokenLogprob]()
        self.record = database.completions.add(sample.id, self._so_far(None))

    def events(self) -> Iterator[TokenEvent]:
        """The engine's events as they come; leaving the loop cancels the rest and keeps the text."""
        unwritten = 0
        ended = False
        try:
            for event in self._events:
                self._text += event.text
                self._ids += event.token_ids
                self._measured += kept_logprobs(event.logprobs)
                unwritten += len(event.token_ids)
                if event.result is not None:
                    self._database.completions.grow(self.record.id, self._finished(event.result))
                    ended = True
                elif unwritten >= self._every:
                    self._database.completions.grow(self.record.id, self._so_far(None))
                    unwritten = 0
                yield event
        finally:
            if not ended:
                self._events.close()  # type: ignore[attr-defined]
                self._database.completions.grow(self.record.id, self._so_far("cancelled"))
            self.record = self._database.completions.get(self.record.id)

    def save(self) -> CompletionRecord:
        """Make it a completion like any other."""
        self.record = self._database.completions.save(self.record.id)
        return self.record

    def _finished(self, result: CompletionResult) -> NewCompletion:
        return replace(kept_result(result), draft=True)

    def _so_far(self, reason: str | None) -> NewCompletion:
        filled, total = len(self._filled), len(self._ids)
        spans = [SpanRecord(0, filled, "prefill")] if filled else []
        if total > filled:
            spans.append(SpanRecord(filled, total, "sampled"))
        return NewCompletion(
            text=self._prefill + self._text,
            model=self._model.info.name,
            fingerprint=self._model.info.fingerprint,
            finish_reason=reason,
            generated_start=len(self._prefill),
            token_ids=tuple(self._ids),
            spans=spans,
            config=self._config.to_dict(),
            processors=self._config.order,
            truncated=True,
            logprobs=tuple(self._measured) if len(self._measured) == total - filled else None,
            draft=True,
        )
