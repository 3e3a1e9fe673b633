"""OpenAI's batch files: requests {"custom_id", "method", "url", "body"}, and answers {"custom_id", "response", "error"}.

Answers do not repeat the question, so they are joined to the requests by `custom_id`; both files are given, in any order.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ramify.errors import InputError
from ramify.exchange.conversations import answer_of, conversation, with_tools
from ramify.exchange.entries import Answer, Entry, Problem, Record, a_list, a_text, an_object
from ramify.exchange.lookup import Lookup

__all__ = ["detect", "read_all"]

Found = tuple[Record, list[Entry]] | Problem


def detect(row: Mapping[str, Any]) -> bool:
    return "custom_id" in row and ("body" in row or "response" in row)


def read_all(records: Iterable[Record | Problem]) -> Iterator[Found]:
    """Requests that were answered with their answers, and those that were not as prompts alone."""
    requests = Lookup()
    answers = Lookup()
    try:
        for record in records:
            if isinstance(record, Problem):
                yield record
                continue
            key = record.data.get("custom_id")
            kept = requests if "body" in record.data else answers
            if not isinstance(key, str):
                yield Problem(record.file, record.line, "it has no custom_id")
            elif not kept.put(key, [record.file, record.line, dict(record.data)]):
                yield Problem(record.file, record.line, f"the custom_id {key!r} stands in the file twice")
        for key, (file, line, row) in requests.items():
            answer = answers.get(key)
            place = (file, line) if answer is None else (answer[0], answer[1])
            record = Record(*place, row if answer is None else answer[2])
            try:
                yield record, [_entry(row, None if answer is None else answer[2])]
            except InputError as error:
                yield Problem(record.file, record.line, str(error))
        for key, (file, line, _) in answers.items():
            if requests.get(key) is None:
                yield Problem(file, line, f"no request has the custom_id {key!r}; give the file of requests too")
    finally:
        requests.close()
        answers.close()


def _entry(request: Mapping[str, Any], answer: Mapping[str, Any] | None) -> Entry:
    body = an_object(request.get("body"), "body")
    prompt: Any
    if "messages" in body:
        prompt = with_tools(conversation(body["messages"], "body.messages"), body.get("tools"))
    else:
        prompt = a_text(body.get("prompt"), "body.prompt")
    title = str(request["custom_id"])
    if answer is None:
        return Entry(prompt=prompt, title=title)
    if answer.get("error"):
        raise InputError(f"the request failed: {str(answer['error'])[:200]}")
    response = an_object(answer.get("response"), "response")
    said = an_object(response.get("body"), "response.body")
    if response.get("status_code", 200) != 200:
        raise InputError(f"the request was answered with status {response['status_code']}")
    model = said.get("model") or body.get("model")
    found = [_answer(each, model if isinstance(model, str) else None) for each in a_list(said.get("choices"), "choices")]
    return Entry(prompt=prompt, answers=tuple(found), title=title)


def _answer(choice: Any, model: str | None) -> Answer:
    fields = an_object(choice, "choices")
    reason = fields.get("finish_reason")
    if "message" in fields:
        message = conversation([{"role": "assistant", **an_object(fields["message"], "message")}])[0]
        said = answer_of(message)
    else:
        said = Answer(text=a_text(fields.get("text"), "text"))
    details = {**said.details, "finish_reason": reason} if reason else said.details
    return Answer(text=said.text, model=model, truncated=reason == "length", details=details)
