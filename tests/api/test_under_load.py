"""Many at once: none lost, none mixed up, exactly the excess refused; and nobody waits behind somebody's megabytes."""

import asyncio
import gc
import json
import re
import time
from typing import Any

import httpx2
import psutil
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
            # The first pass has those that were ready when it began; the gate keeps the others from the places that it left.
            await asyncio.to_thread(gate.arrives)
            running, waiting = 0.0, 0.0
            for _ in range(200):
                text = (await client.get("/metrics")).text
                running, waiting = gauge(text, "ramify_completions_running"), gauge(text, "ramify_completions_waiting")
                if running + waiting == 14:
                    break
                await asyncio.sleep(0.1)
            assert running in (1, 2, 3, 4)
            assert waiting == 14 - running
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
def test_of_500_at_once_exactly_the_excess_is_refused_64_run_together_and_each_is_answered_as_alone() -> None:
    """And once more, and once more: memory stays as it is."""
    model, gate = gated()
    app = create_app(token=TOKEN, load=lambda name: model, limits=Limits(max_queue=336))
    alone = ramify.load("tiny", device="cpu", precision="float32")
    settings = {"max_new_tokens": TOKENS, "temperature": 0.8, "ignore_eos": True, "logprobs": None}
    expected = [alone.complete(f"Once upon a time, number {i}", seed=i, **settings).text for i in range(500)]

    def body(i: int) -> dict[str, Any]:
        prompt = f"Once upon a time, number {i}"
        return {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0.8, "seed": i, "ignore_eos": True}

    async def at_once(live: Live, refusals: int) -> None:
        """refusals: what /metrics says of earlier rounds."""
        gate.shut()
        async with clients(live) as client:
            asked = {asyncio.create_task(client.post(COMPLETIONS, json=body(i))): i for i in range(500)}
            refused: set[asyncio.Task[Any]] = set()
            while len(refused) < 100:  # the engine stands: whoever is answered is refused
                done, _ = await asyncio.wait(set(asked) - refused, timeout=120, return_when=asyncio.FIRST_COMPLETED)
                assert done
                refused |= done
            assert {task.result().status_code for task in refused} == {429}
            queue = live.server.models.admissions()["tiny"]
            while (queue.running, queue.waiting) != (64, 336):  # some are still being made ready
                await asyncio.sleep(0.05)
            # The pass that stands at the gate had the first request; who has a place joins at a later one.
            for _ in range(4):
                await asyncio.to_thread(gate.arrives)
                text = (await client.get("/metrics")).text
                if gauge(text, "ramify_completions_running") == 64:
                    break
                gate.step()
            assert gauge(text, "ramify_completions_running") == 64
            assert gauge(text, "ramify_completions_waiting") == 336
            assert gauge(text, "ramify_requests_refused_total") == refusals + 100
            gate.open()
            answers = {i: (task, await task) for task, i in asked.items() if task not in refused}
            assert len(answers) == 400
            for task in refused:  # none is lost: who was refused asks again
                answers[asked[task]] = (task, await client.post(COMPLETIONS, json=body(asked[task])))
            text = (await client.get("/metrics")).text
        assert [answers[i][1].json()["choices"][0]["text"] for i in range(500)] == expected
        assert (gauge(text, "ramify_completions_running"), gauge(text, "ramify_completions_waiting")) == (0, 0)
        assert gauge(text, "ramify_kv_cache_bytes") == 0

    with listening(app) as live:
        sizes = []
        for round_ in range(4):
            asyncio.run(at_once(live, 100 * round_))
            gc.collect()
            sizes.append(psutil.Process().memory_info().rss / 2**20)
        assert gate.widest == 64  # rows of one forward pass
        # The first round makes what stays: threads, connections' buffers, the allocator's pools.
        assert max(sizes[2:]) - sizes[1] < 16, sizes
        gate.leave_open()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (COMPLETIONS, 400),
        pytest.param("/tokenize", 200, marks=pytest.mark.slow),
        pytest.param("/v1/llm/completions-sync?model_endpoint_name=tiny", 400, marks=pytest.mark.slow),
    ],
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
