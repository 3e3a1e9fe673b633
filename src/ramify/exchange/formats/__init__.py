"""The formats, one a module: `detect` says whether a record is of it, `read` makes entries of one, `rows` writes one.

A row format reads each record by itself. The others need whole files, and are in `importing.py`: lm-evaluation-harness, OpenAI's
batches, MT-bench, LLaMA-Factory's dataset_info.json, another workspace.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ramify.errors import InputError
from ramify.exchange.entries import Entry
from ramify.exchange.formats import alpaca, axolotl, benchmarks, chatml, columns, hh, openai, sharegpt, trl

__all__ = ["FILE_FORMATS", "ROW_FORMATS", "RowFormat", "detected", "known"]


@dataclass(frozen=True, slots=True)
class RowFormat:
    name: str
    what: str
    detect: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any]], Iterator[Entry]]


ROW_FORMATS: Mapping[str, RowFormat] = {
    each.name: each
    for each in (
        *(RowFormat(name, "a benchmark's questions", detect, read) for name, (detect, read) in benchmarks.FORMATS.items()),
        RowFormat("axolotl", "Axolotl's texts for reward models and labels", axolotl.detect, axolotl.read),
        RowFormat("hh", "Anthropic's helpful-and-harmless dialogues", hh.detect, hh.read),
        RowFormat("sharegpt", "conversations of from and value", sharegpt.detect, sharegpt.read),
        RowFormat("openai", "messages of role and content", openai.detect, openai.read),
        RowFormat("alpaca", "instruction, input, output", alpaca.detect, alpaca.read),
        RowFormat("chatml", "texts written in ChatML", chatml.detect, chatml.read),
        RowFormat("trl", "prompt with completion, chosen and rejected, label or steps", trl.detect, trl.read),
        RowFormat("text", "a text a record: prompts to be continued", columns.detect_text, columns.read_text),
    )
}
"""In the order in which they are tried: those with the most telling columns first."""

FILE_FORMATS: Mapping[str, str] = {
    "lm-eval": "lm-evaluation-harness: results and samples, one run or two compared",
    "openai-batch": "OpenAI's batch requests and answers",
    "mt-bench": "MT-bench: questions, answers, judges' prompts",
    "llama-factory": "the data sets of a dataset_info.json",
    "workspace": "another workspace",
    "hf": "a Hugging Face data set: a folder, or hf:NAME of the hub",
}


def known() -> str:
    return ", ".join((*FILE_FORMATS, *ROW_FORMATS))


def detected(rows: Sequence[Mapping[str, Any]], where: str) -> RowFormat:
    """The format that reads the first rows. Raises InputError that says which columns there are."""
    for each in ROW_FORMATS.values():
        if rows and all(each.detect(row) for row in rows):
            return each
    names = ", ".join(map(str, rows[0])) if rows else "no readable record"
    raise InputError(
        f"{where} is of no known format; its columns are {names}. Name the format with --as ({known()}), "
        "or the columns with --map, such as --map prompt=question --map completion=answer"
    )
