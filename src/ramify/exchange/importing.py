"""From files to the workspace: one transaction and one step of the history, however many files and records.

What is there already is not added again: a record with the same prompt joins its sample, one with the same text (and the same
model, where the file names one) is the completion that is there. So importing a file twice adds nothing the second time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ramify.errors import InputError, RecordError
from ramify.exchange.duplicates import MEASURES, Seen
from ramify.exchange.entries import Problem
from ramify.exchange.reading import Progress
from ramify.exchange.sources import Source, sources
from ramify.exchange.writing_in import WriterIn
from ramify.store.database import Database
from ramify.store.prompts import checked_text
from ramify.store.samples import checked_group
from ramify.store.walking import prompt_texts

__all__ = ["ImportOptions", "ImportReport", "import_files"]

PROBLEMS_KEPT = 1000
TOLD_EACH = 250
"""Records, good or bad, between two words of how far an import is."""
TIDY_FROM = 20_000
"""Samples from which on an import is worth learning how the rows are spread."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    format: str | None = None
    """None finds out."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """Which column is what (`formats/columns.py`); for tables that are of no known format."""
    facet: str | None = None
    """Under which judgements are kept. Made where it is missing."""
    good_rating: int = 8
    bad_rating: int = 2
    """What right and wrong, true and false labels become."""
    unrated: bool = False
    """Answers of which a file says nothing are not rated good under the facet, though it was named."""
    model: str | None = None
    """Who wrote the answers of files that do not say."""
    group: str | None = None
    """Where new samples go; None leaves it to the file."""
    tags: tuple[str, ...] = ()
    duplicates: str = "exact"
    """ "exact": records that are there already are not added. "normalised", "near": nor those whose prompt is, but for case,
    space and punctuation, or nearly, that of another sample or of an earlier record."""
    near: float = 0.85
    skip_bad: bool = False
    """Leave bad records out and say which; otherwise the first stops everything."""
    dry_run: bool = False
    """Do all of it and take it back: the report says what would happen."""
    only: tuple[str, ...] = ()
    """Of two compared runs, the outcomes to bring in."""
    filter: str | None = None
    metric: str | None = None
    """Which filter and metric of lm-evaluation-harness decide what is right."""
    datasets: tuple[str, ...] = ()
    """Of a dataset_info.json, the data sets to bring in; all when empty."""
    limit: int | None = None
    """Stop after so many records."""
    password: str | None = None

    def __post_init__(self) -> None:
        for name in ("tags", "only", "datasets"):
            if isinstance(getattr(self, name), str):  # It would be taken for a list of its letters.
                raise InputError(f"{name} is {getattr(self, name)!r}, a text; give a list, such as [{getattr(self, name)!r}]")
        for name in ("good_rating", "bad_rating"):
            if not 0 <= getattr(self, name) <= 10:
                raise InputError(f"{name} is {getattr(self, name)}; it must be from 0 to 10")
        if self.bad_rating >= self.good_rating:
            raise InputError(f"bad_rating is {self.bad_rating} and good_rating {self.good_rating}; bad must be below good")
        if self.duplicates not in MEASURES:
            raise InputError(f"duplicates is {self.duplicates!r}; it must be one of {', '.join(MEASURES)}")
        if not 0 < self.near <= 1:
            raise InputError(f"near is {self.near}; it must be above 0 and at most 1")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit}; it must be at least 1")
        if self.mapping and self.format not in (None, "columns"):
            raise InputError(f"--map names the columns, and --as {self.format} knows its own; give one of them")
        if self.model is not None and not self.model.strip():
            raise InputError("the model's name is empty")
        for tag in self.tags:
            if not checked_text(tag, "a tag").strip():
                raise InputError("a tag is empty")
        if self.group is not None:
            checked_group(self.group)


@dataclass(kw_only=True)
class ImportReport:
    """What an import did, or with dry_run what it would do."""

    dry_run: bool
    files: list[dict[str, str]] = field(default_factory=list)
    """{"file", "format"}"""
    records: int = 0
    """Good ones."""
    samples_added: int = 0
    samples_matched: int = 0
    """Records whose prompt is in the workspace already, or earlier in the files."""
    completions_added: int = 0
    completions_matched: int = 0
    ratings_added: int = 0
    preferences_added: int = 0
    approvals_added: int = 0
    judgements_left_out: int = 0
    """Because no facet was named."""
    duplicates: list[dict[str, Any]] = field(default_factory=list)
    """Records left out as duplicates of another: {"file", "line", "of", "similarity"}; the first thousand."""
    duplicates_left_out: int = 0
    bad_records: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    """{"file", "line", "reason"}; the first thousand."""
    remarks: list[str] = field(default_factory=list)
    shared_success: int = 0
    shared_failure: int = 0
    new_failure: int = 0
    fixed: int = 0
    undecided: int = 0
    unpaired: int = 0
    compared: list[str] = field(default_factory=list)
    """Two models: the new one and what it was compared with."""

    def to_data(self) -> dict[str, Any]:
        """As JSON; what is about a comparison only where there was one."""
        data = asdict(self)
        if not self.compared:
            for name in ("shared_success", "shared_failure", "new_failure", "fixed", "undecided", "unpaired", "compared"):
                del data[name]
        return data


Told = Callable[[int, int], None]
"""Is told now and then how many bytes were read, and how many records."""


class _TakeBack(Exception):  # noqa: N818 - not an error: how a dry run leaves the transaction
    pass


def import_files(
    database: Database,
    paths: Sequence[str],
    options: ImportOptions | None = None,
    *,
    told: Told | None = None,
    detail: str | None = None,
) -> ImportReport:
    """Bring files in. Raises RecordError for the first bad record (unless skip_bad), InputError for what cannot be read at all;
    then nothing has changed. detail: what the history says was imported; unset, the paths. What `told` raises ends it likewise.
    """
    if not paths:
        raise InputError("no file was named")
    options = options or ImportOptions()
    report = ImportReport(dry_run=options.dry_run)
    progress = Progress()
    found = sources(paths, options, report, progress)
    try:
        with database.action("import", ", ".join(paths)[:200] if detail is None else detail) as action:
            writer = WriterIn(database, action, options, report)
            seen = _seen(database, options)
            _take_in(found, writer, seen, options, report, progress, told)
            if options.dry_run:
                raise _TakeBack
    except _TakeBack:
        pass
    if report.samples_added >= TIDY_FROM and not options.dry_run:
        database.tidy()
    return report


def _seen(database: Database, options: ImportOptions) -> Seen | None:
    if options.duplicates == "exact":
        return None
    seen = Seen(options.duplicates, options.near)
    with database.reading() as connection:
        for prompt_id, sample_id, text in prompt_texts(connection):
            seen.add(text, f"sample {sample_id}", key=prompt_id)
    return seen


def _take_in(
    found: Sequence[Source],
    writer: WriterIn,
    seen: Seen | None,
    options: ImportOptions,
    report: ImportReport,
    progress: Progress,
    told: Told | None,
) -> None:
    looked_at = 0
    for source in found:
        for item in source.items():
            looked_at += 1
            if told is not None and not looked_at % TOLD_EACH:
                told(progress.bytes_read, report.records)
            if isinstance(item, Problem):
                _note(item, options, report)
                continue
            record, entries = item
            try:
                made = [writer.checked(entry, demonstration=source.demonstrates) for entry in entries]
            except InputError as error:
                _note(Problem(record.file, record.line, str(error)), options, report)
                continue
            report.records += 1
            for each in made:
                twin = None if seen is None else seen.twin(each.text, f"{record.file}, line {record.line}")
                if twin is not None:
                    report.duplicates_left_out += 1
                    if len(report.duplicates) < PROBLEMS_KEPT:
                        of, likeness = twin
                        report.duplicates.append({"file": record.file, "line": record.line, "of": of, "similarity": likeness})
                    continue
                writer.put(each)
            if options.limit is not None and report.records >= options.limit:
                break
        if options.limit is not None and report.records >= options.limit:
            break
    writer.flush()
    if told is not None:
        told(progress.bytes_read, report.records)
    if report.judgements_left_out:
        report.remarks.append(
            f"{report.judgements_left_out} judgements were left out, because no facet was named; --facet NAME keeps them"
        )


def _note(problem: Problem, options: ImportOptions, report: ImportReport) -> None:
    if problem.line is None:
        report.remarks.append(problem.reason)
        return
    if not options.skip_bad:
        raise RecordError(
            problem.file, problem.line, f"{problem.reason}. Nothing was imported; --skip-bad leaves such records out"
        )
    report.bad_records += 1
    if len(report.problems) < PROBLEMS_KEPT:
        report.problems.append({"file": problem.file, "line": problem.line, "reason": problem.reason})
