"""What a bulk run does with each model: complete samples, or measure completions."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError, NotFoundError
from ramify.models.remote import Remote
from ramify.store.database import Database
from ramify.store.filters import Filter
from ramify.store.packing import to_json
from ramify.store.records import CompletionRecord, SampleRecord
from ramify.workbench.asking import AnyModel, fingerprint_of, name_of, question
from ramify.workbench.bulk import Bulk, Started, at_once
from ramify.workbench.scoring import prompt_of, remote_measures, start_measuring

__all__ = ["Chosen", "bulk_generate", "bulk_score"]

Chosen = str | Mapping[str, Any] | Filter | Sequence[int | SampleRecord] | Sequence[int | CompletionRecord] | None
"""Which ones: a filter, or its saved name; ids or records; None for all but the archived and hidden ones."""


@dataclass(frozen=True)
class Completing:
    """One model completes samples."""

    database: Database
    model: AnyModel
    config: GenerationConfig
    prefill: str | None
    name: str

    @cached_property
    def run(self) -> str:
        """Equal for what is asked for alike: model, settings, prefill, and the name of the run."""
        asked = [name_of(self.model), fingerprint_of(self.model), self.config.to_dict(), self.prefill, self.name]
        return hashlib.sha256(to_json(asked).encode()).hexdigest()[:16]

    @property
    def at_once(self) -> int:
        return at_once(self.model, self.config.num_return_sequences, self.config.batch_size)

    def check(self, item: int) -> Callable[[], Started]:
        sample = self.database.samples.get(item)
        start = question(self.model, sample.prompt, self.config, prefill=self.prefill)

        def begin() -> Started:
            asked = start()

            def keep() -> tuple[int, ...]:
                if self.database.bulk.made(sample.prompt_id, self.run):
                    return ()
                made = [(item, replace(each, bulk=self.run)) for each in asked.completions()]
                return tuple(self.database.completions.add_many(made, prompt_id=sample.prompt_id))

            return Started(asked.future, asked.cancel, keep)

        return begin


@dataclass(frozen=True)
class Measuring:
    """One model measures completions."""

    database: Database
    model: AnyModel
    top: int

    @property
    def at_once(self) -> int:
        return at_once(self.model, 1)

    def check(self, item: int) -> Callable[[], Started]:
        completion = self.database.completions.get(item)
        prompt, model = prompt_of(self.database, completion), self.model
        if isinstance(model, Remote):
            measuring = remote_measures(model, completion, prompt, self.top)

            def begin_remote() -> Started:
                asked = model.submit(measuring())
                return Started(asked, asked.cancel, lambda: self._keep(item, asked.result()))

            return begin_remote

        def begin() -> Started:
            handle, measured = start_measuring(self.database, model, completion, prompt, self.top)
            return Started(handle.future, handle.cancel, lambda: self._keep(item, measured()))

        return begin

    def _keep(self, item: int, tokens: Any) -> tuple[int, ...]:
        fingerprint = fingerprint_of(self.model)
        if not self.database.bulk.to_score([item], fingerprint):
            return ()
        self.database.logprobs.put(item, name_of(self.model), fingerprint, tokens)
        return (item,)


def bulk_generate(
    database: Database,
    models: Sequence[AnyModel],
    samples: Chosen,
    config: GenerationConfig,
    *,
    prefill: str | None = None,
    name: str = "",
) -> Bulk:
    """A run that completes the current prompt of every sample chosen with every model; nothing has begun yet.

    What the same run (same models, settings, prefill and name) made before is left out. Raises InputError, NotFoundError, and
    UnsupportedError or ConfigError for settings that a model cannot honour.
    """
    wanted = _ids(samples, database, "sample")
    lanes = [Completing(database, model, config, prefill, name) for model in models]
    work = [(lane, database.bulk.to_generate(wanted, lane.run)) for lane in lanes]
    before = len(wanted) * len(lanes) - sum(len(left) for _, left in work)
    return Bulk(database, "generate", _detail(models, name), work, before)


def bulk_score(database: Database, models: Sequence[AnyModel], completions: Chosen, *, top: int) -> Bulk:
    """A run that measures every completion chosen under every model; those that it has measured whole are left out."""
    wanted = _ids(completions, database, "completion")
    work = [(Measuring(database, model, top), database.bulk.to_score(wanted, fingerprint_of(model))) for model in models]
    before = len(wanted) * len(models) - sum(len(left) for _, left in work)
    return Bulk(database, "score", _detail(models, ""), work, before)


def _detail(models: Sequence[AnyModel], name: str) -> str:
    return "bulk by " + ", ".join(map(name_of, models)) + (f": {name}" if name else "")


def _ids(chosen: Chosen, database: Database, kind: str) -> list[int]:
    every = database.search.all_sample_ids if kind == "sample" else database.search.all_completion_ids
    if isinstance(chosen, str):
        return every(database.filters.get(chosen))
    if chosen is None or isinstance(chosen, Mapping | Filter):
        return every(chosen)
    ids = list(dict.fromkeys(each if isinstance(each, int) else each.id for each in chosen))
    table: Any = database.samples if kind == "sample" else database.completions
    known = {record.id for start in range(0, len(ids), 500) for record in table.get_many(ids[start : start + 500])}
    missing = [i for i in ids if i not in known]
    if missing:
        raise NotFoundError(f"there is no {kind} {', '.join(map(str, missing[:5]))}{'…' if len(missing) > 5 else ''}")
    if any(isinstance(i, bool) for i in ids):
        raise InputError(f"{kind} ids are whole numbers; True is none")
    return ids
