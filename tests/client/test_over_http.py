"""`Completion` and a server: what is sent, what is made of every answer, and what no answer can break.

Each test runs through `create` and through `acreate`: the two must not differ.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from endpoint_made_here import Handler, Reply, Server, says, serving, silent, slams, streams
from ramify import Completion
from ramify.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    RamifyError,
    RateLimitExceededError,
    RemoteError,
    ServerError,
    UnauthorizedError,
)

Call = Callable[..., Any]


def sync_call(**given: Any) -> Any:
    made = Completion.create(**given)
    return list(made) if given.get("stream") is True else made


def async_call(**given: Any) -> Any:
    async def ask() -> Any:
        made: Any = await Completion.acreate(**given)
        return [piece async for piece in made] if given.get("stream") is True else made

    return asyncio.run(ask())


@pytest.fixture(params=[sync_call, async_call], ids=["create", "acreate"])
def call(request: pytest.FixtureRequest) -> Call:
    found: Call = request.param
    return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("RAMIFY_API_KEY", "secret-of-the-server")
    with serving() as made:
        monkeypatch.setenv("RAMIFY_BASE_URL", made.url)
        yield made


WHOLE = {"request_id": "r", "output": {"text": " Ada", "num_completion_tokens": 1}}
GIVEN: dict[str, Any] = {"model": "small", "prompt": "My name is"}


def piece(text: str, tokens: int, finished: bool = False) -> dict[str, Any]:
    return {"request_id": "r", "output": {"text": text, "finished": finished, "num_completion_tokens": tokens}}


# --- what is sent


def test_the_request_is_llm_engines_own(server: Server, call: Call) -> None:
    server.always = says(WHOLE)
    answer = call(**GIVEN, max_new_tokens=10, stop_sequences=["."], seed=3, request_headers={"X-Team": "red"})
    assert answer.output.text == " Ada"
    assert answer.json() == '{"request_id": "r", "output": {"text": " Ada", "num_completion_tokens": 1}}'
    (asked,) = server.asked
    assert asked["path"] == "/v1/llm/completions-sync?model_endpoint_name=small"
    assert asked["body"] == {
        "prompt": "My name is",
        "max_new_tokens": 10,
        "temperature": 0.2,
        "stop_sequences": ["."],
        "return_token_log_probs": False,
        "skip_special_tokens": True,
        "seed": 3,
    }
    assert asked["headers"]["authorization"] == "Bearer secret-of-the-server"
    assert asked["headers"]["x-team"] == "red"


def test_a_models_name_is_escaped(server: Server, call: Call) -> None:
    server.always = says(WHOLE)
    call(model="a b&c=d/e?f#g@h+é", prompt="a")
    assert server.asked[0]["path"] == ("/v1/llm/completions-sync?model_endpoint_name=a%20b%26c%3Dd%2Fe%3Ff%23g%40h%2B%C3%A9")


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/prefix", "/prefix/", "/prefix/v1"])
def test_a_base_url_may_end_as_it_likes(server: Server, call: Call, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    server.always = says(WHOLE)
    monkeypatch.setenv("RAMIFY_BASE_URL", server.url.removesuffix("/v1") + ending)
    call(**GIVEN)
    prefix = "/prefix" if "prefix" in ending else ""
    assert server.asked[0]["path"] == f"{prefix}/v1/llm/completions-sync?model_endpoint_name=small"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://h", "http://", "http://h?a=b", "http://h:99999", "http://[::1", "http://me:s3cr3t@h"]
)
def test_a_base_url_that_is_none_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RAMIFY_BASE_URL", url)
    with pytest.raises(InputError, match="RAMIFY_BASE_URL") as refused:
        call(**GIVEN)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"max_tokens": 5}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"logprobs": 2}, "logprobs"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_k": 0}, None),
        ({"temperature": 0, "top_p": 0.5}, None),
        ({"guided_regex": "a", "guided_json": {}}, None),
        ({"guided_json": {"const": float("nan")}}, "guided_json"),
        ({"guided_json": {"const": object()}}, "guided_json"),
        ({"prompt": "\udc80"}, "prompt"),
        ({"model": ""}, "model"),
        ({"timeout": 0}, "timeout"),
        ({"stream": 1}, "stream"),
        ({"request_headers": {"a": 1}}, "request_headers"),
    ],
)
def test_what_cannot_be_honoured_never_reaches_the_server(
    server: Server, call: Call, given: dict[str, Any], param: str | None, stream: bool
) -> None:
    server.always = says(WHOLE)
    with pytest.raises(BadRequestError) as refused:
        call(**{"stream": stream, **GIVEN, **given})
    assert (refused.value.param, refused.value.status, server.asked) == (param, 400, [])


@pytest.mark.parametrize("header", [{"X-A": "a\r\nX-B: b"}, {"X A": "a"}, {"X-A": "é\udc80"}, {"": "a"}])
def test_a_header_that_cannot_be_sent_is_refused(server: Server, call: Call, header: dict[str, str]) -> None:
    server.always = says(WHOLE)
    with pytest.raises(BadRequestError, match="request_headers"):
        call(**GIVEN, request_headers=header)
    assert server.asked == []


# --- refusals

REFUSALS = [
    # status, body, headers, the class, what it says, its attributes
    (
        400,
        {"error": {"message": "no", "param": "prompt", "code": "bad"}},
        {},
        BadRequestError,
        "no",
        {"param": "prompt", "code": "bad"},
    ),
    (400, {"detail": "top_k needs to be positive"}, {}, BadRequestError, "top_k needs to be positive", {"param": None}),
    (413, {"error": {"message": "too large"}}, {}, BadRequestError, "too large", {}),
    (
        422,
        {"detail": [{"loc": ["body", "temperature"], "msg": "too hot"}]},
        {},
        BadRequestError,
        "temperature: too hot",
        {"param": "temperature"},
    ),
    (401, {"error": {"message": "who?"}}, {}, UnauthorizedError, "who?; the key came from RAMIFY_API_KEY", {}),
    (403, {"detail": "not yours"}, {}, ForbiddenError, "not yours", {}),
    (404, {"detail": "no such endpoint"}, {}, NotFoundError, "no such endpoint", {}),
    (409, {"detail": "busy deleting"}, {}, ConflictError, "busy deleting", {}),
    (418, "a teapot", {}, RemoteError, "a teapot", {}),
    (429, {"error": {"message": "full"}}, {"retry_after": "7"}, RateLimitExceededError, "full", {"retry_after": 7.0}),
    (429, {"error": "Too many"}, {}, RateLimitExceededError, "Too many", {"retry_after": None}),
    (500, {"error": "Internal error", "request_id": "x"}, {}, ServerError, "Internal error", {}),
    (502, "<html>bad\ngateway</html>", {}, ServerError, "<html>bad gateway</html>", {}),
    (503, "", {}, ServerError, "no message", {}),
    (307, "", {"location": "http://elsewhere/"}, RemoteError, "has moved to http://elsewhere/", {}),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "words", "attributes"), REFUSALS, ids=lambda v: str(v) if isinstance(v, int) else ""
)
def test_every_refusal_has_its_class_and_keeps_its_words(
    server: Server,
    call: Call,
    status: int,
    body: object,
    headers: dict[str, str],
    kind: type[RamifyError],
    words: str,
    attributes: dict[str, object],
    stream: bool,
) -> None:
    server.always = says(body, status, **headers)
    with pytest.raises(RamifyError) as refused:
        call(**GIVEN, stream=stream)
    assert type(refused.value) is kind
    assert words in str(refused.value)
    assert {"status": refused.value.status, **{k: getattr(refused.value, k) for k in attributes}} == {
        "status": status,
        **attributes,
    }  # type: ignore[attr-defined]
    assert len(server.asked) == 1


def test_without_a_key_a_401_says_where_to_put_one(server: Server, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAMIFY_API_KEY")
    server.always = says({"error": {"message": "no token"}}, 401)
    with pytest.raises(UnauthorizedError, match="no key was sent: put it in RAMIFY_API_KEY"):
        call(**GIVEN)
    assert "authorization" not in server.asked[0]["headers"]


def test_no_error_shows_the_key(server: Server, call: Call) -> None:
    server.always = says({"error": {"message": "you sent secret-of-the-server"}}, 401)
    with pytest.raises(UnauthorizedError) as refused:
        call(**GIVEN)
    shown: BaseException | None = refused.value
    while shown is not None:
        assert "secret" not in f"{shown!r} {vars(shown)}"
        shown = shown.__cause__ or shown.__context__


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", ["", "not JSON", "[]", '"a"', "null", '{"request_id": "r"}', '{"output": {"text": 5}}'])
def test_an_answer_that_is_no_completion_is_an_error(server: Server, call: Call, body: str, stream: bool) -> None:
    server.always = says(body)
    with pytest.raises(RemoteError, match=r"answered (what is no completion|application/json, not a stream)"):
        call(**GIVEN, stream=stream)


# --- streams


def texts(pieces: list[Any]) -> list[str]:
    return [found.output.text for found in pieces]


def test_a_stream_is_its_pieces(server: Server, call: Call) -> None:
    server.always = streams([piece("a", 1), piece("b", 2, finished=True)], done=False)
    pieces = call(**GIVEN, stream=True)
    assert texts(pieces) == ["a", "b"]
    assert [(p.output.num_completion_tokens, p.output.finished, p.error) for p in pieces] == [(1, False, None), (2, True, None)]
    assert server.asked[0]["path"] == "/v1/llm/completions-stream?model_endpoint_name=small"


def test_a_done_mark_ends_a_stream_and_is_no_piece(server: Server, call: Call) -> None:
    # LLM Engine's own client reads it as JSON and fails.
    server.always = streams([piece("a", 1, finished=True)], done=True)
    assert texts(call(**GIVEN, stream=True)) == ["a"]


def test_comments_crlf_and_split_events_are_read(server: Server, call: Call) -> None:
    def reply(handler: Handler) -> None:
        handler.begin(200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"})
        first, last = json.dumps(piece("é🙂", 1), ensure_ascii=False), json.dumps(piece("b", 2, finished=True))
        sent = f": ping\r\n\r\nevent: x\r\ndata: {first}\r\n\r\ndata: {last[:20]}\r\ndata: {last[20:]}\r\n\r\n".encode()
        for i in range(len(sent)):
            handler.wfile.write(b"1\r\n" + sent[i : i + 1] + b"\r\n")
            handler.wfile.flush()
        handler.wfile.write(b"0\r\n\r\n")

    server.always = reply
    assert texts(call(**GIVEN, stream=True)) == ["é🙂", "b"]


def test_an_event_of_a_megabyte_is_read(server: Server, call: Call) -> None:
    # Line readers with a bound of 64 KiB fail here.
    server.always = streams([piece("x" * 1_000_000, 1, finished=True)], done=False)
    assert texts(call(**GIVEN, stream=True)) == ["x" * 1_000_000]


def test_an_error_after_the_beginning_comes_as_a_piece_and_ends_the_stream(server: Server, call: Call) -> None:
    error = {"status_code": 500, "content": {"error": "the engine failed", "timestamp": "2026-01-01T00:00:00+00:00"}}
    server.always = streams([piece("a", 1), {"request_id": "r", "error": error}, piece("never", 2)], done=False)
    first, last = call(**GIVEN, stream=True)
    assert first.output.text == "a"
    assert (last.output, last.error.status_code, last.error.content.error) == (None, 500, "the engine failed")


def test_an_error_as_openais_routes_tell_it_comes_as_a_piece(server: Server, call: Call) -> None:
    server.always = streams([piece("a", 1), {"error": {"message": "the engine failed", "code": 503}}])
    first, last = call(**GIVEN, stream=True)
    assert (first.output.text, last.output) == ("a", None)
    assert (last.error.status_code, last.error.content.error) == (503, "the engine failed")


def failing(server: Server, call: Call, reply: Reply) -> RemoteError:
    server.always = reply
    with pytest.raises(RemoteError) as failed:
        call(**GIVEN, stream=True)
    return failed.value


def test_half_a_stream_is_an_error(server: Server, call: Call) -> None:
    assert failing(server, call, streams([piece("a", 1)], done=False)).code == "interrupted"
    assert failing(server, call, streams([], done=False)).code == "interrupted"
    assert "broke off" in str(failing(server, call, streams([piece("a", 1)], done=False, then="break")))


@pytest.mark.parametrize("event", ["{", "[]", "null", '{"output": {"text": 1}}', "\x00"])
def test_an_event_that_is_no_piece_is_an_error(server: Server, call: Call, event: str) -> None:
    assert "sent an event that is no piece" in str(failing(server, call, streams([event])))


def test_what_arrived_before_a_failure_was_given(server: Server) -> None:
    server.always = streams([piece("a", 1), piece("b", 2)], done=False)
    stream = Completion.create(**GIVEN, stream=True)
    assert texts([next(stream), next(stream)]) == ["a", "b"]
    with pytest.raises(RemoteError):
        next(stream)


def test_a_refusal_of_a_stream_is_raised_by_the_call_itself(server: Server) -> None:
    # LLM Engine's client raises when the stream is first read, far from the call.
    server.always = says({"detail": "no such endpoint"}, 404)
    with pytest.raises(NotFoundError):
        Completion.create(**GIVEN, stream=True)

    async def ask() -> None:
        with pytest.raises(NotFoundError):
            await Completion.acreate(**GIVEN, stream=True)

    asyncio.run(ask())


# --- leaving


def test_leaving_a_stream_closes_its_connection(server: Server) -> None:
    server.always = streams([piece("a", 1)], done=False, then="hold")
    for _ in Completion.create(**GIVEN, stream=True):
        break
    assert server.left.wait(30)


def test_letting_go_of_a_stream_that_was_never_read_closes_its_connection(server: Server) -> None:
    server.always = streams([piece("a", 1)], done=False, then="hold")
    Completion.create(**GIVEN, stream=True)
    assert server.left.wait(30)


def test_leaving_an_async_stream_closes_its_connection(server: Server) -> None:
    server.always = streams([piece("a", 1)], done=False, then="hold")

    async def ask() -> None:
        async for _ in await Completion.acreate(**GIVEN, stream=True):
            break
        await asyncio.to_thread(server.left.wait, 30)

    asyncio.run(ask())
    assert server.left.is_set()


def test_cancelling_a_task_closes_its_connection(server: Server) -> None:
    server.always = silent

    async def ask() -> None:
        task = asyncio.create_task(Completion.acreate(**GIVEN))
        while not server.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert server.left.wait(30)


def test_silence_ends_after_the_timeout(server: Server, call: Call) -> None:
    server.always = silent
    with pytest.raises(RemoteError, match=r"said nothing for 0\.2 s") as late:
        call(**GIVEN, timeout=0.2)
    assert late.value.code == "timeout"
    assert server.left.wait(30)


def test_a_slow_stream_is_not_cut_while_it_goes_on(server: Server, call: Call) -> None:
    # A bound on the whole answer, as aiohttp's is, would end it after the second piece.
    def reply(handler: Handler) -> None:
        handler.begin(200, {"Content-Type": "text/event-stream"})
        for number in range(6):
            threading.Event().wait(0.1)
            handler.wfile.write(f"data: {json.dumps(piece('a', number + 1, finished=number == 5))}\n\n".encode())
            handler.wfile.flush()
        handler.close_connection = True

    server.always = reply
    assert texts(call(**GIVEN, stream=True, timeout=0.4)) == ["a"] * 6


def test_a_server_that_is_not_there_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("RAMIFY_BASE_URL", address)
        with pytest.raises(RemoteError, match=f"{address} could not be reached"):
            call(**GIVEN)


def test_a_connection_closed_without_an_answer_is_an_error(server: Server, call: Call) -> None:
    server.always = slams
    with pytest.raises(RemoteError, match="broke off the connection"):
        call(**GIVEN)


def test_an_environments_proxy_is_not_asked_for_this_machine(server: Server, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.always = says(WHOLE)
    assert call(**GIVEN).output.text == " Ada"
