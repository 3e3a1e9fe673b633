"""Whole completions: generated, continued from their own tokens, and measured under any model."""

from collections.abc import Iterator, Sequence
from typing import Any

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult, Prompt, TokenEvent
from ramify.errors import InputError
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, LogprobsRecord, NewCompletion, SampleRecord, SpanRecord, TokenLogprob
from ramify.workbench.conversion import kept_logprobs, kept_result

__all__ = ["Draft", "continue_completion", "generate", "score"]

ALTERNATIVES = 5
"""Kept beside each generated token."""


def generate(
    database: Database,
    model: Model,
    sample: SampleRecord,
    config: GenerationConfig,
    *,
    prefill: str | None = None,
    alternatives: int | None = ALTERNATIVES,
) -> list[CompletionRecord]:
    """Completions of the sample's current prompt, kept together as one step of the history."""
    request = model.request(sample.prompt, config, prefill=prefill, logprobs=alternatives)
    results = model.result(request)
    with database.action("generate", model.info.name):
        return [database.completions.add(sample.id, kept_result(result)) for result in results]


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
        if config.num_return_sequences != 1:
            raise InputError(
                f"a draft is one completion, and {config.num_return_sequences} were asked for; make a draft for each"
            )
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
        return _as_draft(kept_result(result))

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


def _as_draft(new: NewCompletion) -> NewCompletion:
    from dataclasses import replace

    return replace(new, draft=True)


def continue_completion(
    database: Database,
    model: Model,
    parent: CompletionRecord,
    config: GenerationConfig,
    *,
    alternatives: int | None = ALTERNATIVES,
) -> list[CompletionRecord]:
    """Go on where a truncated completion ends, from its own token ids; the child remembers its parent and where it left it.

    Ids of another model, and text that never had ids, are tokenized for this one. Raises InputError for one that EOS ended.
    """
    if parent.finish_reason == "eos":
        raise InputError(
            f"completion {parent.id} was ended by EOS, so there is nothing to continue; edit it, or branch from a token"
        )
    before = own_ids(model, parent)
    same = parent.token_ids is not None and before == parent.token_ids
    prompt_ids, _ = model.ids_of(prompt_of(database, parent))
    request = model.request_of_ids((*prompt_ids, *before), before, config, logprobs=alternatives)
    spans = list(parent.spans) if same else [SpanRecord(0, len(before), _origin(parent))]
    measured = _measured_before(database, model, parent) if same else ()
    children = []
    with database.action("continue", str(parent.id)):
        for result in model.result(request):
            grown = [*spans, SpanRecord(len(before), len(result.token_ids), "sampled")]
            new = kept_result(
                result,
                spans=[span for span in grown if span.end > span.start],
                generated_start=parent.generated_start,
                parent_id=parent.id,
                branch_position=len(before),
                logprobs_before=measured,
            )
            children.append(database.completions.add(parent.sample_id, new, prompt_id=parent.prompt_id))
    return children


def score(database: Database, model: Model, completion: CompletionRecord, *, top: int = ALTERNATIVES) -> LogprobsRecord:
    """Measure a completion under a model, which need not be its own, and keep the measures beside those of others."""
    ids = own_ids(model, completion)
    scored = model.score(prompt_of(database, completion), ids, top=top)
    return database.logprobs.put(completion.id, model.info.name, model.info.fingerprint, kept_logprobs(scored.logprobs), start=0)


def prompt_of(database: Database, completion: CompletionRecord) -> Prompt:
    """The revision of the prompt that the completion answers."""
    return next(p.prompt for p in database.samples.revisions(completion.sample_id) if p.id == completion.prompt_id)


def own_ids(model: Model, completion: CompletionRecord) -> tuple[int, ...]:
    """The completion's ids for this model: its own where this model made it, else its text tokenized."""
    if completion.token_ids is not None and completion.fingerprint == model.info.fingerprint:
        return completion.token_ids
    return tuple(model.codec.encode(completion.text))


def _origin(completion: CompletionRecord) -> Any:
    return completion.spans[0].origin if completion.spans else "imported" if completion.finish_reason == "imported" else "typed"


def _measured_before(database: Database, model: Model, parent: CompletionRecord) -> Sequence[TokenLogprob]:
    """The parent's own measures, where they reach its end."""
    for record in database.logprobs.of(parent.id):
        ends = record.start + len(record.tokens)
        if record.fingerprint == model.info.fingerprint and ends == len(parent.token_ids or ()):
            return record.tokens
    return ()
