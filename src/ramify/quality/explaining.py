"""Why this token and not that one: what each rule left of the distribution at every place of a completion.

The completion is read once, all its places in few forward passes, and its settings' processors are applied to each place
with the history it had then. Guidance is not shown: its second branch is not read again; nor is what groups of diverse
beams had chosen.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from ramify.decoding.constraints import Constraint
    from ramify.engine.model import Model
    from ramify.engine.tasks import Steps

__all__ = ["Candidate", "Place", "explain", "percent", "verdict", "why_not"]

PIECE_TOKENS = 128
BEAMS = ("beam", "beam_sampling", "diverse_beam", "forced_beam")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A token that could stand at a place."""

    token_id: int
    probability: float
    """In the model's own distribution."""
    removed_by: str | None
    """The processor that took it out; None when it was still in at the end."""
    left: float
    """Its probability after all processors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place of a completion, before its token was chosen."""

    token_id: int
    probability: float
    rank: int
    entropy: float
    """Nats, of the model's own distribution."""
    removed_by: str | None
    """What would have taken the chosen token out; None in the completion's own settings."""
    kept: dict[str, float]
    """For each processor that takes tokens out: the share of the mass it found that it left."""
    candidates: tuple[Candidate, ...]
    """The likeliest tokens, best first."""


def explain(
    model: "Model",
    prompt_ids: Sequence[int],
    token_ids: Sequence[int],
    config: GenerationConfig,
    *,
    top: int = 6,
    also: Sequence[int] = (),
) -> list[Place]:
    """One Place for each token of a completion that was made after `prompt_ids` under `config`.

    top: likeliest candidates a place. also: ids that are candidates everywhere. Raises what Model.request raises.
    """
    from ramify.engine.kv_tree import Branches

    if not token_ids:
        return []
    branches = Branches(model.engine.tree)
    steps = _steps(model, branches, tuple(prompt_ids), tuple(token_ids), config, top, tuple(also))
    try:
        found: list[Place] = model.converse(steps, branches)
    finally:
        model.release(branches)
    return found


def why_not(
    model: "Model", prompt_ids: Sequence[int], token_ids: Sequence[int], config: GenerationConfig, position: int, token: str | int
) -> Candidate:
    """What happened to one token at one place: its probability, the rule that removed it, and what was left of it.

    token: an id, or text that is one token (the model's own word for it, a leading space included where there is one).
    Raises InputError for a place outside the completion, and for text that is several tokens.
    """
    if not 0 <= position < len(token_ids):
        raise InputError(f"position is {position}; the completion has {len(token_ids)} tokens (0 to {len(token_ids) - 1})")
    if isinstance(token, str):
        ids = model.codec.encode(token)
        if len(ids) != 1:
            parts = [model.codec.decode([i]) for i in ids]
            raise InputError(f"{token!r} is {len(ids)} tokens of {model.info.name}: {parts}; ask about one of them")
        token = ids[0]
    (wanted,) = model.checked_ids((token,), "the question")
    place = explain(model, prompt_ids, token_ids[: position + 1], config, top=0, also=(wanted,))[position]
    return next(candidate for candidate in place.candidates if candidate.token_id == wanted)


def verdict(found: Candidate, *, chosen: bool, config: GenerationConfig) -> str:
    """What `why_not` found, as a sentence. chosen: it is the token that stands there."""
    own, left = percent(found.probability), percent(found.left)
    if found.removed_by is not None:
        return f"{found.removed_by} removed it: the model gave it {own}."
    if chosen:
        return f"It was taken: the model gave it {own}, and {left} was left of it after all processors."
    if config.guidance_scale != 1.0:
        return f"The model gave it {own}; what guidance made of it is not read again."
    if config.samples and config.num_beams == 1:
        return f"No processor removed it: it had {left} (the model gave it {own}), and the draw fell on another."
    if config.strategy == "greedy":
        return f"No processor removed it: it had {left} (the model gave it {own}), and another was likelier."
    how = config.strategy.replace("_", " ")
    return f"No processor removed it: it had {left} (the model gave it {own}), and {how} search chose another way."


def percent(share: float) -> str:
    """For people: "37.2 %", "0.42 %", "< 0.01 %"."""
    return "0 %" if share <= 0 else "< 0.01 %" if share < 1e-4 else f"{100 * share:.3g} %"


def _steps(
    model: "Model",
    branches: "object",
    prompt_ids: tuple[int, ...],
    token_ids: tuple[int, ...],
    config: GenerationConfig,
    top: int,
    also: tuple[int, ...],
) -> "Steps":
    import torch

    from ramify.engine.tasks import prefill
    from ramify.models.base import Extension

    request = model.request_of_ids(prompt_ids, (), config, logprobs=None)
    pipeline = model.engine.pipeline(request)
    constraint = model.engine.constraint(request)
    histories = _histories(prompt_ids, token_ids, constraint, request.room)
    branch, answers, _ = yield from prefill(branches, prompt_ids)  # type: ignore[arg-type]
    logits = answers[-1].logits[-1:]
    found: list[Place] = []
    for start in range(0, len(token_ids), PIECE_TOKENS):
        piece = token_ids[start : start + PIECE_TOKENS]
        fed = piece if start + len(piece) < len(token_ids) else piece[:-1]
        rows = logits
        if fed:
            (answer,) = yield [Extension(branch, fed, len(fed))]
            rows = torch.cat([logits, answer.logits])
        logits = rows[-1:].clone()
        with torch.inference_mode():
            found += _places(rows[: len(piece)], piece, [next(histories) for _ in piece], pipeline, config, top, also)
    return found


def _histories(
    prompt_ids: tuple[int, ...], token_ids: tuple[int, ...], constraint: "Constraint | None", room: int
) -> "Iterator[object]":
    from ramify.decoding.pipeline import Row

    for place, token in enumerate(token_ids):
        keep = None if constraint is None else constraint.keep(max(1, room - place))
        yield Row(prompt_ids=prompt_ids, generated_ids=token_ids[:place], keep=keep, limit=room)
        if constraint is not None:
            constraint.advance(token)


def _places(
    logits: "Tensor",
    chosen: Sequence[int],
    rows: Sequence[object],
    pipeline: "object",
    config: GenerationConfig,
    top: int,
    also: Sequence[int],
) -> list[Place]:
    import torch

    from ramify.decoding.logprobs import measure

    picked = torch.tensor(chosen, device=logits.device)
    raw = measure(logits, picked, top)
    logprobs = logits.log_softmax(dim=-1)
    columns = [picked[:, None], raw.top_ids]
    if also:
        columns.append(torch.tensor(also, device=logits.device).repeat(len(chosen), 1))
    ids = torch.cat(columns, dim=1)
    removed = torch.full(ids.shape, -1, device=logits.device)
    kept: list[dict[str, float]] = [{} for _ in chosen]
    # Beams are processed as log-probabilities, everything else as logits.
    before = logprobs if config.strategy in BEAMS else logits
    names: list[str] = []
    stages = pipeline.stages(before, rows) if config.guidance_scale == 1.0 else ()  # type: ignore[attr-defined]
    for name, after in stages:
        gone = after.isneginf() & ~before.isneginf()
        if bool(gone.any()):
            mass = 1.0 - before.softmax(dim=-1).masked_fill(~gone, 0.0).sum(dim=-1)
            for row, share in enumerate(mass.clamp(0.0, 1.0).tolist()):
                kept[row][name] = share
        else:
            for each in kept:
                each.setdefault(name, 1.0)
        removed = torch.where((removed < 0) & gone.gather(1, ids), len(names), removed)
        # What a constraint brings back is in again.
        removed = torch.where(~after.gather(1, ids).isneginf(), -1, removed)
        names.append(name)
        before = after
    left = before.softmax(dim=-1).gather(1, ids).tolist()
    own = logprobs.gather(1, ids).exp().tolist()
    why = [[None if at < 0 else names[at] for at in row] for row in removed.tolist()]
    found = []
    for row, token in enumerate(chosen):
        candidates = {
            i: Candidate(token_id=i, probability=p, removed_by=by, left=rest)
            for i, p, by, rest in zip(ids[row].tolist(), own[row], why[row], left[row], strict=True)
        }
        found.append(
            Place(
                token_id=token,
                probability=math.exp(raw.logprobs[row].item()),
                rank=int(raw.ranks[row]),
                entropy=float(raw.entropies[row]),
                removed_by=why[row][0],
                kept={name: share for name, share in kept[row].items() if name not in ("temperature",)},
                candidates=tuple(sorted(candidates.values(), key=lambda one: (-one.probability, one.token_id))),
            )
        )
    return found
