"""Any table or JSON whose columns somebody names: {"prompt": "Question", "completion": "Best Answer"}; and rows of plain text.

Columns can be told of: prompt (raw text), user (a user's turn), system, messages, completion, chosen, rejected, label, rating,
model, title, group, notes, tags, input (joined to the prompt by a line break). `a.b` is the name b inside the object a.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ramify.errors import InputError
from ramify.exchange.conversations import conversation, split
from ramify.exchange.entries import Answer, Entry, a_flag, a_text
from ramify.exchange.formats.openai import preference

__all__ = ["FIELDS", "check_mapping", "detect_text", "read_mapped", "read_text", "suggested"]

FIELDS = (
    *("prompt", "user", "input", "system", "messages", "completion", "chosen", "rejected"),
    *("label", "rating", "model", "title", "group", "notes", "tags"),
)


USUAL: Mapping[str, tuple[str, ...]] = {
    "user": ("user", "question", "prompt", "instruction", "query", "request", "human"),
    "messages": ("messages", "conversation", "conversations", "dialogue"),
    "completion": ("completion", "answer", "response", "output", "reply", "assistant", "text"),
    "chosen": ("chosen", "better", "preferred"),
    "rejected": ("rejected", "worse"),
    "input": ("input", "context"),
    "system": ("system", "system_prompt"),
    "label": ("label", "good"),
    "rating": ("rating", "score"),
    "model": ("model", "model_name", "generator"),
    "title": ("title", "name"),
    "group": ("group", "category", "topic"),
    "tags": ("tags", "tag"),
}
"""What columns are often called, the likeliest name first."""


def suggested(columns: Sequence[str]) -> dict[str, str]:
    """A mapping that `check_mapping` allows, by the columns' names alone; {} where they say too little."""
    called = {column.strip().lower().replace(" ", "_"): column for column in reversed(columns)}
    found = {field: called[name] for field, names in USUAL.items() for name in reversed(names) if name in called}
    if "messages" in found:
        found = {field: column for field, column in found.items() if field not in ("user", "input", "system", "completion")}
    if ("chosen" in found) != ("rejected" in found):
        found = {field: column for field, column in found.items() if field not in ("chosen", "rejected")}
    if "chosen" in found:
        found.pop("completion", None)
    if not {"user", "messages"} & set(found):
        found = {field: column for field, column in found.items() if field not in ("input", "system")}
    try:
        check_mapping(found)
    except InputError:
        return {}
    return found


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Raises InputError for an unknown field, and where there would be no prompt."""
    unknown = sorted(set(mapping) - set(FIELDS))
    if unknown:
        raise InputError(f"--map knows no {unknown[0]!r}; it knows {', '.join(FIELDS)}")
    if not {"prompt", "user", "messages", "completion"} & set(mapping):
        raise InputError("the mapping has no prompt; name its column with --map prompt=COLUMN, --map user= or --map messages=")
    if {"prompt", "user"} <= set(mapping):
        raise InputError("prompt is raw text and user a user's turn; map one of them")
    if {"input", "system"} & set(mapping) and not {"prompt", "user"} & set(mapping):
        raise InputError("input and system belong to a prompt or a user's turn; map that too")
    if ("chosen" in mapping) != ("rejected" in mapping):
        raise InputError("chosen and rejected go together; map both")
    if "messages" in mapping and ({"prompt", "user", "input", "system", "completion"} & set(mapping)):
        raise InputError("messages hold prompt and answer; leave prompt, user, input, system and completion out")


def _at(row: Mapping[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    value: Any = row
    for step in column.split("."):
        if not isinstance(value, Mapping) or step not in value:
            raise InputError(f"it has no column {column!r}; it has {', '.join(map(str, row)) or 'none'}")
        value = value[step]
    return value


def _number(value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"the rating is {value!r}; it must be a whole number from 0 to 10") from None
    if number != int(number) or not 0 <= number <= 10:
        raise InputError(f"the rating is {value!r}; it must be a whole number from 0 to 10")
    return int(number)


def read_mapped(row: Mapping[str, Any], mapping: Mapping[str, str]) -> Iterator[Entry]:
    """The row by the columns named. An empty cell of an optional column is as if it were not there."""
    told = {field: _at(row, column) for field, column in mapping.items()}
    told = {field: value for field, value in told.items() if value not in (None, "")}
    about: dict[str, Any] = {name: str(told[name]) for name in ("title", "group", "notes") if name in told}
    tags = told.get("tags", ())
    marks = tuple(str(tag).strip() for tag in (tags.split(",") if isinstance(tags, str) else tags) if str(tag).strip())
    details = {
        "model": str(told["model"]) if "model" in told else None,
        "good": a_flag(told["label"], "the label") if "label" in told else None,
        "rating": _number(told["rating"]) if "rating" in told else None,
    }
    prompt, answer = _asked(told, mapping)
    if "chosen" in told or "rejected" in told:
        pair = [Answer(text=a_text(told.get(n), mapping[n]), model=details["model"]) for n in ("chosen", "rejected")]  # type: ignore[arg-type]
        found = preference(prompt, *pair)
        yield Entry(prompt=prompt, answers=found.answers, better=found.better, tags=marks, **about)
        return
    if "completion" in told:
        answer = Answer(text=a_text(told["completion"], mapping["completion"]))
    if answer is not None:
        answer = Answer(text=answer.text, details=answer.details, **details)  # type: ignore[arg-type]
    yield Entry(prompt=prompt, answers=() if answer is None else (answer,), tags=marks, **about)


def _asked(told: Mapping[str, Any], mapping: Mapping[str, str]) -> tuple[Any, Answer | None]:
    if "messages" in mapping:
        turns = told.get("messages")
        if isinstance(turns, str):
            try:
                turns = json.loads(turns)
            except ValueError:
                raise InputError(f"{mapping['messages']} is no JSON") from None
        return split(conversation(turns, mapping["messages"]))
    field = next((name for name in ("prompt", "user") if name in mapping), None)
    if field is None:
        return "", None  # A text that follows nothing: what pretraining data are.
    words = a_text(told.get(field), mapping[field])
    if "input" in told:
        words = f"{words}\n{a_text(told['input'], mapping['input'])}"
    if "system" in told:
        return [
            {"role": "system", "content": a_text(told["system"], mapping["system"])},
            {"role": "user", "content": words},
        ], None
    return (words if field == "prompt" else [{"role": "user", "content": words}]), None


def detect_text(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("text"), str) and not ({"prompt", "completion", "messages", "instruction"} & set(row))


def read_text(row: Mapping[str, Any]) -> Iterator[Entry]:
    """A raw prompt to be continued. `--map completion=text` makes it what follows an empty prompt instead."""
    text = a_text(row.get("text"), "text")
    if not text.strip():
        raise InputError("its text is empty")
    yield Entry(prompt=text)
