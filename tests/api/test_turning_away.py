"""Who comes to a full queue is told so by the connection, in the words of the application; and nobody else is."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from benchmarks.bursts import Answered, burst, posted
from tests.api.gates import Gate, gated
from tests.api.listening import TOKEN, Live, listening

from ramify.api import turning_away
from ramify.api.admission import Admission, Turn
from ramify.api.app import create_app
from ramify.api.state import Limits

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
LLM = "/v1/llm/completions-sync?model_endpoint_name="
ASK = {COMPLETIONS: {"prompt": "a"}, CHAT: {"messages": [{"role": "user", "content": "a"}]}, f"{LLM}tiny": {"prompt": "a"}}


@dataclass
class Full:
    """A server whose model `tiny` has one place and no queue, and the place is taken. `other` is another name, and free."""

    live: Live
    gate: Gate

    def answer(self, path: str, body: Any, key: str = TOKEN) -> Answered:
        (found,) = burst(self.live.url, [posted(self.live.url, path, key, body)])
        return found

    def raw(self, request: bytes) -> Answered:
        (found,) = burst(self.live.url, [request])
        return found


@contextlib.contextmanager
def filled() -> Iterator[Full]:
    model, gate = gated(max_rows=1)
    free, open_gate = gated()
    open_gate.leave_open()
    models = {"tiny": model, "other": free}
    app = create_app(token=TOKEN, load=models.__getitem__, models=["other"], limits=Limits(max_queue=0))
    with listening(app) as live:
        asking = threading.Thread(target=lambda: live.client().post(COMPLETIONS, json={"prompt": "a", "max_tokens": 1}))
        asking.start()
        gate.arrives()
        yield Full(live, gate)
        gate.leave_open()
        asking.join(60)


@pytest.fixture(scope="module")
def full() -> Iterator[Full]:
    """Whose place stays taken."""
    with filled() as found:
        yield found


def parts(answer: Answered) -> tuple[int, dict[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "retry-after")}
    return answer.status, headers, json.loads(answer.body)


@pytest.mark.parametrize("path", ASK)
def test_it_says_what_the_application_says(full: Full, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = full.live.server.models.admissions()["tiny"].refused
    quick = full.answer(path, ASK[path])
    monkeypatch.setattr(turning_away, "plain_request", lambda data: None)
    usual = full.answer(path, ASK[path])
    assert parts(quick) == parts(usual)
    assert (quick.status, quick.headers["retry-after"]) == (429, usual.headers["retry-after"])
    assert full.live.server.models.admissions()["tiny"].refused == before + 2


def test_the_application_is_not_asked(full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any) -> Any:
        raise AssertionError("the application was asked")

    monkeypatch.setattr("ramify.api.admission.Admission.enter", asked)
    assert full.answer(COMPLETIONS, ASK[COMPLETIONS]).status == 429


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (COMPLETIONS, {"prompt": "a", "model": "other", "max_tokens": 1}, 200),
        (f"{LLM}other", {"prompt": "a", "max_new_tokens": 1}, 200),
        (COMPLETIONS, {"prompt": "a", "model": "nothing"}, 404),
        (COMPLETIONS, {"prompt": "a", "model": 7}, 400),
        (COMPLETIONS, [], 400),
        (LLM.partition("?")[0], {"prompt": "a"}, 400),
        ("/tokenize", {"prompt": "a"}, 200),
    ],
)
def test_who_does_not_ask_the_full_model_is_answered_as_ever(full: Full, path: str, body: Any, status: int) -> None:
    assert full.answer(path, body).status == status


def test_a_stranger_learns_nothing_of_the_queue(full: Full) -> None:
    assert full.answer(COMPLETIONS, ASK[COMPLETIONS], key="wrong").status == 401
    request = posted(full.live.url, COMPLETIONS, TOKEN, ASK[COMPLETIONS])
    assert full.raw(request.replace(b"host: 127.0.0.1", b"host: evil.example")).status == 403
    assert full.raw(request.replace(b"connection: close", b"connection: close\r\norigin: https://evil.example")).status == 403


def test_a_request_that_is_not_plain_goes_the_usual_way(full: Full) -> None:
    content = b'{"prompt": "a"}'
    head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n".encode()
    kind = b"content-type: application/json\r\n"
    length = b"content-length: %d\r\n" % len(content)
    plain = head + kind + length + b"\r\n" + content
    found = turning_away.plain_request(plain)
    assert found is not None
    assert (found.path, found.body, found.complete, found.model("tiny")) == (COMPLETIONS, content, True, "tiny")
    usual = {
        "chunked": (head + kind + b"transfer-encoding: chunked\r\n\r\nf\r\n" + content + b"\r\n0\r\n\r\n", 429),
        "no length": (head + kind + b"\r\n", 400),
        "two lengths": (head + kind + length + b"content-length: 1\r\n\r\n" + content, 400),
        "folded": (head + kind + length + b"x: a\r\n b\r\n\r\n" + content, 429),
        "no header": (head + kind + length + b"x\r\n\r\n" + content, 400),
        "no JSON": (head + kind + b"content-length: 1\r\n\r\n{", 400),
        "another type": (head + b"content-type: text/plain\r\n" + length + b"\r\n" + content, 415),
    }
    for name, (request, status) in usual.items():
        asked = turning_away.plain_request(request)
        assert asked is None or asked.model("tiny") is None, name
        assert full.raw(request).status == status, name


def test_one_that_comes_in_pieces_is_judged_when_it_is_whole() -> None:
    with filled() as full:
        in_pieces(full)


def in_pieces(full: Full) -> None:
    host, port = full.live.url.removeprefix("http://").split(":")
    request = posted(full.live.url, COMPLETIONS, TOKEN, {"prompt": "a", "max_tokens": 1})
    for room in (False, True):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            middle = request.index(b"\r\n\r\n") + 7
            for piece in (request[:middle], request[middle:-1]):
                connection.sendall(piece)
                time.sleep(0.05)
            if room:
                full.gate.leave_open()
                while full.live.server.models.admissions()["tiny"].running:
                    time.sleep(0.01)
            connection.sendall(request[-1:])
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 " if room else b"HTTP/1.1 429 ")


def test_of_many_at_the_same_moment_the_excess_is_refused_before_the_first_has_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue has one place more than is taken: of ten, nine are turned away, and no one is refused by the application."""
    with filled() as full:
        queue = full.live.server.models.admissions()["tiny"]
        queue.max_queue = 1
        entered: list[Any] = []
        enter = Admission.enter

        def entering(self: Admission, rows: Sequence[int]) -> Turn:
            entered.append(rows)
            return enter(self, rows)

        monkeypatch.setattr(Admission, "enter", entering)
        requests = [posted(full.live.url, COMPLETIONS, TOKEN, {"prompt": "a", "max_tokens": 1})] * 10
        answers: list[Answered] = []
        asking = threading.Thread(target=lambda: answers.extend(burst(full.live.url, requests)))
        asking.start()
        while queue.refused < 9:
            time.sleep(0.01)
        full.gate.leave_open()
        asking.join(60)
        assert sorted(answer.status for answer in answers) == [200] + [429] * 9
        assert len(entered) == 1


def test_who_never_enters_leaves_no_trace(full: Full) -> None:
    for body, status in (({"prompt": "a", "top_p": 7}, 400), ({"prompt": "a", "model": "other", "max_tokens": 1}, 200)):
        assert full.answer(COMPLETIONS, body if "model" in body else {**body, "model": "other"}).status == status
    assert [queue.arriving for queue in full.live.server.models.admissions().values()] == [0, 0]


def test_a_connection_that_was_answered_before_is_told_too(full: Full) -> None:
    with full.live.client() as client:
        assert client.get("/health").status_code == 200
        refused = client.post(COMPLETIONS, json=ASK[COMPLETIONS])
        assert (refused.status_code, refused.headers["connection"]) == (429, "close")
        assert client.get("/health").status_code == 200
