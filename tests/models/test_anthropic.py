"""Anthropic's Messages API as a remote model, asked over a real connection: what is sent, read, refused, and goes wrong."""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.models.test_remote import KEY, SAMPLES, everything_of, leaks

from endpoint_made_here import Server, says, serving, silent, slams, streams
from endpoint_with_a_model import events
from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError, RemoteError, UnsupportedError
from ramify.models.endpoints import Endpoint
from ramify.models.registry import Registry, is_remote
from ramify.models.remote import Remote, RemoteCompletion, RemoteUsage, Retries, connect

HELLO = [{"role": "user", "content": "Hello"}]
GREEDY = GenerationConfig(max_new_tokens=9)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as running:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.url.removesuffix("/v1"))
        yield running


@pytest.fixture
def model(server: Server) -> Iterator[Remote]:
    with connect("anthropic:claude-small", timeout_s=5.0, retries=Retries(tries=1)) as connected:
        yield connected


def message(*blocks: dict[str, Any], stop: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    """The body of a whole answer."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-small-20261101",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 2},
        **more,
    }


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def begin(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": message(stop=None, usage={"input_tokens": 7, "output_tokens": 1, **usage})}


def delta(said: str, index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": said}}


def end(stop: str = "end_turn", sequence: str | None = None) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": stop, "stop_sequence": sequence},
        "usage": {"output_tokens": 5},
    }


# --- whole answers


def test_messages_are_sent_and_an_answer_is_read_whole(server: Server, model: Remote) -> None:
    usage = {"input_tokens": 7, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1, "output_tokens": 2}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    server.script = [says(message(thought, text("Hi "), text("there"), usage=usage))]
    prompt = [{"role": "system", "content": "Be brief."}, *HELLO]
    assert model.complete(prompt, GREEDY.replace(stop_strings=["END"])) == (
        RemoteCompletion(
            text="Hi there",
            prefill="",
            finish_reason="eos",
            reported_finish="end_turn",
            stop_string=None,
            tokens=None,
            usage=RemoteUsage(prompt_tokens=12, completion_tokens=2, cached_tokens=4),
            model="claude-small-20261101",
            system_fingerprint=None,
            id="msg_1",
            index=0,
            reasoning="Hm.",
            refusal=None,
            doubles=False,
        ),
    )
    (request,) = server.asked
    assert request["path"] == "/v1/messages"
    assert request["body"] == {
        "model": "claude-small",
        "system": "Be brief.",
        "messages": HELLO,
        "max_tokens": 9,
        "temperature": 0.0,
        "stop_sequences": ["END"],
    }
    headers = request["headers"]
    assert (headers["x-api-key"], headers["anthropic-version"], headers["user-agent"]) == (KEY, "2023-06-01", "ramify")
    assert sorted(headers) == [
        *("accept", "accept-encoding", "anthropic-version", "connection", "content-length", "content-type", "host"),
        *("user-agent", "x-api-key"),
    ]


@pytest.mark.parametrize(
    ("stop", "sequence", "expected"),
    [
        ("end_turn", None, ("eos", None)),
        ("stop_sequence", "END", ("stop", "END")),
        ("max_tokens", None, ("length", None)),
        ("model_context_window_exceeded", None, ("length", None)),
        ("refusal", None, ("error", None)),
        ("pause_turn", None, ("error", None)),
        ("tool_use", None, ("error", None)),
    ],
)
def test_endings_are_told_in_our_words(
    server: Server, model: Remote, stop: str, sequence: str | None, expected: tuple[str, str | None]
) -> None:
    server.script = [
        says(message(text("a"), stop=stop, stop_sequence=sequence)),
        streams(events(begin(), delta("a"), end(stop, sequence)), done=False),
    ]
    config = GREEDY.replace(stop_strings=["END"])
    (whole,) = model.complete(HELLO, config)
    streamed = list(model.stream(HELLO, config))[-1].completion
    assert streamed is not None
    for made in (whole, streamed):
        assert ((made.finish_reason, made.stop_string), made.reported_finish, made.text) == (expected, stop, "a")


def test_several_system_messages_go_as_blocks(model: Remote) -> None:
    prompt = [{"role": "system", "content": "A"}, {"role": "system", "content": "B"}, *HELLO]
    assert model.check(prompt, GREEDY)["system"] == [text("A"), text("B")]


# --- prefill


def test_a_prefill_is_the_last_message_and_its_answer_goes_on(server: Server, model: Remote) -> None:
    server.script = [says(message(text(" ha ha")))]
    (made,) = model.complete(HELLO, GREEDY, prefill="ha")
    assert server.bodies[0]["messages"] == [*HELLO, {"role": "assistant", "content": "ha"}]
    assert (model.prefills, made.prefill, made.text, made.repeats_prefill) == (True, "ha", " ha ha", False)
    server.script = [says(message(text("ha ha")))]
    assert not model.complete(HELLO, GREEDY, prefill="ha")[0].repeats_prefill


def test_a_model_that_takes_no_prefill_says_so(server: Server, model: Remote) -> None:
    said = "This model does not support assistant message prefill. The conversation must end with a user message."
    server.script = [says({"type": "error", "error": {"type": "invalid_request_error", "message": said}}, 400)]
    with pytest.raises(RemoteError, match=f"'claude-small' at {model.endpoint.base_url} answered 400: {said}") as caught:
        model.complete(HELLO, GREEDY, prefill="Sure")
    assert (caught.value.status, caught.value.code) == (400, "invalid_request_error")


# --- what it cannot do

HONOURED = {"max_new_tokens", "do_sample", "top_p", "top_k", "stop_strings", "max_time", "temperature"}


@pytest.mark.parametrize("setting", SAMPLES)
def test_every_setting_is_sent_or_refused_by_name(model: Remote, setting: str) -> None:
    config = GenerationConfig(**{"max_new_tokens": 5, **SAMPLES[setting]})
    if setting in HONOURED:
        assert model.check(HELLO, config) != model.check(HELLO, GenerationConfig(max_new_tokens=5))
        return
    with pytest.raises(UnsupportedError) as caught:
        model.check(HELLO, config)
    assert str(caught.value).split(" is ")[0] in SAMPLES[setting]
    assert f"'claude-small' at {model.endpoint.base_url} (anthropic) cannot honour" in str(caught.value)


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({}, {"temperature": 0.0}),
        ({"do_sample": True}, {}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"temperature": 0.7, "top_k": 3}, {"temperature": 0.7, "top_k": 3}),
        ({"temperature": 1.0, "min_p": 0.0, "typical_p": 1.0}, {}),
    ],
)
def test_settings_become_its_own_fields(model: Remote, config: dict[str, Any], fields: dict[str, Any]) -> None:
    body = model.check(HELLO, GREEDY.replace(**config))
    assert body == {"model": "claude-small", "messages": HELLO, "max_tokens": 9, **fields}


@pytest.mark.parametrize(
    ("prompt", "config", "more", "says_"),
    [
        ("Once", {}, {}, r"the prompt is a raw text, and 'claude-small' at .* \(anthropic\) takes messages only"),
        ([1, 2], {}, {}, "the prompt is token ids, and .* takes messages only"),
        (HELLO, {}, {"logprobs": 0}, "logprobs is 0.* its protocol gives none"),
        (HELLO, {"seed": 1}, {}, "seed is 1.* its protocol has no seed"),
        (HELLO, {"temperature": 1.5}, {}, "temperature is 1.5.* its temperatures end at 1"),
        (HELLO, {"stop_strings": ["\n"]}, {}, r"stop_strings is \['\\n'\].* white space alone is not taken"),
        (HELLO, {"num_return_sequences": 2, "do_sample": True}, {}, "one completion a request; ask several times"),
        (HELLO, {}, {"prefill": "Sure "}, "the prefill ends in white space"),
        ([*HELLO, {"role": "system", "content": "a"}], {}, {}, "message 1 is a system message after others"),
        ([{"role": "user", "content": "a", "name": "b"}], {}, {}, "message 0 has name, which .* does not know"),
        ([{"role": "tool", "content": "a"}], {}, {}, "message 0 is of role 'tool'; .* knows system, user and assistant"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_sent(
    server: Server, model: Remote, prompt: Any, config: dict[str, Any], more: dict[str, Any], says_: str
) -> None:
    with pytest.raises(UnsupportedError, match=says_):
        model.complete(prompt, GREEDY.replace(**config), **more)
    assert server.asked == []


def test_a_number_of_tokens_is_asked_for(model: Remote) -> None:
    with pytest.raises(UnsupportedError, match=r"max_new_tokens is None.* its protocol asks for a number"):
        model.check(HELLO, GenerationConfig())


@pytest.mark.parametrize(
    "prompt", [[], [{"role": "system", "content": "a"}], [{"role": "user"}], [*HELLO, {"role": "assistant"}]]
)
def test_what_is_no_prompt_is_refused(model: Remote, prompt: Any) -> None:
    with pytest.raises(InputError, match="prompt"):
        model.check(prompt, GREEDY)


def test_it_scores_nothing_and_is_welcome_to_no_logprobs(model: Remote) -> None:
    assert (model.scores, model.alternatives(5)) == (False, None)
    with pytest.raises(UnsupportedError, match=r"\(anthropic\) cannot score a given text: its protocol takes no raw text"):
        model.score("a", "b")


# --- streams


def test_a_stream_joined_is_its_completion(server: Server, model: Remote) -> None:
    thinking = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}}
    signature = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}}
    server.script = [
        streams(
            events(
                begin(cache_read_input_tokens=3),
                {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
                {"type": "ping"},
                thinking,
                signature,
                {"type": "content_block_stop", "index": 0},
                {"type": "content_block_start", "index": 1, "content_block": text("")},
                delta("On", 1),
                {"type": "an_event_of_later_years", "more": 1},
                delta("ce", 1),
                {"type": "content_block_stop", "index": 1},
                end("max_tokens"),
                {"type": "message_stop"},
            ),
            done=False,
        )
    ]
    *pieces, last = model.stream(HELLO, GREEDY)
    made = last.completion
    assert made is not None
    assert [piece.text for piece in pieces] == ["On", "ce"]
    assert (made.text, made.reasoning, made.finish_reason, made.id) == ("Once", "Hm.", "length", "msg_1")
    assert made.usage == RemoteUsage(prompt_tokens=10, completion_tokens=5, cached_tokens=3)
    assert server.bodies[0]["stream"] is True
    assert "stream_options" not in server.bodies[0]


@pytest.mark.parametrize(
    ("reply", "says_"),
    [
        (streams(events(begin(), delta("On"), delta("ce")), done=False), "ends without a finish_reason after 4 characters"),
        (streams(events(begin(), delta("On"), delta("ce")), done=False, then="break"), "broke off its stream"),
        (
            streams(
                events(
                    begin(), delta("On"), delta("ce"), {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}
                ),
                done=False,
            ),
            "ended its stream with an error: .*Busy",
        ),
        (streams([*events(begin(), delta("On"), delta("ce")), "event: x\ndata: [1]"], done=False), "no message and no event"),
    ],
)
def test_half_a_stream_is_an_error_that_keeps_the_text(server: Server, model: Remote, reply: Any, says_: str) -> None:
    server.script = [reply]
    stream = model.stream(HELLO, GREEDY)
    assert [next(stream).text, next(stream).text] == ["On", "ce"]
    with pytest.raises(RemoteError, match=says_) as caught:
        next(stream)
    assert [(kept.text, kept.finish_reason) for kept in caught.value.completions] == [("Once", "error")]


def test_a_stream_that_is_cancelled_keeps_its_text_and_closes_the_connection(server: Server, model: Remote) -> None:
    server.script = [streams(events(begin(), delta("On")), done=False, then="hold")]
    stream = model.stream(HELLO, GREEDY)
    assert next(stream).text == "On"
    stream.cancel()
    (last,) = stream
    assert (last.finish_reason, last.completion and last.completion.text) == ("cancelled", "On")
    assert server.left.wait(2)


# --- what goes wrong


@pytest.mark.parametrize(
    ("status", "headers", "slept"),
    [(429, {"retry_after": "7"}, 7.0), (529, {}, 0.5), (500, {}, 0.5), (503, {"retry_after": "2"}, 2.0)],
)
def test_what_may_pass_is_tried_again(server: Server, status: int, headers: dict[str, str], slept: float) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    server.script = [
        says({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, status, **headers),
        says(message(text("at last"))),
    ]
    with connect("anthropic:claude-small", retries=Retries(sleep=sleep, jitter=lambda: 1.0)) as model:
        (made,) = model.complete(HELLO, GREEDY)
    assert (made.text, waited) == ("at last", [slept])


@pytest.mark.parametrize(
    ("reply", "says_"),
    [
        (says([1]), r"answered JSON that is no message and no event: \[1\]"),
        (says({"type": "message", "content": "a"}), "answered a message whose content is no list of blocks"),
        (says({"type": "completion", "completion": "a"}), "answered no completion"),
        (says(message(text("half"), stop=None)), "ends without a finish_reason after 4 characters"),
        (says("<html>", kind="text/html"), "answered HTML, not JSON"),
        (
            says({"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}, 404),
            "model: x; look at the model",
        ),
    ],
)
def test_what_is_no_answer_is_told(server: Server, model: Remote, reply: Any, says_: str) -> None:
    server.script = [reply]
    with pytest.raises(RemoteError, match=says_):
        model.complete(HELLO, GREEDY)


@pytest.mark.parametrize(
    "reply",
    [
        says({"type": "error", "error": {"type": "authentication_error", "message": f"invalid x-api-key {KEY}"}}, 401),
        says({"type": KEY}),
        says({}, 302, location=f"http://elsewhere/?key={KEY}"),
        slams,
        silent,
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_key_is_in_no_error_and_no_log(server: Server, caplog: pytest.LogCaptureFixture, reply: Any, streamed: bool) -> None:
    server.script = [reply]
    with connect("anthropic:claude-small", timeout_s=0.2, retries=Retries(tries=1)) as model:
        with caplog.at_level(logging.DEBUG), pytest.raises(RemoteError) as caught:
            list(model.stream(HELLO, GREEDY)) if streamed else model.complete(HELLO, GREEDY)
        assert KEY not in repr(model) + repr(vars(model)) + repr(vars(model._connection)) + repr(vars(model.endpoint))
    assert server.asked[0]["headers"]["x-api-key"] == KEY
    assert "authorization" not in server.asked[0]["headers"]
    assert caplog.records != []
    assert KEY not in caplog.text
    assert not leaks(everything_of(caught.value))


# --- names and keys


def test_the_key_goes_to_anthropic_and_to_what_the_owner_names_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE_KEY", "sk-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    server.always = says(message(text("a")))
    registry = Registry()
    registry.add("bare", "anthropic:claude-small", endpoint=Endpoint(base_url=server.url))
    registry.add("mine", "anthropic:claude-small", endpoint=Endpoint(base_url=server.url, api_key_env="MINE_KEY"))
    registry.add("env", "anthropic:claude-small")
    for name in ("bare", "mine", "env"):
        with connect(name) as model:
            model.complete(HELLO, GREEDY)
    assert [request["headers"].get("x-api-key") for request in server.asked] == [None, "sk-mine", KEY]
    assert {request["path"] for request in server.asked} == {"/v1/messages"}
    assert "sk-" not in registry.file.read_text()


def test_a_key_that_is_not_set_is_missed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(InputError, match=r"ANTHROPIC_API_KEY is not set; put the key for https://api\.anthropic\.com into"):
        connect("anthropic:claude-small")


def test_its_names_are_known_to_the_registry(model: Remote) -> None:
    assert (model.name, model.model) == ("anthropic:claude-small", "claude-small")
    assert dataclasses.asdict(model.endpoint) == {
        "base_url": model.endpoint.base_url,
        "api_key_env": "ANTHROPIC_API_KEY",
        "dialect": "anthropic",
        "prefill": "assistant_turn",
    }
    assert is_remote("anthropic:claude-small")
    entry = Registry().add("far", "anthropic:claude-small")
    assert (Registry().show("far"), entry.endpoint) == (entry, Endpoint(dialect="anthropic"))


@pytest.mark.parametrize(
    ("target", "endpoint", "says_"),
    [
        ("anthropic:", {}, "'anthropic:' names no remote model"),
        ("anthropic:a", {"dialect": "vllm"}, r"speaks Anthropic's protocol and dialect is 'vllm'.* or give openai:a"),
        ("openai:a", {"dialect": "anthropic"}, r"speaks Openai's protocol and dialect is 'anthropic'.* or give anthropic:a"),
    ],
)
def test_names_and_protocols_that_do_not_fit_are_refused(target: str, endpoint: dict[str, Any], says_: str) -> None:
    with pytest.raises(InputError, match=says_):
        Registry().add("far", target, endpoint=Endpoint(**endpoint))


def test_it_has_one_style_of_prefill() -> None:
    with pytest.raises(InputError, match="which Anthropic's protocol does not have"):
        Endpoint(dialect="anthropic", prefill="continue_final_message")
