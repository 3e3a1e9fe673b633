"""The server under load, measured from another process.

    python -m benchmarks.serving beside [--rounds 3]   # us and `transformers serve`, interleaved, at 1, 8 and 32 clients
    python -m benchmarks.serving refusals              # how soon the excess over a full queue is told so, and how much of it
    python -m benchmarks.serving health                # /health while 5 MB are tokenized, and at the same load without them
    python -m benchmarks.serving memory                # resident memory over rounds of 500 requests at once

Times are of the client, in one process with one event loop; on a busy machine read the ratios.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import re
import statistics
import time
from collections.abc import Sequence
from typing import Any

import httpx2

from benchmarks.servers import KEY, Peer, ramify_serve, transformers_serve

CLIENTS = (1, 8, 32)
NEW_TOKENS = 32


def body(peer: Peer, i: int, **more: Any) -> dict[str, Any]:
    prompt = f"Once upon a time, a little fox number {i} found a shiny"
    return {"model": peer.model, "prompt": prompt, "max_tokens": NEW_TOKENS, "temperature": 0, **more}


async def streamed(client: httpx2.AsyncClient, asked: dict[str, Any]) -> tuple[float, str]:
    """Seconds to the first text, and the whole text."""
    began, first, text = time.perf_counter(), 0.0, ""
    async with client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["text"]
                if text and not first:
                    first = time.perf_counter() - began
    return first, text


async def clients(peer: Peer, count: int, each: int, offset: int) -> tuple[float, list[float], dict[int, str]]:
    """`count` clients ask `each` requests one after another: requests per second, times to first text, and the texts."""
    waits: list[float] = []
    texts: dict[int, str] = {}

    async def one(client: httpx2.AsyncClient, who: int) -> None:
        for turn in range(each):
            i = offset + who * each + turn
            wait, texts[i] = await streamed(client, body(peer, i))
            waits.append(wait)

    async with peer.client() as client:
        began = time.perf_counter()
        await asyncio.gather(*(one(client, who) for who in range(count)))
        return count * each / (time.perf_counter() - began), waits, texts


def beside(rounds: int, continuous: bool) -> None:
    options = ["--continuous-batching"] if continuous else []
    with ramify_serve() as us, transformers_serve(*options) as them:
        for peer in (us, them):
            asyncio.run(clients(peer, 2, 1, 10**6))
        print("| clients | requests/s: Ramify | transformers | ratio | first text, ms: Ramify | transformers | ratio | equal |")
        print("|---|---|---|---|---|---|---|---|")
        for count in CLIENTS:
            each = {1: 4, 8: 2, 32: 1}[count]
            speeds: dict[str, list[float]] = collections.defaultdict(list)
            waits: dict[str, list[float]] = collections.defaultdict(list)
            equal = whole = 0
            for round_ in range(rounds):
                texts = {}
                for peer in (us, them) if round_ % 2 == 0 else (them, us):
                    speed, wait, texts[peer.name] = asyncio.run(clients(peer, count, each, 1000 * (100 * count + round_)))
                    speeds[peer.name].append(speed)
                    waits[peer.name] += wait
                whole += len(texts["ramify"])
                equal += sum(texts["ramify"][i].strip() == texts["transformers"][i].strip() for i in texts["ramify"])
            a, b = (statistics.median(speeds[peer.name]) for peer in (us, them))
            c, d = (1000 * statistics.median(waits[peer.name]) for peer in (us, them))
            print(
                f"| {count} | {a:.2f} | {b:.2f} | {a / b:.2f} | {c:.0f} | {d:.0f} | {d / c:.2f} | {equal} of {whole} |",
                flush=True,
            )


def refusals(places: int = 64, queue: int = 64, excess: int = 200) -> None:
    """Fill places and queue with long requests, then ask for more: one after another, and all at once."""

    async def story(peer: Peer) -> None:
        async with peer.client() as client:
            long = [
                asyncio.create_task(client.post("/v1/completions", json=body(peer, i, max_tokens=1500, ignore_eos=True)))
                for i in range(places + queue)
            ]
            while (await gauge(client, "running")) + (await gauge(client, "waiting")) < places + queue:
                await asyncio.sleep(0.1)

            async def refused(i: int) -> tuple[int, float, str | None]:
                began = time.perf_counter()
                answer = await client.post("/v1/completions", json=body(peer, i))
                return answer.status_code, 1000 * (time.perf_counter() - began), answer.headers.get("retry-after")

            async def healthy() -> float:
                began = time.perf_counter()
                await client.get("/health")
                return 1000 * (time.perf_counter() - began)

            control = [await healthy() for _ in range(excess)]
            singly = [await refused(i) for i in range(excess)]
            together = await asyncio.gather(*(refused(i) for i in range(excess)))
            assert all(retry and 1 <= int(retry) <= 60 for status, _, retry in [*singly, *together] if status == 429)
            control_together = await asyncio.gather(*(healthy() for _ in range(excess)))
            held = (await gauge(client, "running")) + (await gauge(client, "waiting"))
            for name, found in (("one by one", singly), (f"{excess} at once", together)):
                count = sum(status == 429 for status, _, _ in found)
                print(f"{name}: {count} of {excess} refused; {spread([wait for _, wait, _ in found])}")
            print(f"control, /health one by one: {spread(control)}; {excess} at once: {spread(control_together)}")
            print(f"held all the while: {held:.0f} of {places + queue}")
            for task in long:
                task.cancel()
            await asyncio.gather(*long, return_exceptions=True)

    with ramify_serve("--max-queue", str(queue)) as peer:
        asyncio.run(story(peer))


def health(rounds: int) -> None:
    """The slowest and the median answer of /health while a 5 MB prompt is tokenized, and for as long without it."""
    words = json.dumps({"prompt": "Once upon a time there was a little hedgehog. " * 110_000}).encode()
    prompts = {"/tokenize": 200, "/v1/completions": 400}

    async def asked_until(client: httpx2.AsyncClient, over: asyncio.Future[Any]) -> list[float]:
        waits = []
        while not over.done():
            began = time.perf_counter()
            assert (await client.get("/health")).status_code == 200
            waits.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(0.002)
        return waits

    async def story(peer: Peer) -> None:
        waits: dict[str, list[float]] = collections.defaultdict(list)
        async with peer.client() as client:
            for _ in range(rounds):
                for path, status in prompts.items():
                    began = time.perf_counter()
                    # The long one's client is a process of its own: its work is not to be measured as the server's.
                    long = asyncio.ensure_future(_posted(peer, path, words))
                    waits[path] += await asked_until(client, long)
                    assert long.result() == status, long.result()
                    control = asyncio.ensure_future(asyncio.sleep(time.perf_counter() - began))
                    waits["control"] += await asked_until(client, control)
        for path, found in waits.items():
            print(f"{path}: {len(found)} answers, {spread(found)}")
        for path in prompts:
            print(f"{path} by control: slowest {max(waits[path]) / max(waits['control']):.2f} times")

    with ramify_serve() as peer:
        asyncio.run(story(peer))


async def _posted(peer: Peer, path: str, content: bytes) -> int:
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--data-binary", "@-", "-H", "expect:"]
    command += ["-H", "content-type: application/json", "-H", f"authorization: Bearer {KEY}", peer.url + path]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate(content)
    return int(said)


def memory(rounds: int) -> None:
    """500 requests at once, several times: none lost, how many ran together, and what the server's memory does."""

    async def story(peer: Peer) -> None:
        async with peer.client() as client:
            for round_ in range(rounds + 1):
                began, most = time.perf_counter(), 0.0
                asked = [
                    asyncio.create_task(client.post("/v1/completions", json=body(peer, i, max_tokens=8))) for i in range(500)
                ]
                while not all(task.done() for task in asked):
                    most = max(most, await gauge(client, "running"))
                    await asyncio.sleep(0.05)
                statuses = collections.Counter(task.result().status_code for task in asked)
                took = time.perf_counter() - began
                size = peer.memory_bytes() / 2**20
                print(f"round {round_}: {dict(statuses)} in {took:.0f} s, {most:.0f} ran together, {size:.0f} MiB", flush=True)

    with ramify_serve("--max-queue", "500") as peer:
        asyncio.run(story(peer))


async def gauge(client: httpx2.AsyncClient, name: str) -> float:
    text = (await client.get("/metrics")).text
    found = re.search(rf'^ramify_completions_{name}{{model="tiny"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def spread(waits: Sequence[float]) -> str:
    ordered = sorted(waits)
    return (
        f"median {statistics.median(ordered):.1f} ms, 99th of 100 {ordered[int(0.99 * (len(ordered) - 1))]:.1f} ms, "
        f"slowest {ordered[-1]:.1f} ms"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=["beside", "refusals", "health", "memory"])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--continuous-batching", action="store_true", help="beside: let transformers batch its requests")
    given = arguments.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if given.what == "beside":
            beside(given.rounds, given.continuous_batching)
        elif given.what == "refusals":
            refusals()
        elif given.what == "health":
            health(given.rounds)
        else:
            memory(given.rounds)


if __name__ == "__main__":
    main()
