"""The server under load, measured from another process.

    python -m benchmarks.serving beside [--rounds 3]   # us and `transformers serve`, interleaved, at 1, 8 and 32 clients
    python -m benchmarks.serving beside --llama-server PATH   # us and llama.cpp's server
    python -m benchmarks.serving refusals              # how soon the excess over a full queue is told so, and how much of it
    python -m benchmarks.serving health                # /health while 5 MB are tokenized, and at the same load without them
    python -m benchmarks.serving memory                # resident memory over rounds of 500 requests at once

Times are of the client, in a process of its own; on a busy machine read the ratios, and the processor time of the servers.
"""

import argparse
import asyncio
import collections
import contextlib
import functools
import json
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.bursts import Clock, burst, posted
from benchmarks.servers import KEY, TINY, Peer, llama_serve, ramify_serve, transformers_serve
from ramify.models.tokenizer import Tokenizer

CLIENTS = (1, 8, 32)
NEW_TOKENS = 32


def prompt_of(i: int) -> str:
    return f"Once upon a time, a little fox number {i} found a shiny"


def body(peer: Peer, i: int, **more: Any) -> dict[str, Any]:
    return {"model": peer.model, "prompt": prompt_of(i), "max_tokens": NEW_TOKENS, "temperature": 0, **more}


@functools.cache
def ids_of(i: int) -> list[int]:
    """The prompt as `tiny`'s ids, where a server would split its text otherwise."""
    return list(_codec().encode(prompt_of(i), special=True))


@functools.cache
def _codec() -> Tokenizer:
    return Tokenizer.from_folder(TINY)


async def streamed(client: httpx2.AsyncClient, asked: dict[str, Any]) -> tuple[float, str]:
    """Seconds to the first text, and the whole text. Asked again where the server had closed the connection that was kept."""
    began = time.perf_counter()
    while True:
        with contextlib.suppress(httpx2.RemoteProtocolError):
            return await _streamed_once(client, asked, began)


async def _streamed_once(client: httpx2.AsyncClient, asked: dict[str, Any], began: float) -> tuple[float, str]:
    first, text = 0.0, ""
    async with client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["text"]
                if text and not first:
                    first = time.perf_counter() - began
    return first, text


async def clients(peer: Peer, count: int, each: int, offset: int, as_ids: bool) -> tuple[float, list[float], dict[int, str]]:
    """`count` clients ask `each` requests one after another: requests per second, times to first text, and the texts."""
    waits: list[float] = []
    texts: dict[int, str] = {}

    async def one(client: httpx2.AsyncClient, who: int) -> None:
        for turn in range(each):
            i = offset + who * each + turn
            wait, texts[i] = await streamed(client, body(peer, i, **({"prompt": ids_of(i)} if as_ids else {})))
            waits.append(wait)

    async with peer.client() as client:
        began = time.perf_counter()
        await asyncio.gather(*(one(client, who) for who in range(count)))
        return count * each / (time.perf_counter() - began), waits, texts


def beside(rounds: int, opened: contextlib.AbstractContextManager[Peer], as_ids: bool) -> None:
    """Us and a peer, by turns. as_ids: the prompts are token ids."""
    with ramify_serve() as us, opened as them:
        for peer in (us, them):
            asyncio.run(clients(peer, 2, 1, 10**6, as_ids))
        print(
            f"| clients | requests/s: Ramify | {them.name} | ratio | first text, ms: Ramify | {them.name} | ratio "
            f"| CPU ms a request: Ramify | {them.name} | equal |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        for count in CLIENTS:
            each = {1: 4, 8: 2, 32: 1}[count]
            speeds: dict[str, list[float]] = collections.defaultdict(list)
            waits: dict[str, list[float]] = collections.defaultdict(list)
            costs: dict[str, list[float]] = collections.defaultdict(list)
            equal = whole = 0
            for round_ in range(rounds):
                texts = {}
                for peer in (us, them) if round_ % 2 == 0 else (them, us):
                    before = peer.cpu_s()
                    offset = 1000 * (100 * count + round_)
                    speed, wait, texts[peer.name] = asyncio.run(clients(peer, count, each, offset, as_ids))
                    costs[peer.name].append(1000 * (peer.cpu_s() - before) / (count * each))
                    speeds[peer.name].append(speed)
                    waits[peer.name] += wait
                whole += len(texts[us.name])
                equal += sum(texts[us.name][i].strip() == texts[them.name][i].strip() for i in texts[us.name])
            a, b = (statistics.median(speeds[peer.name]) for peer in (us, them))
            c, d = (1000 * statistics.median(waits[peer.name]) for peer in (us, them))
            e, f = (statistics.median(costs[peer.name]) for peer in (us, them))
            print(
                f"| {count} | {a:.2f} | {b:.2f} | {a / b:.2f} | {c:.0f} | {d:.0f} | {d / c:.2f} | {e:.0f} | {f:.0f} "
                f"| {equal} of {whole} |",
                flush=True,
            )


def refusals(places: int = 64, queue: int = 64, excess: int = 200, rounds: int = 3) -> None:
    """Fill places and queue with long requests, then ask for more: one after another, and all at once.

    Besides what clients wait for: what the server's event loop took of the processor for each refusal, and how long it was ready
    while others had it. On a busy machine the second is most of the wait, and nothing that a server can mend.
    """

    async def story(peer: Peer) -> None:
        async with peer.client() as client:
            long = [
                asyncio.create_task(client.post("/v1/completions", json=body(peer, i, max_tokens=1900, ignore_eos=True)))
                for i in range(places + queue)
            ]
            while (await gauge(client, "running")) + (await gauge(client, "waiting")) < places + queue:
                await asyncio.sleep(0.1)
            asked = [posted(peer.url, "/v1/completions", KEY, body(peer, i)) for i in range(excess)]
            for _ in range(rounds):
                for name, bursts in (("one by one", [[one] for one in asked]), (f"{excess} at once", [asked])):
                    clock = Clock(peer.pid)
                    answers = [answer for each in bursts for answer in await asyncio.to_thread(burst, peer.url, each)]
                    ran_s, ready_s = clock.read()
                    refused = [answer for answer in answers if answer.status == 429]
                    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
                    print(
                        f"{name}: {len(refused)} of {excess} refused; {spread([1000 * answer.wait_s for answer in answers])}; "
                        f"the loop ran {1000 * ran_s / excess:.2f} ms and was kept from running {1000 * ready_s / excess:.2f} ms "
                        "for each",
                        flush=True,
                    )
            held = (await gauge(client, "running")) + (await gauge(client, "waiting"))
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
    arguments.add_argument("--llama-server", type=Path, metavar="PATH", help="beside: llama.cpp's server in transformers' place")
    given = arguments.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if given.what == "beside":
            options = ["--continuous-batching"] if given.continuous_batching else []
            peer = llama_serve(given.llama_server, max(CLIENTS)) if given.llama_server else transformers_serve(*options)
            beside(given.rounds, peer, as_ids=given.llama_server is not None)
        elif given.what == "refusals":
            refusals(rounds=given.rounds)
        elif given.what == "health":
            health(given.rounds)
        else:
            memory(given.rounds)


if __name__ == "__main__":
    main()
