"""Small contents for the tests, and the whole of a workspace as a value."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from ramify.store import CompletionRecord, Database, NewCompletion, SampleRecord, SpanRecord, TokenLogprob, tables

PIECES = {0: b"", 1: b" a", 2: b" hedgehog", 3: b" ran", 4: "né".encode(), 5: b"\xf0\x9f", 6: b"\xa6\x94"}


def token(
    token_id: int, logprob: float = -0.5, rank: int = 1, entropy: float = 1.0, others: Sequence[tuple[int, float]] = ()
) -> TokenLogprob:
    return TokenLogprob(
        token_id=token_id,
        token_bytes=PIECES.get(token_id, b"?"),
        logprob=logprob,
        rank=rank,
        entropy=entropy,
        alternatives=tuple((i, PIECES.get(i, b"?"), value) for i, value in others),
    )


def sampled(
    text: str = " a hedgehog", *, model: str = "tiny", reason: str = "eos", logprobs: bool = True, **more: Any
) -> NewCompletion:
    """A completion of three tokens, EOS included."""
    tokens = [token(1, -0.25, 1, 1.5, [(1, -0.25), (2, -2.0)]), token(2, -1.5, 2, 2.0, [(3, -0.75), (2, -1.5)]), token(0, -0.125)]
    values: dict[str, Any] = {
        "text": text,
        "model": model,
        "fingerprint": f"{model}-1",
        "finish_reason": reason,
        "token_ids": [1, 2, 0],
        "spans": [SpanRecord(0, 3, "sampled")],
        "config": {"temperature": 0.5},
        "processors": ["temperature"],
        "seed": 7,
        "logprobs": tokens if logprobs else None,
    }
    return NewCompletion(**{**values, **more})


def written(text: str = "By hand.", **more: Any) -> NewCompletion:
    return NewCompletion(**{"text": text, "finish_reason": "written", "spans": [SpanRecord(0, len(text), "typed")], **more})


def sample_with(db: Database, *texts: str, prompt: str = "Once") -> tuple[SampleRecord, list[CompletionRecord]]:
    """A sample and completions written by hand."""
    sample = db.samples.add(prompt)
    return sample, [db.completions.add(sample.id, written(text)) for text in texts]


def state(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every recorded table."""
    with db.reading() as connection:
        return {
            table.name: [
                tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)
                for row in connection.execute(select(table).order_by(table.c.id))
            ]
            for table in tables.RECORDED
        }
