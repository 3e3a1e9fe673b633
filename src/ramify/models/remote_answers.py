"""What an endpoint answers, whole or in pieces, as plain values.

Only what was given is told: ids are rarely there, bytes often not, and which stop string matched only on vLLM.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ramify.errors import RemoteError

__all__ = ["Answer", "Asked", "RemoteAlternative", "RemoteCompletion", "RemoteEvent", "RemoteToken", "RemoteUsage", "shown"]

RemoteFinish = Literal["eos", "stop", "length", "time", "cancelled", "error"]
"""A part of `decoding.stopping.FinishReason`."""

STOPS = ("stop", "eos", "eos_token", "end_turn", "stop_sequence")
LENGTHS = ("length", "max_tokens", "model_context_window_exceeded")
NOT_TOLD = object()
SHOWN = 300
"""Characters of an endpoint's words in an error."""


@dataclass(frozen=True, slots=True)
class RemoteAlternative:
    """A token that could have stood here. logprob in nats."""

    text: str
    token_bytes: bytes | None
    logprob: float
    token_id: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteToken:
    """A token as its endpoint names it.

    logprob in nats (of which distribution, before or after its processors, is the endpoint's affair); None where it gave none,
    as for the first token of a scored text. token_bytes and token_id are None where not given.
    """

    text: str
    token_bytes: bytes | None
    logprob: float | None
    alternatives: tuple[RemoteAlternative, ...] = ()
    token_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteUsage:
    """Tokens of the whole request, all its completions together, as billed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCompletion:
    """One completion as an endpoint gave it."""

    text: str
    """What it wrote, to the letter; the prefill only if it repeated it (see `repeats_prefill`)."""
    prefill: str
    finish_reason: RemoteFinish
    reported_finish: str | None
    """The endpoint's own word, such as `content_filter`, which is an `error` here."""
    stop_string: str | None
    """Which stop string ended it, where the endpoint says so."""
    tokens: tuple[RemoteToken, ...] | None
    """With logprobs, where they were asked for and given; else None."""
    usage: RemoteUsage | None
    model: str | None
    """The model's name as the endpoint reports it, often with a date."""
    system_fingerprint: str | None
    id: str | None
    """The answer's id at the endpoint."""
    index: int
    reasoning: str
    """What a reasoning model thought aloud beside the text."""
    refusal: str | None
    doubles: bool | None = None
    """Whether the endpoint is known to repeat a prefill; None: nobody knows."""

    @property
    def truncated(self) -> bool:
        """Whether the model would have gone on. A `stop` among stop strings may have been an EOS: only vLLM tells."""
        return self.finish_reason != "eos"

    @property
    def repeats_prefill(self) -> bool:
        """Whether the text begins with the prefill again: what shows `prefill + text` would double it.

        Where the endpoint is known not to repeat it, a text that begins alike is the model's own.
        """
        return bool(self.prefill) and self.doubles is not False and self.text.startswith(self.prefill)

    @property
    def tokens_cover_text(self) -> bool:
        """Whether the tokens' texts, joined, begin with the text: only then can logprobs be laid over it."""
        if self.tokens is None:
            return False
        if all(token.token_bytes is not None for token in self.tokens):
            return b"".join(token.token_bytes or b"" for token in self.tokens).startswith(self.text.encode())
        return "".join(token.text for token in self.tokens).startswith(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEvent:
    """A piece of a stream. The joined `text` of one index equals its completion's."""

    text: str
    index: int = 0
    tokens: tuple[RemoteToken, ...] = ()
    finish_reason: RemoteFinish | None = None
    completion: RemoteCompletion | None = None
    """On the last event of each index; those come when the whole stream has ended."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What of a request its answer is read by. `where` names model and endpoint in errors."""

    where: str
    count: int = 1
    stops: bool = False
    """Whether stop strings or stop tokens were given."""
    tells_stops: bool = False
    """Whether a null `stop_reason` means an EOS, as on vLLM; other servers leave it null whatever ended the text."""
    logprobs: bool = False
    prefill: str = ""
    doubles: bool | None = None
    """Whether the endpoint is known to repeat a prefill."""
    hide: Callable[[str], str] = str
    """Strikes the key out of a text."""


@dataclass
class _Row:
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    tokens: list[RemoteToken] = field(default_factory=list)
    measured: bool = False
    reported: str | None = None
    stop_reason: object = NOT_TOLD


class Answer:
    """Takes an answer, whole or chunk by chunk, and gives completions."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._rows: dict[int, _Row] = {}
        self._usage: RemoteUsage | None = None
        self._model: str | None = None
        self._fingerprint: str | None = None
        self._id: str | None = None

    def feed(self, data: object) -> list[RemoteEvent]:
        """Take a chunk, or the whole. Raises RemoteError for what is not one."""
        choices = data.get("choices") if isinstance(data, Mapping) else None
        if choices is None and isinstance(data, Mapping) and data.get("usage"):
            choices = []  # a chunk of usage alone
        if not isinstance(data, Mapping) or not isinstance(choices, list):
            raise self.error(f"answered JSON without `choices`: {self._shown(data)}")
        self._usage = _usage(data.get("usage")) or self._usage
        self._model = self._told(data.get("model")) or self._model
        self._fingerprint = self._told(data.get("system_fingerprint")) or self._fingerprint
        self._id = self._told(data.get("id")) or self._id
        return [self._take(choice) for choice in choices]

    def _take(self, choice: object) -> RemoteEvent:
        if not isinstance(choice, Mapping) or not isinstance(index := choice.get("index") or 0, int):
            raise self.error(f"answered a choice that is none: {self._shown(choice)}")
        row = self._rows.setdefault(index, _Row())
        said = choice.get("message") or choice.get("delta") or {}
        if not isinstance(said, Mapping):
            raise self.error(f"answered a message that is none: {self._shown(said)}")
        text = choice.get("text") if "text" in choice else said.get("content")
        if text is not None and not isinstance(text, str):
            raise self.error(f"answered a content that is not text: {self._shown(text)}")
        text = self._asked.hide(text or "")
        row.text.append(text)
        row.reasoning.append(self._told(said.get("reasoning_content")) or self._told(said.get("reasoning")) or "")
        row.refusal.append(self._told(said.get("refusal")) or "")
        tokens = _tokens(choice.get("logprobs")) if self._asked.logprobs else None
        if tokens is not None:
            row.measured = True
            row.tokens += tokens
        if choice.get("finish_reason"):  # some send "" with every chunk
            row.reported = self._asked.hide(str(choice["finish_reason"]))
            row.stop_reason = choice.get("stop_reason", NOT_TOLD)
        return RemoteEvent(text=text, index=index, tokens=tuple(tokens or ()))

    def complete(self) -> tuple[RemoteCompletion, ...]:
        """All completions, in order. Raises RemoteError, which keeps what is there, if one is missing or has no end."""
        if not self._rows:
            raise self.error("answered no completion: its `choices` are empty")
        there = self.completions(unfinished="error")
        if len(there) < self._asked.count:
            raise self.error(f"answered {len(there)} completions of the {self._asked.count} asked for")
        endless = [row for row in self._rows.values() if row.reported is None]
        if endless:
            written = sum(len(part) for row in endless for part in row.text)
            raise self.error(f"stopped in the middle: its answer ends without a finish_reason after {written} characters")
        return there

    def completions(self, unfinished: RemoteFinish) -> tuple[RemoteCompletion, ...]:
        """What there is; rows without an end of their own get `unfinished` as their finish_reason."""
        return tuple(self._completion(index, self._rows[index], unfinished) for index in sorted(self._rows))

    def error(self, what: str) -> RemoteError:
        return RemoteError(f"{self._asked.where} {what}", completions=self.completions(unfinished="error"))

    def _told(self, given: object) -> str | None:
        """A text that came from the endpoint, without the key should it be in there: answers are kept and exported."""
        return self._asked.hide(given) if isinstance(given, str) else None

    def _shown(self, data: object) -> str:
        return shown(repr(data), self._asked.hide)

    def _completion(self, index: int, row: _Row, unfinished: RemoteFinish) -> RemoteCompletion:
        reason, stop_string = self._finish(row) if row.reported is not None else (unfinished, None)
        return RemoteCompletion(
            text="".join(row.text),
            prefill=self._asked.prefill,
            doubles=self._asked.doubles,
            finish_reason=reason,
            reported_finish=row.reported,
            stop_string=stop_string,
            tokens=tuple(row.tokens) if row.measured else None,
            usage=self._usage,
            model=self._model,
            system_fingerprint=self._fingerprint,
            id=self._id,
            index=index,
            reasoning="".join(row.reasoning),
            refusal="".join(row.refusal) or None,
        )

    def _finish(self, row: _Row) -> tuple[RemoteFinish, str | None]:
        if row.reported in LENGTHS:
            return "length", None
        if row.reported not in STOPS:
            return "error", None
        if not self._asked.stops or (self._asked.tells_stops and row.stop_reason is None):
            return "eos", None
        return "stop", _text(row.stop_reason)


def _tokens(given: object) -> list[RemoteToken] | None:
    """Both shapes of logprobs: the chat's list of tokens, and the raw completion's parallel lists. None: not given."""
    if not isinstance(given, Mapping):
        return None
    content = given.get("content")
    if isinstance(content, list):
        return [
            RemoteToken(
                text=_text(item.get("token")) or "",
                token_bytes=_bytes(item.get("bytes")),
                logprob=_number(item.get("logprob")),
                alternatives=tuple(
                    RemoteAlternative(
                        _text(other.get("token")) or "",
                        _bytes(other.get("bytes")),
                        logprob,
                        _whole(other.get("id")),
                    )
                    for other in item.get("top_logprobs") or ()
                    if isinstance(other, Mapping) and (logprob := _number(other.get("logprob"))) is not None
                ),
                token_id=_whole(item.get("id")),
            )
            for item in content
            if isinstance(item, Mapping)
        ]
    texts, logprobs = given.get("tokens"), given.get("token_logprobs")
    if not (isinstance(texts, list) and isinstance(logprobs, list) and len(texts) == len(logprobs)):
        return None
    tops = given.get("top_logprobs")
    beside: Sequence[object] = tops if isinstance(tops, list) and len(tops) == len(texts) else [None] * len(texts)
    return [
        RemoteToken(str(text), None, _number(logprob), _likeliest(others))
        for text, logprob, others in zip(texts, logprobs, beside, strict=True)
    ]


def _likeliest(others: object) -> tuple[RemoteAlternative, ...]:
    if not isinstance(others, Mapping):
        return ()
    found = [(str(text), number) for text, logprob in others.items() if (number := _number(logprob)) is not None]
    return tuple(RemoteAlternative(text, None, number) for text, number in sorted(found, key=lambda pair: -pair[1]))


def _usage(given: object) -> RemoteUsage | None:
    if not isinstance(given, Mapping):
        return None

    def part(name: str, of: str) -> int:
        details = given.get(name)
        return (_whole(details.get(of)) or 0) if isinstance(details, Mapping) else 0

    return RemoteUsage(
        prompt_tokens=_whole(given.get("prompt_tokens")) or 0,
        completion_tokens=_whole(given.get("completion_tokens")) or 0,
        cached_tokens=part("prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=part("completion_tokens_details", "reasoning_tokens"),
    )


def _text(given: object) -> str | None:
    return given if isinstance(given, str) else None


def _number(given: object) -> float | None:
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else None


def _whole(given: object) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _bytes(given: object) -> bytes | None:
    if isinstance(given, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in given):
        return bytes(given)
    return None


def shown(said: str, hide: Callable[[str], str]) -> str:
    """An endpoint's words for an error message: without the key (struck out before the cut), one line, nothing unprintable."""
    plain = "".join(c if c.isprintable() else "�" for c in " ".join(hide(said).split()))
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + "…"
