"""One draft while it grows: what has arrived of it, and what of that the workspace keeps."""

from dataclasses import replace

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult, TokenEvent
from ramify.errors import InputError
from ramify.models.detokenizer import StreamDecoder
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, NewCompletion, SpanRecord, TokenLogprob
from ramify.workbench.beginnings import Beginning
from ramify.workbench.conversion import kept_logprobs, kept_result

__all__ = ["Growing", "settled"]

Moment = tuple[str, tuple[int, ...], tuple[TokenLogprob, ...]]
"""Text, ids and measures as they were at once."""


class Growing:
    """Its beginning and the tokens since. Changed by one thread at a time; `Drafting` holds the lock."""

    def __init__(self, draft_id: int, model: Model, beginning: Beginning, config: GenerationConfig, seed: int) -> None:
        self.id, self.sample_id = draft_id, beginning.sample_id
        self._model, self._beginning, self._config, self._seed = model, beginning, config, seed
        self._decoder = StreamDecoder(model.codec.token_bytes)
        self.ids = list(beginning.ids)
        self.pieces = [self._decoder.feed(token_id) for token_id in beginning.ids]
        """The text that each token adds."""
        self.text = "".join(self.pieces)
        self.measured: list[TokenLogprob] = list(beginning.logprobs)
        """Of the tokens from `measured_from` on."""
        self.measured_from = len(beginning.ids) - len(beginning.logprobs)
        self.unwritten = False

    @classmethod
    def begun(cls, database: Database, model: Model, beginning: Beginning, config: GenerationConfig, seed: int) -> "Growing":
        """A new draft in the workspace."""
        made = cls(0, model, beginning, config, seed)
        made.id = database.completions.add(beginning.sample_id, made.so_far(None), prompt_id=beginning.prompt_id).id
        return made

    def feed(self, event: TokenEvent) -> tuple[str, ...]:
        """Take what the engine made; returns the text that each of its tokens adds."""
        pieces = tuple(self._decoder.feed(token_id) for token_id in event.token_ids)
        self.text += event.text
        self.ids += event.token_ids
        self.pieces += pieces
        self.measured += kept_logprobs(event.logprobs)
        self.unwritten = True
        return pieces

    def take_unwritten(self) -> bool:
        """Whether something arrived since this was asked last."""
        found, self.unwritten = self.unwritten, False
        return found

    def frozen(self) -> Moment:
        return self.text, tuple(self.ids), tuple(self.measured)

    def so_far(self, reason: str | None, moment: Moment | None = None) -> NewCompletion:
        """What has arrived (by that moment), as a draft to keep."""
        start = self._beginning
        text, ids, measured = moment or self.frozen()
        spans = list(start.spans)
        if len(ids) > len(start.ids):
            spans.append(SpanRecord(len(start.ids), len(ids), "sampled"))
        return NewCompletion(
            text=text,
            model=self._model.info.name,
            fingerprint=self._model.info.fingerprint,
            finish_reason=reason,
            generated_start=min(start.generated_start, len(text)),
            token_ids=ids,
            spans=spans,
            config=self._config.to_dict(),
            processors=self._config.order,
            seed=self._seed,
            truncated=True,
            parent_id=start.parent_id,
            branch_position=start.position,
            draft=True,
            logprobs=measured if self.measured_from + len(measured) == len(ids) else None,
        )

    def finished(self, result: CompletionResult) -> NewCompletion:
        """The whole, as a draft to keep."""
        start = self._beginning
        spans = [*start.spans, SpanRecord(len(start.ids), len(result.token_ids), "sampled")]
        new = kept_result(
            result,
            spans=[span for span in spans if span.end > span.start],
            generated_start=start.generated_start,
            parent_id=start.parent_id,
            branch_position=start.position,
            logprobs_before=start.logprobs,
        )
        return replace(new, draft=True)


def settled(database: Database, draft_id: int) -> CompletionRecord:
    """A draft that nobody is making: one without an end, left by a process that died, counts as cancelled and keeps its text.

    Raises NotFoundError, and InputError for a completion that is saved.
    """
    record = database.completions.get(draft_id)
    if not record.draft:
        raise InputError(f"completion {draft_id} is saved, and no draft any more")
    if record.finish_reason is not None:
        return record
    own = [each for each in database.logprobs.of(draft_id) if each.fingerprint == record.fingerprint]
    new = record.anew(finish_reason="cancelled", truncated=True, draft=True, logprobs=own[-1].tokens if own else None)
    database.completions.grow(draft_id, new)
    return database.completions.get(draft_id)
