"""What must hold between strategies, checked on what they wrote."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ramify.decoding.config import GenerationConfig
from ramify.quality.explaining import Place, explain

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.quality.lab_report import Run

__all__ = ["Check", "checks_of"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A law, and whether it held. holds is None where it is an observation: no law, but worth knowing."""

    title: str
    holds: bool | None
    detail: str


Read = Callable[[tuple[int, ...], GenerationConfig], Sequence[Place]]
"""A text under settings that are not its own, as `explain` tells it."""


def checks_of(
    model: "Model", prompt_ids: tuple[int, ...], runs: "Sequence[Run]", *, read: Read | None = None
) -> tuple[Check, ...]:
    """Every law that these runs allow to be checked. read: for who has read some texts before."""
    return tuple(_checks(model, runs, read or (lambda ids, config: explain(model, prompt_ids, ids, config, top=0))))


def _checks(model: "Model", runs: "Sequence[Run]", read: Read) -> Iterator[Check]:
    repeated = [run for run in runs if run.config.strategy == "greedy" and run.config.guidance_scale == 1.0]
    for title in dict.fromkeys(run.experiment for run in repeated):
        same = [run for run in repeated if run.experiment == title]
        if len(same) > 1:
            equal = len({run.token_ids for run in same}) == 1
            yield Check(
                title=f"{title}, {len(same)} times: the same", holds=equal, detail="identical" if equal else "they differ"
            )
    plain = next((run for run in repeated if run.config.order == ()), None)
    if plain is not None:
        for run in runs:
            # Without processors a beam of one is greedy decoding.
            single = run.config.num_beams == 1 and run.config.order == () and run.config.guidance_scale == 1.0
            if single and run.experiment != plain.experiment and run.config.strategy in ("beam", "greedy"):
                yield _same(f"{run.title} equals {plain.experiment}", run, plain, law=True)
        for run in runs:
            if run.config.samples and run.config.temperature is not None and run.config.temperature <= 0.01:
                yield _same(f"{run.title} and {plain.experiment}", run, plain, law=False)
    yield from _nucleus(runs, read)
    exists = model.codec.exists
    strangers = [run.title for run in runs if not all(exists[i] for i in run.token_ids)]
    yield Check(
        title="no id without a token was ever sampled",
        holds=not strangers,
        detail=f"{model.info.vocab_size} logits, {int(exists.sum())} ids with a token"
        + (f"; broken by {', '.join(strangers)}" if strangers else ""),
    )
    broken = [run.title for run in runs if run.config.guidance_scale == 1.0 and _impossible(run)]
    yield Check(
        title="no token was chosen that its own settings had removed",
        holds=not broken,
        detail="every chosen token was among those left" if not broken else ", ".join(broken),
    )


def _same(title: str, run: "Run", other: "Run", *, law: bool) -> Check:
    if run.token_ids == other.token_ids:
        return Check(title=title, holds=True if law else None, detail="identical")
    at = run.shared
    gap = ""
    if at < len(run.places) and len(run.places[at].candidates) > 1:
        first, second = (candidate.probability for candidate in run.places[at].candidates[:2])
        gap = f", where the two likeliest had {first:.6f} and {second:.6f}"
    return Check(title=title, holds=False if law else None, detail=f"they part after {at} tokens{gap}")


def _nucleus(runs: "Sequence[Run]", read: Read) -> Iterator[Check]:
    """The inclusive rule's text is read under the exclusive rule: where that one drops the chosen token, the texts must part."""
    by_settings = {run.config: run for run in runs if run.config.top_p not in (None, 1.0)}
    for config, run in by_settings.items():
        if config.nucleus_rule != "inclusive":
            continue
        exclusive = config.replace(nucleus_rule="exclusive")
        other = by_settings.get(exclusive)
        if other is None:
            continue
        places = read(run.token_ids, exclusive)
        crossing = next((at for at, place in enumerate(places) if place.removed_by is not None), None)
        parted = next((at for at, (a, b) in enumerate(zip(run.token_ids, other.token_ids, strict=False)) if a != b), None)
        if parted is None and len(run.token_ids) != len(other.token_ids):
            parted = min(len(run.token_ids), len(other.token_ids))
        title = f"the two nucleus rules, T={config.temperature or 1:g} p={config.top_p:g}"
        if crossing is None:
            yield Check(title=title, holds=None, detail="no chosen token crossed p" + _where(parted))
        else:
            yield Check(
                title=f"{title}: differ where they must",
                holds=parted is not None and parted <= crossing,
                detail=f"token {crossing} crosses p and only the inclusive rule keeps it" + _where(parted),
            )


def _where(parted: int | None) -> str:
    return "; the texts are the same" if parted is None else f"; the texts part after {parted} tokens"


def _impossible(run: "Run") -> bool:
    # Groups' penalties and beams' pushes depend on other beams, which are not read again.
    if run.config.strategy in ("diverse_beam", "forced_beam"):
        return False
    return any(place.removed_by is not None for place in run.places)
