"""Required words put where they fit, and not all at the end.

The engine's own constraint guarantees the words: EOS is forbidden until they have appeared, and what is missing is spelt out
when the budget is only just enough. Alone it would spell them all at the end. So the text is grown in stretches: the model
writes a draft, every missing word is weighed at every place of it, the likeliest place wins, the draft is cut there, the word
is put in, and the model goes on from it. Each stretch has its share of the budget, and after the last word the model must
write on for a while, so the words are spread. The constraint reads all of it and is the guarantee throughout.
"""

import codecs
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ramify.decoding.config import GenerationConfig
from ramify.errors import ConstraintError

if TYPE_CHECKING:
    from ramify.decoding.constraints import Constraint
    from ramify.decoding.words import RequiredWords
    from ramify.engine.model import Model
    from ramify.engine.requests import Prompt

__all__ = ["check_budget", "weave"]

PLACES = 48
"""Places of a draft that are weighed at most, spread evenly."""
TAIL = 8
"""After the last word at least an eighth of what stands before it, so that it is not in the last tenth."""
LEAST = 4
"""Tokens of the shortest stretch worth writing; where less is left the engine spells the words out."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    at: int
    ids: tuple[int, ...]
    logprob: float


def check_budget(model: "Model", config: GenerationConfig, prompt_tokens: int) -> int:
    """How many tokens may be generated; raises ConstraintError when the required words cannot be spelt in so many."""
    room = config.budget(prompt_tokens, model.info.context_window) or 0
    constraint = _compiled(model, config)
    words = None if constraint is None else constraint.required
    if words is not None and room < words.cost:
        raise ConstraintError(
            f"required_words takes {words.cost} tokens to spell ({', '.join(map(repr, words.phrases))}), the prompt has "
            f"{prompt_tokens}, and max_new_tokens, max_length or the context window ({model.info.context_window}) leaves {room}; "
            f"allow at least {words.cost}, or leave some words out"
        )
    return room


def weave(model: "Model", prompt: "Prompt", config: GenerationConfig, seed: int) -> tuple[int, ...]:
    """The token ids of a completion that holds every required word and no forbidden one. Deterministic given the seed.

    config: with required_words, without beams. Raises ConstraintError for a budget that cannot hold the words.
    """
    prompt_ids = model.ids_of(prompt)[0]
    room = check_budget(model, config, len(prompt_ids))
    constraint = _compiled(model, config)
    assert constraint is not None
    assert constraint.required is not None
    ids: list[int] = []
    step = 0
    while constraint.required.missing:
        words = constraint.required
        missing = words.missing.bit_count()
        left = room - len(ids)
        # Each missing word gets a stretch, and the end gets one; half a stretch where that is all there is.
        share = (left - _dearest(words)) // (missing + 1)
        if share < LEAST:
            break
        draft = _grown(model, prompt_ids, ids, _free(config, share, seed + step), constraint)
        step += 1
        longer = _extended(model, prompt_ids, ids, draft, constraint, before=words.missing)
        if longer is None:
            break  # a forbidden phrase is in the way everywhere; the engine looks for other separators
        ids = longer
    floor = min(max(config.min_new_tokens - len(ids), -(-len(ids) // TAIL) if ids else 0), room - len(ids))
    if room - len(ids) > 0:
        rest = {"max_new_tokens": room - len(ids), "max_length": None, "min_new_tokens": max(0, floor), "seed": seed + step}
        if config.ignore_eos:
            rest["min_new_tokens"] = 0
        ids += _grown(model, prompt_ids, ids, config.replace(**rest), constraint)
    return tuple(ids)


def _extended(
    model: "Model", prompt_ids: tuple[int, ...], ids: list[int], draft: list[int], constraint: "Constraint", *, before: int
) -> list[int] | None:
    """`ids` with the part of the draft up to the next word, and that word; None where none can stand.

    Moves the constraint along.
    """
    trial = constraint.copy()
    for index, token in enumerate(draft):
        if token in trial.eos_token_ids:
            break
        trial.advance(token)
        assert trial.required is not None
        if trial.required.missing != before:  # the model said it by itself
            return _taken(ids, draft[: index + 1], constraint)
    place = _best_place(model, prompt_ids, ids, draft, constraint)
    return None if place is None else _taken(ids, [*draft[: place.at], *place.ids], constraint)


def _best_place(
    model: "Model", prompt_ids: tuple[int, ...], ids: list[int], draft: list[int], constraint: "Constraint"
) -> _Place | None:
    """Where in the draft which missing word is likeliest, by its mean logprob a token."""
    words, forbidden = constraint.required, constraint.forbidden
    assert words is not None
    pieces = words.tokens.pieces
    ends = [index for index, token in enumerate(draft) if token in constraint.eos_token_ids]
    usable = len(draft) if not ends else max(1, round(0.75 * ends[0]))
    spaced = [at for at in range(usable + 1) if _between_words(pieces, draft, at)] or [0]
    spaced = spaced[:: -(-len(spaced) // PLACES)]
    tried: list[tuple[int, tuple[int, ...]]] = []
    for at in spaced:
        state = None if forbidden is None else forbidden.copy()
        if state is not None:
            for token in draft[:at]:
                state.advance(token)
        for index in range(len(words.phrases)):
            if not words.missing >> index & 1:
                continue
            for spelling in words.spellings[index]:
                data = b"".join(pieces[token] for token in spelling)
                if state is None or state.admits(data):
                    tried.append((at, spelling))
                    break
    if not tried:
        return None

    def weighed(place: tuple[int, tuple[int, ...]]) -> _Place:
        at, spelling = place
        scored = model.score((*prompt_ids, *ids, *draft[:at]), spelling)
        return _Place(at=at, ids=spelling, logprob=scored.mean_logprob)

    with ThreadPoolExecutor(max_workers=min(32, len(tried))) as pool:
        places = list(pool.map(weighed, tried))
    return max(places, key=lambda place: (place.logprob, -place.at))


def _between_words(pieces: Sequence[bytes], draft: list[int], at: int) -> bool:
    if at < len(draft):
        return pieces[draft[at]][:1] in (b" ", b"\n")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(b"".join(pieces[token] for token in draft))
    return not decoder.getstate()[0]


def _dearest(words: "RequiredWords") -> int:
    """Tokens that the missing words take in their longest spellings."""
    return sum(
        max(len(spelling) for spelling in words.spellings[index])
        for index in range(len(words.phrases))
        if words.missing >> index & 1
    )


def _grown(
    model: "Model", prompt_ids: tuple[int, ...], ids: Sequence[int], config: GenerationConfig, constraint: "Constraint"
) -> list[int]:
    """What the model writes after prompt and ids; the constraint has read the ids."""
    from ramify.engine.tasks import Handle

    request = model.request_of_ids((*prompt_ids, *ids), tuple(ids), config, logprobs=None, origin="picked")
    state = constraint.copy()
    if config.required_words is None:
        state.required = None
    handle = model.start(request, Handle(), state)
    try:
        return list(handle.future.result()[0].generated_token_ids)
    except BaseException:
        handle.cancel()
        raise


def _free(config: GenerationConfig, tokens: int, seed: int) -> GenerationConfig:
    """The settings of a draft: the words may come, and need not."""
    floor = 0 if config.ignore_eos else LEAST
    return config.replace(
        required_words=None, max_new_tokens=tokens, max_length=None, min_new_tokens=floor, seed=seed, num_return_sequences=1
    )


def _taken(ids: list[int], more: Sequence[int], constraint: "Constraint") -> list[int]:
    for token in more:
        constraint.advance(token)
    return [*ids, *more]


def _compiled(model: "Model", config: GenerationConfig) -> "Constraint | None":
    from ramify.decoding.constraints import compile_constraint

    return compile_constraint(config, model.codec) if config.constrained else None
