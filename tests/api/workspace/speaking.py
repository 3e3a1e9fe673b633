"""Asking the API in tests: short words for calls, and a reader of server-sent events."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

__all__ = ["Event", "Speaker", "events_of"]


@dataclass(frozen=True)
class Event:
    id: str
    name: str
    data: Any


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events, comments left out."""
    event_id, name, data = "", "message", list[str]()
    for line in lines:
        if line == "":
            if data:
                yield Event(event_id, name, json.loads("\n".join(data)))
            name, data = "message", []
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "id":
                event_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)


class Speaker:
    """A client that expects success unless a test says otherwise."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def get(self, path: str, **query: Any) -> Any:
        return self._answer(self.client.get(f"/api{path}", params={k: v for k, v in query.items() if v is not None}))

    def post(self, path: str, **body: Any) -> Any:
        return self._answer(self.client.post(f"/api{path}", json=body))

    def put(self, path: str, **body: Any) -> Any:
        return self._answer(self.client.put(f"/api{path}", json=body))

    def patch(self, path: str, **body: Any) -> Any:
        return self._answer(self.client.patch(f"/api{path}", json=body))

    def delete(self, path: str) -> None:
        answer = self.client.delete(f"/api{path}")
        assert (answer.status_code, answer.content) == (204, b""), answer.text

    def refusal(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any, str]:
        """(status, code, message) of a call that fails, in the one shape of errors."""
        answer = self.client.request(method, f"/api{path}", json=body, params=query)
        assert answer.status_code >= 400, answer.text
        error = answer.json()["error"]
        assert answer.json() == {"error": {name: error[name] for name in ("message", "type", "param", "code")}}
        return answer.status_code, error["code"], error["message"]

    def events(self, **query: Any) -> Iterator[Event]:
        """The drafts' events, until the stream ends or the test stops reading."""
        with self.client.stream("GET", "/api/drafts/events", params=query) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield from events_of(answer.iter_lines())

    def ended(self, draft: int) -> Any:
        """The completion that a draft became."""
        return [event for event in self.events(draft=draft) if event.name in ("end", "error")][-1].data["completion"]

    @staticmethod
    def _answer(answer: httpx2.Response) -> Any:
        assert answer.status_code in (200, 201), f"{answer.status_code} {answer.text[:2000]}"
        return answer.json()
