"""Token by token: the model proposes, a person picks. Each pick is one forward pass of one token."""

from dataclasses import dataclass
from typing import Any

import torch

from ramify.decoding.config import GenerationConfig
from ramify.engine.branch import Branch
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult, TokenLogprob
from ramify.errors import InputError
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, NewCompletion, Origin, SampleRecord, SpanRecord
from ramify.workbench.asking import ALTERNATIVES
from ramify.workbench.conversion import kept_logprobs

__all__ = ["Candidate", "Candidates", "TokenByToken"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that may be picked. text spells it out, special ones too; whitespace is the shower's business."""

    token_id: int
    text: str
    probability: float
    rank: int
    ends: bool
    """Whether it is an EOS: picking it ends the completion."""


@dataclass(frozen=True, slots=True)
class Candidates:
    shown: tuple[Candidate, ...]
    others: float
    """The probability of all that is not shown."""


class TokenByToken:
    """A completion in the making. `pick`, `type`, `undo`, `finish`, then `save`."""

    def __init__(self, database: Database, model: Model, sample: SampleRecord, *, prefill: str | None = None) -> None:
        self._database, self._model, self._sample = database, model, sample
        start = model.branch(sample.prompt, prefill=prefill)
        self._filled = start.token_ids
        self._prefill_text = start.text
        self._steps: list[tuple[Branch, tuple[TokenLogprob, Origin] | None]] = [(start, None)]
        self._finished: CompletionResult | None = None

    @property
    def branch(self) -> Branch:
        return self._steps[-1][0]

    @property
    def text(self) -> str:
        return self.branch.text

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.branch.token_ids

    @property
    def ended(self) -> bool:
        """Whether an EOS was picked: nothing can follow it."""
        ids = self.token_ids[len(self._filled) :]
        return bool(ids) and ids[-1] in self._model.info.eos_token_ids

    def candidates(self, k: int = 20, *, search: str | None = None) -> Candidates:
        """The k likeliest next tokens and every EOS, best first; with `search`, the likeliest whose text contains it."""
        self._check_open()
        codec, probabilities = self._model.codec, self.branch.probabilities()
        order = torch.argsort(probabilities, descending=True, stable=True).tolist()
        ends = set(self._model.info.eos_token_ids)
        shown: list[Candidate] = []
        found = 0
        for rank, token_id in enumerate(order, start=1):
            probability = float(probabilities[token_id])
            if probability == 0.0 and token_id not in ends:
                continue
            text = codec.literal_bytes[token_id].decode("utf-8", errors="replace")
            wanted = search is None or search in text
            if (wanted and found < k) or (token_id in ends and search is None):
                found += token_id not in ends
                shown.append(Candidate(token_id, text, probability, rank, token_id in ends))
        return Candidates(tuple(shown), max(0.0, 1.0 - sum(c.probability for c in shown)))

    def pick(self, token_id: int) -> None:
        """Append a token that the model could say."""
        self._append([token_id], "picked")

    def type(self, text: str) -> None:
        """Append text of one's own."""
        self._append(self._model.codec.encode(text), "typed")

    def undo(self) -> None:
        """Take back what the model finished, else the last token. Raises InputError where there is none."""
        if self._finished is not None:
            self._finished = None
            return
        if len(self._steps) == 1:
            raise InputError("there is no token to take back; the prefill stays")
        branch, _ = self._steps.pop()
        branch.free()

    def finish(self, config: GenerationConfig | None = None, **fields: Any) -> CompletionResult:
        """Let the model write the rest. `save` keeps both; `undo` takes it back."""
        self._check_open()
        self._finished = self.branch.complete(config, logprobs=ALTERNATIVES, **fields)
        return self._finished

    def save(self) -> CompletionRecord:
        """Keep it: the ids are exactly the picked ones; it is truncated unless an EOS was picked or sampled."""
        chosen = [step for _, step in self._steps if step is not None]
        ids, config, reason = self.token_ids, GenerationConfig(), "eos" if self.ended else "user"
        origins = ["prefill"] * len(self._filled) + [origin for _, origin in chosen]
        measured = [token for token, _ in chosen]
        text, stop_string, seed = self.text, None, None
        if self._finished is not None:
            result = self._finished
            origins += ["sampled"] * (len(result.token_ids) - len(ids))
            measured += list(result.logprobs or ())
            ids, text, config, reason = result.token_ids, result.text, result.config, result.finish_reason
            stop_string, seed = result.stop_string, result.seed
        new = NewCompletion(
            text=text,
            model=self._model.info.name,
            fingerprint=self._model.info.fingerprint,
            finish_reason=reason,
            generated_start=len(self._prefill_text),
            token_ids=ids,
            spans=_spans(origins),
            config=config.to_dict(),
            processors=config.order,
            seed=seed,
            stop_string=stop_string,
            logprobs=kept_logprobs(measured),
        )
        return self._database.completions.add(self._sample.id, new)

    def close(self) -> None:
        """Give the memory back."""
        for branch, _ in self._steps:
            branch.free()

    def __enter__(self) -> "TokenByToken":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, token_ids: list[int], origin: Origin) -> None:
        for token_id in token_ids:
            self._check_open()
            measured = self.branch.measure(token_id, ALTERNATIVES)
            self._steps.append((self.branch.fork().extend(token_id), (measured, origin)))

    def _check_open(self) -> None:
        if self.ended or self._finished is not None:
            raise InputError("this completion has ended; undo takes the last token back")


def _spans(origins: list[str]) -> list[SpanRecord]:
    """Runs of equal origin."""
    spans: list[SpanRecord] = []
    for i, origin in enumerate(origins):
        if spans and spans[-1].origin == origin:
            spans[-1] = SpanRecord(spans[-1].start, i + 1, spans[-1].origin)
        else:
            spans.append(SpanRecord(i, i + 1, origin))  # type: ignore[arg-type]
    return spans
