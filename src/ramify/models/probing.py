"""Probing: some twenty short questions to an endpoint, and its capability card from what it did.

No answer is believed for its status alone: a setting counts as honoured when the text shows its effect, and as ignored when it
was taken and the text shows that it had none.
"""

from collections.abc import Sequence
from typing import Any, Literal

from ramify.errors import RemoteError
from ramify.models.cards import ASKED, Card, Finding, now
from ramify.models.endpoints import Endpoint
from ramify.models.probe_about import about
from ramify.models.probe_asking import REFUSALS, WARM, Asking, Prompt, Said
from ramify.models.probe_prefill import prefill
from ramify.models.remote_answers import RemoteCompletion, RemoteToken
from ramify.models.remote_calls import Connection

__all__ = ["probe"]

TEXT = "The lighthouse keeper opened the door, and a fox"
MESSAGE = "Tell me a short story about a lighthouse keeper and a fox."
IDS = [10, 11, 12]
BIASED = 300
"""A token that every vocabulary has."""
TOPS = (100, 20, 10, 5, 3, 2, 1, 0)
"""Numbers of alternatives that are asked for, until one is given."""
NOT_THERE = ("raw", "token_ids", "seed", "logit_bias", "n", "logprobs", "echo", "score")
"""What Anthropic's protocol has no field for."""


async def probe(connection: Connection, model: str, endpoint: Endpoint) -> Card:
    """Ask, and tell. `endpoint` is settled. Raises RemoteError where neither messages nor a raw text are answered."""
    asking = Asking(connection, model, endpoint, [{"role": "user", "content": MESSAGE}])
    found: dict[str, Finding] = {}
    told: dict[str, Any] = {}
    greedy = await _begin(asking, found)
    again = await asking.ask()
    found["repeatable"] = _repeatable(asking, greedy, again)
    found["stream"] = await _stream(asking)
    if not isinstance(asking.prompt, str):
        found["prefill"], told["prefill_style"] = await prefill(asking, greedy)
    if asking.hot is not None:
        found["temperature"] = await _temperature(asking, greedy)
    found["top_k"] = await _top_k(asking, greedy, found)
    if asking.far:
        found |= {what: Finding("refused", "its protocol has no such thing") for what in NOT_THERE}
    else:
        found["seed"] = await _seed(asking)
        found["logit_bias"] = await _logit_bias(asking, greedy)
        found["n"] = await _several(asking)
        found["logprobs"], given = await _logprobs(asking)
        if given is not None:
            told |= {"top_logprobs": given, "logprobs_are": await _kind(asking, given)}
        found |= await _of_raw_prompts(asking, found["raw"])
    told |= await about(asking)
    return Card(
        model=model,
        base_url=str(endpoint.base_url),
        dialect=asking.dialect,
        probed_at=now(),
        findings={name: found[name] for name in ASKED if name in found},
        requests=asking.requests,
        tokens=asking.tokens,
        **told,
    )


async def _begin(asking: Asking, found: dict[str, Finding]) -> RemoteCompletion:
    """The greedy answer against which others are held: to messages, or to a raw text where messages are not taken."""
    said = await _first(asking, "chat", asking.prompt, found)
    if asking.far:
        if isinstance(said, RemoteError):
            raise said
        return said
    raw = await _first(asking, "raw", TEXT, found)
    if not isinstance(said, RemoteError):
        return said
    if isinstance(raw, RemoteError):
        raise said
    asking.prompt = TEXT
    return raw


async def _first(asking: Asking, what: str, prompt: Prompt, found: dict[str, Finding]) -> Said:
    said = await asking.ask(prompt)
    if isinstance(said, RemoteError) and said.status in REFUSALS and "temperature" in str(said).lower():
        found["temperature"] = asking.failure(said)
        asking.cold = asking.hot = None
        said = await asking.ask(prompt)
    if isinstance(said, RemoteError):
        found[what] = asking.failure(said)
    else:
        found[what] = Finding("honoured", f"it answered {asking.quoted(said.text)}")
    return said


def _repeatable(asking: Asking, greedy: RemoteCompletion, again: Said) -> Finding:
    if isinstance(again, RemoteError):
        return asking.failure(again)
    if asking.cold is None:
        return Finding("refused", "it cannot be asked to be greedy")
    if again.text == greedy.text:
        return Finding("honoured", "it gave one text for one greedy request, twice")
    return Finding("ignored", "it gave two texts for one greedy request")


async def _stream(asking: Asking) -> Finding:
    pieces = await asking.stream()
    if not isinstance(pieces, RemoteError):
        return Finding("honoured", f"it came in {pieces} pieces")
    failure = asking.failure(pieces)
    # A whole answer where a stream was asked for is an answer.
    return Finding("ignored", failure.because) if ", not a stream" in failure.because else failure


async def _temperature(asking: Asking, greedy: RemoteCompletion) -> Finding:
    """Whether sampling gives other texts than greedy; without, nothing can be said of what bounds it."""
    said = await asking.ask(hot=True)
    if isinstance(said, RemoteError) and said.status in REFUSALS and asking.hot != WARM:
        asking.hot = WARM
        said = await asking.ask(hot=True)
    if not isinstance(said, RemoteError) and said.text == greedy.text:
        said = await asking.ask(hot=True)
    if isinstance(said, RemoteError):
        return asking.failure(said)
    if said.text == greedy.text:
        return Finding("unclear", f"it wrote the same text at {asking.hot:g} as at 0")
    return Finding("honoured", f"it wrote another text at {asking.hot:g} than at 0")


async def _top_k(asking: Asking, greedy: RemoteCompletion, found: dict[str, Finding]) -> Finding:
    """One likeliest token, at a heat that gives other texts without it, is greedy; where it is not, the field is a lie."""
    said = await asking.ask(hot=True, top_k=1)
    if isinstance(said, RemoteError):
        return asking.failure(said)
    if said.text == greedy.text:
        varies = "temperature" in found and found["temperature"].verdict == "honoured"
        return Finding(
            "honoured" if varies else "unclear", f"it was greedy with top_k 1{'' if varies else ', and without it too'}"
        )
    if found["repeatable"].verdict == "honoured":
        return Finding("ignored", f"it takes top_k 1 and samples as without it, {asking.quoted(said.text)}")
    return Finding("unclear", "it gives two texts for one greedy request, so that none can be held against it")


async def _seed(asking: Asking) -> Finding:
    texts: list[str] = []
    for seed in (11, 11, 12):
        said = await asking.ask(hot=True, seed=seed)
        if isinstance(said, RemoteError):
            return asking.failure(said)
        texts.append(said.text)
    if texts[0] != texts[1]:
        return Finding("ignored", "it gave two texts for one seed")
    if texts[1] == texts[2]:
        return Finding("unclear", "it gave the same text for every seed")
    return Finding("honoured", "it gave one text for one seed, and another for another")


async def _logit_bias(asking: Asking, greedy: RemoteCompletion) -> Finding:
    said = await asking.ask(tokens=9, logit_bias={str(BIASED): 100})
    if isinstance(said, RemoteError):
        return asking.failure(said)
    if (not said.text and greedy.text) or _repeats(said.text):
        return Finding("honoured", f"it wrote a biased token again and again, {asking.quoted(said.text)}")
    if said.text and greedy.text.startswith(said.text):
        return Finding("ignored", "it takes logit_bias and writes the same text as without it")
    return Finding("unclear", f"it wrote {asking.quoted(said.text)}")


def _repeats(text: str) -> bool:
    """Whether a text is one piece three times or more, the last perhaps cut; white space around it aside."""
    bare = text.strip()
    periods = range(1, len(bare) // 3 + 1)
    return any(all(bare[at] == bare[at - period] for at in range(period, len(bare))) for period in periods)


async def _several(asking: Asking) -> Finding:
    made = await asking.all(hot=True, n=2)
    if isinstance(made, RemoteError):
        return asking.failure(made)
    return Finding("honoured" if len(made) == 2 else "ignored", f"it gave {len(made)} of 2 completions")


async def _logprobs(asking: Asking) -> tuple[Finding, int | None]:
    """And how many alternatives a token had; None without logprobs."""
    failed = Finding("unclear", "")
    for top in TOPS[1:] if asking.dialect == "openai" else TOPS:
        said = await asking.ask(tokens=4, **_measured(asking, top))
        if isinstance(said, RemoteError):
            failed = asking.failure(said)
            if failed.verdict == "unclear":
                break
            continue
        measured = [token for token in said.tokens or () if token.logprob is not None]
        if not measured:
            return Finding("ignored", "it takes the question for logprobs and gives none"), None
        given = min(top, max(len(token.alternatives) for token in measured))
        return Finding("honoured", f"it gave {given} alternatives a token of {top} asked for"), given
    return failed, None


def _measured(asking: Asking, top: int) -> dict[str, Any]:
    if isinstance(asking.prompt, str):
        return {"logprobs": top}
    return {"logprobs": True, **({"top_logprobs": top} if top else {})}


async def _kind(asking: Asking, top: int) -> Literal["raw", "processed"] | None:
    """Halving the temperature doubles the distances of processed logprobs, and leaves raw ones alone."""
    if top < 2 or asking.hot is None:
        return None
    spread: list[dict[str, float]] = []
    for temperature in (1.0, 0.5):
        said = await asking.ask(tokens=1, **{**_measured(asking, min(top, 5)), "temperature": temperature})
        if isinstance(said, RemoteError) or not said.tokens:
            return None
        spread.append({other.text: other.logprob for other in said.tokens[0].alternatives if other.logprob > -9000})
    both = sorted(set(spread[0]) & set(spread[1]), key=lambda text: spread[0][text])
    if len(both) < 2:
        return None
    warm, cool = (each[both[-1]] - each[both[0]] for each in spread)
    if warm < 0.05:
        return None
    return "processed" if cool / warm > 1.4 else "raw"


async def _of_raw_prompts(asking: Asking, raw: Finding) -> dict[str, Finding]:
    """What only raw prompts have: an echo, scores, token ids."""
    if raw.verdict != "honoured":
        return dict.fromkeys(("echo", "score", "token_ids"), raw)
    found: dict[str, Finding] = {}
    said = await asking.ask(TEXT, tokens=1, echo=True, logprobs=1)
    if isinstance(said, RemoteError):
        found["score"] = asking.failure(said)
        said = await asking.ask(TEXT, tokens=1, echo=True)
    elif _measures(said.tokens or ()):
        found["score"] = Finding("honoured", "it gave logprobs of a repeated prompt")
    else:
        found["score"] = Finding("ignored", "it gave no logprobs of a repeated prompt")
    if isinstance(said, RemoteError):
        found["echo"] = asking.failure(said)
    elif said.text.lstrip().startswith(TEXT):
        found["echo"] = Finding("honoured", "it repeated the prompt")
    else:
        found["echo"] = Finding("ignored", f"it takes echo and does not repeat the prompt, {asking.quoted(said.text)}")
    found["token_ids"] = await _token_ids(asking)
    return found


def _measures(tokens: Sequence[RemoteToken]) -> bool:
    """Whether tokens spell the prompt and all but the first are measured."""
    return TEXT in "".join(token.text for token in tokens) and all(token.logprob is not None for token in tokens[1:])


async def _token_ids(asking: Asking) -> Finding:
    said = await asking.ask(IDS, tokens=1)
    if isinstance(said, RemoteError):
        return asking.failure(said)
    if said.usage is None:
        return Finding("unclear", "it answered three token ids and did not count them")
    count = said.usage.prompt_tokens
    taken = count in (len(IDS), len(IDS) + 1)  # a BOS may stand before them
    return Finding("honoured" if taken else "ignored", f"it counted three token ids as {count}")
