"""Whether every row can be trained on and fits into the context window, decided before a step is taken."""

from dataclasses import replace
from typing import Literal, get_args

from ramify.errors import InputError
from ramify.training.examples import Example
from ramify.training.gathering import Gathered, TrainingRow

__all__ = ["Overlong", "Unusable", "fit", "problems_of"]

Overlong = Literal["refuse", "leave-out", "cut-prompt", "cut-completion"]
"""What becomes of a row over the window: cut-prompt keeps its first token and the prompt's end, cut-completion learns no EOS."""
Unusable = Literal["refuse", "leave-out"]

SHOWN = 10


def problems_of(row: TrainingRow, window: int) -> list[str]:
    """Everything that speaks against a row; [] for a good one."""
    long = [f"it has {row.length} tokens, the window holds {window}"] if row.length > window else []
    return [*row.problems, *long]


def fit(gathered: Gathered, window: int, *, overlong: Overlong = "refuse", unusable: Unusable = "refuse") -> Gathered:
    """The rows that are trained on. What was cut or left out, and which rows, is told in `chosen` of the result.

    Raises InputError that names the rows where one cannot be used and is not to be left out, and where none is left.
    """
    _one_of("overlong", overlong, get_args(Overlong))
    _one_of("unusable", unusable, get_args(Unusable))
    kept, bad, out, cut = list[TrainingRow](), list[str](), list[str](), list[str]()
    for row in gathered.rows:
        if row.length > window and overlong.startswith("cut") and not row.problems:
            shorter = _cut(row, window, overlong)
            cut.append(f"{row.name} ({row.length} tokens)")
            row = shorter if shorter is not None else row
        found = problems_of(row, window)
        if not found:
            kept.append(row)
        elif (overlong == "leave-out" and not row.problems) or unusable == "leave-out":
            out.append(f"{row.name}: {'; '.join(found)}")
        else:
            bad.append(f"{row.name}: {'; '.join(found)}")
    if bad:
        raise InputError(
            f"{len(bad)} of {len(gathered.rows)} rows cannot be trained on: {_some(bad)}. Mend them, leave them out "
            "(unusable: leave-out), or for those over the window choose overlong: leave-out, cut-prompt or cut-completion"
        )
    told = list(gathered.chosen)
    if cut:
        told.append(f"{len(cut)} rows over the window of {window} were cut ({overlong}): {_some(cut)}")
    if out:
        told.append(f"{len(out)} rows were left out: {_some(out)}")
    made = replace(gathered, rows=kept, chosen=told)
    if not made.training:
        raise InputError(f"no row is left to train on. {' '.join(told)}")
    return made


def _cut(row: TrainingRow, window: int, how: str) -> TrainingRow | None:
    """The row within the window; None where nothing to learn would stay."""
    if how == "cut-completion":
        if row.prompt_length >= window:
            return None
        return _with(row, [Example(each.token_ids[:window], each.labels[:window]) for each in row.examples], row.prompt_length)
    over = row.length - window
    if over >= row.prompt_length:
        return None
    # The first token, often a BOS that the model never goes without, stays; what follows it goes.
    examples = [Example(e.token_ids[:1] + e.token_ids[1 + over :], e.labels[:1] + e.labels[1 + over :]) for e in row.examples]
    return _with(row, examples, row.prompt_length - over)


def _with(row: TrainingRow, examples: list[Example], prompt_length: int) -> TrainingRow:
    rejected = examples[1] if len(examples) > 1 else None
    return replace(row, chosen=examples[0], rejected=rejected, prompt_length=prompt_length)


def _some(names: list[str]) -> str:
    more = f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return "; ".join(names[:SHOWN]) + more


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
