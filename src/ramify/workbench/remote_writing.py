"""Completions by a remote model: asked for, streamed as drafts, continued by their text, and kept with what the endpoint told.

A remote tells text and no ids, so its completions' spans count characters. Its logprobs are kept where it measured every token.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any
from weakref import WeakSet

from ramify.decoding.config import GenerationConfig
from ramify.errors import RemoteError, UnsupportedError
from ramify.models.remote import Remote, RemoteCompletion, RemoteEvent, RemoteStream, RemoteToken
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, NewCompletion, Prompt, SampleRecord, SpanRecord, TokenLogprob

__all__ = ["RemoteDraft", "begin", "check", "continuing", "kept_remote", "measures", "spelt", "without_prefill"]

NOT_MEASURED = -9999.0
"""What OpenAI gives in place of a logprob too low to be told."""
UNWANTED = (400, 404, 422)
"""Statuses with which endpoints refuse a field."""

_silent: "WeakSet[Remote]" = WeakSet()
"""Remotes that refused to tell logprobs, which nobody had asked for by name: they are not asked for them again."""


def check(remote: Remote, prompt: Prompt, config: GenerationConfig, prefill: str | None, alternatives: int | None) -> None:
    """Raise what asking would raise before anything is sent: UnsupportedError, InputError."""
    remote.check(prompt, config, prefill=prefill, logprobs=_told(remote, alternatives))


def begin(
    remote: Remote, prompt: Prompt, config: GenerationConfig, prefill: str | None, alternatives: int | None
) -> "Future[tuple[RemoteCompletion, ...]]":
    """Ask for completions; cancelling the future ends the request. Raises what `check` does."""
    check(remote, prompt, config, prefill, alternatives)

    async def ask() -> tuple[RemoteCompletion, ...]:
        try:
            return await remote.acomplete(prompt, config, prefill=prefill, logprobs=_told(remote, alternatives))
        except RemoteError as error:
            if not _refuses_logprobs(remote, error, alternatives):
                raise
        return await remote.acomplete(prompt, config, prefill=prefill)

    return remote.submit(ask())


def _told(remote: Remote, alternatives: int | None) -> int | None:
    return None if remote in _silent or alternatives is None else remote.alternatives(alternatives)


def _refuses_logprobs(remote: Remote, error: RemoteError, alternatives: int | None) -> bool:
    refused = _told(remote, alternatives) is not None and error.status in UNWANTED and "logprob" in str(error).lower()
    if refused:
        _silent.add(remote)
    return refused


def continuing(remote: Remote, parent: CompletionRecord, prompt: Prompt, config: GenerationConfig) -> None:
    """Check that a remote can go on where a completion ends. Raises UnsupportedError, which says why not."""
    try:
        check(remote, prompt, config, parent.text, None)
    except UnsupportedError as error:
        raise UnsupportedError(f"completion {parent.id} cannot be continued by {remote.name}: {error}") from None


# What it answered, as the workspace keeps it.


def kept_remote(
    remote: Remote,
    config: GenerationConfig,
    answer: RemoteCompletion,
    *,
    before: Sequence[SpanRecord] | None = None,
    **more: Any,
) -> NewCompletion:
    """An answer as a completion to keep. `before`: where the parts of a text it continues came from; None: that is a prefill."""
    begun = answer.prefill
    text = answer.text if answer.repeats_prefill else begun + answer.text
    filled = [SpanRecord(0, len(begun), "prefill")] if before is None else list(before)
    told = {
        "endpoint": remote.endpoint.base_url,
        "model": answer.model,
        "system_fingerprint": answer.system_fingerprint,
        "id": answer.id,
        "reported_finish": answer.reported_finish,
        "refusal": answer.refusal,
        "reasoning": answer.reasoning,
        **_counts(remote, answer),
    }
    new = NewCompletion(
        text=text,
        model=remote.name,
        fingerprint=remote.fingerprint,
        finish_reason=answer.finish_reason,
        generated_start=len(begun),
        spans=[span for span in (*filled, SpanRecord(len(begun), len(text), "sampled")) if span.end > span.start],
        config=config.to_dict(),
        seed=config.seed,
        stop_string=answer.stop_string,
        truncated=answer.truncated,
        details={"remote": {name: value for name, value in told.items() if value not in (None, "")}},
        spelt=None if answer.repeats_prefill or not answer.tokens_cover_text else measures(answer.tokens or ()),
    )
    return replace(new, **more)


def _counts(remote: Remote, answer: RemoteCompletion) -> dict[str, Any]:
    """The tokens of the whole request as billed, and their cost in US dollars where the endpoint's card has prices."""
    used, card = answer.usage, remote.card
    if used is None:
        return {}
    names = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    cost = None if card is None else card.cost(used.prompt_tokens, used.completion_tokens)
    return {"usage": {name: getattr(used, name) for name in names}, "cost_usd": cost}


def measures(tokens: Sequence[RemoteToken]) -> tuple[TokenLogprob, ...] | None:
    """An endpoint's measures; None unless it measured every token."""
    kept = []
    for token in tokens:
        if token.logprob is None or not NOT_MEASURED < token.logprob <= 1e-4:
            return None
        kept.append(spelt(token, token.logprob))
    return tuple(kept)


def spelt(token: RemoteToken, logprob: float) -> TokenLogprob:
    """A token without an id. Its rank is known where a less likely alternative was told, or it is one of them; else 0."""
    others = [other for other in token.alternatives if NOT_MEASURED < other.logprob <= 1e-4]
    better = sum(other.logprob > logprob for other in others)
    return TokenLogprob(
        token_id=-1,
        token_bytes=_bytes(token),
        logprob=logprob,
        rank=better + 1 if better < len(others) else 0,
        entropy=math.nan,
        alternatives=tuple((-1, _bytes(other), other.logprob) for other in sorted(others, key=lambda each: -each.logprob)),
    )


def _bytes(token: Any) -> bytes:
    given: bytes | None = token.token_bytes
    return token.text.encode("utf-8", errors="replace") if given is None else given


def without_prefill(events: Iterator[RemoteEvent], remote: Remote, prompt: Any, prefill: str) -> Iterator[RemoteEvent]:
    """A stream whose completions begin behind the prefill. What repeats it is held back until it is known whether all of it is
    repeated, where it may be: an endpoint of chat messages that is not known not to."""
    may = bool(prefill) and not isinstance(prompt, str) and remote.can.doubles is not False
    held, past = dict[int, str](), set[int]()
    with contextlib.closing(events):  # type: ignore[type-var]
        for event in events:
            if may and event.index not in past:
                found = held[event.index] = held.get(event.index, "") + event.text
                if event.completion is None and len(found) < len(prefill) and prefill.startswith(found):
                    continue
                past.add(event.index)
                event = replace(event, text=found.removeprefix(prefill))
            yield event


class RemoteDraft:
    """A remote's completion that streams into the workspace: there after every portion, a cancelled or broken one keeps its text,
    and it is out of ranking and export until `save`."""

    def __init__(
        self,
        database: Database,
        remote: Remote,
        sample: SampleRecord,
        config: GenerationConfig,
        *,
        prefill: str | None = None,
        alternatives: int | None = None,
        every_tokens: int = 16,
    ) -> None:
        """every_tokens: after how many events what has arrived is written to disk. Refuses before anything is written."""
        self._database, self._remote, self._config = database, remote, config
        self._ask = {"prompt": sample.prompt, "config": config, "prefill": prefill}
        self._alternatives, self._every, self._prefill = alternatives, every_tokens, prefill or ""
        check(remote, sample.prompt, config, prefill, alternatives)
        self._text = ""
        self.record = database.completions.add(sample.id, self._so_far(None))

    def events(self) -> Iterator[RemoteEvent]:
        """The endpoint's events as they come, a repeated prefill left out; leaving the loop cancels the rest and keeps the text.

        RemoteError comes where the stream broke, and the text so far is kept with finish_reason `error`.
        """
        reason, unwritten = "cancelled", 0
        try:
            for event in without_prefill(self._events(), self._remote, self._ask["prompt"], self._prefill):
                self._text += event.text
                unwritten += 1
                if event.completion is not None:
                    reason = ""
                    self._grow(kept_remote(self._remote, self._config, event.completion, draft=True))
                elif unwritten >= self._every:
                    self._grow(self._so_far(None))
                    unwritten = 0
                yield event
        except RemoteError as error:
            reason = ""
            broken = [kept_remote(self._remote, self._config, each, draft=True) for each in error.completions[:1]]
            self._grow(broken[0] if broken else self._so_far("error"))
            raise
        finally:
            if reason:
                self._grow(self._so_far(reason))
            self.record = self._database.completions.get(self.record.id)

    def save(self) -> CompletionRecord:
        """Make it a completion like any other."""
        self.record = self._database.completions.save(self.record.id)
        return self.record

    def _events(self) -> Iterator[RemoteEvent]:
        stream = self._stream()
        try:
            yield from stream
        except RemoteError as error:
            if not _refuses_logprobs(self._remote, error, self._alternatives):
                raise
            stream = self._stream()
            yield from stream
        finally:
            stream.cancel()

    def _stream(self) -> RemoteStream:
        return self._remote.stream(**self._ask, logprobs=_told(self._remote, self._alternatives))  # type: ignore[arg-type]

    def _grow(self, new: NewCompletion) -> None:
        self._database.completions.grow(self.record.id, new)

    def _so_far(self, reason: str | None) -> NewCompletion:
        text, filled = self._prefill + self._text, len(self._prefill)
        spans = [SpanRecord(0, filled, "prefill"), SpanRecord(filled, len(text), "sampled")]
        return NewCompletion(
            text=text,
            model=self._remote.name,
            fingerprint=self._remote.fingerprint,
            finish_reason=reason,
            generated_start=filled,
            spans=[span for span in spans if span.end > span.start],
            config=self._config.to_dict(),
            seed=self._config.seed,
            truncated=True,
            details={"remote": {"endpoint": self._remote.endpoint.base_url}},
            draft=True,
        )
