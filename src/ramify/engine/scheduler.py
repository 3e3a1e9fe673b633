"""Who takes part in the next step: first come, first served, as far as the rows reach."""

from collections import deque
from collections.abc import Callable

from ramify.engine.kv_tree import common_length
from ramify.engine.tasks import PREFILL_TOKENS, Task

__all__ = ["Scheduler"]

WORTH_A_STEP_TOKENS = 16
"""So many tokens that another prompt computes now are worth waiting for."""


class Scheduler:
    """Queues tasks and lets them in while their rows fit. One that is wider than the engine runs alone."""

    def __init__(self, max_rows: int, remembered: Callable[[tuple[int, ...]], int] = lambda ids: 0) -> None:
        """remembered: how many first tokens of a prompt need not be computed any more."""
        self.max_rows = max_rows
        self._remembered = remembered
        self.waiting: deque[Task] = deque()
        self.running: list[Task] = []

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, task: Task) -> None:
        self.waiting.append(task)

    def schedule(self) -> list[Task]:
        """Drop what was cancelled, let in what fits, and name the tasks of this step."""
        for task in (*self.running, *self.waiting):
            if task.handle.cancelled and not task.done:
                task.cancel()
        self.retire()
        used = sum(task.width for task in self.running)
        while self.waiting and (used + self.waiting[0].width <= self.max_rows or not self.running):
            task = self.waiting.popleft()
            used += task.width
            self.running.append(task)
        return self._this_step()

    def retire(self) -> None:
        """Forget the tasks that are done."""
        self.running = [task for task in self.running if not task.done]
        if any(task.done for task in self.waiting):
            self.waiting = deque(task for task in self.waiting if not task.done)

    def _this_step(self) -> list[Task]:
        """All that decode; of those that still compute their prompts, as many as a step's tokens allow, and none whose beginning,
        so far as it is not remembered, another one of them is computing at this moment: it will find it remembered."""
        chosen: list[Task] = []
        prompts: list[tuple[int, ...]] = []
        tokens = 0
        for task in self.running:
            prompt = task.prompt_left
            if prompt:
                if tokens >= PREFILL_TOKENS:
                    continue
                known = self._remembered(prompt)
                alike = max((common_length(prompt, other) for other in prompts), default=0)
                if alike - known >= WORTH_A_STEP_TOKENS:
                    continue
                prompts.append(prompt)
                tokens += min(len(prompt) - known, PREFILL_TOKENS)
            chosen.append(task)
        return chosen
