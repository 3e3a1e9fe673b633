"""Axolotl's own layouts; many of the data that it reads are the other forms'. `config` is what its YAML says of a file.

Read: {"system", "input", "chosen", "rejected"} and {"system", "prompt", "completion", "label"}, each one question of the user.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ramify.exchange.conversations import CannotSayError, without_tools
from ramify.exchange.entries import Answer, Entry, a_flag, a_text
from ramify.exchange.formats.openai import preference, spoken, tools_of
from ramify.exchange.formats.rows import Row, last_user, messages_only, words

__all__ = ["config", "detect", "read", "rows"]

TYPES = {
    "sft": "chat_template",
    "dpo": "chat_template.default",
    "reward": "bradley_terry.chat_template",
    "kto": "chatml.ultra",
}


LABELLED, REWARD = {"system", "prompt", "completion", "label"}, {"system", "input", "chosen", "rejected"}


def detect(row: Mapping[str, Any]) -> bool:
    return set(row) in (LABELLED, REWARD) and all(isinstance(row[name], str) for name in row if name != "label")


def read(row: Mapping[str, Any]) -> Iterator[Entry]:
    asked = a_text(row.get("input", row.get("prompt")), "input")
    prompt = [{"role": "user", "content": asked}]
    if row.get("system"):
        prompt.insert(0, {"role": "system", "content": a_text(row["system"], "system")})
    if "chosen" in row:
        yield preference(prompt, *(Answer(text=a_text(row.get(name), name)) for name in ("chosen", "rejected")))
        return
    answer = Answer(text=a_text(row.get("completion"), "completion"), good=a_flag(row.get("label"), "label"))
    yield Entry(prompt=prompt, answers=(answer,))


def rows(row: Row) -> dict[str, Any]:
    """sft: messages. dpo: messages, chosen, rejected. reward and kto: texts, for one question of the user."""
    if row.kind not in TYPES:
        raise CannotSayError(f"Axolotl has no form for {row.kind}")
    if row.kind == "sft":
        prompt = messages_only(row.prompt)
        return {"messages": spoken([*prompt, row.chosen]), **tools_of(prompt)}
    if row.kind == "dpo":
        answers = {"chosen": words(row.chosen), "rejected": words(row.rejected)}
        asked = spoken(without_tools(messages_only(row.prompt)))
        return {"messages": asked, **{name: {"role": "assistant", "content": text} for name, text in answers.items()}}
    system, history, asked_text = last_user(row.prompt)
    if history:
        raise CannotSayError("it has several turns, and this form of Axolotl's has place for one")
    if row.kind == "reward":
        return {"system": system, "input": asked_text, "chosen": words(row.chosen), "rejected": words(row.rejected)}
    return {"system": system, "prompt": asked_text, "completion": words(row.chosen), "label": row.label}


def config(kind: str, file_name: str) -> str:
    """The lines of Axolotl's YAML that read the file."""
    file_type = "parquet" if file_name.endswith(".parquet") else "json"
    lines = [
        *(["rl: dpo"] if kind == "dpo" else ["rl: kto"] if kind == "kto" else ["reward_model: true"] if kind == "reward" else [])
    ]
    lines += ["datasets:", f"  - path: {file_name}", f"    ds_type: {file_type}", f"    type: {TYPES[kind]}"]
    if kind in ("sft", "dpo"):
        lines.append("    field_messages: messages")
    if kind == "dpo":
        lines += ["    field_chosen: chosen", "    field_rejected: rejected"]
    return "\n".join(lines) + "\n"
