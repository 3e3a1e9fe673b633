"""A client that leaves gives everything back, wherever its request stood: within one step of the engine, as /metrics shows."""

import json
import re
import socket
import threading
import time
from typing import Any

import pytest
from tests.api.gates import gated
from tests.api.listening import TOKEN, Live, listening

from ramify.api.app import create_app

PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/llm/completions-sync?model_endpoint_name=tiny")


class Caller:
    """A client of one request, which can hang up."""

    def __init__(self, live: Live, path: str, **body: Any) -> None:
        host, port = live.url.removeprefix("http://").split(":")
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {live.token}\r\ncontent-type: application/json\r\n"
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._socket.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)

    def read_until(self, what: bytes) -> bytes:
        found = b""
        while what not in found:
            piece = self._socket.recv(65536)
            assert piece, found
            found += piece
        return found

    def hang_up(self) -> None:
        self._socket.close()


def numbers(live: Live) -> dict[str, float]:
    """running, waiting and held bytes, from /metrics."""
    text = live.client().get("/metrics").text
    names = {"running": "ramify_completions_running", "waiting": "ramify_completions_waiting", "bytes": "ramify_kv_cache_bytes"}
    found = {key: re.search(rf'^{name}{{model="tiny"}} (\S+)$', text, re.MULTILINE) for key, name in names.items()}
    return {key: float(match[1]) for key, match in found.items() if match}


def becomes(live: Live, **expected: float) -> None:
    """Wait until /metrics says so, without a further step of the engine."""
    until = time.monotonic() + 10
    while (found := numbers(live)) | expected != found:
        assert time.monotonic() < until, found
        time.sleep(0.01)


def body_for(path: str, words: str = "Once upon a time", **more: Any) -> dict[str, Any]:
    if "chat" in path:
        return {"messages": [{"role": "user", "content": words}], "temperature": 0, "max_tokens": 200, "ignore_eos": True, **more}
    if "llm" in path:
        return {"prompt": words, "temperature": 0, "max_new_tokens": 200, **more}
    return {"prompt": words, "temperature": 0, "max_tokens": 200, "ignore_eos": True, **more}


@pytest.mark.parametrize("path", PATHS)
def test_one_that_is_queued(path: str) -> None:
    model, gate = gated(max_rows=1)
    with listening(create_app(token=TOKEN, load=lambda name: model)) as live:
        first = Caller(live, path, **body_for(path))
        gate.arrives()
        second = Caller(live, path, **body_for(path))
        becomes(live, running=1, waiting=1)
        second.hang_up()
        becomes(live, running=1, waiting=0)
        first.hang_up()
        gate.step()
        becomes(live, running=0, waiting=0, bytes=0)
        assert model.engine.forward_passes == 1
        gate.leave_open()


@pytest.mark.parametrize("path", PATHS)
def test_one_whose_prompt_is_being_computed(path: str) -> None:
    model, gate = gated()
    with listening(create_app(token=TOKEN, load=lambda name: model)) as live:
        caller = Caller(live, path, **body_for(path, "Once upon a time " * 300))
        gate.arrives()
        gate.step()
        gate.arrives()  # 512 of more than 1,024 tokens are computed, and the next are under way
        becomes(live, running=1)
        caller.hang_up()
        assert model.engine.computed_tokens == 512
        time.sleep(0.1)  # the hanging up travels while the step is under way
        gate.step()
        becomes(live, running=0, waiting=0, bytes=0)
        assert model.engine.computed_tokens == 1024
        gate.leave_open()


@pytest.mark.parametrize("path", [*PATHS[:2], "/v1/llm/completions-stream?model_endpoint_name=tiny"])
def test_one_that_streams(path: str) -> None:
    model, gate = gated()
    with listening(create_app(token=TOKEN, load=lambda name: model)) as live:
        caller = Caller(live, path, **body_for(path, **({} if "llm" in path else {"stream": True})))
        for _ in range(3):
            gate.arrives()
            gate.step()
        caller.read_until(b"\n\n")
        gate.arrives()
        caller.hang_up()
        time.sleep(0.1)
        passes = model.engine.forward_passes
        gate.step()
        becomes(live, running=0, waiting=0, bytes=0)
        assert model.engine.forward_passes == passes + 1
        gate.leave_open()


@pytest.mark.parametrize("path", PATHS)
def test_one_that_waits_for_the_whole(path: str) -> None:
    model, gate = gated()
    with listening(create_app(token=TOKEN, load=lambda name: model)) as live:
        caller = Caller(live, path, **body_for(path))
        for _ in range(3):
            gate.arrives()
            gate.step()
        gate.arrives()
        caller.hang_up()
        time.sleep(0.1)
        passes = model.engine.forward_passes
        gate.step()
        becomes(live, running=0, waiting=0, bytes=0)
        assert model.engine.forward_passes == passes + 1
        gate.leave_open()


@pytest.mark.parametrize("path", PATHS)
def test_one_whose_grammar_is_being_compiled(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, gate = gated()
    compiling, go_on = threading.Event(), threading.Event()
    compiled = model.engine.constraint

    def slowly(request: Any) -> Any:
        compiling.set()
        assert go_on.wait(30)
        return compiled(request)

    monkeypatch.setattr(model.engine, "constraint", slowly)
    with listening(create_app(token=TOKEN, load=lambda name: model)) as live:
        fields = {"guided_regex": "[ab]{3}"} if "llm" in path else {"regex": "[ab]{3}", "ignore_eos": None}
        caller = Caller(live, path, **body_for(path, **fields))
        assert compiling.wait(30)
        becomes(live, running=0, waiting=1)
        caller.hang_up()
        becomes(live, running=0, waiting=0)
        go_on.set()
        gate.leave_open()
        assert live.client().post("/v1/completions", json={"prompt": "a", "max_tokens": 1}).status_code == 200
        assert model.engine.computed_tokens == 2  # of the request that stayed: BOS and "a"


@pytest.mark.parametrize("path", PATHS)
def test_one_whose_model_is_being_loaded(path: str) -> None:
    model, gate = gated()
    gate.leave_open()
    go_on = threading.Event()

    def load(name: str) -> Any:
        assert go_on.wait(30)
        return model

    with listening(create_app(token=TOKEN, load=load), ready=False) as live:
        caller = Caller(live, path, **body_for(path))
        becomes(live, running=0, waiting=1)
        assert live.client().get("/health").json() == {"status": "loading"}
        caller.hang_up()
        becomes(live, running=0, waiting=0)
        go_on.set()
        assert live.client().post("/v1/completions", json={"prompt": "a", "max_tokens": 1}).status_code == 200
        assert model.engine.computed_tokens == 2


def test_the_others_go_on_undisturbed() -> None:
    """Many leave at once, among some who stay: who stays gets what it gets alone."""
    model, gate = gated()
    gate.leave_open()
    with listening(create_app(token=TOKEN, load=lambda name: model)) as live:
        wanted = {"prompt": "The little hedgehog", "max_tokens": 40, "temperature": 0}
        alone = live.client().post("/v1/completions", json=wanted).json()["choices"][0]["text"]
        found: list[str] = []

        def stay() -> None:
            found.append(live.client().post("/v1/completions", json=wanted).json()["choices"][0]["text"])

        staying = [threading.Thread(target=stay) for _ in range(4)]
        leaving = [Caller(live, "/v1/completions", **body_for("/v1/completions", stream=i % 2 == 0)) for i in range(12)]
        for thread in staying:
            thread.start()
        for caller in leaving:
            caller.hang_up()
        for thread in staying:
            thread.join(60)
        assert found == [alone] * 4
        becomes(live, running=0, waiting=0, bytes=0)
