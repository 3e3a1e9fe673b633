"""The types of TRL: prompt and completion; chosen and rejected, with the prompt apart or in both; a label; steps with labels;
prompts alone; each as raw text or as messages.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ramify.errors import InputError
from ramify.exchange.conversations import answer_of, conversation, offered, with_tools, without_tools
from ramify.exchange.entries import Answer, Entry, a_flag, a_list, a_text
from ramify.exchange.formats.openai import pair, preference, spoken
from ramify.exchange.formats.rows import Row, words

__all__ = ["detect", "read", "rows"]


def detect(row: Mapping[str, Any]) -> bool:
    if "chosen" in row and "rejected" in row:
        return "instruction" not in row and "conversations" not in row
    if "prompt" not in row:
        return False
    return any(name in row for name in ("completion", "completions")) or set(row) <= {"prompt", "tools"}


def read(row: Mapping[str, Any]) -> Iterator[Entry]:
    if "chosen" in row:
        yield _preference(row)
    elif "completions" in row:
        yield _steps(row)
    elif "completion" in row:
        prompt = _prompt(row)
        answer = _answer(row["completion"], "completion", prompt)
        if row.get("label") is not None:
            answer = Answer(text=answer.text, details=answer.details, good=a_flag(row["label"], "label"))
        yield Entry(prompt=prompt, answers=(answer,))
    else:
        yield Entry(prompt=_prompt(row))


def _prompt(row: Mapping[str, Any]) -> Any:
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        if not prompt:
            raise InputError("the prompt is empty")
        return prompt
    return with_tools(conversation(prompt, "prompt"), row.get("tools"))


def _answer(value: Any, name: str, prompt: Any) -> Answer:
    if isinstance(value, str):
        if not value:
            raise InputError(f"{name} is empty")
        return Answer(text=value)
    turns = conversation([value] if isinstance(value, Mapping) else value, name)
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        raise InputError(f"{name} has {len(turns)} turns; what can be kept is one turn of the assistant")
    if isinstance(prompt, str):
        raise InputError(f"the prompt is text and {name} are messages; both are one or the other")
    return answer_of(turns[0])


def _preference(row: Mapping[str, Any]) -> Entry:
    chosen, rejected = row["chosen"], row["rejected"]
    if "prompt" in row and row["prompt"] is not None:
        prompt = _prompt(row)
        if isinstance(prompt, str) and not isinstance(chosen, str):
            # Conversations beside the words that began them: the conversations say it all.
            return pair([], conversation(chosen, "chosen"), conversation(rejected, "rejected"))
        return preference(prompt, _answer(chosen, "chosen", prompt), _answer(rejected, "rejected", prompt))
    if isinstance(chosen, str):
        return _implicit(a_text(chosen, "chosen"), a_text(rejected, "rejected"))
    found = pair([], conversation(chosen, "chosen"), conversation(rejected, "rejected"))
    if row.get("tools"):
        return preference(with_tools(found.prompt, row["tools"]), *found.answers)  # type: ignore[arg-type]
    return found


def _implicit(chosen: str, rejected: str) -> Entry:
    """Two texts without a prompt: what they begin with together is it, up to the last space."""
    length = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected)))
    cut = max(chosen.rfind(" ", 0, length), chosen.rfind("\n", 0, length))
    if cut <= 0:
        raise InputError("chosen and rejected have no beginning in common that could be the prompt; give a prompt column")
    return preference(chosen[:cut], Answer(text=chosen[cut:]), Answer(text=rejected[cut:]))


def _steps(row: Mapping[str, Any]) -> Entry:
    steps = [a_text(each, f"completions[{i}]") for i, each in enumerate(a_list(row["completions"], "completions"))]
    labels = [a_flag(each, f"labels[{i}]") for i, each in enumerate(a_list(row.get("labels"), "labels"))]
    if len(steps) != len(labels) or not steps:
        raise InputError(f"{len(steps)} steps have {len(labels)} labels; each has one")
    details = {"steps": [len(step) for step in steps], "step_labels": labels}
    return Entry(prompt=_prompt(row), answers=(Answer(text="\n".join(steps), good=all(labels), details=details),))


def rows(row: Row) -> dict[str, Any]:
    if isinstance(row.prompt, str):
        return _raw(row)
    prompt = without_tools(row.prompt)
    start = len(prompt)
    whole = [spoken([*prompt, each], arguments_as_text=False) if each else [] for each in (row.chosen, row.rejected)]
    asked = spoken(prompt, arguments_as_text=False)
    tools = {"tools": json.dumps(json.loads(offered(row.prompt)), ensure_ascii=False)} if offered(row.prompt) else {}
    if row.kind == "prompts":
        return {"prompt": asked, **tools}
    if row.kind == "stepwise":
        return {"prompt": asked, **_stepped(row)}
    if row.kind == "reward":
        return {"chosen": whole[0], "rejected": whole[1], **tools}
    if row.kind == "dpo":
        return {"prompt": asked, "chosen": whole[0][start:], "rejected": whole[1][start:], **tools}
    found = {"prompt": asked, "completion": whole[0][start:]}
    return {**found, "label": row.label, **tools} if row.kind == "kto" else {**found, **tools}


def _raw(row: Row) -> dict[str, Any]:
    if row.kind == "prompts":
        return {"prompt": row.prompt}
    if row.kind == "stepwise":
        return {"prompt": row.prompt, **_stepped(row)}
    if row.kind in ("dpo", "reward"):
        return {"prompt": row.prompt, "chosen": words(row.chosen), "rejected": words(row.rejected)}
    found = {"prompt": row.prompt, "completion": words(row.chosen)}
    return {**found, "label": row.label} if row.kind == "kto" else found


def _stepped(row: Row) -> dict[str, Any]:
    text, at, steps = words(row.chosen), 0, []
    for length in row.details["steps"]:
        steps.append(text[at : at + length])
        at += length + 1
    return {"completions": steps, "labels": list(row.details["step_labels"])}
