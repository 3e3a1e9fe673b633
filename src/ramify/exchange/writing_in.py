"""Entries into the workspace, a thousand at a time: joined to what is there, inserted, judged."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ramify.errors import InputError
from ramify.exchange.entries import IMPORTED, Answer, Entry
from ramify.store import tables
from ramify.store.bulk_rows import BulkRows, Known, NewSample
from ramify.store.changes import Action
from ramify.store.database import Database
from ramify.store.packing import to_json
from ramify.store.prompts import checked_text, prompt_columns
from ramify.store.records import FacetRecord, NewCompletion
from ramify.store.samples import checked_group
from ramify.store.secrets import refuse_secrets

if TYPE_CHECKING:
    from ramify.exchange.importing import ImportOptions, ImportReport

__all__ = ["Made", "WriterIn"]

AT_ONCE = 1000
ORIGIN = "import"


@dataclass(frozen=True, slots=True)
class Made:
    """An entry that can be written: everything in it was checked."""

    entry: Entry
    sample: NewSample
    completions: tuple[NewCompletion, ...]
    ratings: tuple[int | None, ...]
    """For each answer, under the facet named."""

    @property
    def text(self) -> str:
        return str(self.sample.columns["text"])


class WriterIn:
    def __init__(self, database: Database, action: Action, options: "ImportOptions", report: "ImportReport") -> None:
        self._database, self._action, self._options, self._report = database, action, options, report
        self._bulk = BulkRows(database, action)
        self._waiting: list[Made] = []
        self._facets = {facet.name for facet in database.facets.list()}
        if options.facet is not None and options.facet not in self._facets:
            database.facets.add(options.facet)
            self._facets.add(options.facet)
            report.remarks.append(f"the facet {options.facet!r} was made")

    def checked(self, entry: Entry, *, demonstration: bool) -> Made:
        """Raises InputError for anything that the workspace could not keep, so that a bad record leaves nothing behind."""
        sample = NewSample(
            columns=prompt_columns(entry.prompt),
            title=checked_text(entry.title, "the title"),
            group=checked_group(entry.group if self._options.group is None else self._options.group),
            notes=checked_text(entry.notes, "the notes"),
        )
        completions = tuple(self._completion(answer) for answer in entry.answers)
        for tag in entry.tags:
            checked_text(tag, "a tag")
        ratings = tuple(self._rating(answer, entry, demonstration) for answer in entry.answers)
        return Made(entry, sample, completions, ratings)

    def _completion(self, answer: Answer) -> NewCompletion:
        if answer.kept is not None:
            return answer.kept.new
        checked_text(answer.text, "the answer")
        if answer.details:
            refuse_secrets(answer.details, "its details")
            try:
                checked_text(to_json(dict(answer.details)), "its details")
            except TypeError as error:
                raise InputError(f"its details are no JSON: {error}") from None
        model = answer.model or self._options.model or IMPORTED
        if answer.model:
            refuse_secrets(checked_text(model, "the model"), "the model")
        return NewCompletion(
            text=answer.text, model=model, finish_reason="imported", truncated=answer.truncated, details=answer.details
        )

    def _rating(self, answer: Answer, entry: Entry, demonstration: bool) -> int | None:
        if answer.rating is not None:
            return answer.rating
        good = answer.good
        if good is None and demonstration and not entry.better and not entry.ties and not self._options.unrated:
            good = True if self._options.facet is not None else None
        return None if good is None else self._options.good_rating if good else self._options.bad_rating

    def put(self, made: Made) -> None:
        self._waiting.append(made)
        if len(self._waiting) >= AT_ONCE:
            self.flush()

    # ------------------------------------------------------------ writing

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        places = self._samples(waiting)
        ids = self._completions(waiting, places)
        self._tags(waiting, places, ids)
        self._judge(waiting, places, ids)
        for made, place, theirs in zip(waiting, places, ids, strict=True):
            if made.entry.kept is not None:
                self._keep(made, place[0], theirs)

    def _samples(self, waiting: Sequence[Made]) -> list[tuple[int, int]]:
        """(sample, prompt) of each."""
        hashes = [made.sample.columns["hash"] for made in waiting]
        known = self._bulk.prompts(hashes)
        fresh: dict[str, NewSample] = {}
        for made, key in zip(waiting, hashes, strict=True):
            if key in known or key in fresh:
                self._report.samples_matched += 1
            else:
                fresh[key] = made.sample
        self._fresh = set(fresh)
        added = self._bulk.add_samples(list(fresh.values())) if fresh else []
        known.update(zip(fresh, added, strict=True))
        self._report.samples_added += len(fresh)
        return [known[key] for key in hashes]

    def _completions(self, waiting: Sequence[Made], places: Sequence[tuple[int, int]]) -> list[list[int]]:
        """The completion of each answer."""
        hashes = [made.sample.columns["hash"] for made in waiting]
        old = [prompt for (_, prompt), key in zip(places, hashes, strict=True) if key not in self._fresh]
        known: dict[int, list[Known]] = self._bulk.completions(old) if old else defaultdict(list)
        rows: list[tuple[int, int, NewCompletion]] = []
        found: list[list[int]] = []
        for made, (sample_id, prompt_id) in zip(waiting, places, strict=True):
            theirs = []
            for answer, new in zip(made.entry.answers, made.completions, strict=True):
                text_hash = hashlib.sha256(new.text.encode()).digest()[:16]
                named = answer.model is not None or self._options.model is not None
                twin = next(
                    (k for k in known[prompt_id] if k.text_hash == text_hash and (not named or k.model == new.model)), None
                )
                if twin is None:
                    # A negative id is a row of this batch that has none yet.
                    twin = Known(-1 - len(rows), new.model, text_hash)
                    known[prompt_id].append(twin)
                    rows.append((sample_id, prompt_id, new))
                else:
                    self._report.completions_matched += 1
                theirs.append(twin.id)
            found.append(theirs)
        added = self._bulk.add_completions(rows) if rows else []
        self._report.completions_added += len(added)
        self._added = set(added)
        return [[i if i >= 0 else added[-1 - i] for i in theirs] for theirs in found]

    def _tags(self, waiting: Sequence[Made], places: Sequence[tuple[int, int]], ids: Sequence[list[int]]) -> None:
        samples: dict[tuple[str, ...], list[int]] = defaultdict(list)
        completions: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for made, (sample_id, _), theirs in zip(waiting, places, ids, strict=True):
            if tags := (*made.entry.tags, *self._options.tags):
                samples[tags].append(sample_id)
            for answer, completion_id in zip(made.entry.answers, theirs, strict=True):
                if answer.tags:
                    completions[answer.tags].append(completion_id)
        for tags, carriers in samples.items():
            self._database.tags.put(tags, samples=carriers)
        for tags, carriers in completions.items():
            self._database.tags.put(tags, completions=carriers)

    def _judge(self, waiting: Sequence[Made], places: Sequence[tuple[int, int]], ids: Sequence[list[int]]) -> None:
        facet = self._options.facet
        ratings: dict[int, int] = {}
        pairs: list[tuple[int, int, int, bool]] = []
        for made, (sample_id, _), theirs in zip(waiting, places, ids, strict=True):
            for rating, completion_id in zip(made.ratings, theirs, strict=True):
                if rating is not None:
                    ratings.setdefault(completion_id, rating)
            pairs += [(sample_id, theirs[a], theirs[b], False) for a, b in made.entry.better if theirs[a] != theirs[b]]
            pairs += [(sample_id, theirs[a], theirs[b], True) for a, b in made.entry.ties if theirs[a] != theirs[b]]
        if facet is None:
            self._report.judgements_left_out += len(ratings) + len(pairs)
            return
        if ratings:
            self._report.ratings_added += self._bulk.rate(facet, ratings, origin=ORIGIN)
        if pairs:
            self._report.preferences_added += self._bulk.prefer(facet, pairs, origin=ORIGIN)

    # ------------------------------------------------------------ what only another workspace brings

    def _keep(self, made: Made, sample_id: int, ids: list[int]) -> None:
        kept = made.entry.kept
        assert kept is not None
        for facet in kept.facets:
            self._facet(facet)
        for index, answer in enumerate(made.entry.answers):
            if answer.kept is None or ids[index] not in self._added:
                continue
            flags = {"archived": answer.kept.archived, "hidden": answer.kept.hidden}
            values: dict[str, Any] = {name: True for name, is_set in flags.items() if is_set}
            if answer.kept.parent is not None and ids[answer.kept.parent] != ids[index]:
                values |= {"parent_id": ids[answer.kept.parent], "branch_position": answer.kept.branch_position}
            if values:
                self._action.update(tables.completions, [ids[index]], values)
            for scored in answer.kept.logprobs:
                self._database.logprobs.put(ids[index], scored.model, scored.fingerprint, scored.tokens, start=scored.start)
        for place, name, rating in kept.ratings:
            self._report.ratings_added += self._bulk.rate(name, {ids[place]: rating}, origin=ORIGIN)
        for name, better, worse, tie in kept.preferences:
            row = (sample_id, ids[better], ids[worse], tie)
            self._report.preferences_added += self._bulk.prefer(name, [row], origin=ORIGIN)
        for name, place in kept.approved:
            taken = self._database.judgements.approved(sample_id, name) is not None
            if not taken and not self._database.completions.get(ids[place]).archived:
                self._database.judgements.approve(ids[place], name)
                self._report.approvals_added += 1
        if made.sample.columns["hash"] in self._fresh:
            if kept.images:
                self._database.samples.attach(sample_id, kept.images)
            if kept.archived:
                self._database.samples.archive([sample_id])
            if kept.hidden:
                self._database.samples.hide([sample_id])

    def _facet(self, facet: FacetRecord) -> None:
        if facet.name in self._facets:
            return
        self._facets.add(facet.name)
        names = ("description", "parent", "good_rating", "bad_rating", "min_logprob", "mean_logprob", "target_model")
        self._database.facets.add(facet.name, **{name: getattr(facet, name) for name in names})
