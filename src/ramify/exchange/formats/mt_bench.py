"""MT-bench and Vicuna-bench: questions of one or more turns, reference answers joined by `question_id`, judges' prompts.

A question without an answer is its first turn; the later ones, which follow an answer, are in the notes. With an answer there is
one sample a turn.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ramify.errors import InputError
from ramify.exchange.entries import Answer, Entry, Problem, Record, a_list, a_text, an_object
from ramify.exchange.lookup import Lookup

__all__ = ["beside", "detect", "read_all"]

Found = tuple[Record, list[Entry]] | Problem


def detect(row: Mapping[str, Any]) -> bool:
    return ("question_id" in row and ("turns" in row or "choices" in row)) or {"prompt_template", "system_prompt"} <= set(row)


def beside(paths: list[str], first: Mapping[str, Any]) -> list[str]:
    """The questions' file, where only answers were given and it lies beside them."""
    questions = [str(Path(path).with_name("question.jsonl")) for path in paths[:1] if "choices" in first]
    return [path for path in questions if path not in paths and Path(path).is_file()]


def read_all(records: Iterable[Record | Problem]) -> Iterator[Found]:
    """Questions with what answers there are, each answer's model named. Judges' prompts are prompts."""
    questions, answers = Lookup(), Lookup()
    try:
        for record in records:
            if isinstance(record, Problem):
                yield record
            elif "prompt_template" in record.data:
                yield _tried(record, lambda row: [_judge(row)])
            elif "turns" in record.data:
                if not questions.put(str(record.data.get("question_id")), [record.file, record.line, dict(record.data)]):
                    yield Problem(record.file, record.line, f"question {record.data.get('question_id')} stands here twice")
            else:
                key = str(record.data.get("question_id"))
                known = answers.get(key) or []
                kept = [*known, [record.file, record.line, dict(record.data)]]
                if known:
                    answers.replace(key, kept)
                else:
                    answers.put(key, kept)
        for key, (file, line, row) in questions.items():
            given = answers.get(key) or []
            if not given:
                yield _tried(Record(file, line, row), lambda asked: [_question(asked)])
            for answer_file, answer_line, answer in given:
                yield _tried(Record(answer_file, answer_line, answer), lambda said, asked=row: _answered(asked, said))
        for key, given in answers.items():
            if questions.get(key) is None:
                for file, line, _ in given:
                    yield Problem(file, line, f"there is no question {key}; give question.jsonl too")
    finally:
        questions.close()
        answers.close()


def _tried(record: Record, read: Any) -> Found:
    try:
        return record, read(record.data)
    except InputError as error:
        return Problem(record.file, record.line, str(error))


def _judge(row: Mapping[str, Any]) -> Entry:
    messages = [{"role": "user", "content": a_text(row.get("prompt_template"), "prompt_template")}]
    if row["system_prompt"]:
        messages.insert(0, {"role": "system", "content": a_text(row["system_prompt"], "system_prompt")})
    return Entry(prompt=messages, title=str(row.get("name", "")), notes=str(row.get("description", "")), group="judges")


def _turns(row: Mapping[str, Any]) -> list[str]:
    turns = [a_text(each, f"turns[{i}]") for i, each in enumerate(a_list(row.get("turns"), "turns"))]
    if not turns:
        raise InputError("it has no turns")
    return turns


def _question(row: Mapping[str, Any]) -> Entry:
    first, *later = _turns(row)
    notes = "\n".join(f"turn {number}: {turn}" for number, turn in enumerate(later, start=2))
    title = f"question {row['question_id']}"
    return Entry(prompt=[{"role": "user", "content": first}], title=title, notes=notes, group=str(row.get("category") or ""))


def _answered(question: Mapping[str, Any], row: Mapping[str, Any]) -> list[Entry]:
    asked = _turns(question)
    model = str(row.get("model_id") or "reference")
    found = []
    for choice in a_list(row.get("choices"), "choices"):
        said = _turns(an_object(choice, "choices"))
        if len(said) > len(asked):
            raise InputError(f"it answers {len(said)} turns of a question that has {len(asked)}")
        messages: list[dict[str, Any]] = []
        for number, (turn, answer) in enumerate(zip(asked, said, strict=False), start=1):
            messages = [*messages, {"role": "user", "content": turn}]
            title = f"question {question['question_id']}, turn {number}"
            reference = Answer(text=answer, model=model, good=True)
            found.append(Entry(prompt=messages, answers=(reference,), title=title, group=str(question.get("category") or "")))
            messages = [*messages, {"role": "assistant", "content": answer}]
    return found
