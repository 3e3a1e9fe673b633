"""What other threads have for the event loop comes in order, together, and before the end."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import pytest
from tests.api.gates import gated
from tests.api.listening import TOKEN, Live, listening

from ramify.api.app import create_app
from ramify.api.letterbox import MOST_ROUNDS, Arrivals, Letterbox


def test_what_a_thread_posts_is_called_in_order_after_one_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> list[int]:
        loop = asyncio.get_running_loop()
        box, found, wakes = Letterbox(loop), list[int](), list[object]()
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", wakes.append)

        def work() -> None:
            for i in range(5):
                box.post(found.append, i)
            box.wake()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        monkeypatch.undo()
        assert (found, wakes) == ([], [box.empty])
        wake(box.empty)
        await asyncio.sleep(0)
        return found

    assert asyncio.run(story()) == [0, 1, 2, 3, 4]


def test_who_empties_the_box_has_all_that_was_posted_and_waking_then_does_nothing() -> None:
    async def story() -> list[int]:
        box, found = Letterbox(asyncio.get_running_loop()), list[int]()
        box.post(found.append, 1)
        box.empty()
        box.wake()
        await asyncio.sleep(0)
        return found

    assert asyncio.run(story()) == [1]


def test_what_is_sent_in_neighbouring_rounds_goes_together_and_a_stream_of_it_is_not_waited_for() -> None:
    async def story(rounds: list[int]) -> list[list[int]]:
        """Send one number in each of these rounds; what had gone after each round."""
        loop = asyncio.get_running_loop()
        box, gone, seen = Letterbox(loop), list[int](), list[list[int]]()
        for i in range(rounds[-1] + 4):
            if i in rounds:
                box.send(partial(gone.append, i))
            await asyncio.sleep(0)
            seen.append(list(gone))
        return seen

    assert asyncio.run(story([0])) == [[], [0], [0], [0]]
    assert asyncio.run(story([0, 1, 2])) == [[], [], [], *[[0, 1, 2]] * 3]
    assert asyncio.run(story([0, 5])) == [[], *[[0]] * 5, *[[0, 5]] * 3]
    always = asyncio.run(story(list(range(40))))
    assert max(len(after) - len(before) for before, after in pairwise(always)) <= MOST_ROUNDS + 1
    assert always[-1] == list(range(40))


def test_the_loop_is_woken_once_for_many_steps_and_again_after_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> tuple[list[int], list[int]]:
        loop = asyncio.get_running_loop()
        box, found, wakes = Letterbox(loop), list[int](), list[int]()
        wake = loop.call_soon_threadsafe

        def counted(call: Callable[[], None]) -> None:
            wakes.append(1)
            wake(call)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        told = []
        for step in range(3):
            for i in (0, 1):
                box.post(found.append, 2 * step + i)
                box.wake()
            await asyncio.sleep(0)
            told.append(len(wakes))
        monkeypatch.undo()
        return found, told

    assert asyncio.run(story()) == ([0, 1, 2, 3, 4, 5], [1, 2, 3])


def test_a_loop_that_has_ended_is_not_woken() -> None:
    loop = asyncio.new_event_loop()
    box = Letterbox(loop)
    loop.close()
    box.post(print, 1)
    box.wake()


def test_a_consumer_takes_all_that_has_come_and_nothing_when_nothing_comes() -> None:
    async def story() -> list[list[int]]:
        arrivals = Arrivals[int](0.001)
        arrivals.put(1)
        arrivals.put(2)
        return [await arrivals.take(), await arrivals.take(), await arrivals.take()]

    assert asyncio.run(story()) == [[1, 2], [], []]


def test_a_wait_begins_anew_with_everything_taken() -> None:
    async def story() -> tuple[list[list[int]], bool]:
        loop = asyncio.get_running_loop()
        arrivals, began = Arrivals[int](0.05), loop.time()
        loop.call_later(0.03, arrivals.put, 3)
        found = [await arrivals.take(), await arrivals.take()]
        arrivals.close()
        return found, loop.time() - began >= 0.03 + 0.05

    assert asyncio.run(story()) == ([[3], []], True)


def test_a_consumer_that_is_cancelled_leaves_what_comes_for_the_next() -> None:
    async def story() -> list[int]:
        arrivals = Arrivals[int](10.0)
        waiting = asyncio.create_task(arrivals.take())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        arrivals.put(4)
        return await arrivals.take()

    assert asyncio.run(story()) == [4]


def test_a_request_waits_for_others_where_the_engine_sleeps_and_for_nobody_where_it_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Callable[[], None]] = []
    send = Letterbox.send

    def counted(box: Letterbox, call: Callable[[], None]) -> None:
        sent.append(call)
        send(box, call)

    monkeypatch.setattr(Letterbox, "send", counted)
    model, gate = gated()

    def ask(live: Live) -> int:
        return live.client().post("/v1/completions", json={"prompt": "Once", "max_tokens": 2}).status_code

    with listening(create_app(token=TOKEN, load=lambda name: model)) as live, ThreadPoolExecutor(2) as clients:
        first = clients.submit(ask, live)
        gate.arrives()
        assert len(sent) == 1
        second = clients.submit(ask, live)
        while model._worker._calls.empty():  # until the engine, whose pass stands at the gate, was asked
            assert not second.done()
            time.sleep(0.01)
        gate.open()
        assert (first.result(60), second.result(60)) == (200, 200)
    assert len(sent) == 1
