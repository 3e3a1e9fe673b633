"""From the workspace to training sets: plan, write under temporary names, rename.

Beside the data stands a manifest (`NAME.manifest.json`): the template, each file's hash and size, and for every row the ids in
the workspace that it came from. Nothing in it depends on the day or the place, so the same workspace, template and seed give the
same bytes.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ramify.errors import InputError
from ramify.exchange.conversations import CannotSayError, assistant_turn
from ramify.exchange.file_types import each_of, writer
from ramify.exchange.formats import axolotl, llama_factory
from ramify.exchange.formats.rows import Row
from ramify.exchange.outputs import Output, Outputs
from ramify.exchange.planning import CountTokens, FacetReport, Plan, Planned, make_plan, reasons_of, validation_prompts
from ramify.exchange.templates import FILE_TYPES, WRITERS, ExportTemplate
from ramify.store.database import Database
from ramify.store.records import Prompt
from ramify.store.walking import prompts_of, texts_of

__all__ = ["ExportReport", "export"]

CHUNK = 500
MANIFEST = "ramify-manifest-1"


@dataclass(kw_only=True)
class ExportReport:
    """What went out, or with dry_run what would."""

    dry_run: bool
    kind: str
    form: str
    file_type: str
    rows: int = 0
    files: list[dict[str, Any]] = field(default_factory=list)
    """{"file", "rows", "size_bytes", "sha256"}; the hash is of the content before encryption."""
    facets: list[FacetReport] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Rows that the form has no words for."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """In a dry run the first rows, as many as were asked for: {"sample", "facet", "row"}."""

    def to_data(self) -> dict[str, Any]:
        facets = [
            {
                "facet": each.facet,
                "target_model": each.target_model,
                "samples": each.samples,
                "available": each.available,
                "taken": each.taken,
                "rows": each.rows,
                "reasons": reasons_of(each),
                "waiting": each.waiting,
            }
            for each in self.facets
        ]
        plain = {name: getattr(self, name) for name in ("dry_run", "kind", "form", "file_type", "rows", "files")}
        return {**plain, "facets": facets, "left_out": dict(self.left_out)}


def export(
    database: Database,
    template: ExportTemplate,
    out: str | Path,
    *,
    overwrite: bool = False,
    password: str | None = None,
    dry_run: bool = False,
    fingerprint: str | None = None,
    count_tokens: CountTokens | None = None,
    told: Callable[[str, int, int], None] | None = None,
    examples: int = 0,
) -> ExportReport:
    """Write a training set to `out`, whose ending says the file's type where the template does not.

    fingerprint: of the target model, to count only its own measures. count_tokens: for max_tokens. told: is told now and then
    what is being done ("choosing", "checking", "writing"), and how many of how many are. examples: rows that a dry run shows.
    Raises InputError; then no file has changed.
    """
    path = Path(out)
    file_type = template.file_type or _type_by_name(path)
    report = ExportReport(dry_run=dry_run, kind=template.kind, form=template.form, file_type=file_type)
    with database.reading() as connection:
        plan = make_plan(
            connection,
            database,
            template,
            fingerprint=fingerprint,
            count_tokens=count_tokens,
            told=None if told is None else lambda done, total: told("choosing", done, total),
        )
        report.facets = plan.facets
        in_validation = validation_prompts(connection, plan, template) if template.validation else None
        if dry_run:
            for count, (_, row, planned) in enumerate(_rows(connection, plan, template, report.left_out), start=1):
                report.rows += row is not None
                if row is not None and len(report.examples) < examples:
                    report.examples.append({"sample": planned.sample_id, "facet": planned.facet, "row": dict(row)})
                if told is not None and not count % CHUNK:
                    told("checking", count, len(plan))
            return report
        _check_any(plan, template)
        with Outputs(overwrite=overwrite, password=password) as outputs:
            _write(connection, plan, template, path, file_type, outputs, in_validation, report, told)
    for each in report.files:
        each["file"] = str(outputs.named(Path(each["file"])))
    return report


def _check_any(plan: Plan, template: ExportTemplate) -> None:
    """Raises InputError where nothing would go out, saying why: an empty training set helps nobody."""
    if not len(plan):
        counted = sum((each.reasons for each in plan.facets), Counter[str]())
        why = "; ".join(f"{count}: {reason}" for reason, count in counted.most_common(5)) or "there are no samples"
        raise InputError(f"nothing can go out as {template.kind} ({why}); nothing was written")


def _type_by_name(path: Path) -> str:
    name = path.name.removesuffix(".enc")
    found = name.rpartition(".")[2].lower()
    if found not in FILE_TYPES or "." not in name:
        raise InputError(f"{path.name!r} does not say what file it is; let it end in .jsonl, .json or .parquet")
    return found


def _names(path: Path, template: ExportTemplate) -> list[Path]:
    """The training file and, where there is one, the validation file, by names that `datasets` tells apart."""
    if not template.validation:
        return [path]
    name = path.name.removesuffix(".enc")
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, dot + ending) if dot else (name, "")
    return [path.with_name(f"{stem}.{part}{ending}") for part in ("train", "validation")]


def _write(
    connection: Connection,
    plan: Plan,
    template: ExportTemplate,
    path: Path,
    file_type: str,
    outputs: Outputs,
    in_validation: Callable[[Prompt], bool] | None,
    report: ExportReport,
    told: Callable[[str, int, int], None] | None,
) -> None:
    files = [outputs.add(name) for name in _names(path, template)]

    def of(side: int) -> Iterator[Mapping[str, Any]]:
        for prompt, row, _ in _rows(connection, plan, template, Counter()):
            if row is not None and (in_validation is not None and in_validation(prompt)) == bool(side):
                yield row

    writers = [writer(file_type, file, of(side) if file_type == "parquet" else None) for side, file in enumerate(files)]
    manifest = outputs.add(_beside(path, "manifest.json"))
    about = {"format": MANIFEST, "template": template.to_data(), "file_type": file_type}
    manifest.write(json.dumps(about, ensure_ascii=False, indent=1).removesuffix("\n}").encode() + b',\n "rows": [')
    for count, (prompt, row, planned) in enumerate(_rows(connection, plan, template, report.left_out), start=1):
        if row is None:
            continue
        side = int(in_validation is not None and in_validation(prompt))
        writers[side].put(row)
        _note_row(manifest, planned, side, files[side].rows, template)
        if told is not None and not count % 500:
            told("writing", count, len(plan))
    for each in writers:
        each.finish()
    told_of = [
        {"file": file.path.name.removesuffix(".enc"), "rows": file.rows, "size_bytes": file.size_bytes, "sha256": file.sha256}
        for file in files
    ]
    manifest.write(b'\n ],\n "files": ' + json.dumps(told_of, ensure_ascii=False).encode() + b"\n}\n")
    report.rows = sum(file.rows for file in files)
    if not report.rows:
        why = "; ".join(f"{count}: {reason}" for reason, count in report.left_out.most_common(5))
        raise InputError(f"{template.form} has no words for any of the rows ({why}); nothing was written")
    report.files = [{**each, "file": str(path.with_name(str(each["file"])))} for each in told_of]
    _describe(template, plan, path, files, outputs)


def _note_row(manifest: Output, planned: Planned, side: int, number: int, template: ExportTemplate) -> None:
    """{"file": 0, "row": 1, "sample": …, "completion": …, "rejected": …, "facet": …}, one a line."""
    row: dict[str, Any] = {"file": side, "row": number, "sample": planned.sample_id, "prompt": planned.prompt_id}
    if planned.chosen:
        row["completion"] = planned.chosen
    if planned.rejected:
        row["rejected"] = planned.rejected
    if template.kind == "kto":
        row["label"] = planned.label
    if planned.facet:
        row["facet"] = planned.facet
    manifest.write((b",\n  " if manifest.rows else b"\n  ") + json.dumps(row, ensure_ascii=False).encode())
    manifest.rows += 1


def _beside(path: Path, ending: str) -> Path:
    name = path.name.removesuffix(".enc")
    return path.with_name(f"{name.rpartition('.')[0] or name}.{ending}")


def _describe(template: ExportTemplate, plan: Plan, path: Path, files: list[Output], outputs: Outputs) -> None:
    """What a trainer's own configuration wants to know of the files, where it has a place for that."""
    if any(file.path.suffix == ".enc" for file in files):
        return  # No trainer reads them like this.
    if template.form == "axolotl":
        for file in files:
            told = outputs.add(_beside(file.path, "axolotl.yml"))
            told.write(axolotl.config(template.kind, file.path.name).encode())
    if template.form == "llama-factory":
        info = path.with_name("dataset_info.json")
        entries = {
            file.path.name.rpartition(".")[0].replace(".", "_"): llama_factory.description(
                template.kind, file.path.name, tools=bool(plan.tools)
            )
            for file in files
        }
        outputs.add(info, replaces=True).write(llama_factory.merged(info, entries).encode())


def _rows(
    connection: Connection, plan: Plan, template: ExportTemplate, left_out: Counter[str]
) -> Iterator[tuple[Prompt, Mapping[str, Any] | None, Planned]]:
    """(prompt, row, where it came from) of the whole plan; the row is None where the form has no words for it."""
    write = WRITERS[template.form]
    for part in each_of(plan, CHUNK):
        prompts = prompts_of(connection, [each.prompt_id for each in part])
        texts = texts_of(connection, [i for each in part for i in (each.chosen, each.rejected) if i])
        for planned in part:
            prompt = prompts[planned.prompt_id]
            try:
                row = _row(planned, prompt, texts, template)
                yield prompt, write(row), planned
            except CannotSayError as error:
                left_out[str(error)] += 1
                yield prompt, None, planned


def _row(planned: Planned, prompt: Prompt, texts: Mapping[int, Any], template: ExportTemplate) -> Row:
    chosen, rejected = texts.get(planned.chosen), texts.get(planned.rejected)
    if template.kind == "stepwise" and (chosen is None or "step_labels" not in chosen.details):
        raise CannotSayError("its steps have no labels")
    asked: Any = prompt if isinstance(prompt, str) else list(prompt)
    if isinstance(prompt, str) and template.prompts == "as-user":
        asked = [{"role": "user", "content": prompt}]
    return Row(
        kind=template.kind,
        prompt=asked,
        chosen={} if chosen is None else assistant_turn(chosen.text, chosen.details),
        rejected={} if rejected is None else assistant_turn(rejected.text, rejected.details),
        label=planned.label,
        details={} if chosen is None else chosen.details,
    )
