"""The queue by itself: how many, who next, who not."""

import asyncio

import pytest

from ramify.api.admission import Admission, Arrival, Turn
from ramify.api.errors import ApiError


def enter(admission: Admission, rows: list[int]) -> Turn:
    """A request that is ready as soon as it has entered."""
    turn = admission.enter(rows)
    turn.ready()
    return turn


def open_doors(turn: Turn) -> list[int]:
    """The parts that may run."""
    return [part for part, door in enumerate(turn._doors) if door.is_set()]


def test_parts_are_let_in_while_their_rows_fit() -> None:
    admission = Admission(places=4, max_queue=10)
    first, second = enter(admission, [2, 2, 2]), enter(admission, [1])
    assert (open_doors(first), open_doors(second)) == ([0, 1], [])
    assert (admission.running, admission.waiting) == (4, 3)
    first.done(0)
    assert (open_doors(first), open_doors(second)) == ([0, 1], [0])


def test_requests_come_in_by_turns() -> None:
    admission = Admission(places=1, max_queue=100)
    many, one, two = enter(admission, [1] * 5), enter(admission, [1]), enter(admission, [1, 1])
    order = []
    running = (many, 0)
    for _ in range(8):
        order.append({many: "many", one: "one", two: "two"}[running[0]])
        turn, part = running
        before = {each: open_doors(each) for each in (many, one, two)}
        turn.done(part)
        after = [(each, open_doors(each)[-1]) for each in (many, one, two) if open_doors(each) != before[each]]
        running = after[0] if after else running
    assert order == ["many", "one", "two", "many", "two", "many", "many", "many"]


def test_exactly_what_does_not_fit_into_places_and_queue_is_refused() -> None:
    admission = Admission(places=2, max_queue=3)
    for _ in range(5):
        enter(admission, [1])
    with pytest.raises(ApiError) as caught:
        enter(admission, [1])
    assert (caught.value.status, caught.value.code, caught.value.headers) == (429, "queue_full", {"retry-after": "1"})
    assert (admission.running, admission.waiting, admission.refused) == (2, 3, 1)


def test_who_is_seen_and_has_not_entered_counts_for_those_who_come_after_it_and_not_for_itself() -> None:
    admission = Admission(places=1, max_queue=1)
    first, second = Arrival(admission), Arrival(admission)
    assert admission.full
    first.over()
    first.over()
    assert not admission.full
    enter(admission, [1])
    assert admission.full
    second.over()
    enter(admission, [1])
    assert (admission.full, admission.arriving, admission.running, admission.waiting) == (True, 0, 1, 1)


def test_n_counts_as_n() -> None:
    admission = Admission(places=4, max_queue=4)
    enter(admission, [4])
    enter(admission, [3])
    with pytest.raises(ApiError, match="4 completions run, 3 wait"):
        enter(admission, [2])
    enter(admission, [1])


def test_one_wider_than_the_engine_runs_alone_and_is_not_overtaken() -> None:
    admission = Admission(places=2, max_queue=8)
    first, wide, later = enter(admission, [1]), enter(admission, [5]), enter(admission, [1])
    assert (open_doors(wide), open_doors(later)) == ([], [])
    first.done(0)
    assert (open_doors(wide), open_doors(later)) == ([0], [])
    wide.done(0)
    assert open_doors(later) == [0]


def test_what_could_never_be_let_in_is_the_requests_fault() -> None:
    with pytest.raises(ApiError, match="300 completions; this server takes at most 5 at once") as caught:
        Admission(places=2, max_queue=3).enter([1] * 300)
    assert caught.value.status == 400


def test_who_leaves_gives_everything_back_once() -> None:
    admission = Admission(places=2, max_queue=8)
    gone, waiting = enter(admission, [1, 1, 1]), enter(admission, [2])
    gone.done(0)
    gone.close()
    gone.close()
    gone.done(1)
    assert (admission.running, admission.waiting, open_doors(waiting)) == (2, 0, [0])
    waiting.close()
    assert (admission.running, admission.waiting) == (0, 0)


def test_a_turn_that_comes_is_told() -> None:
    async def story() -> str:
        admission = Admission(places=1, max_queue=1)
        first, second = enter(admission, [1]), enter(admission, [1])
        await first.comes(0)
        waiting = asyncio.create_task(second.comes(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        first.done(0)
        await waiting
        return "came"

    assert asyncio.run(story()) == "came"


def test_who_is_not_ready_counts_and_keeps_nobody_waiting() -> None:
    admission = Admission(places=1, max_queue=1)
    preparing = admission.enter([1])
    quick = enter(admission, [1])
    assert (open_doors(preparing), open_doors(quick)) == ([], [0])
    assert (admission.running, admission.waiting) == (1, 1)
    with pytest.raises(ApiError, match="1 completions run, 1 wait"):
        admission.enter([1])
    preparing.close()
    preparing.ready()
    assert (admission.running, admission.waiting) == (1, 0)
