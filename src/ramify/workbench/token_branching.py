"""Token by token from the middle of a completion: its first tokens stay as they are, a person picks the rest."""

from dataclasses import replace
from typing import Any

from ramify.decoding.config import GenerationConfig
from ramify.engine.branch import Branch
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult
from ramify.errors import InputError
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, NewCompletion, SpanRecord, TokenLogprob
from ramify.workbench.asking import ALTERNATIVES
from ramify.workbench.beginnings import Beginning
from ramify.workbench.conversion import kept_logprobs
from ramify.workbench.next_tokens import Next, Reading, next_after

__all__ = ["Picking"]


class Picking:
    """A completion in the making, after a beginning. `pick`, `type`, `undo`, `finish`, then `save`; close it at the end.

    Each pick is one forward pass of one token. Not safe to use from two threads at once.
    """

    def __init__(self, database: Database, model: Model, beginning: Beginning) -> None:
        self.model, self.beginning = model, beginning
        self._database = database
        start = Branch(model, (*beginning.prompt_ids, *beginning.ids), len(beginning.prompt_ids))
        self._steps: list[tuple[Branch, TokenLogprob | None, str]] = [(start, None, "")]
        self._read: tuple[Branch, Reading] | None = None
        self.finished: CompletionResult | None = None
        """What the model made of the rest; `undo` takes it back."""

    @property
    def branch(self) -> Branch:
        return self._steps[-1][0]

    @property
    def token_ids(self) -> tuple[int, ...]:
        """From the completion's first token on."""
        return self.branch.token_ids if self.finished is None else self.finished.token_ids

    @property
    def text(self) -> str:
        return self.branch.text if self.finished is None else self.finished.text

    @property
    def ended(self) -> bool:
        """Whether an EOS was picked, or sampled by `finish`."""
        ids = self.token_ids[len(self.beginning.ids) :]
        return bool(ids) and ids[-1] in self.model.info.eos_token_ids

    @property
    def measured(self) -> tuple[TokenLogprob, ...]:
        """Of the last tokens, as far back as they are known."""
        picked = tuple(token for _, token, _ in self._steps if token is not None)
        rest = kept_logprobs(self.finished.logprobs or ()) if self.finished is not None else ()
        return (*self.beginning.logprobs, *picked, *rest)

    @property
    def spans(self) -> list[SpanRecord]:
        """Where each token came from."""
        spans = list(self.beginning.spans)
        at = len(self.beginning.ids)
        for origin in [origin for _, token, origin in self._steps if token is not None]:
            if spans and spans[-1].end == at and spans[-1].origin == origin and at > len(self.beginning.ids):
                spans[-1] = SpanRecord(spans[-1].start, at + 1, spans[-1].origin)
            else:
                spans.append(SpanRecord(at, at + 1, origin))  # type: ignore[arg-type]
            at += 1
        if len(self.token_ids) > at:
            spans.append(SpanRecord(at, len(self.token_ids), "sampled"))
        return spans

    def so_far(self) -> Beginning:
        """Everything up to here as the beginning of another completion. Raises InputError after the end."""
        self._check_open()
        return replace(self.beginning, ids=self.token_ids, spans=tuple(self.spans), logprobs=self.measured)

    def next(self, k: int = 20, *, search: str | None = None, config: GenerationConfig | None = None) -> Next:
        """The k likeliest next tokens and every EOS, before and after the config's processors. InputError after the end."""
        self._check_open()
        start = (*self.beginning.prompt_ids, *self.beginning.ids)
        new = self.branch.token_ids[len(self.beginning.ids) :]
        return next_after(self.model, start, new, config, k=k, search=search, reading=self._reading())

    def pick(self, token_id: int) -> None:
        """Append a token that the model could say."""
        self._append([token_id], "picked")

    def type(self, text: str) -> None:
        """Append text of one's own. Raises InputError for none."""
        if not text:
            raise InputError("there is no text; give at least one character")
        self._append(self.model.codec.encode(text), "typed")

    def undo(self) -> None:
        """Take back what the model finished, else the last token. Raises InputError where there is none."""
        if self.finished is not None:
            self.finished = None
            return
        if len(self._steps) == 1:
            raise InputError("there is no token to take back; what it began with stays")
        self._steps.pop()[0].free()

    def finish(self, config: GenerationConfig | None = None, **fields: Any) -> CompletionResult:
        """Let the model write the rest. `save` keeps both."""
        self._check_open()
        settings = (config or GenerationConfig()).replace(**fields)
        if settings.num_return_sequences > 1:
            raise InputError(f"num_return_sequences is {settings.num_return_sequences}; one completion is made here")
        self.finished = self.branch.complete(settings, logprobs=ALTERNATIVES)
        return self.finished

    def save(self) -> CompletionRecord:
        """Keep it; truncated unless an EOS was picked or sampled. One that left another completion is its child."""
        start, done = self.beginning, self.finished
        config = done.config if done is not None else GenerationConfig()
        measured = self.measured
        new = NewCompletion(
            text=self.text,
            model=self.model.info.name,
            fingerprint=self.model.info.fingerprint,
            finish_reason=done.finish_reason if done is not None else "eos" if self.ended else "user",
            generated_start=min(start.generated_start, len(self.text)),
            token_ids=self.token_ids,
            spans=self.spans,
            config=config.to_dict(),
            processors=config.order,
            seed=done.seed if done is not None else None,
            stop_string=done.stop_string if done is not None else None,
            parent_id=start.parent_id,
            branch_position=start.position,
            logprobs=measured or None,
        )
        return self._database.completions.add(start.sample_id, new, prompt_id=start.prompt_id)

    def close(self) -> None:
        """Give the memory back."""
        for branch, _, _ in self._steps:
            branch.free()

    def _reading(self) -> Reading:
        """Of what the model says now: for the candidates, and again for the one that is taken."""
        if self._read is None or self._read[0] is not self.branch:
            self._read = self.branch, Reading(self.branch.logits())
        return self._read[1]

    def _append(self, token_ids: list[int], origin: str) -> None:
        before = len(self._steps)
        try:
            for token_id in token_ids:
                self._check_open()
                measured = self._reading().kept(self.model, token_id, ALTERNATIVES)
                self._steps.append((self.branch.fork().extend(token_id), measured, origin))
        except BaseException:  # a text is taken whole or not at all
            while len(self._steps) > before:
                self._steps.pop()[0].free()
            raise

    def _check_open(self) -> None:
        if self.finished is not None or self.ended:
            raise InputError("this completion has ended; undo takes the last token back")
