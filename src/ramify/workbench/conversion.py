"""From what the engine made to what the workspace keeps."""

from collections.abc import Iterable, Sequence

from ramify.engine.requests import CompletionResult
from ramify.engine.requests import TokenLogprob as Measured
from ramify.store.records import NewCompletion, SpanRecord, TokenLogprob

__all__ = ["kept_logprobs", "kept_result"]


def kept_logprobs(tokens: Iterable[Measured]) -> tuple[TokenLogprob, ...]:
    """The raw measures (temperature 1, EOS included); the processed ones follow from them and the configuration."""
    return tuple(
        TokenLogprob(
            token_id=token.token_id,
            token_bytes=token.token_bytes,
            logprob=token.raw.logprob,
            rank=token.raw.rank,
            entropy=token.raw.entropy,
            alternatives=tuple((a.token_id, a.token_bytes, a.logprob) for a in token.raw.alternatives),
        )
        for token in tokens
    )


def kept_result(
    result: CompletionResult,
    *,
    spans: Sequence[SpanRecord] | None = None,
    generated_start: int | None = None,
    parent_id: int | None = None,
    branch_position: int | None = None,
    logprobs_before: Sequence[TokenLogprob] = (),
) -> NewCompletion:
    """A result as a completion to keep. What it continues brings its own spans, logprobs and beginning."""
    start = len(result.text) - len(result.generated_text) if generated_start is None else generated_start
    measured = None if result.logprobs is None else (*logprobs_before, *kept_logprobs(result.logprobs))
    return NewCompletion(
        text=result.text,
        model=result.model,
        fingerprint=result.fingerprint,
        finish_reason=result.finish_reason,
        generated_start=start,
        token_ids=result.token_ids,
        spans=[SpanRecord(s.start, s.end, s.origin) for s in result.spans] if spans is None else spans,
        config=result.config.to_dict(),
        processors=result.config.order,
        seed=result.seed,
        stop_string=result.stop_string,
        beam_score=result.beam_score,
        truncated=result.truncated,
        parent_id=parent_id,
        branch_position=branch_position,
        logprobs=measured,
    )
