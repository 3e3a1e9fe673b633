"""Who takes part in a step, on tasks that are nothing but a prompt."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from ramify.engine.scheduler import Scheduler
from ramify.engine.tasks import Handle

HEADER = tuple(range(100, 148))


@dataclass
class Waiting:
    """A task that still computes its prompt, or decodes where that is ()."""

    prompt_left: tuple[int, ...]
    width: int = 1
    done: bool = False
    handle: Handle = field(default_factory=Handle)


def stepped(prompts: list[tuple[int, ...]], remembered: Any = lambda ids: 0) -> list[int]:
    scheduler = Scheduler(64, remembered)
    tasks: list[Any] = [Waiting(prompt) for prompt in prompts]
    for task in tasks:
        scheduler.add(task)
    chosen = scheduler.schedule()
    return [i for i, task in enumerate(tasks) if any(task is each for each in chosen)]


@pytest.mark.parametrize(
    ("known", "together"),
    [(0, [0, 3, 4]), (16, [0, 3, 4]), (33, [0, 1, 2, 3, 4]), (48, [0, 1, 2, 3, 4])],
)
def test_a_beginning_that_is_remembered_keeps_nobody_waiting(known: int, together: list[int]) -> None:
    prompts = [(*HEADER, 1), (*HEADER, 2), (*HEADER, 3), (7, 8, 9), ()]
    assert stepped(prompts, lambda ids: known if ids[:1] == HEADER[:1] else 0) == together


def test_a_steps_tokens_are_those_that_are_computed_and_not_those_that_are_remembered() -> None:
    prompts = [tuple(range(1000 * i, 1000 * i + 300)) for i in range(1, 9)]
    assert stepped(prompts) == [0, 1]
    assert stepped(prompts, lambda ids: 200) == [0, 1, 2, 3, 4, 5]
