"""The official `openai` client, unmodified, against a live server."""

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.api.listening import Live

import ramify

PROMPT = "Once upon a time"
MESSAGES: Any = [{"role": "user", "content": "Tell me a story about a cat."}]


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=live.token, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def model(live: Live) -> ramify.Model:
    """The served model itself, to ask it the same things without a server."""
    return live.server.models.loaded()["tiny"]


def asked(live: Live, question: Any) -> Any:
    """What the async client makes of `question(client)`."""

    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key=live.token, max_retries=0) as made:
            return await question(made)

    return asyncio.run(ask())


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    assert "tiny" in [found.id for found in client.models.list()]
    shown = client.models.retrieve("tiny")
    assert (shown.id, shown.object, shown.owned_by) == ("tiny", "model", "ramify")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_a_completion_is_the_models_own(client: openai.OpenAI, model: ramify.Model) -> None:
    plain = model.complete(PROMPT, max_new_tokens=20, temperature=0)
    made = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=20, temperature=0)
    choice = made.choices[0]
    assert (choice.text, choice.finish_reason, choice.index, choice.logprobs) == (plain.generated_text, "length", 0, None)
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total_tokens) == (5, 20, 25)
    assert (made.object, made.model) == ("text_completion", "tiny")


def test_a_chat_completion_is_the_models_own(client: openai.OpenAI, model: ramify.Model) -> None:
    plain = model.complete(MESSAGES, max_new_tokens=20, temperature=0)
    made = client.chat.completions.create(model="tiny", messages=MESSAGES, max_completion_tokens=20, temperature=0)
    choice = made.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", plain.generated_text)
    assert choice.message.refusal is None
    assert choice.message.tool_calls is None
    assert made.object == "chat.completion"


def test_streams_equal_wholes(client: openai.OpenAI) -> None:
    given: dict[str, Any] = {"model": "tiny", "max_tokens": 30, "temperature": 0.9, "seed": 11}
    whole = client.completions.create(prompt=PROMPT, **given)
    chunks = list(client.completions.create(prompt=PROMPT, stream=True, stream_options={"include_usage": True}, **given))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens  # type: ignore[union-attr]
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["length"]
    assert len({chunk.id for chunk in chunks}) == 1


def test_chat_streams_equal_wholes(client: openai.OpenAI) -> None:
    given: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 30, "temperature": 0.9, "seed": 11}
    whole = client.chat.completions.create(**given)
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **given))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert deltas[0].role == "assistant"
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens  # type: ignore[union-attr]


def test_the_clients_own_stream_helper_accumulates_the_same(client: openai.OpenAI) -> None:
    # The helper refuses an answer that was cut off at its length, whatever server it asks.
    given: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 99, "stop": ".", "temperature": 0}
    given["logprobs"] = True
    whole = client.chat.completions.create(**given)
    with client.chat.completions.stream(**given) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason
    assert final.choices[0].logprobs is not None
    assert whole.choices[0].logprobs is not None
    assert final.choices[0].logprobs.content == whole.choices[0].logprobs.content


def test_the_async_client_gets_the_same(client: openai.OpenAI, live: Live) -> None:
    given: dict[str, Any] = {"model": "tiny", "max_tokens": 12, "temperature": 0.9, "seed": 3}

    async def question(made: openai.AsyncOpenAI) -> Any:
        whole = await made.completions.create(prompt=PROMPT, **given)
        texts = [c.choices[0].text async for c in await made.completions.create(prompt=PROMPT, stream=True, **given) if c.choices]
        chat = await made.chat.completions.create(messages=MESSAGES, **given)
        stream = await made.chat.completions.create(messages=MESSAGES, stream=True, **given)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        names = [found.id async for found in await made.models.list()]
        return whole.choices[0].text, "".join(texts), chat.choices[0].message.content, "".join(said), names

    whole, streamed, chat, chat_streamed, names = asked(live, question)
    assert whole == streamed == client.completions.create(prompt=PROMPT, **given).choices[0].text
    assert chat == chat_streamed == client.chat.completions.create(messages=MESSAGES, **given).choices[0].message.content
    assert "tiny" in names


def test_thirty_two_at_once_are_what_each_is_alone(client: openai.OpenAI, live: Live) -> None:
    def given(number: int) -> dict[str, Any]:
        return {"model": "tiny", "prompt": f"{number} cats", "max_tokens": 5, "temperature": 0.9, "seed": number}

    async def question(made: openai.AsyncOpenAI) -> Any:
        return await asyncio.gather(*(made.completions.create(**given(number)) for number in range(32)))

    together = [made.choices[0].text for made in asked(live, question)]
    assert together == [client.completions.create(**given(number)).choices[0].text for number in range(32)]


def test_n_choices_are_those_of_the_seeds(client: openai.OpenAI) -> None:
    made = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=10, temperature=1, n=3, seed=5)
    alone = [
        client.completions.create(model="tiny", prompt=PROMPT, max_tokens=10, temperature=1, seed=seed).choices[0].text
        for seed in (5, 6, 7)
    ]
    assert [choice.text for choice in sorted(made.choices, key=lambda choice: choice.index)] == alone
    assert made.usage is not None
    assert made.usage.prompt_tokens == 5


def test_the_choices_of_a_stream_are_kept_apart(client: openai.OpenAI) -> None:
    given: dict[str, Any] = {"model": "tiny", "max_tokens": 10, "temperature": 1, "seed": 5, "n": 3}
    whole = client.completions.create(prompt=[PROMPT, "The cat"], **given)
    texts = [""] * 6
    for chunk in client.completions.create(prompt=[PROMPT, "The cat"], stream=True, **given):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert len(set(texts)) > 3


def test_best_of_gives_the_likeliest(client: openai.OpenAI) -> None:
    given: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "max_tokens": 10, "temperature": 1, "seed": 5, "logprobs": 0}
    best = client.completions.create(n=1, best_of=4, **given).choices[0]
    every = client.completions.create(n=4, **given).choices

    def mean(choice: Any) -> float:
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    assert best.text == max(every, key=mean).text


def test_prompts_may_be_ids(client: openai.OpenAI, model: ramify.Model) -> None:
    ids = list(model.codec.encode(PROMPT))
    given: dict[str, Any] = {"model": "tiny", "max_tokens": 10, "temperature": 0}
    by_text = client.completions.create(prompt=PROMPT, **given).choices[0].text
    assert client.completions.create(prompt=list(model.ids_of(PROMPT)[0]), **given).choices[0].text == by_text
    assert [c.text for c in client.completions.create(prompt=[ids, ids], **given).choices] == [
        client.completions.create(prompt=ids, **given).choices[0].text
    ] * 2


def test_echoed_logprobs_measure_the_prompt(client: openai.OpenAI, model: ramify.Model) -> None:
    ids, _ = model.ids_of(PROMPT)
    scored = model.score(list(ids[:1]), list(ids[1:]), top=3)
    made = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=0, echo=True, logprobs=3, temperature=0)
    choice = made.choices[0]
    assert choice.text == PROMPT
    logprobs = choice.logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.token_logprobs[0] is None
    assert logprobs.top_logprobs[0] is None
    assert logprobs.token_logprobs[1:] == pytest.approx([token.logprob for token in scored.logprobs], abs=1e-5)
    for token, logprob, top in zip(logprobs.tokens[1:], logprobs.token_logprobs[1:], logprobs.top_logprobs[1:], strict=True):
        assert top[token] == logprob
        assert len(top) in (3, 4)


def test_generated_logprobs_are_the_models_and_an_eos_has_one(client: openai.OpenAI, model: ramify.Model) -> None:
    given: dict[str, Any] = {"max_new_tokens": 40, "temperature": 0, "choices": ["cat", "dog"]}
    plain = model.complete(PROMPT, logprobs=2, **given)
    assert plain.finish_reason == "eos"
    made = client.completions.create(
        model="tiny", prompt=PROMPT, max_tokens=40, temperature=0, logprobs=2, extra_body={"guided_choice": ["cat", "dog"]}
    )
    found = made.choices[0].logprobs
    assert found is not None
    assert found.token_logprobs is not None
    assert plain.logprobs is not None
    assert found.token_logprobs == pytest.approx([token.logprob for token in plain.logprobs])
    assert made.choices[0].finish_reason == "stop"


def test_chat_logprobs_have_bytes_and_alternatives(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=10, temperature=0, logprobs=True, top_logprobs=4
    )
    found = made.choices[0].logprobs
    assert found is not None
    assert found.content is not None
    said = b"".join(bytes(entry.bytes or []) for entry in found.content)
    assert said.decode().startswith(made.choices[0].message.content or "never")
    for entry in found.content:
        assert len(entry.top_logprobs) == 4
        assert entry.top_logprobs[0].logprob == entry.logprob  # greedy
        assert sum(math.exp(other.logprob) for other in entry.top_logprobs) <= 1.0001


@pytest.mark.parametrize("stream", [False, True])
def test_stops_end_the_text_and_are_left_out(client: openai.OpenAI, stream: bool) -> None:
    given: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "max_tokens": 40, "temperature": 0}
    free = client.completions.create(**given).choices[0].text
    stop = [free[9:14], "never said"]
    made: Any = client.completions.create(stop=stop, stream=stream, **given)
    text = "".join(chunk.choices[0].text for chunk in made) if stream else made.choices[0].text
    assert text == free[: free.index(stop[0])]


def test_logit_bias_can_ban_and_force(client: openai.OpenAI, model: ramify.Model) -> None:
    (cat,) = model.codec.encode(" cat")
    given: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "max_tokens": 3, "temperature": 0}
    assert client.completions.create(logit_bias={str(cat): 100}, **given).choices[0].text == " cat cat cat"
    first = model.complete(PROMPT, max_new_tokens=1, temperature=0).token_ids[0]
    banned = client.completions.create(logit_bias={str(first): -100}, logprobs=0, **given)
    assert not (banned.choices[0].text or "").startswith(model.codec.decode([first]))


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 10}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_json_schema_is_kept(client: openai.OpenAI, stream: bool) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    made: Any = client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=100, temperature=0, response_format=form, stream=stream
    )
    text = (
        "".join(chunk.choices[0].delta.content or "" for chunk in made if chunk.choices)
        if stream
        else made.choices[0].message.content
    )
    found = json.loads(text)
    assert set(found) == {"name", "age"}
    assert 0 <= found["age"] <= 150


def test_the_clients_own_parser_gets_its_class(client: openai.OpenAI) -> None:
    from pydantic import BaseModel

    class Answer(BaseModel):
        yes: bool

    made = client.chat.completions.parse(model="tiny", messages=MESSAGES, max_tokens=50, temperature=0, response_format=Answer)
    assert isinstance(made.choices[0].message.parsed, Answer)


def test_a_begun_answer_is_continued(client: openai.OpenAI, model: ramify.Model) -> None:
    begun: Any = [*MESSAGES, {"role": "assistant", "content": "The cat"}]
    made = client.chat.completions.create(
        model="tiny",
        messages=begun,
        max_tokens=10,
        temperature=0,
        extra_body={"continue_final_message": True, "add_generation_prompt": False},
    )
    plain = model.complete(MESSAGES, prefill="The cat", max_new_tokens=10, temperature=0)
    assert made.choices[0].message.content == plain.generated_text


ERRORS: list[tuple[type[openai.APIStatusError], dict[str, Any], str]] = [
    (openai.NotFoundError, {"model": "no-such-model"}, "model"),
    (openai.BadRequestError, {"max_tokens": 100_000}, "max_tokens"),
    (openai.BadRequestError, {"prompt": "a " * 5000}, ""),
    (openai.BadRequestError, {"temperature": -1}, "temperature"),
    (openai.BadRequestError, {"n": 0}, "n"),
    (openai.BadRequestError, {"extra_body": {"tempreature": 1}}, "tempreature"),
    (openai.BadRequestError, {"logit_bias": {"99999999": 1}}, "logit_bias"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "given", "param"), ERRORS, ids=lambda v: "-".join(v) if isinstance(v, dict) else "")
def test_refusals_are_the_clients_own_classes(
    client: openai.OpenAI, kind: type[openai.APIStatusError], given: dict[str, Any], param: str, stream: bool
) -> None:
    with pytest.raises(kind) as refused:
        client.completions.create(**{"model": "tiny", "prompt": PROMPT, "max_tokens": 5, "stream": stream, **given})
    assert refused.value.body["message"]  # type: ignore[index]
    assert (refused.value.param or "") == param
    assert refused.value.type in ("invalid_request_error", "not_found_error")


def test_a_wrong_key_is_an_authentication_error(live: Live) -> None:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        with pytest.raises(openai.AuthenticationError):
            stranger.completions.create(model="tiny", prompt=PROMPT, stream=True)


def test_leaving_a_stream_frees_the_engine(client: openai.OpenAI, live: Live, model: ramify.Model) -> None:
    stream = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=2000, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()

    def busy() -> bool:
        return bool(model.on_engine(lambda: model.engine.scheduler.busy).result(5))

    import time

    until = time.monotonic() + 5
    while busy() and time.monotonic() < until:
        time.sleep(0.01)
    assert not busy()
