"""Hostile requests: never a 5xx, never a dead server, and the next request is answered."""

from collections.abc import Iterator

import httpx2
import psutil
import pytest
from tests.api.hostile_requests import CLOSED, HOSTILE, Hostile
from tests.api.serving_process import Serving, serving

TIME_S = 60
GROWTH_BYTES = 3 * 2**30
"""1 GiB of it are the branches that an engine remembers."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[httpx2.Client]:
    with server.client(timeout=TIME_S) as made:
        yield made


@pytest.fixture(scope="module")
def usual(client: httpx2.Client) -> str:
    """What an honest request gets."""
    return said(client)


@pytest.fixture(scope="module")
def memory(server: Serving, usual: str) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


def said(client: httpx2.Client) -> str:
    answer = client.post(
        "/v1/completions", json={"model": "tiny", "prompt": "Once upon a time", "max_tokens": 3, "temperature": 0}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"])


def check_well(server: Serving, client: httpx2.Client, usual: str, memory: int) -> None:
    assert server.process.poll() is None
    assert client.get("/health").status_code == 200
    assert said(client) == usual
    assert psutil.Process(server.process.pid).memory_info().rss < memory + GROWTH_BYTES


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_request_is_answered_and_so_is_the_next(
    server: Serving, client: httpx2.Client, usual: str, memory: int, hostile: Hostile
) -> None:
    request = client.build_request(hostile.method, server.url + "/", content=hostile.body(), headers=hostile.headers)
    # The library would tidy the path up.
    request.extensions["target"] = hostile.path.encode()
    if not request.headers.get("content-type"):
        request.headers.pop("content-type", None)
    try:
        answer = client.send(request)
    except (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError):
        assert CLOSED in hostile.allowed
        check_well(server, client, usual, memory)
        return
    assert answer.status_code in hostile.allowed, answer.text[:2000]
    if answer.status_code >= 400 and answer.headers.get("content-type") == "application/json":
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert len(error["message"]) < 2000
        assert "Traceback" not in error["message"]
    check_well(server, client, usual, memory)
