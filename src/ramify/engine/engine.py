"""The engine: requests in, tokens out, one forward pass a step for everybody who is running.

It speaks ids only, holds no lock, and is used by one thread (`worker.py`).
"""

import json
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch

from ramify.decoding import pipeline
from ramify.decoding.config import GenerationConfig
from ramify.decoding.constraints import Constraint, compile_constraint
from ramify.engine import beams, contrastive, forced, groups
from ramify.engine.kv_tree import Branches, KVTree
from ramify.engine.requests import CompletionResult, GenerationRequest
from ramify.engine.rows import RowsTask, choose_tokens
from ramify.engine.scheduler import Scheduler
from ramify.engine.tasks import Handle, SearchTask, Steps, Task
from ramify.errors import EngineError, RamifyError
from ramify.models.base import Backend, Extension

__all__ = ["Engine"]

MAX_ROWS = 64
KEPT_BYTES = 2**30

_ROW_PRIVATE = {
    *("seed", "max_new_tokens", "max_length", "max_time", "stop_strings", "stop_token_ids", "num_return_sequences"),
    "prompt_lookup_num_tokens",
}
"""Settings that do not change what a processor does to a row: rows that differ in these alone are processed together."""
_CONSTRAINTS = {"json_schema", "regex", "choices", "grammar", "required_words", "forbidden_words"}
"""What a row may say is in its own `keep`; a pipeline knows only that it has one."""


class Engine:
    """Runs requests against one backend."""

    def __init__(self, backend: Backend, *, max_rows: int = MAX_ROWS, kept_bytes: int = KEPT_BYTES) -> None:
        """max_rows: completions that run together. kept_bytes: keys and values that may stay for later requests."""
        self.backend = backend
        self.tree = KVTree(backend, kept_bytes)
        # Where nothing is remembered, nobody waits for it.
        self.scheduler = Scheduler(max_rows, self.tree.remembered if kept_bytes else len)
        self.forward_passes = 0
        self.computed_tokens = 0
        self._pipelines: dict[str, pipeline.Pipeline] = {}
        self._known: tuple[GenerationConfig | None, pipeline.Pipeline | None] = None, None
        """The settings of the last request, and what they became: the next one often has the same."""
        self._afterwards: dict[Callable[[], None], None] = {}

    # What can be asked of it.

    def generate(self, request: GenerationRequest, handle: Handle, constraint: Constraint | None = None) -> None:
        """Queue a request. Its future gets a list of CompletionResult; its sink, events, when the request streams."""
        strategy = request.config.strategy
        task: Task
        if strategy in ("greedy", "sampling"):
            task = RowsTask(handle, Branches(self.tree), request, self.backend, self.pipeline(request), constraint)
        else:
            task = self._search(request, handle, constraint)
        self.scheduler.add(task)

    def converse(self, steps: Steps, handle: Handle, branches: Branches, *, owns_branches: bool = True) -> None:
        """Queue a conversation of one row: scoring, a click, anything that asks for logits."""
        self.scheduler.add(SearchTask(handle, branches, steps, owns_branches=owns_branches))

    def constraint(self, request: GenerationRequest) -> Constraint | None:
        """Compile what the request's tokens must obey. Raises ConstraintError; may take a while for a large grammar."""
        return compile_constraint(request.config, self.backend.codec) if request.config.constrained else None

    def pipeline(self, request: GenerationRequest) -> pipeline.Pipeline:
        """The request's processors; requests with equal ones share the object, and so are processed together."""
        config, info = request.config, self.backend.info
        last, known = self._known
        if config is last and known is not None:
            return known
        eos = config.eos_token_id or info.eos_token_ids
        private = _ROW_PRIVATE | _CONSTRAINTS
        shared = {name: value for name, value in config.to_dict().items() if name not in private}
        key = json.dumps([shared, config.samples, config.order], sort_keys=True)
        found = self._pipelines.get(key)
        if found is None:
            if len(self._pipelines) >= 256:
                self._pipelines.clear()
            found = pipeline.build(config, eos_token_ids=eos, vocab_size=info.vocab_size, context=info.context_window)
            self._pipelines[key] = found
        self._known = config, found
        return found

    def _search(self, request: GenerationRequest, handle: Handle, constraint: Constraint | None) -> SearchTask:
        branches = Branches(self.tree)
        search = {
            "beam": beams.EarlyStopped if request.config.beam_rule == "early_stopped" else beams.Standard,
            "beam_sampling": beams.Standard,
            "diverse_beam": groups.Diverse,
            "forced_beam": forced.Forced,
            "contrastive": contrastive.Contrastive,
        }[request.config.strategy](request, self.backend, branches, self.pipeline(request), constraint)

        def steps() -> Steps:
            results: list[CompletionResult] = yield from search.run()
            if request.stream:
                for event in beams.as_events(results):
                    handle.emit(event)
            return results

        config = request.config
        width = max(config.num_beams, request.count, (config.top_k or 1) if config.strategy == "contrastive" else 1)
        return SearchTask(
            handle, branches, steps(), width=width, prompt=request.prompt_ids, on_cancel=lambda: search.so_far("cancelled")
        )

    # The work.

    @property
    def busy(self) -> bool:
        return self.scheduler.busy

    def step(self) -> None:
        """Schedule, compute, choose, emit. A failing forward pass ends every running request with EngineError."""
        running = self.scheduler.schedule()
        asked: list[tuple[Task, Sequence[Extension]]] = []
        for task in running:
            try:
                extensions = task.extensions()
            except RamifyError as error:
                task.fail(error)
                continue
            if extensions:
                asked.append((task, extensions))
        outputs = None
        if asked:
            rows = [extension for _, extensions in asked for extension in extensions]
            try:
                with torch.inference_mode():
                    outputs = self.backend.extend(rows)
            except Exception as error:
                self.fail(error)
                return
            self.forward_passes += 1
            self.computed_tokens += sum(len(row.token_ids) for row in rows)
            firsts = accumulate((len(extensions) for _, extensions in asked), initial=0)
            with torch.inference_mode():
                for (task, _), first in zip(asked, firsts, strict=False):
                    task.receive(outputs, first)
        choose_tokens([task for task in running if isinstance(task, RowsTask) and not task.done], outputs)
        self.scheduler.retire()
        self.tree.shrink()

    def after_step(self, call: Callable[[], None]) -> None:
        """Have `call` called once when the step under way is over, however often it is given. On the engine's thread."""
        self._afterwards[call] = None

    def step_over(self) -> None:
        """Call what was to come after the step; for the worker."""
        calls, self._afterwards = self._afterwards, {}
        for call in calls:
            call()

    def fail(self, error: Exception) -> None:
        """End every running request with EngineError; the next one starts from a clean tree."""
        failure = EngineError(f"the engine failed: {type(error).__name__}: {error}")
        failure.__cause__ = error
        for task in self.scheduler.running:
            if not task.done:
                task.fail(failure)
        self.tree.clear()
        self.scheduler.retire()

    def counters(self) -> dict[str, Any]:
        """What the engine is doing and has done."""
        return {
            "running": len(self.scheduler.running),
            "waiting": len(self.scheduler.waiting),
            "kv_bytes": self.backend.size_bytes(),
            "forward_passes": self.forward_passes,
            "computed_tokens": self.computed_tokens,
        }
