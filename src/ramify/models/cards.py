"""Capability cards: what an endpoint was measured to do, kept beside the registry, and used before anything is asked of it.

A card is of one model's name at one address. Manuals say what a server should do; a card says what this one did.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ramify.errors import InputError
from ramify.models.endpoints import Endpoint, PrefillStyle, fingerprint_at
from ramify.models.kept_files import locked, replace_json
from ramify.settings import Settings

__all__ = ["ASKED", "Abilities", "Can", "Card", "Cards", "Finding", "Verdict", "abilities", "now", "refused_prefill"]

Verdict = Literal["honoured", "ignored", "doubled", "refused", "unclear"]
"""`ignored`: taken without an error, and without effect. `doubled`: a prefill that the answer repeats before it goes on."""

ASKED = {
    "chat": "messages",
    "raw": "raw texts",
    "token_ids": "prompts of token ids",
    "stream": "streams",
    "prefill": "a begun answer is continued",
    "temperature": "temperatures other than 1",
    "repeatable": "the same greedy request gives the same text again",
    "seed": "the same seed gives the same text again",
    "top_k": "top_k",
    "logit_bias": "logit_bias",
    "n": "several completions a request",
    "logprobs": "logprobs",
    "echo": "a prompt is repeated",
    "score": "a repeated prompt has logprobs",
}
"""What a card tells, and in which order."""

SETTINGS = {"num_return_sequences": "n"}
"""Settings whose finding has another name."""

Can = Literal[True] | str
"""True, or the reason why not."""

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question showed."""

    verdict: Verdict
    because: str
    """What was seen, as a clause about the endpoint ("it …")."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What one model at one address can do."""

    model: str
    base_url: str
    dialect: str
    probed_at: str
    """ISO 8601, UTC."""
    server: str | None = None
    """Who the endpoint says it is (`owned_by` of its model list), in its own word."""
    findings: Mapping[str, Finding] = field(default_factory=dict)
    """By the names of ASKED; what was not asked is not there."""
    prefill_style: PrefillStyle | None = None
    """The style in which a prefill was sent."""
    top_logprobs: int | None = None
    """How many alternatives a token's logprobs had, of those asked for."""
    logprobs_are: Literal["raw", "processed"] | None = None
    """Whether temperature changes them: `processed` ones are measured after it."""
    context_window: int | None = None
    """Tokens, as the endpoint tells."""
    prompt_price: float | None = None
    """US dollars a token, as the endpoint tells."""
    completion_price: float | None = None
    requests: int = 0
    """How many the probe sent."""
    tokens: int = 0
    """Billed for them, prompts and completions, where the endpoint counts."""

    def verdict(self, what: str) -> Verdict:
        found = self.findings.get(SETTINGS.get(what, what))
        return "unclear" if found is None else found.verdict

    def honours(self, what: str) -> bool:
        return self.verdict(what) == "honoured"

    @property
    def continues(self) -> PrefillStyle | None:
        """The style in which a begun answer is continued; None: in none that is known."""
        return self.prefill_style if self.verdict("prefill") in ("honoured", "doubled") else None

    def why_not(self, what: str, value: int | None = None) -> str | None:
        """Why something cannot be had, as measured; None where it can, or nobody knows.

        what: a name of ASKED, or a setting's. value: for logprobs, how many alternatives are wanted.
        """
        when = f"(probed {self.probed_at[:10]})"
        if self.verdict(what) in ("ignored", "refused"):
            return f"{self.findings[SETTINGS.get(what, what)].because} {when}"
        if what == "logprobs" and value is not None and self.top_logprobs is not None and value > self.top_logprobs:
            return f"it gives {self.top_logprobs} alternatives at most {when}"
        return None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """US dollars at the told prices; None where the endpoint told none. What a cache saves is not known here."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        return prompt_tokens * self.prompt_price + completion_tokens * self.completion_price


class Cards:
    """The cards of this installation, in `cards.json` of the data folder."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._file = (settings or Settings.load()).home / "cards.json"
        self._read_at: tuple[int, int] | None = None
        self._known: dict[str, Card] = {}

    @property
    def file(self) -> Path:
        return self._file

    def get(self, fingerprint: str) -> Card | None:
        """The card of `fingerprint_at(base_url, model)`. Raises InputError for a damaged file."""
        return self._all().get(fingerprint)

    def of(self, endpoint: Endpoint, model: str) -> Card | None:
        """The card of a model at a settled endpoint."""
        return self.get(fingerprint_at(endpoint.base_url, model))

    def keep(self, card: Card) -> None:
        """Put a card in the place of the one before."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._file.with_suffix(".lock")):
            cards = {**self._all(), fingerprint_at(card.base_url, card.model): card}
            content = {name: asdict(each) for name, each in sorted(cards.items())}
            replace_json(self._file, {"format": FORMAT, "cards": content})

    def _all(self) -> dict[str, Card]:
        try:
            status = self._file.stat()
            state = (status.st_mtime_ns, status.st_ino)
            if state != self._read_at:
                stored = json.loads(self._file.read_text("utf-8"))
                if stored["format"] != FORMAT:
                    raise InputError(
                        f"{str(self._file)!r} has format {stored['format']}; this version reads {FORMAT}: use a newer Ramify"
                    )
                self._known = {name: _card(each) for name, each in stored["cards"].items()}
                self._read_at = state
        except FileNotFoundError:
            return {}
        except (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{str(self._file)!r} is damaged ({error}); delete it, and probe again") from error
        return self._known


def _card(stored: dict[str, Any]) -> Card:
    return Card(**{**stored, "findings": {name: Finding(**each) for name, each in stored["findings"].items()}})


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# --- what follows from a card


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What may be asked of a remote model: true, or a sentence that says why not."""

    prefill: Can
    logprobs: Can
    score: Can
    doubles: bool | None
    """Whether a prefill of messages is known to be repeated; None: nobody knows."""


def abilities(endpoint: Endpoint, card: Card | None) -> Abilities:
    """What a settled endpoint can do: as measured, else as is known of its dialect."""
    far = endpoint.dialect == "anthropic"
    style = endpoint.prefill or (card.continues if card is not None else None)
    prefill: Can = refused_prefill(endpoint, card) or (
        True
        if style is not None
        else "nobody said whether its endpoint continues a message that was begun; `ramify models probe` finds out"
    )
    known = card is not None and card.honours("logprobs")
    measured: Can = (
        True if known or endpoint.dialect in ("openai", "vllm") else "its endpoint may give none; what it gives is kept"
    )
    scored: Can = True if endpoint.dialect == "vllm" else "it is not known to repeat a prompt with logprobs"
    if card is not None:
        measured = card.why_not("logprobs") or measured
        scored = True if card.honours("score") else card.why_not("score") or scored
    verdict = "unclear" if card is None or endpoint.prefill not in (None, card.prefill_style) else card.verdict("prefill")
    return Abilities(
        prefill=prefill,
        logprobs="its protocol gives none" if far else measured,
        score="its protocol takes no raw text" if far else scored,
        doubles=True if verdict == "doubled" else False if far or verdict == "honoured" else None,
    )


def refused_prefill(endpoint: Endpoint, card: Card | None) -> str | None:
    """Why a prefill of messages is not continued, as far as it was measured in the endpoint's style; None: it was not."""
    if card is None or endpoint.prefill not in (None, card.prefill_style):
        return None
    return card.why_not("prefill")
