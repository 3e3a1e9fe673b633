"""Question sets that people test models with, each by its own columns: GSM8K, HumanEval, IFEval, TruthfulQA, self-instruct.

What a test needs beside the question is kept: with the reference answer as details, where there is none in the notes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ramify.errors import InputError
from ramify.exchange.entries import Answer, Entry, a_list, a_text, an_object

__all__ = ["FORMATS"]

Rows = Iterator[Entry]


def _asked(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _is_gsm8k(row: Mapping[str, Any]) -> bool:
    return set(row) == {"question", "answer"} and isinstance(row["answer"], str) and "####" in row["answer"]


def _gsm8k(row: Mapping[str, Any]) -> Rows:
    answer = a_text(row.get("answer"), "answer")
    details = {"target": answer.rpartition("####")[2].strip()} if "####" in answer else {}
    reference = Answer(text=answer, model="reference", good=True, details=details)
    yield Entry(prompt=_asked(a_text(row.get("question"), "question")), answers=(reference,))


def _is_humaneval(row: Mapping[str, Any]) -> bool:
    return {"task_id", "prompt", "canonical_solution", "test", "entry_point"} <= set(row)


def _humaneval(row: Mapping[str, Any]) -> Rows:
    details = {name: a_text(row.get(name), name) for name in ("test", "entry_point", "task_id")}
    solution = Answer(
        text=a_text(row.get("canonical_solution"), "canonical_solution"), model="reference", good=True, details=details
    )
    yield Entry(prompt=a_text(row.get("prompt"), "prompt"), answers=(solution,), title=details["task_id"])


def _is_ifeval(row: Mapping[str, Any]) -> bool:
    return {"prompt", "instruction_id_list", "kwargs"} <= set(row)


def _ifeval(row: Mapping[str, Any]) -> Rows:
    checks = {"instruction_id_list": row.get("instruction_id_list"), "kwargs": row.get("kwargs")}
    yield Entry(
        prompt=_asked(a_text(row.get("prompt"), "prompt")),
        title=f"ifeval/{row['key']}" if "key" in row else "",
        notes=json.dumps(checks, ensure_ascii=False),
    )


def _is_truthfulqa(row: Mapping[str, Any]) -> bool:
    return {"Question", "Best Answer", "Correct Answers", "Incorrect Answers"} <= set(row)


def _truthfulqa(row: Mapping[str, Any]) -> Rows:
    """The best answer is preferred to the best incorrect one where the file names one, else to all incorrect ones."""
    best = a_text(row.get("Best Answer"), "Best Answer").strip()
    worst = str(row.get("Best Incorrect Answer") or "").strip()
    correct = _several(row.get("Correct Answers"), "Correct Answers")
    incorrect = [each for each in _several(row.get("Incorrect Answers"), "Incorrect Answers") if each not in (*correct, best)]
    if not best:
        raise InputError("it has no best answer")
    good = list(dict.fromkeys([best, *correct]))
    bad = list(dict.fromkeys([*([worst] if worst and worst not in good else []), *incorrect]))
    source = {"source": row["Source"]} if isinstance(row.get("Source"), str) and row["Source"] else {}
    answers = [Answer(text=each, model="reference", good=True, details=source) for each in good]
    answers += [Answer(text=each, model="reference", good=False) for each in bad]
    lost = range(len(good), len(good) + (1 if worst and bad and bad[0] == worst else len(bad)))
    yield Entry(
        prompt=_asked(a_text(row.get("Question"), "Question")),
        answers=tuple(answers),
        better=tuple((0, place) for place in lost),
        group=str(row.get("Category") or ""),
    )


def _several(text: Any, name: str) -> Sequence[str]:
    return [part.strip() for part in a_text(text, name).split(";") if part.strip()]


def _is_self_instruct(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("instruction"), str) and isinstance(row.get("instances"), list)


def _self_instruct(row: Mapping[str, Any]) -> Rows:
    instruction = a_text(row.get("instruction"), "instruction")
    title = str(row.get("name") or row.get("id") or "")
    for index, each in enumerate(a_list(row.get("instances"), "instances")):
        instance = an_object(each, f"instances[{index}]")
        more = a_text(instance.get("input") or "", f"instances[{index}].input")
        details = {"input_start": len(instruction) + 1} if more else {}
        answer = Answer(text=a_text(instance.get("output"), f"instances[{index}].output"), model="reference", details=details)
        answers = (answer,) if answer.text else ()
        yield Entry(prompt=_asked(f"{instruction}\n{more}" if more else instruction), answers=answers, title=title)


FORMATS = {
    "humaneval": (_is_humaneval, _humaneval),
    "ifeval": (_is_ifeval, _ifeval),
    "truthfulqa": (_is_truthfulqa, _truthfulqa),
    "self-instruct": (_is_self_instruct, _self_instruct),
    "gsm8k": (_is_gsm8k, _gsm8k),
}
