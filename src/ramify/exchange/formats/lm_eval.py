"""lm-evaluation-harness: `results_TIME.json` and the `samples_TASK_TIME.jsonl` beside it; one run, or two compared.

A question that was judged through several filters stands in the file once for each; they are put together again. The prompt is
what the model was given: messages stay messages, and a string that a chat template made becomes messages again. Target, document
and every filter's metrics are kept with the completion.

Of two runs the first is the new one, the second what it is compared with:

    shared_success   both are right          new_failure   only the second is right
    shared_failure   neither is              fixed         only the first is right
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ramify.errors import InputError
from ramify.exchange.conversations import conversation
from ramify.exchange.entries import Answer, Entry, Problem, Record, a_text, an_object
from ramify.exchange.files import read_whole
from ramify.exchange.formats.chatml import plain_messages
from ramify.exchange.json_records import parse
from ramify.exchange.lookup import Lookup

__all__ = ["OUTCOMES", "Run", "compare", "detect", "is_results", "read_run", "runs"]

OUTCOMES = ("shared_success", "shared_failure", "new_failure", "fixed")
RESULTS = re.compile(r"results_(.+)\.json$")
SAMPLES = re.compile(r"samples_(.+?)_(\d{4}-\d\d-\d\dT[0-9-]+(?:\.\d+)?)\.jsonl(?:\.gz)?$")

Found = tuple[Record, list[Entry]] | Problem
Reader = Callable[[str], Iterable[Record | Problem]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One model's answers."""

    name: str
    model: str | None
    """None where no results file says."""
    samples: tuple[Path, ...]
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By task, in the order of its configuration: the first is the one that counts."""


def detect(row: Mapping[str, Any]) -> bool:
    return {"doc_id", "arguments", "resps"} <= set(row)


def is_results(path: Path) -> bool:
    return RESULTS.search(path.name) is not None and path.is_file()


def runs(paths: Iterable[Path]) -> list[Run]:
    """What was given as runs: a results file with all its samples, or samples with the results file beside them.

    Raises InputError for a results file that has none.
    """
    found: dict[str, list[Path]] = {}
    results: dict[str, Path] = {}
    for path in paths:
        told = RESULTS.search(path.name)
        if told:
            stem = f"{path.parent}/{told[1]}"
            mine = sorted(each for each in path.parent.iterdir() if (m := SAMPLES.search(each.name)) and m[2] == told[1])
            if not mine:
                raise InputError(
                    f"{path} has no samples beside it (samples_TASK_{told[1]}.jsonl); lm_eval writes them with --log_samples"
                )
            results[stem] = path
            found[stem] = list(dict.fromkeys([*found.get(stem, []), *mine]))
        else:
            samples = SAMPLES.search(path.name)
            stem = f"{path.parent}/{samples[2]}" if samples else str(path)
            found[stem] = list(dict.fromkeys([*found.get(stem, []), path]))
            beside = path.parent / f"results_{samples[2]}.json" if samples else None
            if beside is not None and beside.is_file():
                results[stem] = beside
    return [_run(stem, files, results.get(stem)) for stem, files in found.items()]


def _run(stem: str, files: list[Path], results: Path | None) -> Run:
    if results is None:
        return Run(name=stem, model=None, samples=tuple(files))
    try:
        told = an_object(parse(read_whole(results)), results.name)
    except (InputError, OSError) as error:
        raise InputError(f"{results} cannot be read: {error}") from None
    config = told.get("config") if isinstance(told.get("config"), Mapping) else {}
    arguments = str(config.get("model_args", "")) if isinstance(config, Mapping) else ""
    named = re.search(r"(?:^|[,{\s'])(?:model|pretrained)['\"]?[=:]\s*['\"]?([^,'\"}]+)", arguments)
    model = told.get("model_name") or (named[1] if named else None)
    if isinstance(model, str) and PurePosixPath(model).is_absolute():
        model = PurePosixPath(model).name
    filters = {}
    for task, about in (told.get("configs") or {}).items():
        listed = about.get("filter_list") if isinstance(about, Mapping) else None
        if isinstance(listed, list):
            filters[str(task)] = tuple(str(each["name"]) for each in listed if isinstance(each, Mapping) and "name" in each)
    return Run(
        name=str(results),
        model=model if isinstance(model, str) and model.strip() else None,
        samples=tuple(files),
        filters=filters,
    )


# ---------------------------------------------------------------- one run


def _task_of(path: Path) -> str:
    told = SAMPLES.search(path.name)
    return told[1] if told else path.name.split(".")[0]


def _collect(run: Run, read: Reader, problems: list[Problem]) -> Lookup:
    """{task/doc: [file, line, row, {filter: {…}}]}: records that differ only in their filter are one."""
    kept = Lookup()
    for path in run.samples:
        task = _task_of(path)
        for record in read(str(path)):
            if isinstance(record, Problem):
                problems.append(record)
                continue
            try:
                key, name, measured = _judged(record.data, task)
            except InputError as error:
                problems.append(Problem(record.file, record.line, str(error)))
                continue
            value = kept.get(key)
            if value is None:
                kept.put(key, [record.file, record.line, dict(record.data), {name: measured}, task])
            elif value[2].get("resps") != record.data.get("resps"):
                problems.append(Problem(record.file, record.line, f"document {key} was answered in two ways"))
            else:
                value[3].setdefault(name, measured)
                kept.replace(key, value)
    return kept


def _judged(row: Mapping[str, Any], task: str) -> tuple[str, str, dict[str, Any]]:
    if "doc_id" not in row or "resps" not in row:
        raise InputError("it has no doc_id or no resps; it is no record of lm-evaluation-harness")
    names = row.get("metrics")
    listed = (
        [str(each) for each in names] if isinstance(names, list) else [n for n in ("exact_match", "acc", "pass@1") if n in row]
    )
    measured = {name: row[name] for name in listed if name in row}
    filtered = row.get("filtered_resps")
    if isinstance(filtered, list):
        measured["filtered"] = filtered[0] if len(filtered) == 1 else filtered
    return f"{task}/{row['doc_id']}", str(row.get("filter", "none")), measured


def success(
    filters: Mapping[str, Mapping[str, Any]], order: tuple[str, ...], chosen: str | None, metric: str | None
) -> bool | None:
    """Whether an answer was right: by the filter and metric chosen, else the first of each; None where it is a matter of degree.

    Raises InputError for a filter or metric that the record does not have.
    """
    if chosen is not None and chosen not in filters:
        raise InputError(f"it was not judged by the filter {chosen!r}; it has {', '.join(filters)}")
    name = chosen or next((each for each in order if each in filters), next(iter(filters)))
    measured = {key: value for key, value in filters[name].items() if key != "filtered"}
    if metric is not None and metric not in measured:
        raise InputError(f"it has no metric {metric!r}; it has {', '.join(measured) or 'none'}")
    value = measured[metric] if metric is not None else next(iter(measured.values()), None)
    if isinstance(value, bool):
        return value
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def _prompt(arguments: Any) -> Any:
    """What the model was given. A template's text becomes messages where it is well-formed; other text stays raw."""
    first = arguments
    if isinstance(arguments, Mapping):
        first = an_object(arguments.get("gen_args_0"), "arguments.gen_args_0").get("arg_0")
    elif isinstance(arguments, list) and arguments and isinstance(arguments[0], list) and arguments[0]:
        first = arguments[0][0]
    if isinstance(first, list) and len(first) == 1 and isinstance(first[0], str):
        first = first[0]
    if isinstance(first, str) and first.lstrip().startswith("[{"):
        try:
            return conversation(json.loads(first), "arguments")
        except ValueError:
            return first
    if isinstance(first, list):
        return conversation(first, "arguments")
    text = a_text(first, "arguments")
    plain = plain_messages(text)
    return text if plain is None else conversation(plain, "arguments")


def _answers(row: Mapping[str, Any]) -> list[str]:
    """The texts that were generated; of a question with choices the likeliest one."""
    resps = row.get("resps")
    if not isinstance(resps, list) or not resps:
        raise InputError("it has no response")
    first = resps[0]
    texts = first if isinstance(first, list) else [first]
    if texts and all(isinstance(each, str) for each in texts) and not _is_choice(row):
        return list(dict.fromkeys(texts))
    values = []
    for each in resps:
        while isinstance(each, list) and each and isinstance(each[0], list):
            each = each[0]
        try:
            values.append(float(each[0]))
        except (TypeError, ValueError, IndexError):
            raise InputError("its responses are neither texts nor log-likelihoods") from None
    best = max(range(len(values)), key=values.__getitem__)
    return [a_text(_continuation(row.get("arguments"), best), "arguments")]


def _continuation(arguments: Any, index: int) -> Any:
    if isinstance(arguments, Mapping):
        return an_object(arguments.get(f"gen_args_{index}"), f"arguments.gen_args_{index}").get("arg_1")
    if (
        isinstance(arguments, list)
        and len(arguments) > index
        and isinstance(arguments[index], list)
        and len(arguments[index]) > 1
    ):
        return arguments[index][1]
    return None


def _is_choice(row: Mapping[str, Any]) -> bool:
    return isinstance(_continuation(row.get("arguments"), 0), str)


def _details(row: Mapping[str, Any], filters: Mapping[str, Any], task: str) -> dict[str, Any]:
    harness = {"task": task, "doc_id": row["doc_id"], "filters": dict(filters)}
    for name in ("doc_hash", "prompt_hash", "target_hash"):
        if isinstance(row.get(name), str):
            harness[name] = row[name]
    settings = _continuation(row.get("arguments"), 0)
    if isinstance(settings, Mapping):
        harness["settings"] = dict(settings)
    return {"lm_eval": harness, "target": row.get("target"), "doc": row.get("doc")}


def _entry(value: list[Any], run: Run, chosen: str | None, metric: str | None) -> tuple[Entry, bool | None]:
    _, _, row, filters, task = value
    right = success(filters, run.filters.get(task, ()), chosen, metric)
    details = _details(row, filters, task)
    texts = _answers(row)
    answers = [
        Answer(text=text, model=run.model, good=right if i == 0 else None, details=details) for i, text in enumerate(texts)
    ]
    if not answers[0].text:
        raise InputError("its response is empty")
    return Entry(prompt=_prompt(row.get("arguments")), answers=tuple(answers), title=f"{task}/{row['doc_id']}", group=task), right


def read_run(run: Run, read: Reader, *, chosen: str | None = None, metric: str | None = None) -> Iterator[Found]:
    problems: list[Problem] = []
    kept = _collect(run, read, problems)
    try:
        yield from problems
        for _, value in kept.items():
            try:
                yield Record(value[0], value[1], value[2]), [_entry(value, run, chosen, metric)[0]]
            except InputError as error:
                yield Problem(value[0], value[1], str(error))
    finally:
        kept.close()


# ---------------------------------------------------------------- two runs


def compare(
    new: Run,
    old: Run,
    read: Reader,
    *,
    counts: dict[str, int],
    only: Iterable[str] = (),
    chosen: str | None = None,
    metric: str | None = None,
) -> Iterator[Found]:
    """Questions that both runs answered, each with both answers; where one alone is right, it is preferred.

    counts: filled with how many there were of each outcome. only: outcomes to bring in; all when empty. Answers to prompts
    that differ stay apart, as two samples, and no preference comes of them.
    """
    wanted = set(only) or set(OUTCOMES)
    if wanted - set(OUTCOMES):
        raise InputError(f"there is no outcome {sorted(wanted - set(OUTCOMES))[0]!r}; there are {', '.join(OUTCOMES)}")
    counts.update(dict.fromkeys((*OUTCOMES, "undecided", "unpaired"), 0))
    problems: list[Problem] = []
    mine, theirs = _collect(new, read, problems), _collect(old, read, problems)
    try:
        yield from problems
        for key, value in mine.items():
            other = theirs.get(key)
            if other is None or value[2].get("doc_hash") != other[2].get("doc_hash"):
                counts["unpaired"] += 1
                continue
            try:
                (first, right), (second, was_right) = (_entry(v, run, chosen, metric) for v, run in ((value, new), (other, old)))
            except InputError as error:
                yield Problem(value[0], value[1], str(error))
                continue
            outcome = _outcome(right, was_right)
            counts[outcome] += 1
            if outcome in wanted or (outcome == "undecided" and not only):
                yield Record(value[0], value[1], value[2]), _joined(first, second, outcome)
        counts["unpaired"] += sum(mine.get(key) is None for key, _ in theirs.items())
    finally:
        mine.close()
        theirs.close()


def _outcome(right: bool | None, was_right: bool | None) -> str:
    if right is None or was_right is None:
        return "undecided"
    if right == was_right:
        return "shared_success" if right else "shared_failure"
    return "fixed" if right else "new_failure"


def _joined(first: Entry, second: Entry, outcome: str) -> list[Entry]:
    tags = (outcome,) if outcome in OUTCOMES else ()
    if first.prompt != second.prompt:
        return [Entry(prompt=e.prompt, answers=e.answers, title=e.title, group=e.group, tags=tags) for e in (first, second)]
    place = len(first.answers)
    better = {"new_failure": ((place, 0),), "fixed": ((0, place),)}.get(outcome, ())
    differ = first.answers[0].text != second.answers[0].text
    answers = (*first.answers, *second.answers)
    return [
        Entry(
            prompt=first.prompt, answers=answers, better=better if differ else (), title=first.title, group=first.group, tags=tags
        )
    ]
