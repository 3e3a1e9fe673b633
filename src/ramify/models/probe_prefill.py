"""What an endpoint does with an answer that was begun for it: go on, repeat it and go on, answer anew, or refuse."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ramify.errors import RemoteError
from ramify.models.cards import Finding, Verdict
from ramify.models.endpoints import PrefillStyle
from ramify.models.probe_asking import Asking, Said
from ramify.models.remote_answers import RemoteCompletion
from ramify.models.remote_fields import prefill_fields

__all__ = ["prefill"]

BEGUN, NEXT = "Let me count: one, two, three, four, five, six,", " seven"
"""A begun answer that nobody gives by himself, and how it goes on."""
FLAGGED = ("compatible", "vllm")
"""Dialects in which a prefill may need a flag."""
BEST: tuple[Verdict, ...] = ("honoured", "doubled", "ignored", "refused", "unclear")
COMPARED = 16
"""Characters of a continuation."""


async def prefill(asking: Asking, greedy: RemoteCompletion) -> tuple[Finding, PrefillStyle]:
    """The best that a style comes to, and the style: the owner's where one was named."""
    styles: list[PrefillStyle] = ["assistant_turn"]
    if asking.endpoint.prefill is not None:
        styles = [asking.endpoint.prefill]
    elif asking.dialect in FLAGGED:
        styles = ["continue_final_message", "assistant_turn"]
    tried: list[tuple[Finding, PrefillStyle]] = []
    for style in styles:
        tried.append((await _in_style(asking, greedy, style), style))
        if tried[-1][0].verdict in ("honoured", "doubled"):
            break
    return min(tried, key=lambda each: BEST.index(each[0].verdict))


async def _in_style(asking: Asking, greedy: RemoteCompletion, style: PrefillStyle) -> Finding:
    """What nobody says tells who repeats it; its own words, cut in the middle, tell who goes on exactly there."""
    said = await _continued(asking, BEGUN, style)
    if isinstance(said, RemoteError):
        return asking.failure(said)
    if said.text.lstrip().startswith(BEGUN):
        return Finding("doubled", "it repeats a begun answer before it goes on")
    if said.text.startswith(NEXT):
        return Finding("honoured", f"it went on with {asking.quoted(said.text)}")
    own = greedy.text
    if said.text == own or _no_longer(said, greedy):
        return Finding("ignored", "it answered as if no answer had been begun")
    cut = own.find(" ", len(own) // 2)
    begun, rest = own[:cut], own[cut:]
    if cut <= 0 or not begun.strip() or not rest.strip():
        return Finding("unclear", "its own answer is too short to be cut and continued")
    said = await _continued(asking, begun, style)
    if isinstance(said, RemoteError):
        return asking.failure(said)
    if said.text.startswith(rest[:COMPARED]):
        return Finding("honoured", "it went on exactly where its own answer was cut")
    if said.text == own or said.text.lstrip().startswith(begun.lstrip()):
        return Finding("ignored", "it answered anew where an answer had been begun")
    if said.text.startswith(rest.lstrip()[:COMPARED]):
        return Finding("unclear", "it went on, and lost the white space before its first word")
    return Finding("unclear", f"it went on otherwise than its own answer, with {asking.quoted(said.text)}")


async def _continued(asking: Asking, begun: str, style: PrefillStyle) -> Said:
    fields = prefill_fields(cast(Sequence[Mapping[str, object]], asking.prompt), begun, style)
    messages: Any = fields.pop("messages")
    return await asking.ask(messages, **fields)


def _no_longer(one: RemoteCompletion, other: RemoteCompletion) -> bool:
    """Whether a request with a begun answer was counted as no longer than one without."""
    return one.usage is not None and other.usage is not None and 0 < one.usage.prompt_tokens <= other.usage.prompt_tokens
