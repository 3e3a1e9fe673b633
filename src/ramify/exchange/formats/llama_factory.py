"""LLaMA-Factory's `dataset_info.json`: for each data set a file, its layout, and what its columns and turns are called.

Read: the data sets whose file is beside it, by their own description. Written: the entry that describes an export.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ramify.errors import InputError
from ramify.exchange.conversations import CannotSayError, offered
from ramify.exchange.entries import Entry, Problem, an_object
from ramify.exchange.files import read_whole
from ramify.exchange.formats import alpaca, openai, sharegpt
from ramify.exchange.formats.columns import read_text
from ramify.exchange.formats.rows import Row, messages_only
from ramify.exchange.json_records import parse

__all__ = ["Described", "described", "description", "is_info", "merged", "rows"]

COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
ROLES = {
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}

Described = tuple[str, Path, Callable[[Mapping[str, Any]], Iterator[Entry]]]
"""A data set's name, its file, and how its rows are read."""


def is_info(path: Path) -> bool:
    return path.name == "dataset_info.json" and path.is_file()


def described(path: Path) -> Iterator[Described | Problem]:
    """Every data set of a `dataset_info.json`; those whose file is not beside it are problems, and so are those of a hub.

    Raises InputError where the file itself is not one, or a name in it leads out of its folder.
    """
    try:
        info = an_object(parse(read_whole(path)), path.name)
    except (InputError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    for name, entry in info.items():
        about = an_object(entry, f"{path.name}: {name}")
        file_name = about.get("file_name")
        if not isinstance(file_name, str):
            yield Problem(str(path), None, f"{name} names no file (it is on a hub, or made by a script)")
            continue
        parts = PurePosixPath(file_name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in file_name:
            raise InputError(f"{path}: {name} names the file {file_name!r}, which leads out of its folder; nothing was read")
        if not (path.parent / file_name).exists():
            yield Problem(str(path), None, f"the file {file_name} of {name} is not there")
        else:
            yield name, path.parent / file_name, _reader(about, f"{path.name}: {name}")


def _reader(about: Mapping[str, Any], where: str) -> Callable[[Mapping[str, Any]], Iterator[Entry]]:
    layout = about.get("formatting", "alpaca")
    columns = {**COLUMNS, **an_object(about.get("columns", {}), f"{where}.columns")}
    tags = {**TAGS, **an_object(about.get("tags", {}), f"{where}.tags")}
    if layout == "sharegpt":
        return lambda row: _sharegpt(row, columns, tags)
    if layout == "openai":
        return openai.read
    if layout != "alpaca":
        raise InputError(f"{where} has the formatting {layout!r}; known are alpaca, sharegpt and openai")
    return lambda row: _alpaca(row, columns)


def _alpaca(row: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[Entry]:
    if columns["response"] not in row and "chosen" not in columns and columns["prompt"] in row:
        yield from read_text({"text": row[columns["prompt"]]})  # A data set to pretrain on.
        return
    names = {"prompt": "instruction", "query": "input", "response": "output", "kto_tag": "label"}
    names |= {name: name for name in ("history", "system", "chosen", "rejected")}
    yield from alpaca.read({ours: row[columns[name]] for name, ours in names.items() if columns.get(name) in row})


def _sharegpt(row: Mapping[str, Any], columns: Mapping[str, str], tags: Mapping[str, str]) -> Iterator[Entry]:
    role, content = tags["role_tag"], tags["content_tag"]
    names = {tags[tag]: ours for tag, ours in ROLES.items()}

    def turn(each: Any) -> Any:
        if not isinstance(each, Mapping) or each.get(role) not in names:
            return each
        return {"from": names[each[role]], "value": each.get(content)}

    def turns(value: Any) -> Any:
        return [turn(each) for each in value] if isinstance(value, list) else turn(value)

    found: dict[str, Any] = {"conversations": turns(row.get(columns["messages"]))}
    for name, ours in {"system": "system", "tools": "tools", "kto_tag": "label"}.items():
        if columns.get(name) in row:
            found[ours] = row[columns[name]]
    for name in ("chosen", "rejected"):
        if columns.get(name) in row:
            found[name] = turns(row[columns[name]])
    yield from sharegpt.read(found)


# ---------------------------------------------------------------- writing


def rows(row: Row) -> dict[str, Any]:
    """sft and dpo in ShareGPT's layout, kto with roles and contents: what LLaMA-Factory's own demonstration files have."""
    if row.kind == "kto":
        prompt = messages_only(row.prompt)
        if offered(prompt) or any(turn.get("tool_calls") or turn["role"] == "tool" for turn in [*prompt, row.chosen]):
            raise CannotSayError("it uses tools, and LLaMA-Factory's layout for labels has no place for them")
        return {
            "messages": [{"content": turn["content"], "role": turn["role"]} for turn in [*prompt, row.chosen]],
            "label": row.label,
        }
    if row.kind not in ("sft", "dpo", "reward"):
        raise CannotSayError(f"LLaMA-Factory has no form for {row.kind}")
    return sharegpt.rows(row, tools=row.kind == "sft")


def description(kind: str, file_name: str, *, tools: bool) -> dict[str, Any]:
    """The entry of `dataset_info.json` for an exported file. tools: some of its rows offer tools."""
    if kind == "kto":
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
        tags |= {"system_tag": "system"}
        return {
            "file_name": file_name,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "kto_tag": "label"},
            "tags": tags,
        }
    columns = {"messages": "conversations"}
    if kind in ("dpo", "reward"):
        columns |= {"chosen": "chosen", "rejected": "rejected", **({"tools": "tools"} if tools else {})}
        return {"file_name": file_name, "ranking": True, "formatting": "sharegpt", "columns": columns}
    return {"file_name": file_name, "formatting": "sharegpt", "columns": {**columns, "tools": "tools"}}


def merged(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a `dataset_info.json` with these entries beside those that were there. Raises InputError for a damaged one."""
    known: dict[str, Any] = {}
    if path.exists():
        try:
            known = dict(an_object(parse(read_whole(path)), path.name))
        except InputError as error:
            raise InputError(f"{path} is there and is no dataset_info.json ({error}); move it away") from None
    return json.dumps({**known, **entries}, ensure_ascii=False, indent=2) + "\n"
