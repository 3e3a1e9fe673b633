"""A run from scratch: texts of files, a vocabulary, a new Llama, and its place in the registry."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ramify.errors import InputError
from ramify.models.registry import Registry
from ramify.training.documents import Texts, read_texts
from ramify.training.records import Running
from ramify.training.scratch_plans import PRESETS, ScratchPlan

__all__ = ["make"]

VOCABULARY = ("tokenizer.json", "tokenizer_config.json")


def make(
    plan: ScratchPlan,
    *,
    told: Callable[[Texts], None] = lambda texts: None,
    report: Callable[[dict[str, Any]], None] = lambda line: None,
    running: Running | None = None,
) -> int:
    """Do it. A run that ended before its last step goes on from its checkpoint. Returns how many tokens the vocabulary has.

    told: what each reading of files found. report: a line now and then while it trains. Raises InputError for files, a vocabulary
    or a shape that cannot be used, CancelledError where the run was asked to end.
    """
    from ramify.training.rows import texts_of
    from ramify.training.tokenizers import load_tokenizer, save_tokenizer, train_tokenizer

    out = Path(plan.out)
    _doing(running, "reading the texts")
    texts = _read(plan, plan.rows, told)
    source = out if _learned(plan, out) else None if plan.tokenizer is None else _vocabulary(plan.tokenizer)
    if source is None:
        _doing(running, "learning the vocabulary")
        learned = train_tokenizer((text for row in texts.rows for text in texts_of(row)), plan.vocab_size)
        save_tokenizer(learned, out)
        source = out
    words = load_tokenizer(source)
    if plan.method == "pretrain":
        _pretrain(plan, texts, words, source, told, report, running)
    return int(words.get_vocab_size())


def _pretrain(
    plan: ScratchPlan,
    texts: Texts,
    words: Any,
    source: Path,
    told: Callable[[Texts], None],
    report: Callable[[dict[str, Any]], None],
    running: Running | None,
) -> None:
    from ramify.training.models import new_model, save_model
    from ramify.training.rows import encode_documents
    from ramify.training.trainers import train

    out, length = Path(plan.out), plan.train.max_length
    _doing(running, "spelling the texts")
    examples = encode_documents(texts.rows, texts.names, words, max_length=length)
    held = {}
    for path in plan.validation_rows:
        kept = _read(plan, [path], told)
        held[Path(path).stem] = encode_documents(kept.rows, kept.names, words, max_length=length)
    model = new_model(vocab_size=words.get_vocab_size(), seed=plan.train.seed, **{**PRESETS[plan.preset], **plan.shape})

    def begin(last: int | None) -> None:
        if running is not None:
            running.note(doing="training", steps=last)

    stop = None if running is None else running.stop
    train(model, examples, plan.train, out, validation=held, report=report, stop=stop, begin=begin)
    if running is not None:
        running.note(doing="saving")
    save_model(model, out)
    for name in VOCABULARY:
        if source.resolve() != out.resolve():
            shutil.copyfile(source / name, out / name)
    if plan.name is not None:
        Registry().add(plan.name, out, note=f"from scratch, {plan.preset}, on {len(texts.rows)} texts", replace=True)


def _read(plan: ScratchPlan, paths: Sequence[str], told: Callable[[Texts], None]) -> Texts:
    found = read_texts([Path(path) for path in paths], duplicates=plan.duplicates, unreadable=plan.unreadable)
    told(found)
    return found


def _learned(plan: ScratchPlan, out: Path) -> bool:
    """Whether an earlier beginning of this run has learned its vocabulary already."""
    return plan.method == "pretrain" and plan.tokenizer is None and (out / VOCABULARY[0]).is_file()


def _vocabulary(name: str) -> Path:
    """The folder of a vocabulary. Raises ModelNotFoundError, and InputError for a model that has none of ours."""
    if Path(name).is_dir():
        return Path(name)
    folder = Registry().resolve(name).tokenizer_path
    if not all((folder / file).is_file() for file in VOCABULARY):
        raise InputError(f"{name!r} has no {' and '.join(VOCABULARY)} that a new model could be given; learn one of the texts")
    return folder


def _doing(running: Running | None, what: str) -> None:
    if running is not None:
        running.doing(what)
