"""`Completion` asks a live server and gets what it gets in-process: answers, pieces, refusals."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.api.serving_process import KEY, Serving

from ramify import Completion
from ramify.errors import NotFoundError, RamifyError, RemoteError, UnauthorizedError

GIVEN: dict[str, Any] = {"model": "tiny", "prompt": "Once upon a time", "max_new_tokens": 12}
ACTIVE = ("ramify_completions_running{", "ramify_completions_waiting{")
Both = Callable[[Callable[[], Any]], tuple[Any, Any]]


@pytest.fixture
def both(server_process: Serving, monkeypatch: pytest.MonkeyPatch) -> Both:
    """What a call gives in-process, and what it gives over HTTP."""

    def asked(call: Callable[[], Any]) -> tuple[Any, Any]:
        monkeypatch.delenv("RAMIFY_BASE_URL", raising=False)
        here = call()
        monkeypatch.setenv("RAMIFY_BASE_URL", server_process.url)
        monkeypatch.setenv("RAMIFY_API_KEY", KEY)
        return here, call()

    return asked


def without_id(answer: Any) -> dict[str, Any]:
    """All but the request's id, with logprobs to the fifth digit: company may move the sixth."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rounded(item) for key, item in value.items() if key != "request_id"}
        if isinstance(value, list):
            return [rounded(item) for item in value]
        return round(value, 4) if isinstance(value, float) else value

    found: dict[str, Any] = rounded(answer.model_dump())
    return found


SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1.0, "seed": 2, "top_p": 0.9, "top_k": 50, "presence_penalty": 1.0, "frequency_penalty": 0.5},
    {"temperature": 0, "return_token_log_probs": True},
    {"temperature": 0, "stop_sequences": [" little"], "include_stop_str_in_output": True},
    {"temperature": 0, "guided_json": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}},
    {"temperature": 0, "guided_choice": ["cat", "cathedral"], "return_token_log_probs": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s))
def test_answers_and_pieces_are_the_same(both: Both, settings: dict[str, Any]) -> None:
    async def asynchronous() -> list[dict[str, Any]]:
        pieces = await Completion.acreate(**GIVEN, **settings, stream=True)
        return [without_id(piece) async for piece in pieces]

    here, there = both(lambda: without_id(Completion.create(**GIVEN, **settings)))
    assert here == there
    here, there = both(lambda: [without_id(piece) for piece in Completion.create(**GIVEN, **settings, stream=True)])
    assert here == there
    assert both(lambda: asyncio.run(asynchronous())) == (here, there)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        {"model": "no-such-model"},
        {"max_new_tokens": 2044},
        {"prompt": "a " * 3000},
        {"guided_regex": "("},
        {"guided_json": {"type": "text"}},
        {"guided_grammar": "start: missing"},
        {"seed": -1},
    ],
    ids=lambda given: "-".join(given),
)
def test_refusals_are_the_same(both: Both, given: dict[str, Any], stream: bool) -> None:
    def refused() -> tuple[object, ...]:
        with pytest.raises(RamifyError) as caught:
            Completion.create(**{**GIVEN, **given}, stream=stream)
        # ModelNotFoundError is a NotFoundError that only this process can tell from others.
        kind = NotFoundError if isinstance(caught.value, NotFoundError) else type(caught.value)
        return kind, getattr(caught.value, "status", None), getattr(caught.value, "param", None)

    here, there = both(refused)
    assert here == there
    assert here[1] in (400, 404)


def test_a_wrong_key_is_unauthorized(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    both(lambda: None)
    monkeypatch.setenv("RAMIFY_API_KEY", "wrong")
    for stream in (False, True):
        with pytest.raises(UnauthorizedError, match="the key came from RAMIFY_API_KEY"):
            Completion.create(**GIVEN, stream=stream)


def test_a_timeout_and_a_left_stream_end_the_generation(both: Both, server_process: Serving) -> None:
    long: dict[str, Any] = {**GIVEN, "max_new_tokens": 2000, "guided_regex": "(a|b){1900}"}
    both(lambda: None)
    with pytest.raises(RemoteError, match="said nothing"):
        Completion.create(**long, timeout=0.3)
    for _ in Completion.create(**long, stream=True):
        break
    with server_process.client() as client:
        for _ in range(200):
            lines = client.get("/metrics").text.splitlines()
            running = sum(float(line.split()[-1]) for line in lines if line.startswith(ACTIVE))
            if not running:
                break
    assert [line for line in lines if line.startswith(ACTIVE)]
    assert running == 0
