"""Alpaca: {"instruction": …, "input": …, "output": …, "system": …, "history": [[…, …], …]}; in a preference "chosen" and
"rejected".

The user's turn is the instruction, a line break and the input, as LLaMA-Factory joins them. Where the input began is kept with
the completion, so that it comes out as it came in.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ramify.errors import InputError
from ramify.exchange.entries import Answer, Entry, a_flag, a_list, a_text
from ramify.exchange.formats.openai import preference
from ramify.exchange.formats.rows import Row, last_user, words

__all__ = ["detect", "read", "rows"]


def detect(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("instruction"), str) and ("output" in row or "chosen" in row)


def read(row: Mapping[str, Any]) -> Iterator[Entry]:
    instruction = a_text(row.get("instruction"), "instruction")
    more = a_text(row.get("input") or "", "input")
    details = {"input_start": len(instruction) + 1} if more else {}
    messages: list[dict[str, Any]] = []
    if row.get("system"):
        messages.append({"role": "system", "content": a_text(row["system"], "system")})
    for index, turn in enumerate(a_list(row.get("history") or [], "history")):
        if len(a_list(turn, f"history[{index}]")) != 2:
            raise InputError(f"history[{index}] has {len(turn)} parts; it is a question and its answer")
        messages.append({"role": "user", "content": a_text(turn[0], f"history[{index}]")})
        messages.append({"role": "assistant", "content": a_text(turn[1], f"history[{index}]")})
    asked = f"{instruction}\n{more}" if more else instruction
    if not asked.strip():
        raise InputError("instruction and input are both empty")
    messages.append({"role": "user", "content": asked})
    if "chosen" in row and "rejected" in row:
        pair = [Answer(text=a_text(row[name], name), details=details) for name in ("chosen", "rejected")]
        found = preference(messages, *pair)
        third = row.get("output")
        if isinstance(third, str) and third and third not in (pair[0].text, pair[1].text):
            found = replace(found, answers=(*found.answers, Answer(text=third, details=details)))
        yield found
        return
    answer = Answer(text=a_text(row.get("output"), "output"), details=details)
    if not answer.text:
        yield Entry(prompt=messages)
        return
    label = row.get("label", row.get("kto_tag"))
    yield Entry(prompt=messages, answers=(answer if label is None else replace(answer, good=a_flag(label, "label")),))


def rows(row: Row) -> dict[str, Any]:
    system, history, asked = last_user(row.prompt)
    start = row.details.get("input_start")
    instruction, more = asked, ""
    if isinstance(start, int) and 0 < start < len(asked) and asked[start - 1] == "\n":
        instruction, more = asked[: start - 1], asked[start:]
    about = {"system": system, "history": [list(turn) for turn in history]}
    question = {"instruction": instruction, "input": more}
    if row.kind in ("dpo", "reward"):
        return {**question, "chosen": words(row.chosen), "rejected": words(row.rejected), **about}
    found = {**question, "output": words(row.chosen), **about}
    return {**found, "label": row.label} if row.kind == "kto" else found
