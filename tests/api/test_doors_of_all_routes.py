"""Every route that there is, from the router itself: closed unless it is on the list, and every error in the one shape."""

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.api.listening import TOKEN, Live

import ramify
from ramify.api.app import create_app
from ramify.api.auth import OPEN_PATHS, OPEN_UNDER


def routes() -> Iterator[tuple[str, str]]:
    """(method, path) of all routes, mounts too, whatever is added to the application later."""
    app = create_app(token=TOKEN, load=ramify.load)
    yield from _of(app.router.routes, "")


def _of(found: Any, above: str) -> Iterator[tuple[str, str]]:
    for route in found:
        inner = getattr(route, "original_router", None)
        if inner is not None:  # an included router keeps its routes to itself
            prefix = getattr(getattr(route, "include_context", None), "prefix", "") or ""
            yield from _of(inner.routes, above + prefix)
        elif getattr(route, "methods", None):
            yield from ((method, above + route.path) for method in sorted(route.methods))
        elif getattr(route, "routes", None):
            yield from _of(route.routes, above + route.path)
        else:
            yield "GET", f"{above}{route.path}/x"


ROUTES = [(method, re.sub(r"\{[^}]*\}", "1", path)) for method, path in routes()]


def test_the_routes_were_found() -> None:
    assert {("POST", "/v1/completions"), ("POST", "/v1/llm/completions-stream"), ("GET", "/openapi.json")} <= set(ROUTES)
    assert len(set(ROUTES)) == len(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_route_is_closed_without_the_token_unless_it_is_on_the_list(live: Live, method: str, path: str) -> None:
    answer = live.stranger().request(method, path, json={} if method in ("POST", "PUT", "PATCH") else None)
    if method in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith(OPEN_UNDER)):
        assert answer.status_code != 401
    else:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        if method != "HEAD":
            assert answer.json()["error"]["code"] == "invalid_api_key"


def test_the_list_of_what_is_open_is_this_and_no_longer() -> None:
    assert sorted(OPEN_PATHS) == ["/", "/docs", "/docs.js", "/favicon.ico", "/health"]
    assert OPEN_UNDER == ("/studio/",)


def test_no_method_but_get_is_open_anywhere(live: Live) -> None:
    statuses = {
        method: live.stranger().request(method, path).status_code
        for path in ("/health", "/studio/x")
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    }
    assert set(statuses.values()) == {401}


def test_a_path_that_climbs_out_of_what_is_open_is_closed(live: Live) -> None:
    for path in ("/studio/../v1/models", "/studio/%2e%2e/v1/models", "//v1/models", "/health/", "/HEALTH"):
        answer = live.stranger().get(live.url + path)
        assert answer.status_code in (401, 404)
        assert "tiny" not in answer.text


# The one shape.

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status", "param", "code"),
    [
        ("GET", "/nothing", b"", {}, 404, None, None),
        ("GET", "/v1/completions", b"", {}, 405, None, None),
        ("DELETE", "/health", b"", {}, 405, None, None),
        ("POST", "/v1/completions", b"", {}, 400, None, "missing"),
        ("POST", "/v1/completions", b"{", JSON, 400, None, "invalid_json"),
        ("POST", "/v1/completions", b"\xff", JSON, 400, None, "invalid_json"),
        ("POST", "/v1/completions", b"[]", JSON, 400, None, "invalid_value"),
        (
            "POST",
            "/v1/completions",
            b"prompt=a",
            {"content-type": "application/x-www-form-urlencoded"},
            415,
            None,
            "unsupported_media_type",
        ),
        ("POST", "/v1/completions", b"{}", {"content-type": "text/plain"}, 415, None, "unsupported_media_type"),
        ("POST", "/v1/completions", b"{}", JSON, 400, "prompt", "missing"),
        ("POST", "/v1/completions", b'{"prompt": "a", "tempature": 1}', JSON, 400, "tempature", "unknown_field"),
        ("POST", "/v1/completions", b'{"prompt": "a", "temperature": "hot"}', JSON, 400, "temperature", "invalid_value"),
        ("POST", "/v1/completions", b'{"prompt": "a", "temperature": NaN}', JSON, 400, "temperature", "invalid_value"),
        ("POST", "/v1/completions", b'{"prompt": "a", "top_p": 7}', JSON, 400, "top_p", "invalid_value"),
        ("POST", "/v1/completions", b'{"prompt": "a", "stop": [""]}', JSON, 400, "stop", "invalid_value"),
        ("POST", "/v1/completions", b'{"prompt": "a", "model": "other"}', JSON, 404, "model", "model_not_found"),
        ("POST", "/v1/completions", b'{"prompt": "a", "model": "../x"}', JSON, 404, "model", "model_not_found"),
        ("POST", "/v1/completions", b'{"prompt": "a", "suffix": "b"}', JSON, 400, "suffix", "unsupported"),
        ("POST", "/v1/completions", b'{"prompt": "a", "max_tokens": 9999}', JSON, 400, "max_tokens", "context_length_exceeded"),
        ("POST", "/v1/completions", b'{"prompt": [999999]}', JSON, 400, None, None),
        ("POST", "/v1/completions", b'{"prompt": "\\ud800"}', JSON, 400, None, None),
        ("POST", "/v1/completions", b'{"prompt": "a", "user": "\\ud800"}', JSON, 400, "user", "invalid_value"),
        ("POST", "/v1/completions", b'{"prompt": "a", "regex": "("}', JSON, 400, None, "invalid_constraint"),
        ("POST", "/v1/completions", b'{"prompt": "a", "regex": "a", "guided_json": {}}', JSON, 400, "regex", "invalid_value"),
        ("POST", "/v1/completions", b"[" * 200_000, JSON, 400, None, "too_deep"),
        ("POST", "/v1/chat/completions", b'{"messages": []}', JSON, 400, "messages", "invalid_value"),
        ("POST", "/v1/chat/completions", b'{"messages": [{"role": "user"}]}', JSON, 400, "messages[0].content", "invalid_value"),
        (
            "POST",
            "/v1/chat/completions",
            b'{"messages": [], "chat_template": "{{ 1 }}"}',
            JSON,
            400,
            "chat_template",
            "unknown_field",
        ),
        ("POST", "/v1/chat/completions", b'{"messages": [], "tools": [{}]}', JSON, 400, "tools", "invalid_value"),
        ("POST", "/v1/llm/completions-sync", b'{"prompt": "a"}', JSON, 400, "model_endpoint_name", "missing"),
        ("POST", "/tokenize", b"{}", JSON, 400, None, "invalid_value"),
        ("POST", "/detokenize", b'{"tokens": [-1]}', JSON, 400, None, None),
    ],
)
def test_every_error_has_the_one_shape(
    live: Live, method: str, path: str, content: bytes, headers: dict[str, str], status: int, param: str | None, code: str | None
) -> None:
    answer = live.client().request(method, path, content=content, headers=headers)
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (answer.status_code, body["error"]["param"], body["error"]["code"]) == (status, param, code)
    assert len(body["error"]["message"]) > 5
    if path.startswith("/v1/llm"):
        assert body["detail"] == body["error"]["message"]


def test_a_body_too_large_is_refused_before_it_is_read_whole(live: Live) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 2**20

    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as stated:
        head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {live.token}\r\n"
        stated.sendall(f"{head}content-length: {2**40}\r\n\r\n".encode())
        assert stated.recv(1000).startswith(b"HTTP/1.1 413 ")
    with live.client() as client:
        streamed = client.post("/v1/completions", content=endless(), headers=JSON)
        assert (streamed.status_code, streamed.json()["error"]["code"]) == (413, "too_large")
        assert client.get("/health").status_code == 200


def test_a_defect_of_ours_is_a_500_that_says_nothing_of_itself(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(live.server.models, "names", broken)
    answer = live.client().get("/v1/models")
    assert answer.status_code == 500
    expected = {"message": "the server failed; its log says why", "type": "server_error", "param": None, "code": "internal_error"}
    assert answer.json() == {"error": expected}
