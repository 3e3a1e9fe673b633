"""Many at once: none lost, none mixed up, exactly the excess refused; and nobody waits behind somebody's megabytes."""

import asyncio
import json
import re
import time
from typing import Any

import httpx2
import pytest
from tests.api.gates import gated
from tests.api.listening import TOKEN, Live, listening

import ramify
from ramify.api.app import create_app
from ramify.api.state import Limits

COMPLETIONS = "/v1/completions"
TOKENS = 8
"""Of each completion where 500 run: places are given back and taken some eight times over."""


def clients(live: Live) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(base_url=live.url, headers=live.headers, timeout=500, limits=limits, verify=False)


def gauge(text: str, name: str) -> float:
    found = re.search(rf'^{name}{{model="tiny"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_exactly_the_excess_over_places_and_queue_is_refused_and_the_rest_is_answered() -> None:
    model, gate = gated(max_rows=4)
    app = create_app(token=TOKEN, load=lambda name: model, limits=Limits(max_queue=10))

    async def story(live: Live) -> None:
        async with clients(live) as client:
            asked = [
                asyncio.create_task(client.post(COMPLETIONS, json={"prompt": f"Number {i}", "max_tokens": 3, "temperature": 0}))
                for i in range(40)
            ]
            done, _ = await asyncio.wait(asked, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < 26:
                more, _ = await asyncio.wait(set(asked) - done, timeout=30, return_when=asyncio.FIRST_COMPLETED)
                assert more
                done |= more
            # Nothing has moved in the engine: 4 + 10 are held, and all others were refused at once.
            refused = [task.result() for task in done]
            assert {answer.status_code for answer in refused} == {429}
            assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
            assert refused[0].json()["error"]["type"] == "rate_limit_error"
            await asyncio.sleep(0.2)
            text = (await client.get("/metrics")).text
            assert (gauge(text, "ramify_completions_running"), gauge(text, "ramify_completions_waiting")) == (4, 10)
            assert gauge(text, "ramify_requests_refused_total") == 26
            # n counts as n: there is no room for one more, and none for eight.
            assert (await client.post(COMPLETIONS, json={"prompt": "a", "n": 8})).status_code == 429
            gate.leave_open()
            admitted = [task for task in asked if task not in done]
            assert [answer.status_code for answer in await asyncio.gather(*admitted)] == [200] * 14

    with listening(app) as live:
        asyncio.run(story(live))


def test_a_request_of_many_prompts_does_not_keep_a_single_one_waiting() -> None:
    model, gate = gated(max_rows=1)
    with listening(create_app(token=TOKEN, load=lambda name: model)) as live:

        async def story() -> None:
            async with clients(live) as client:
                prompts = [f"Number {i}" for i in range(50)]
                many = asyncio.create_task(client.post(COMPLETIONS, json={"prompt": prompts, "max_tokens": 1}))
                await asyncio.to_thread(gate.arrives)
                one = asyncio.create_task(client.post(COMPLETIONS, json={"prompt": "A single one", "max_tokens": 1}))
                while gauge((await client.get("/metrics")).text, "ramify_completions_waiting") < 50:
                    await asyncio.sleep(0.01)
                gate.step(3)  # the one that runs, and two more
                assert (await one).status_code == 200
                assert not many.done()
                gate.leave_open()
                assert len((await many).json()["choices"]) == 50

        asyncio.run(story())


@pytest.mark.slow
def test_500_at_once_are_each_answered_as_alone_with_64_running_together() -> None:
    app = create_app(
        token=TOKEN, load=lambda name: ramify.load(name, device="cpu", precision="float32"), limits=Limits(max_queue=500)
    )

    def body(i: int) -> dict[str, Any]:
        return {
            "prompt": f"Once upon a time, number {i}",
            "max_tokens": TOKENS,
            "temperature": 0.8,
            "seed": i,
            "ignore_eos": True,
        }

    async def story(live: Live) -> None:
        most = 0.0
        async with clients(live) as client:
            asked = [asyncio.create_task(client.post(COMPLETIONS, json=body(i))) for i in range(500)]
            while not all(task.done() for task in asked):
                most = max(most, gauge((await client.get("/metrics")).text, "ramify_completions_running"))
                await asyncio.sleep(0.05)
            answers = [task.result().json() for task in asked]
            text = (await client.get("/metrics")).text
        assert [task.result().status_code for task in asked] == [200] * 500
        assert most == 64
        assert (gauge(text, "ramify_completions_running"), gauge(text, "ramify_completions_waiting")) == (0, 0)
        model = live.server.models.loaded()["tiny"]
        texts = [answer["choices"][0]["text"] for answer in answers]
        settings = {"max_new_tokens": TOKENS, "temperature": 0.8, "ignore_eos": True, "logprobs": None}
        for i in range(0, 500, 25):
            assert texts[i] == model.complete(body(i)["prompt"], seed=i, **settings).text
        # The others in the library's way: that a row in a batch is the row alone is the engine's law, tested there and above.
        others = await asyncio.gather(*(model.acomplete(body(i)["prompt"], seed=i, **settings) for i in range(500)))
        assert texts == [other.text for other in others]

    with listening(app) as live:
        asyncio.run(story(live))


@pytest.mark.parametrize(
    ("path", "status"),
    [("/tokenize", 200), (COMPLETIONS, 400), ("/v1/llm/completions-sync?model_endpoint_name=tiny", 400)],
)
def test_health_is_answered_while_a_prompt_of_five_megabytes_is_tokenized(live: Live, path: str, status: int) -> None:
    """How soon is a benchmark's; here: many times before the long one is done, which no event loop that waits for it could."""

    async def story() -> None:
        async with clients(live) as client:
            words = "Once upon a time there was a little hedgehog. " * 110_000
            content = json.dumps({"prompt": words})
            long = asyncio.create_task(client.post(path, content=content, headers={"content-type": "application/json"}))
            await asyncio.sleep(0.1)
            waits: list[float] = []
            while not long.done():
                began = time.monotonic()
                assert (await client.get("/health")).status_code == 200
                waits.append(time.monotonic() - began)
            answer = await long
            assert answer.status_code == status
            assert status == 200 or re.search(r"the prompt has \d{7} tokens", answer.text)
            print(f"{path}: {len(waits)} answers, the slowest after {max(waits) * 1000:.0f} ms")
            assert len(waits) >= 10

    asyncio.run(story())
