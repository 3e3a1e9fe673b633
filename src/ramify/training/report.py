"""What training changed: every curated completion token by token, before and after; pairs; text that has nothing to do with it.

The same rows are read by both models, one after the other. Unrelated text is given as a file, or is what the model before says
unasked, sampled from its own beginning of text: how much less likely the tuned model finds it is how far it moved from itself.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ramify.errors import InputError
from ramify.models.loading import ModelFolder
from ramify.models.registry import Registry, fingerprint
from ramify.store.database import Database
from ramify.training.curves import read_log
from ramify.training.examples import IGNORED, Example
from ramify.training.gathering import Gathered, TrainingRow, from_file
from ramify.training.keeping import own_words
from ramify.training.plans import TrainingPlan, plan_from
from ramify.training.runs import MANIFEST, gather
from ramify.training.spelling import Spelling

__all__ = ["ALARM", "CompletionChange", "TrainingReport", "folder_of", "made_by", "report"]

ALARM = 0.05
"""Unrelated text may become so much less likely, as a share of its loss, before the report sounds an alarm."""
SAMPLES = 16
"""Of what the model before says unasked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionChange:
    """One completion under both models. Logprobs are nats; lists have a value a learned token."""

    name: str
    side: str
    """ "chosen", or of a pair "rejected"; of kto "good" and "bad"."""
    validation: bool
    source: dict[str, Any]
    tokens: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def change(self) -> float:
        """Of the mean logprob a token."""
        return (sum(self.after) - sum(self.before)) / max(1, len(self.after))


@dataclass(kw_only=True)
class TrainingReport:
    base: str
    tuned: str
    fingerprints: dict[str, str]
    method: str
    completions: list[CompletionChange] = field(default_factory=list)
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    """{"training" or "validation": {"before", "after", "tokens", "rows"}}, nats a token of what is to be learned."""
    pairs: dict[str, dict[str, float]] = field(default_factory=dict)
    """{"training" or "validation": {"rows", "accuracy_before", "accuracy_after", "margin_before", "margin_after"}}: how often and
    by how many nats the chosen completion is likelier than the rejected one."""
    unrelated: dict[str, Any] = field(default_factory=dict)
    """{"before", "after", "worse", "alarm", "source"}"""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """The run's log."""

    @property
    def alarm(self) -> bool:
        return bool(self.unrelated.get("alarm"))

    def to_data(self) -> dict[str, Any]:
        data = asdict(self)
        for row, change in zip(data["completions"], self.completions, strict=True):
            row["change"] = change.change
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "TrainingReport":
        """What `to_data` made."""
        kept = {each.name for each in fields(CompletionChange)}
        completions = []
        for row in data["completions"]:
            given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items() if name in kept}
            completions.append(CompletionChange(**given))
        return cls(**{**data, "completions": completions})


def made_by(tuned: str) -> dict[str, Any]:
    """The manifest of the run that made a model. Raises InputError where there is none."""
    file = folder_of(tuned) / MANIFEST
    if not file.is_file():
        raise InputError(
            f"{tuned!r} was not made by `ramify train` (it has no {MANIFEST}); say which rows with --facet or --rows"
        )
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def folder_of(model: str) -> Path:
    """Where a model's own files are: its adapter's folder, where it is one."""
    folder = Registry().resolve(model)
    return folder.adapter or folder.path


def report(
    base: str,
    tuned: str,
    *,
    plan: TrainingPlan | None = None,
    database: Database | None = None,
    unrelated: str | Path | None = None,
    device: str | None = None,
    seed: int = 0,
) -> TrainingReport:
    """Compare two models on a plan's rows; None: the rows that `tuned` was trained on and validated with, as they are now.

    unrelated: a file of texts. Raises InputError where the two spell text differently.
    """
    before_folder, after_folder = (Registry().resolve(name) for name in (base, tuned))
    plan = plan or plan_from(made_by(tuned)["plan"])
    first, second = Spelling.of(before_folder), Spelling.of(after_folder)
    if first.codec.fingerprint() != second.codec.fingerprint():
        raise InputError(f"{base!r} and {tuned!r} have different tokenizers, so their tokens cannot be compared")
    found = gather(plan, database)
    rows = [row for row in found.gathered.rows if not row.problems and row.length <= first.window]
    made = TrainingReport(
        base=base,
        tuned=tuned,
        fingerprints={"base": fingerprint(before_folder).id, "tuned": fingerprint(after_folder).id},
        method=plan.method,
        curve=read_log(folder_of(tuned)),
    )
    examples = [example for row in rows for example in row.examples]
    texts = [] if unrelated is None else _texts(unrelated, first)
    before, texts = _measured(before_folder, examples, texts, first, device, seed)
    after, _ = _measured(after_folder, examples, texts, first, device, seed)
    _compare(made, rows, found.gathered.kind, before[: len(examples)], after[: len(examples)], first)
    _unrelated(made, before[len(examples) :], after[len(examples) :], "the model's own" if unrelated is None else str(unrelated))
    return made


def _texts(path: str | Path, spelling: Spelling) -> list[Example]:
    gathered: Gathered = from_file(path, "sft", spelling)
    window = spelling.window
    return [Example(row.chosen.token_ids[:window], row.chosen.labels[:window]) for row in gathered.rows]


def _measured(
    folder: ModelFolder, examples: Sequence[Example], texts: list[Example], spelling: Spelling, device: str | None, seed: int
) -> tuple[list[list[float]], list[Example]]:
    """Logprobs of every learned token of the examples and then of the texts, which the model makes where there are none."""
    import torch

    from ramify.models.weights import load_folder
    from ramify.training.batches import pad
    from ramify.training.devices import Devices
    from ramify.training.reader import Reader

    model = load_folder(folder).to(Devices().device(device)).eval()
    texts = texts or own_words(model, spelling, SAMPLES, seed=seed)
    reader, all_of_them = Reader(model), [*examples, *texts]
    found: list[list[float]] = [[] for _ in all_of_them]
    order = sorted(range(len(all_of_them)), key=lambda i: len(all_of_them[i].token_ids))
    with torch.no_grad():
        for at in range(0, len(order), 16):
            part = order[at : at + 16]
            batch = pad([all_of_them[i] for i in part], pad_id=spelling.codec.pad_token_id or 0).to(reader.device)
            for row, value in zip(batch.rows.tolist(), reader.logprobs(batch).tolist(), strict=True):
                found[part[row]].append(value)
    return found, texts


def _compare(
    made: TrainingReport,
    rows: Sequence[TrainingRow],
    kind: str,
    before: list[list[float]],
    after: list[list[float]],
    spelling: Spelling,
) -> None:
    at = 0
    sums: dict[str, list[tuple[float, float, float, float]]] = {}
    learned: dict[str, list[tuple[list[float], list[float]]]] = {}
    for row in rows:
        part = "validation" if row.validation else "training"
        sides = ("chosen", "rejected") if kind != "kto" else ("good",) if row.label else ("bad",)
        told = []
        for side, example in zip(sides, row.examples, strict=False):
            tokens = tuple(
                spelling.codec.token_text(token)
                for token, label in zip(example.token_ids[1:], example.labels[1:], strict=True)
                if label != IGNORED
            )
            made.completions.append(
                CompletionChange(
                    name=row.name,
                    side=side,
                    validation=row.validation,
                    source=dict(row.source),
                    tokens=tokens,
                    before=tuple(before[at]),
                    after=tuple(after[at]),
                )
            )
            if side in ("chosen", "good"):
                learned.setdefault(part, []).append((before[at], after[at]))
            told += [sum(before[at]), sum(after[at])]
            at += 1
        if len(told) == 4:
            sums.setdefault(part, []).append((told[0], told[1], told[2], told[3]))
    for part, values in learned.items():
        count = sum(len(each) for each, _ in values)
        made.losses[part] = {
            "before": -sum(sum(each) for each, _ in values) / count,
            "after": -sum(sum(each) for _, each in values) / count,
            "tokens": count,
            "rows": len(values),
        }
    for part, quads in sums.items():
        made.pairs[part] = {
            "rows": len(quads),
            "accuracy_before": statistics.mean(float(c > r) for c, _, r, _ in quads),
            "accuracy_after": statistics.mean(float(c > r) for _, c, _, r in quads),
            "margin_before": statistics.mean(c - r for c, _, r, _ in quads),
            "margin_after": statistics.mean(c - r for _, c, _, r in quads),
        }


def _unrelated(made: TrainingReport, before: list[list[float]], after: list[list[float]], source: str) -> None:
    count = sum(map(len, before))
    losses = [-sum(map(sum, each)) / max(1, count) for each in (before, after)]
    worse = losses[1] / max(1e-9, losses[0]) - 1
    made.unrelated = {
        "source": source, "texts": len(before), "tokens": count, "before": losses[0], "after": losses[1], "worse": worse,
        "alarm": worse > ALARM,
    }  # fmt: skip
