"""Training rows from a workspace's judgements, or from a file of any format that can be imported.

    prompt ids, spelt as for generation  +  the completion's stored ids  +  EOS, where it is not truncated

A row that cannot be trained on is kept with what is wrong with it, so that all are told at once, before the first step.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ramify.errors import InputError, RecordError
from ramify.exchange.entries import Answer, Entry, Problem, Record
from ramify.exchange.formats import ROW_FORMATS, RowFormat
from ramify.exchange.importing import ImportOptions, ImportReport
from ramify.exchange.planning import FacetReport, Planned, make_plan, validation_prompts
from ramify.exchange.reading import Progress, first_records, read_path
from ramify.exchange.sources import sources
from ramify.exchange.templates import ExportTemplate
from ramify.store.database import Database
from ramify.store.records import CompletionRecord, Prompt
from ramify.store.walking import prompts_of
from ramify.training.examples import IGNORED, Example, Segment, from_segments
from ramify.training.spelling import Spelling

__all__ = ["Gathered", "Learning", "TrainingRow", "from_file", "from_workspace"]

Turns = Literal["last", "all"]
IDS = ("prompt_token_ids", "completion_token_ids")
"""Keys of a file's row that brings ids; "rejected_token_ids", "label", "ended" and "tokenizer" may stand beside them."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """What of a row is learned."""

    turns: Turns = "last"
    """last: the completion; all: the assistant's earlier turns too."""
    prefill: bool = True
    """Whether the beginning that a person put there is learned."""
    retokenize: bool = False
    """Whether a completion whose ids are another tokenizer's is spelt anew, in place of being refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """A completion to learn, a pair, or a completion with a label."""

    name: str
    """As people call it: "sample 3, completion 7" or "rows.jsonl, line 2"."""
    chosen: Example
    rejected: Example | None = None
    label: bool = True
    prompt_length: int = 0
    """The first tokens of both, which are the prompt."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Ids in the workspace, or file and line."""
    validation: bool = False
    problems: tuple[str, ...] = ()
    """Why it cannot be trained on."""

    @property
    def examples(self) -> tuple[Example, ...]:
        return (self.chosen,) if self.rejected is None else (self.chosen, self.rejected)

    @property
    def length(self) -> int:
        """Tokens of the longer one."""
        return max(len(example.token_ids) for example in self.examples)


@dataclass(kw_only=True)
class Gathered:
    """All rows of a run."""

    kind: str
    rows: list[TrainingRow] = field(default_factory=list)
    facets: list[FacetReport] = field(default_factory=list)
    """What of each facet went out, and why the rest stayed."""
    chosen: list[str] = field(default_factory=list)
    """What was decided about rows that could not stay as they were."""

    @property
    def training(self) -> list[TrainingRow]:
        return [row for row in self.rows if not row.validation]

    @property
    def validation(self) -> list[TrainingRow]:
        return [row for row in self.rows if row.validation]


def from_workspace(
    database: Database, template: ExportTemplate, spelling: Spelling, learning: Learning | None = None
) -> Gathered:
    """The rows that `ramify export` would write by this template, with the completions' own ids.

    A text without ids is spelt once for this model, and those ids are kept. Raises InputError where nothing goes out.
    """
    learning = learning or Learning()
    found = Gathered(kind=template.kind)
    with database.reading() as connection:
        plan = make_plan(connection, database, template)
        found.facets = plan.facets
        if not len(plan):
            counted = [f"{count}: {why}" for each in plan.facets for why, count in each.reasons.most_common(5)]
            raise InputError(f"there is nothing to train on as {template.kind} ({'; '.join(counted) or 'there are no samples'})")
        held = validation_prompts(connection, plan, template) if template.validation else None
        planned = list(plan)
        prompts = prompts_of(connection, [each.prompt_id for each in planned])
    ids = {i for each in planned for i in (each.chosen, each.rejected) if i}
    records = {record.id: record for record in database.completions.get_many(sorted(ids))}
    for each in planned:
        prompt: Prompt = prompts[each.prompt_id]
        if isinstance(prompt, str) and template.prompts == "as-user":
            prompt = [{"role": "user", "content": prompt}]
        row = _of_records(database, each, prompt, records, spelling, learning, template.kind)
        found.rows.append(replace(row, validation=held is not None and held(prompts[each.prompt_id])))
    return found


def _of_records(
    database: Database,
    planned: Planned,
    prompt: Prompt,
    records: Mapping[int, CompletionRecord],
    spelling: Spelling,
    learning: Learning,
    kind: str,
) -> TrainingRow:
    problems: list[str] = []
    before = _before(prompt, spelling, learning)
    answers = [
        _answer(database, records[i], prompt, spelling, learning, problems) for i in (planned.chosen, planned.rejected) if i
    ]
    source: dict[str, Any] = {"sample": planned.sample_id, "prompt": planned.prompt_id, "completion": planned.chosen}
    name = f"sample {planned.sample_id}, completion {planned.chosen}"
    if planned.rejected:
        source["rejected"] = planned.rejected
        name += f" over {planned.rejected}"
    if planned.facet:
        source["facet"] = planned.facet
    if kind == "kto":
        source["label"] = planned.label
    return _row(name, before, answers, spelling, planned.label, source, problems)


def _answer(
    database: Database,
    record: CompletionRecord,
    prompt: Prompt,
    spelling: Spelling,
    learning: Learning,
    problems: list[str],
) -> list[Segment]:
    """A completion in stretches: its prefill, what came after, its EOS."""
    if not record.text.strip() and not record.token_ids:
        problems.append(f"completion {record.id} is empty")
    ids = record.token_ids
    if ids is not None and not spelling.spells(ids, record.text, cut=record.stop_string is not None):
        if not learning.retokenize:
            problems.append(
                f"completion {record.id} has ids of {record.model}, which {spelling.name} spells otherwise; two tokenizers "
                "are not mixed unless the text is to be spelt anew (retokenize)"
            )
        ids = None
    if ids is None:
        ids = database.tokenizations.of(record.id, spelling.fingerprint)
        if ids is None:
            ids = spelling.text(record.text)
            database.tokenizations.keep(record.id, spelling.name, spelling.fingerprint, ids)
    first = 0
    if not learning.prefill:
        spans = [span for span in record.spans if span.origin == "prefill"]
        size = spans[-1].end if spans else 0
        same = ids == record.token_ids
        first = size if same else _tokens_of(spelling, ids, record.text[: record.generated_start])
    ends = ids[-1:] and ids[-1] in spelling.codec.eos_token_ids
    ending = () if record.truncated or ends else _ending(prompt, spelling)
    return [(ids[:first], False), ((*ids[first:], *ending), True)]


def _tokens_of(spelling: Spelling, ids: Sequence[int], beginning: str) -> int:
    """How many tokens the beginning of a text takes; one that reaches beyond it is still of it."""
    left = len(beginning.encode())
    for count, token_id in enumerate(ids):
        if left <= 0:
            return count
        left -= len(spelling.codec.token_bytes[token_id])
    return len(ids)


def _ending(prompt: Prompt, spelling: Spelling) -> tuple[int, ...]:
    end = spelling.ending(prompt)
    return () if end is None else (end,)


def _before(prompt: Prompt, spelling: Spelling, learning: Learning) -> list[Segment]:
    return spelling.turns(prompt) if learning.turns == "all" else [(spelling.prompt(prompt), False)]


def _row(
    name: str,
    before: list[Segment],
    answers: Sequence[list[Segment]],
    spelling: Spelling,
    label: bool,
    source: Mapping[str, Any],
    problems: list[str],
) -> TrainingRow:
    examples = [from_segments([*before, *answer]) for answer in answers]
    length = sum(len(ids) for ids, _ in before)
    bos = spelling.codec.bos_token_id
    for example in examples:
        outside = [i for i in example.token_ids if not 0 <= i < spelling.codec.vocab_size]
        if outside:
            problems.append(f"token id {outside[0]} is outside the vocabulary of {spelling.codec.vocab_size}")
        if len(example.token_ids) == length:
            problems.append("its completion is empty")
        elif all(label == IGNORED for label in example.labels[max(1, length) :]):
            problems.append("it teaches no token")
        if bos is not None and example.token_ids[:2] == (bos, bos):
            problems.append("its prompt begins with two BOS tokens; take one out of the text")
    if len(examples) > 1 and examples[0] == examples[1]:
        problems.append("chosen and rejected are the same tokens")
    return TrainingRow(
        name=name,
        chosen=examples[0],
        rejected=examples[1] if len(examples) > 1 else None,
        label=label,
        prompt_length=length,
        source=source,
        problems=tuple(dict.fromkeys(problems)),
    )


# ---------------------------------------------------------------- files


def from_file(
    path: str | Path, kind: str, spelling: Spelling, learning: Learning | None = None, *, validation: bool = False
) -> Gathered:
    """The rows of one file: an export, or any format that can be imported; or rows of ids (`IDS`).

    sft takes the answers that the file does not call bad, dpo its pairs, kto its answers with a label. Raises RecordError for a
    record that cannot be read, InputError for a file without rows of the kind.
    """
    learning = learning or Learning()
    found = Gathered(kind=kind)
    first = first_records(str(path), 1)
    read = _rows_of_ids if first and IDS[1] in first[0].data else _rows_of_texts
    found.rows = [replace(row, validation=validation) for row in read(str(path), kind, spelling, learning)]
    if not found.rows:
        raise InputError(f"{path} has no rows for {kind}; {_wanted(kind)}")
    return found


def _wanted(kind: str) -> str:
    return {
        "dpo": "a row has a prompt, chosen and rejected",
        "kto": "a row has a prompt, a completion and a label",
    }.get(kind, "a row has a prompt and a completion, or messages that end with the assistant's")


def _rows_of_texts(path: str, kind: str, spelling: Spelling, learning: Learning) -> Iterator[TrainingRow]:
    known = [_format_of(record) for record in first_records(path, 3)]
    if known and all(known):
        for item in read_path(path):
            if isinstance(item, Problem):
                raise RecordError(item.file, item.line, item.reason)
            yield from _of_record(item, kind, spelling, learning)
        return
    report = ImportReport(dry_run=True)
    for source in sources([path], ImportOptions(), report, Progress()):  # formats that need the whole file
        for found in source.items():
            if isinstance(found, Problem):
                raise RecordError(found.file, found.line, found.reason)
            record, entries = found
            for entry in entries:
                yield from _of_entry(record, entry, kind, spelling, learning)


def _format_of(record: Record) -> RowFormat | None:
    return next((each for each in ROW_FORMATS.values() if each.detect(record.data)), None)


def _of_record(record: Record, kind: str, spelling: Spelling, learning: Learning) -> Iterator[TrainingRow]:
    """One record by its own format: a file may hold conversations beside texts."""
    reader = _format_of(record)
    if reader is None:
        keys = ", ".join(map(str, record.data)) or "no keys"
        raise RecordError(record.file, record.line, f"it has {keys}; {_wanted(kind)}")
    if reader.name == "text":
        # A text is a completion of nothing: of the BOS alone, where there is one.
        if kind == "sft":
            yield from _of_entry(record, Entry(prompt="", answers=(Answer(text=record.data["text"]),)), kind, spelling, learning)
        return
    try:
        entries = list(reader.read(record.data))
    except InputError as error:
        raise RecordError(record.file, record.line, str(error)) from None
    for entry in entries:
        yield from _of_entry(record, entry, kind, spelling, learning)


def _of_entry(record: Record, entry: Entry, kind: str, spelling: Spelling, learning: Learning) -> Iterator[TrainingRow]:
    name = f"{Path(record.file).name}, line {record.line}"
    source = {"file": record.file, "line": record.line}
    picks: list[tuple[int, int | None, bool]]
    if kind == "dpo":
        picks = [(better, worse, True) for better, worse in entry.better]
    elif kind == "kto":
        picks = [(i, None, bool(answer.good)) for i, answer in enumerate(entry.answers) if answer.good is not None]
    else:
        losers = {worse for _, worse in entry.better}
        picks = [(i, None, True) for i, answer in enumerate(entry.answers) if answer.good is not False and i not in losers]
    before = _before(entry.prompt, spelling, learning) if picks else []
    for chosen, rejected, label in picks:
        problems: list[str] = []
        answers: list[list[Segment]] = []
        for place in (chosen, rejected):
            if place is None:
                continue
            answer = entry.answers[place]
            ids = spelling.text(answer.text)
            ending = () if answer.truncated or not ids else _ending(entry.prompt, spelling)
            answers.append([((*ids, *ending), True)])
        yield _row(name, before, answers, spelling, label, source, problems)


def _rows_of_ids(path: str, kind: str, spelling: Spelling, learning: Learning) -> Iterator[TrainingRow]:
    tokenizers: set[str] = set()
    for item in read_path(path):
        if isinstance(item, Problem):
            raise RecordError(item.file, item.line, item.reason)
        data, problems = item.data, list[str]()
        tokenizers.add(str(data.get("tokenizer", "")))
        if len(tokenizers) > 1:
            raise RecordError(item.file, item.line, f"its ids are of the tokenizer {data.get('tokenizer')!r}, others are not")
        prompt = _ids(item, "prompt_token_ids")
        answers = [_ids(item, "completion_token_ids")] + ([_ids(item, "rejected_token_ids")] if kind == "dpo" else [])
        ended = bool(data.get("ended", True))
        ends = spelling.codec.eos_token_ids
        segments: list[list[Segment]] = []
        for ids in answers:
            add = ended and ids and ids[-1] not in ends and ends
            segments.append([((*ids, *ends[:1]) if add else ids, True)])
        if kind == "kto" and not isinstance(data.get("label"), bool):
            raise RecordError(item.file, item.line, "a row for kto has a label, true or false")
        name = f"{Path(item.file).name}, line {item.line}"
        source = {"file": item.file, "line": item.line}
        yield _row(name, [(prompt, False)], segments, spelling, bool(data.get("label", True)), source, problems)
    known = next(iter(tokenizers), "")
    if known and known != spelling.codec.fingerprint():
        raise InputError(
            f"the ids of {path} are of the tokenizer {known!r}; {spelling.name} has {spelling.codec.fingerprint()!r}"
        )


def _ids(record: Record, key: str) -> tuple[int, ...]:
    found = record.data.get(key)
    if not isinstance(found, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in found):
        raise RecordError(record.file, record.line, f"{key} is {str(found)[:60]!r}; it must be a list of token ids")
    return tuple(found)
