"""A stream says what the whole answer says, piece by piece, on every route; what fails on the way is its last event."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.api.gates import gated
from tests.api.listening import TOKEN, Live, listening

from ramify.api.app import create_app
from ramify.api.state import Limits

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
SYNC, STREAM = "/v1/llm/completions-sync?model_endpoint_name=tiny", "/v1/llm/completions-stream?model_endpoint_name=tiny"
ASK = [{"role": "user", "content": "Tell me a story about a cat."}]


def events(live: Live, path: str, **body: Any) -> list[Any]:
    """The data of all events, [DONE] as a string."""
    return list(events_of(live, path, body))


def events_of(live: Live, path: str, body: dict[str, Any]) -> Iterator[Any]:
    with live.client() as client, client.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        text = b"".join(answer.iter_raw())
    for block in text.split(b"\n\n"):
        if block and not block.startswith(b":"):
            assert block.startswith(b"data: ")
            assert b"\n" not in block
            data = block.removeprefix(b"data: ").decode()
            yield data if data == "[DONE]" else json.loads(data)


def whole(live: Live, path: str, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = live.client().post(path, json=body).json()
    return found


def merged_logprobs(pieces: list[dict[str, Any] | None]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = None
    for piece in pieces:
        if piece is not None:
            lists = {key: value for key, value in piece.items() if value is not None}
            found = lists if found is None else {key: found[key] + lists[key] for key in lists}
    return found


def nearly(value: Any) -> Any:
    """Equal, numbers to the fifth digit: company and remembered prefixes change the last bits of a logprob."""
    if isinstance(value, float):
        return pytest.approx(value, abs=1e-4)
    if isinstance(value, dict):
        return {key: nearly(each) for key, each in value.items()}
    return [nearly(each) for each in value] if isinstance(value, list) else value


CASES: list[dict[str, Any]] = [
    {"prompt": "Once upon a time", "max_tokens": 30},
    {"prompt": "Once upon a time", "max_tokens": 30, "logprobs": 2, "echo": True, "return_token_ids": True},
    {"prompt": ["The cat", "Héllo 漢字", "A dog"], "max_tokens": 12, "n": 2, "logprobs": 0},
    {"prompt": "Once upon a time", "max_tokens": 60, "stop": [" there was", "little girl", "e"]},
    {"prompt": "Once upon a time", "max_tokens": 60, "stop": "was a", "include_stop_str_in_output": True},
    {"prompt": "Say", "max_tokens": 20, "regex": "[é漢🙂]{3,6}", "logprobs": 1},
    {"prompt": "The cat", "max_tokens": 10, "num_beams": 3, "n": 2, "temperature": None, "logprobs": 1},
    {"prompt": "The cat", "max_tokens": 0, "echo": True, "logprobs": 1},
    {"prompt": "A bill:", "max_tokens": 40, "response_format": {"type": "json_object"}},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "+".join(case))
def test_a_stream_of_completions_is_the_whole(live: Live, case: dict[str, Any]) -> None:
    body = {"temperature": 0, **case}
    expected = whole(live, COMPLETIONS, **body)
    *chunks, done = events(live, COMPLETIONS, **body, stream=True, stream_options={"include_usage": True})
    assert done == "[DONE]"
    *chunks, last = chunks
    assert last["choices"] == []
    assert {k: last["usage"][k] for k in ("prompt_tokens", "completion_tokens")} == {
        k: expected["usage"][k] for k in ("prompt_tokens", "completion_tokens")
    }
    assert all(chunk["usage"] is None and chunk["object"] == "text_completion" for chunk in chunks)
    assert len({chunk["id"] for chunk in (*chunks, last)}) == 1
    for choice in expected["choices"]:
        pieces = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == choice["index"]]
        assert "".join(piece["text"] for piece in pieces) == choice["text"]
        assert merged_logprobs([piece["logprobs"] for piece in pieces]) == nearly(choice["logprobs"])
        assert [piece["finish_reason"] for piece in pieces if piece["finish_reason"]] == [choice["finish_reason"]]
        assert pieces[-1].get("stop_reason") == choice.get("stop_reason")
        if "token_ids" in choice:
            assert [i for piece in pieces for i in piece["token_ids"]] == choice["token_ids"]
            assert pieces[0]["prompt_token_ids"] == choice["prompt_token_ids"]


@pytest.mark.parametrize(
    "case",
    [
        {"max_tokens": 30},
        {"max_tokens": 12, "n": 3, "logprobs": True, "top_logprobs": 2},
        {"max_tokens": 60, "stop": [" there", "cat"]},
        {"max_tokens": 20, "regex": "[é漢🙂]{3,6}"},
        {
            "messages": [*ASK, {"role": "assistant", "content": "Once upon a ti"}],
            "continue_final_message": True,
            "max_tokens": 12,
        },
    ],
    ids=lambda case: "+".join(case),
)
def test_a_stream_of_chat_is_the_whole(live: Live, case: dict[str, Any]) -> None:
    body = {"messages": ASK, "temperature": 0, **case}
    expected = whole(live, CHAT, **body)
    *chunks, done = events(live, CHAT, **body, stream=True)
    assert done == "[DONE]"
    assert all("usage" not in chunk and chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    for choice in expected["choices"]:
        pieces = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == choice["index"]]
        assert pieces[0]["delta"] == {"role": "assistant", "content": ""}
        assert pieces[-1]["delta"] == {}
        assert "".join(piece["delta"].get("content", "") for piece in pieces) == choice["message"]["content"]
        assert [piece["finish_reason"] for piece in pieces if piece["finish_reason"]] == [choice["finish_reason"]]
        assert merged_logprobs([piece["logprobs"] for piece in pieces]) == nearly(
            None if choice["logprobs"] is None else {"content": choice["logprobs"]["content"]}
        )


@pytest.mark.parametrize(
    "case",
    [
        {"max_new_tokens": 30},
        {"max_new_tokens": 12, "return_token_log_probs": True},
        {"max_new_tokens": 60, "stop_sequences": [" there was", "e"]},
        {"max_new_tokens": 20, "guided_regex": "[é漢🙂]{3,6}"},
    ],
    ids=lambda case: "+".join(case),
)
def test_a_stream_of_llm_engine_is_the_whole(live: Live, case: dict[str, Any]) -> None:
    body = {"prompt": "Once upon a time", "temperature": 0, **case}
    expected = whole(live, SYNC, **body)["output"]
    chunks = events(live, STREAM, **body)
    outputs = [chunk["output"] for chunk in chunks]
    assert "".join(output["text"] for output in outputs) == expected["text"]
    assert [output["finished"] for output in outputs] == [False] * (len(outputs) - 1) + [True]
    assert [output["num_completion_tokens"] for output in outputs] == list(range(1, expected["num_completion_tokens"] + 1))
    assert [output["num_prompt_tokens"] for output in outputs if "num_prompt_tokens" in output] == [expected["num_prompt_tokens"]]
    assert outputs[-1]["finish_reason"] == expected["finish_reason"]
    assert all("error" not in chunk for chunk in chunks)
    if "tokens" in expected:
        assert [output["token"]["token"] for output in outputs] == [token["token"] for token in expected["tokens"]]


def test_usage_can_come_with_every_chunk(live: Live) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    *chunks, _ = events(live, COMPLETIONS, prompt="The cat", temperature=0, max_tokens=3, stream=True, stream_options=options)
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [1, 2, 3, 3]


def test_no_piece_of_a_stream_breaks_a_character_or_shows_a_stop_string(live: Live) -> None:
    *chunks, _ = events(
        live, COMPLETIONS, prompt="Say", max_tokens=40, temperature=0, regex="[é漢🙂]{8}STOP", stop="STOP", stream=True
    )
    texts = [chunk["choices"][0]["text"] for chunk in chunks]
    assert all("\ufffd" not in text and "S" not in text for text in texts)
    assert len("".join(texts)) == 8


def test_what_is_wrong_with_a_request_is_a_status_and_no_stream(live: Live) -> None:
    for path, body in (
        (COMPLETIONS, {"prompt": "a", "max_tokens": 4000, "stream": True}),
        (CHAT, {"messages": ASK, "max_tokens": 4000, "stream": True}),
        (STREAM, {"prompt": "a", "max_new_tokens": 4000}),
        (STREAM, {"prompt": "Once upon a time " * 900}),
        (COMPLETIONS, {"prompt": "a", "regex": "(", "stream": True}),
    ):
        answer = live.client().post(path, json=body)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/json"


def test_a_seed_gives_the_same_text_alone_and_among_64_others(live: Live) -> None:
    wanted = {"prompt": "The little hedgehog", "max_tokens": 16, "temperature": 0.9, "seed": 17}
    alone = whole(live, COMPLETIONS, **wanted)["choices"][0]["text"]

    async def crowd() -> list[str]:
        limits = httpx2.Limits(max_connections=100)
        async with httpx2.AsyncClient(
            base_url=live.url, headers=live.headers, timeout=120, limits=limits, verify=False
        ) as client:
            others = [
                client.post(COMPLETIONS, json={"prompt": f"Number {i} said", "max_tokens": 16, "temperature": 0.9, "seed": i})
                for i in range(64)
            ]
            answers = await asyncio.gather(*others[:32], client.post(COMPLETIONS, json=wanted), *others[32:])
        return [answer.json()["choices"][0]["text"] for answer in answers]

    assert asyncio.run(crowd())[32] == alone


# What fails on the way.


def failing(after: int) -> Any:
    """A model whose forward pass fails once, after so many that did not."""
    model, gate = gated()
    gate.leave_open()
    backend: Any = model.engine.backend
    state = {"left": after, "armed": True}

    def pass_through(rows: int) -> None:
        if state["armed"] and state["left"] == 0:
            state["armed"] = False
            raise RuntimeError("out of memory, say")
        state["left"] -= 1

    backend._gate.pass_through = pass_through
    return model


def test_an_engine_that_fails_ends_streams_with_an_error_and_health_says_so_until_it_answers() -> None:
    for path, body in (
        (COMPLETIONS, {"prompt": "Once upon a time", "max_tokens": 50, "stream": True, "ignore_eos": True}),
        (CHAT, {"messages": ASK, "max_tokens": 50, "stream": True, "ignore_eos": True}),
        (STREAM, {"prompt": "Once upon a time", "max_new_tokens": 50}),
    ):
        model = failing(5)
        with listening(create_app(token=TOKEN, load=lambda name, model=model: model)) as live:
            *_, last = (event for event in events(live, path, **body) if event != "[DONE]")
            if path == STREAM:
                assert last["error"]["status_code"] == 500
                assert "out of memory" in last["error"]["content"]["error"]
                assert "output" not in last
            else:
                assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "engine_failed")
                assert "out of memory" in last["error"]["message"]
            health = live.client().get("/health")
            assert (health.status_code, health.json()) == (503, {"status": "failed"})
            assert 'ramify_engine_up{model="tiny"} 0.0' in live.client().get("/metrics").text
            assert live.client().post(COMPLETIONS, json={"prompt": "a", "max_tokens": 1}).status_code == 200
            assert live.client().get("/health").json() == {"status": "ok"}


def test_a_plain_request_whose_engine_fails_is_a_500() -> None:
    model = failing(2)
    with listening(create_app(token=TOKEN, load=lambda name: model)) as live:
        answer = live.client().post(COMPLETIONS, json={"prompt": "a", "max_tokens": 9, "ignore_eos": True})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_failed")


def test_an_engine_that_failed_is_asked_until_it_answers_without_any_request() -> None:
    model = failing(2)
    with listening(create_app(token=TOKEN, load=lambda name: model)) as live:
        live.client().post(COMPLETIONS, json={"prompt": "a", "max_tokens": 9, "ignore_eos": True})
        assert live.client().get("/health").status_code == 503
        for _ in range(1000):
            if live.client().get("/health").status_code == 200:
                return
        raise AssertionError("the engine was never asked")


def test_a_request_that_takes_too_long_ends() -> None:
    for stream in (False, True):
        model, gate = gated()
        app = create_app(token=TOKEN, load=lambda name, model=model: model, limits=Limits(request_timeout_s=0.5))
        with listening(app) as live:
            body = {"prompt": "Once upon a time", "max_tokens": 50, "ignore_eos": True}
            gate.step(2)
            if stream:
                *pieces, last, done = events(live, COMPLETIONS, **body, stream=True)
                assert (len(pieces), done) == (2, "[DONE]")
                assert (last["error"]["type"], last["error"]["code"]) == ("timeout_error", "timeout")
            else:
                answer = live.client().post(COMPLETIONS, json=body)
                assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
            gate.leave_open()
            assert live.client().post(COMPLETIONS, json={"prompt": "a", "max_tokens": 1}).status_code == 200


def test_a_stream_that_has_nothing_to_say_says_so() -> None:
    model, gate = gated()
    with listening(create_app(token=TOKEN, load=lambda name: model, limits=Limits(ping_s=0.05))) as live:
        body = {"prompt": "a", "max_tokens": 1, "stream": True}
        with live.client() as client, client.stream("POST", COMPLETIONS, json=body) as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == b": ping\n\n"
            gate.leave_open()
            assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
