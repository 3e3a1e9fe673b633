"""`Completion` with no server named: the model runs here, and says and refuses what a server would."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ramify
from ramify import Completion
from ramify.engine import loaded as loaded_models
from ramify.engine.loaded import loaded
from ramify.errors import BadRequestError, EngineError, NotFoundError, RamifyError, RemoteError, ServerError
from ramify.models.registry import Registry

GIVEN: dict[str, Any] = {"model": "tiny", "prompt": "Once upon a time"}
LONG: dict[str, Any] = {"max_new_tokens": 2000, "guided_regex": "(a|b){1900}"}
"""What no EOS ends early."""


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAMIFY_BASE_URL", raising=False)


async def acreate(**given: Any) -> Any:
    return await Completion.acreate(**given)


async def acreated_pieces(**given: Any) -> list[Any]:
    pieces: Any = await Completion.acreate(**given, stream=True)
    return [piece async for piece in pieces]


def test_it_says_what_the_library_says() -> None:
    plain = loaded("tiny").complete(GIVEN["prompt"], max_new_tokens=12, temperature=0.8, seed=5)
    answer = Completion.create(**GIVEN, max_new_tokens=12, temperature=0.8, seed=5, return_token_log_probs=True)
    output = answer.output
    assert (output.text, output.num_completion_tokens, output.num_prompt_tokens) == (plain.generated_text, 12, 5)
    assert output.finish_reason == "length"
    assert plain.logprobs is not None
    assert output.tokens is not None
    assert [(t.token, t.log_prob) for t in output.tokens] == [(t.text, t.logprob) for t in plain.logprobs]


SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0.9, "seed": 1, "top_p": 0.9, "top_k": 40},
    {"temperature": 1.0, "seed": 2, "presence_penalty": 1.0, "frequency_penalty": 0.5, "return_token_log_probs": True},
    {"temperature": 0, "stop_sequences": ["little girl"]},
    {"temperature": 0, "stop_sequences": ["little girl"], "include_stop_str_in_output": True},
    {"temperature": 0, "guided_choice": ["cat", "cathedral"]},
    {"temperature": 0, "guided_regex": "[a-z]{3,5}"},
    {"temperature": 0, "guided_grammar": 'start: "a" "b"+ "c"'},
    {"temperature": 0, "guided_json": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s))
def test_whole_and_stream_sync_and_async_are_one(settings: dict[str, Any]) -> None:
    given = {**GIVEN, "max_new_tokens": 24, **settings}
    whole = Completion.create(**given).output
    assert asyncio.run(acreate(**given)).output == whole
    for pieces in (list(Completion.create(**given, stream=True)), asyncio.run(acreated_pieces(**given))):
        assert "".join(piece.output.text for piece in pieces) == whole.text
        assert [piece.output.num_completion_tokens for piece in pieces] == list(range(1, whole.num_completion_tokens + 1))
        assert [piece.output.finished for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert [piece.output.num_prompt_tokens for piece in pieces] == [None] * (len(pieces) - 1) + [whole.num_prompt_tokens]
        assert [piece.output.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + [whole.finish_reason]
        assert len({piece.request_id for piece in pieces}) == 1
        assert [piece.output.token for piece in pieces] == (whole.tokens or [None] * len(pieces))


def test_constraints_and_stops_hold() -> None:
    def said(**settings: Any) -> tuple[str, str | None]:
        output = Completion.create(**GIVEN, temperature=0, max_new_tokens=40, **settings).output
        return output.text, output.finish_reason

    assert said(guided_choice=["cat", "cathedral"])[0] in ("cat", "cathedral")
    assert said(guided_grammar='start: "abc"') == ("abc", "eos")
    assert said(stop_sequences=["little girl"]) == (", there was a ", "stop")
    assert said(stop_sequences=["little girl"], include_stop_str_in_output=True) == (", there was a little girl", "stop")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"model": "no-such-model"}, NotFoundError, "no-such-model"),
        ({"model": "openai:gpt-4o"}, BadRequestError, "remote"),
        ({"max_new_tokens": 2044}, BadRequestError, "5 tokens and max_new_tokens is 2044, together 2049; .* window holds 2048"),
        ({"prompt": "a " * 3000}, BadRequestError, r"the prompt has \d+ tokens; .* window holds 2048"),
        ({"guided_regex": "("}, BadRequestError, "regex"),
        ({"guided_json": {"type": "text"}}, BadRequestError, "text"),
        ({"guided_grammar": "start: missing"}, BadRequestError, "missing"),
        ({"seed": 2**70}, BadRequestError, "seed"),
        ({"request_headers": {"a": "b"}}, BadRequestError, "no server to send them to"),
        ({"logprobs": 3}, BadRequestError, "logprobs is not a parameter"),
        ({"max_new_tokens": 1000, "timeout": 0.001}, RemoteError, r"said nothing for 0\.001 s"),
    ],
)
def test_refusals_have_a_servers_classes(given: dict[str, Any], kind: type[RamifyError], says: str, stream: bool) -> None:
    with pytest.raises(kind, match=says):
        list(Completion.create(**{**GIVEN, **given}, stream=stream))
    with pytest.raises(kind, match=says):
        asyncio.run((acreated_pieces if stream else acreate)(**{**GIVEN, **given}))


def test_the_last_token_of_the_window_may_be_asked_for() -> None:
    assert Completion.create(**GIVEN, max_new_tokens=2043, stop_sequences=["."]).output.finish_reason == "stop"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ramify.Model]:
    """A model of its own, named `broken`, whose engine fails at its third step."""
    model = ramify.load("tiny", device="cpu", precision="float32")
    extend, steps = model.engine.backend.extend, [0]

    def fails(rows: Any) -> Any:
        steps[0] += 1
        if steps[0] == 3:
            raise RuntimeError("the memory is gone")
        return extend(rows)

    monkeypatch.setattr(model.engine.backend, "extend", fails)
    monkeypatch.setattr("ramify.client.in_process.loaded", lambda _: model)
    yield model
    model.close()


def test_a_failing_engine_is_a_server_error(failing: ramify.Model) -> None:
    with pytest.raises(ServerError, match="the memory is gone") as failed:
        Completion.create(**GIVEN)
    assert failed.value.status == 500
    assert isinstance(failed.value.__cause__, EngineError)


def test_a_stream_that_fails_ends_in_a_piece_with_the_error(failing: ramify.Model) -> None:
    *pieces, last = Completion.create(**GIVEN, stream=True, temperature=0)
    assert "".join(piece.output.text for piece in pieces if piece.output) == ", there"
    assert last.output is None
    assert last.error is not None
    assert last.error.status_code == 500
    assert "the memory is gone" in last.error.content.error


def idle(model: ramify.Model) -> bool:
    """Whether the engine has let go of everything, asked between two of its steps."""
    return bool(model.on_engine(lambda: not model.engine.scheduler.running and not model.engine.scheduler.waiting).result(5))


def soon_idle(model: ramify.Model) -> bool:
    return any(idle(model) or threading.Event().wait(0.01) for _ in range(500))


def test_leaving_a_stream_ends_the_generation() -> None:
    model = loaded("tiny")
    for _ in Completion.create(**GIVEN, **LONG, stream=True):
        assert not idle(model)
        break
    assert soon_idle(model)


def test_letting_go_of_a_stream_that_was_never_read_ends_the_generation() -> None:
    model = loaded("tiny")
    stream = Completion.create(**GIVEN, **LONG, stream=True)
    assert not idle(model)
    del stream
    assert soon_idle(model)


def test_cancelling_a_task_ends_the_generation() -> None:
    model = loaded("tiny")

    async def ask() -> None:
        task = asyncio.create_task(acreate(**GIVEN, **LONG))
        while await asyncio.to_thread(idle, model):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert soon_idle(model)


def test_a_timeout_ends_the_generation() -> None:
    with pytest.raises(RemoteError):
        Completion.create(**GIVEN, **LONG, timeout=0.05)
    assert soon_idle(loaded("tiny"))


def test_a_model_is_loaded_once_however_many_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path))
    loads: list[str] = []
    real = loaded_models.load

    def counted(name: str) -> ramify.Model:
        loads.append(name)
        return real(name)

    monkeypatch.setattr(loaded_models, "load", counted)
    monkeypatch.setattr(loaded_models, "_models", {})
    Registry().add("llama-2-7b", "tiny")
    threads = [
        threading.Thread(target=Completion.create, args=(name, "Once"), kwargs={"max_new_tokens": 1})
        for name in ("tiny", "llama-2-7b", "tiny", "llama-2-7b")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1


def test_thirty_two_threads_get_what_each_would_get_alone() -> None:
    def ask(number: int) -> str:
        return Completion.create("tiny", f"{number} cats", max_new_tokens=5, temperature=0.9, seed=number).output.text

    alone = [ask(number) for number in range(32)]
    together: dict[int, str] = {}
    threads = [threading.Thread(target=lambda n=n: together.update({n: ask(n)})) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(32)] == alone
