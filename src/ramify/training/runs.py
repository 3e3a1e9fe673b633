"""A whole run by a plan: gather, check, train, save, register. What is wrong with it is said before the model is loaded.

out/            the result as a folder in Hugging Face format, or a PEFT adapter
  training.json    the manifest: base model, every row's origin, settings, what came of it
  run.json         what becomes of it while it runs (`records.py`)
  log.jsonl, tensorboard/, checkpoint/
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.errors import InputError
from ramify.exchange.outputs import Outputs
from ramify.models.loading import ModelFolder
from ramify.models.registry import Entry, Fingerprint, Registry, check_name, fingerprint
from ramify.store.database import Database
from ramify.training.examples import Example
from ramify.training.fitting import fit
from ramify.training.gathering import Gathered, from_file, from_workspace
from ramify.training.keeping import KeepConfig
from ramify.training.plans import TrainingPlan
from ramify.training.records import Running, at_work
from ramify.training.spelling import Spelling
from ramify.training.stopping import Stop

if TYPE_CHECKING:
    from ramify.training.devices import Devices

__all__ = ["MANIFEST", "Outcome", "Prepared", "execute", "gather", "goes_on", "prepare", "steps_of"]

MANIFEST = "training.json"
TOKENIZER_FILES = (
    "tokenizer",
    "special_tokens_map",
    "added_tokens",
    "vocab",
    "merges",
    "chat_template",
    "spiece",
    "generation_config",
)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A plan whose rows are known and good."""

    plan: TrainingPlan
    folder: ModelFolder
    spelling: Spelling
    gathered: Gathered
    window: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run made."""

    folder: Path
    entry: Entry | None
    fingerprint: Fingerprint
    steps: int
    seconds: float
    manifest: dict[str, Any]


def gather(plan: TrainingPlan, database: Database | None = None) -> Prepared:
    """The plan's rows as they are, good and bad: what the trainer's view shows. database: the plan's workspace, open."""
    with _open(plan, database) as workspace:
        if plan.target_of is not None and workspace is not None:
            workspace.facets.get(plan.target_of)  # it is there
        name = plan.model or _target(plan, workspace)
        folder = Registry().resolve(name)
        spelling = Spelling.of(folder)
        gathered = Gathered(kind=plan.method)
        if workspace is not None:
            gathered = from_workspace(workspace, plan.template(), spelling, plan.learn)
    for paths, held in ((plan.rows, False), (plan.validation_rows, True)):
        for path in paths:
            gathered.rows += from_file(path, plan.method, spelling, plan.learn, validation=held).rows
    window = min(plan.train.max_length, spelling.window)
    return Prepared(plan=replace(plan, model=name), folder=folder, spelling=spelling, gathered=gathered, window=window)


def prepare(plan: TrainingPlan, database: Database | None = None, *, gathered: Prepared | None = None) -> Prepared:
    """Gather, and refuse what cannot be trained, all before any weights are read. Raises InputError.

    gathered: what `gather` found, where it did so already.
    """
    if plan.name is not None:
        _check_name(plan)
    found = gathered or gather(plan, database)
    fitted = fit(found.gathered, found.window, overlong=plan.overlong, unusable=plan.unusable)
    if plan.train.patience is not None and not fitted.validation:
        raise InputError("patience watches validation rows, and there are none; give select.validation or validation_rows")
    if plan.method == "kto" and len({row.label for row in fitted.training}) < 2:
        raise InputError("kto learns from good and bad completions, and all rows have the same label; judge some of the others")
    if plan.keep is not None and plan.keep.model is not None:
        _check_old_self(plan.keep.model, found)
    return replace(found, gathered=fitted)


def execute(
    plan: TrainingPlan,
    database: Database | None = None,
    *,
    report: Callable[[dict[str, Any]], None] = lambda line: None,
    prepared: Prepared | None = None,
    stop: Stop | None = None,
    running: Running | None = None,
) -> Outcome:
    """Train, save, and enter the registry where a name is given. A killed run goes on when it is executed again.

    running: a run that is at work already; unset, it begins here. stop: ends it, with CancelledError.
    """
    ready = prepared or prepare(plan, database)
    from ramify.training.devices import Devices

    devices = Devices()
    if running is not None or not devices.first:
        return _execute(ready, database, report, devices, running, stop)
    with at_work(ready.plan, stop) as running:
        return _execute(ready, database, report, devices, running, stop)


def _execute(
    ready: Prepared,
    database: Database | None,
    report: Callable[[dict[str, Any]], None],
    devices: "Devices",
    running: Running | None,
    stop: Stop | None,
) -> Outcome:
    from ramify.models.weights import load_folder
    from ramify.training.loop import run
    from ramify.training.models import add_adapter, without_dropout
    from ramify.training.reader import Reader

    plan = ready.plan

    def doing(what: str) -> None:
        if running is not None:
            running.doing(what)

    def begin(last: int | None) -> None:
        if running is not None:
            running.note(doing="training", steps=last)

    doing("loading the model")
    model = load_folder(ready.folder)
    if plan.method != "sft":
        without_dropout(model)  # the reference is measured without it; an adapter's own stays as asked
    if plan.lora is not None:
        model = add_adapter(model, plan.lora, seed=plan.train.seed)
    model = model.to(devices.device(plan.device))
    config = replace(plan.train, max_length=ready.window)
    reader = Reader(model, packing=config.packing, bf16=config.bf16, compile=config.compile)
    base = fingerprint(ready.folder)
    objective = _objective(plan, ready)
    if plan.keep is not None:
        doing("hearing what the model says unasked")
        objective = _keeping(objective, reader, ready, plan.keep)
    validation = {"held_out": _objective(plan, ready, held=True)} if ready.gathered.validation else None
    if plan.method != "sft":
        doing("measuring every row with the model before")
    out, stop = Path(plan.out), stop or (None if running is None else running.stop)
    progress = run(
        reader, objective, config, out, of=_of(ready, base), validation=validation, report=report,
        devices=devices, stop=stop, begin=begin,
    )  # fmt: skip
    if running is not None:
        running.note(doing="saving")
    if devices.first:
        _save(model, ready, out)
    devices.wait()
    made = _fingerprint(ready, out)
    manifest = _manifest(ready, base, made, progress.step, progress.seconds)
    entry = None
    if devices.first:
        with Outputs(overwrite=True) as outputs:
            outputs.add(out / MANIFEST).write(json.dumps(manifest, ensure_ascii=False, indent=1).encode())
        if plan.name is not None:
            entry = _register(ready, out, plan.name)
        if plan.target_of is not None:
            with _open(plan, database) as workspace:
                assert workspace is not None
                workspace.facets.edit(plan.target_of, target_model=plan.name)
    return Outcome(folder=out, entry=entry, fingerprint=made, steps=progress.step, seconds=progress.seconds, manifest=manifest)


def _open(plan: TrainingPlan, database: Database | None) -> AbstractContextManager[Database | None]:
    if plan.workspace is None or database is not None:
        return nullcontext(database)
    if "://" not in plan.workspace and not Path(plan.workspace).exists():
        raise InputError(f"there is no workspace at {plan.workspace}; `ramify new {plan.workspace}` makes one")
    return Database.open(plan.workspace, create=False)


def _target(plan: TrainingPlan, workspace: Database | None) -> str:
    if workspace is None:
        return "tiny"
    shares = plan.template().facets
    if shares:
        return workspace.facets.effective(shares[0].name).target_model
    return str(workspace.settings.get("target_model") or "tiny")


def _check_name(plan: TrainingPlan) -> None:
    name, registry = str(plan.name), Registry()
    known = {entry.name: entry for entry in registry.list()}
    check_name(name)
    mine = str(Path(plan.out).resolve())
    taken = known.get(name)
    if taken is not None and not plan.replace_name and mine not in (taken.target, taken.adapter):
        raise InputError(f"{name!r} is taken by {taken.target!r}; choose another name, or ask to replace it")


def _check_old_self(name: str, found: Prepared) -> None:
    if Spelling.of(Registry().resolve(name)).codec.fingerprint() != found.spelling.codec.fingerprint():
        raise InputError(
            f"keep.model {name!r} and {found.plan.model!r} have different tokenizers; a model is held to one of its own"
        )


def _objective(plan: TrainingPlan, ready: Prepared, *, held: bool = False) -> Any:
    from ramify.training.objectives import Completions, Labels, Pairs

    rows = ready.gathered.validation if held else ready.gathered.training
    pad_id = ready.spelling.codec.pad_token_id or 0
    how: dict[str, Any] = {"packing": plan.train.packing, "pad_id": pad_id, "multiple": 16 if plan.train.compile else 1}
    if plan.method == "sft":
        return Completions([row.chosen for row in rows], **how)
    return (Pairs if plan.method == "dpo" else Labels)(rows, plan.preference, **how)


def _keeping(objective: Any, reader: Any, ready: Prepared, keep: KeepConfig) -> Any:
    from ramify.models.weights import load_folder
    from ramify.training.keeping import Keeping, expected_of, own_words
    from ramify.training.reader import Reader

    old = reader
    if keep.model is not None:
        model = load_folder(Registry().resolve(keep.model)).to(reader.device)
        old = Reader(model, packing=reader.packing, bf16=reader.bf16)
    with old.generating():
        texts = own_words(old.model, ready.spelling, keep.texts, seed=ready.plan.train.seed)
    return Keeping(objective, texts, keep.weight, expected=None if old is reader else expected_of(old, texts))


def _of(ready: Prepared, base: Fingerprint) -> str:
    """What is trained, with what and how, in short: what a checkpoint must agree with."""
    config = asdict(ready.plan.train)
    free = ("max_steps", "max_seconds", "epochs", "log_every", "validate_every", "validate_every_s", "save_every", "save_every_s")
    kept = {key: value for key, value in config.items() if key not in free}
    lora = None if ready.plan.lora is None else asdict(ready.plan.lora)
    told = [ready.plan.method, base.id, rows_hash(ready.gathered), kept, lora, asdict(ready.plan.preference), ready.window]
    if ready.plan.keep is not None:
        told.append(asdict(ready.plan.keep))
        if ready.plan.keep.model is not None:
            told.append(fingerprint(Registry().resolve(ready.plan.keep.model)).id)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def steps_of(ready: Prepared) -> int | None:
    """How many steps the run will have; None where seconds decide."""
    from ramify.training.batches import Steps

    config = replace(ready.plan.train, max_length=ready.window)
    return Steps(_objective(ready.plan, ready).lengths, config).last()


def goes_on(ready: Prepared) -> bool:
    """Whether the run's checkpoint, if there is one, is of these rows, this model and these settings."""
    file = Path(ready.plan.out) / "checkpoint" / "progress.json"
    if not file.is_file():
        return True
    return bool(json.loads(file.read_text(encoding="utf-8"))["of"] == _of(ready, fingerprint(ready.folder)))


def rows_hash(gathered: Gathered) -> str:
    """SHA-256 over every row's ids and what is learned of them, as hexadecimal."""
    digest = hashlib.sha256()
    for row in gathered.rows:
        sides = [[list(each.token_ids), list(each.labels)] for each in row.examples]
        digest.update(json.dumps([sides, row.label, row.validation]).encode())
    return digest.hexdigest()


def _save(model: Any, ready: Prepared, out: Path) -> None:
    """The model or its adapter, with the tokenizer's files."""
    import torch

    from ramify.training.models import save_model

    plan, folder = ready.plan, ready.folder
    if plan.lora is not None and not plan.merge and folder.adapter is None:
        model.peft_config["default"].base_model_name_or_path = str(folder.path)
        model.save_pretrained(out)
        (out / "README.md").unlink(missing_ok=True)  # a card of blanks
        return
    whole = model if plan.lora is None else model.merge_and_unload()
    save_model(whole, out, dtype=torch.bfloat16 if plan.save_as == "bfloat16" else torch.float32)
    for source in (folder.path, folder.tokenizer_path):
        for file in source.iterdir():
            named = file.name.startswith(TOKENIZER_FILES) and file.suffix in (".json", ".jinja", ".txt", ".model")
            if file.is_file() and named and source.resolve() != out.resolve():
                shutil.copyfile(file, out / file.name)


def _fingerprint(ready: Prepared, out: Path) -> Fingerprint:
    return fingerprint(_result(ready, out))


def _result(ready: Prepared, out: Path) -> ModelFolder:
    registry = Registry()
    if (out / "adapter_config.json").is_file() and not (out / "config.json").is_file():
        return registry.resolve(str(ready.plan.model), adapter=out)
    return registry.resolve(out)


def _register(ready: Prepared, out: Path, name: str) -> Entry:
    plan, count = ready.plan, len(ready.gathered.training)
    note = f"{plan.method} of {plan.model} on {count} rows" + (f" of {', '.join(plan.facets)}" if plan.facets else "")
    registry = Registry()
    if (out / "adapter_config.json").is_file() and not (out / "config.json").is_file():
        base = registry.show(str(plan.model))
        return registry.add(name, base.target, adapter=out, revision=base.revision, note=note, replace=True)
    return registry.add(name, out, note=note, replace=True)


def _manifest(ready: Prepared, base: Fingerprint, made: Fingerprint, steps: int, seconds: float) -> dict[str, Any]:
    def row(kind: str, source: Any, examples: tuple[Example, ...], held: bool) -> dict[str, Any]:
        sizes = {"tokens": sum(len(e.token_ids) for e in examples), "learned": sum(e.learned for e in examples)}
        return {**source, **sizes, **({"validation": True} if held else {})}

    gathered = ready.gathered
    return {
        "format": "ramify-training-1",
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": ready.plan.to_data(),
        "window": ready.window,
        "base": {"name": ready.plan.model, "fingerprint": base.id, **asdict(base)},
        "result": {"fingerprint": made.id, **asdict(made)},
        "steps": steps,
        "seconds": round(seconds, 1),
        "rows_sha256": rows_hash(gathered),
        "chosen": gathered.chosen,
        "rows": [row(gathered.kind, each.source, each.examples, each.validation) for each in gathered.rows],
    }
