"""Which reader reads what was given: by name where one was named, else by the files themselves."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.errors import InputError
from ramify.exchange.entries import Entry, Problem, Record
from ramify.exchange.formats import (
    FILE_FORMATS,
    ROW_FORMATS,
    columns,
    detected,
    known,
    llama_factory,
    lm_eval,
    mt_bench,
    openai_batch,
    workspace,
)
from ramify.exchange.reading import HUB, Progress, first_records, read_path

if TYPE_CHECKING:
    from ramify.exchange.importing import ImportOptions, ImportReport

__all__ = ["Item", "Source", "sources"]

Item = tuple[Record, list[Entry]] | Problem
LOOKED_AT = 3
"""Records looked at to find out a format."""


@dataclass(frozen=True, slots=True)
class Source:
    items: Callable[[], Iterator[Item]]
    demonstrates: bool
    """Its answers are meant to be imitated, where it does not say otherwise; a log of what models said is not."""


def sources(paths: "Iterable[str]", options: "ImportOptions", report: "ImportReport", progress: Progress) -> list[Source]:
    """Raises InputError for a file that is not there or of no known format, before anything is read."""
    rest: list[str] = []
    gathered: dict[str, list[str]] = {}
    for path in paths:
        kind = _kind(path, options)
        if kind is None:
            rest.append(path)
        else:
            gathered.setdefault(kind, []).append(path)
    _check_acting(options, gathered)
    found = [_gathered(kind, theirs, options, report, progress) for kind, theirs in gathered.items()]
    return [each for some in found for each in some] + [_rows(path, options, report, progress) for path in rest]


def _check_acting(options: "ImportOptions", gathered: "Iterable[str]") -> None:
    """Raises InputError for an option that is about files of a kind that was not given: nothing is ignored."""
    about = {"lm-eval": ("only", "filter", "metric"), "llama-factory": ("datasets",)}
    for kind, names in about.items():
        for name in names:
            if getattr(options, name) and kind not in gathered:
                asked = "dataset" if name == "datasets" else name
                raise InputError(
                    f"--{asked} is about {FILE_FORMATS[kind].partition(':')[0]} ({kind}), and no file is that; leave it out"
                )


def _kind(path: str, options: "ImportOptions") -> str | None:
    """The format that needs whole files, or None for one that reads records one by one."""
    named = options.format
    if named is not None and named != "columns" and named not in ROW_FORMATS and named not in FILE_FORMATS:
        raise InputError(f"there is no format {named!r}; there are {known()}")
    if options.mapping or named in ROW_FORMATS or named in ("columns", "hf"):
        return None
    if named is not None:
        return named
    if path.startswith(HUB):
        return None
    if workspace.is_workspace(path):
        return "workspace"
    place = Path(path)
    if not place.exists():
        raise InputError(f"there is no file {path}")
    if llama_factory.is_info(place):
        return "llama-factory"
    if lm_eval.is_results(place):
        return "lm-eval"
    rows = [record.data for record in first_records(path, LOOKED_AT, password=options.password)]
    for name, module in (("lm-eval", lm_eval), ("openai-batch", openai_batch), ("mt-bench", mt_bench)):
        if rows and all(module.detect(row) for row in rows):
            return name
    return None


# ---------------------------------------------------------------- records one by one


def _rows(path: str, options: "ImportOptions", report: "ImportReport", progress: Progress) -> Source:
    if options.mapping:
        columns.check_mapping(options.mapping)
        report.files.append({"file": path, "format": "columns"})
        return Source(lambda: _read(path, lambda row: columns.read_mapped(row, options.mapping), options, progress), True)
    if options.format == "columns":
        raise InputError("--as columns needs to know them; name them with --map, such as --map prompt=question")
    if options.format in ROW_FORMATS:
        reader = ROW_FORMATS[str(options.format)]
    else:
        rows = [record.data for record in first_records(path, LOOKED_AT, password=options.password)]
        if not rows:
            first = next(iter(read_path(path, password=options.password)), None)
            if isinstance(first, Problem) and not options.skip_bad:
                from ramify.errors import RecordError

                raise RecordError(first.file, first.line, first.reason)
            if first is None:
                raise InputError(f"{path} has no records")
        reader = detected(rows, path)
    report.files.append({"file": path, "format": reader.name})
    return Source(lambda: _read(path, reader.read, options, progress), reader.name != "text")


def _read(path: str, read: Callable[[Any], Iterator[Entry]], options: "ImportOptions", progress: Progress) -> Iterator[Item]:
    for record in read_path(path, password=options.password, progress=progress):
        if isinstance(record, Problem):
            yield record
            continue
        try:
            yield record, list(read(record.data))
        except InputError as error:
            yield Problem(record.file, record.line, str(error))


# ---------------------------------------------------------------- whole files


def _gathered(kind: str, paths: list[str], options: "ImportOptions", report: "ImportReport", progress: Progress) -> list[Source]:
    def every(path: str) -> Iterator[Record | Problem]:
        return read_path(path, password=options.password, progress=progress)

    report.files += [{"file": path, "format": kind} for path in paths]
    if kind == "workspace":
        return [Source(lambda path=path: workspace.read(path, facet=options.facet), False) for path in paths]  # type: ignore[misc]
    if kind == "llama-factory":
        return [each for path in paths for each in _described(path, options, report, progress)]
    if kind == "lm-eval":
        return _lm_eval(paths, options, report, every)
    if kind == "mt-bench":
        first = first_records(paths[0], 1, password=options.password)
        more = mt_bench.beside(paths, first[0].data if first else {})
        report.files += [{"file": path, "format": kind} for path in more]
        return [Source(lambda: mt_bench.read_all(r for path in [*more, *paths] for r in every(path)), True)]
    return [Source(lambda: openai_batch.read_all(r for path in paths for r in every(path)), False)]


def _described(path: str, options: "ImportOptions", report: "ImportReport", progress: Progress) -> list[Source]:
    found = list(llama_factory.described(Path(path)))
    names = [each[0] for each in found if not isinstance(each, Problem)]
    missing = [name for name in options.datasets if name not in names]
    if missing:
        raise InputError(f"{path} has no data set {missing[0]!r} whose file is there; it has {', '.join(names) or 'none'}")
    made = []
    for each in found:
        if isinstance(each, Problem):
            if not options.datasets:
                report.remarks.append(each.reason)
        elif not options.datasets or each[0] in options.datasets:
            name, file, read = each
            report.files.append({"file": str(file), "format": f"llama-factory: {name}"})
            made.append(Source(lambda file=file, read=read: _read(str(file), read, options, progress), True))  # type: ignore[misc]
    return made


def _lm_eval(
    paths: list[str], options: "ImportOptions", report: "ImportReport", every: Callable[[str], Iterator[Record | Problem]]
) -> list[Source]:
    found = lm_eval.runs([Path(path) for path in paths])
    how: dict[str, Any] = {"chosen": options.filter, "metric": options.metric}
    if len(found) == 2:
        report.compared = [run.model or run.name for run in found]
        return [Source(lambda: _compared(found, options, report, every, how), False)]
    if options.only:
        raise InputError(f"outcomes are of two runs that are compared; {len(found)} were named")
    return [Source(lambda run=run: lm_eval.read_run(run, every, **how), False) for run in found]  # type: ignore[misc]


def _compared(
    found: list[lm_eval.Run],
    options: "ImportOptions",
    report: "ImportReport",
    every: Callable[[str], Iterator[Record | Problem]],
    how: dict[str, Any],
) -> Iterator[Item]:
    counts: dict[str, int] = {}
    yield from lm_eval.compare(found[0], found[1], every, counts=counts, only=options.only, **how)
    for name, count in counts.items():
        setattr(report, name, count)
