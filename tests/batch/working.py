"""A job's run on a model whose every answer is known, in this process or in one that a test may kill."""

import contextlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ramify.batch import jobs
from ramify.batch.spec import JobSpec
from ramify.engine.model import Model
from ramify.engine.requests import GenerationRequest
from ramify.engine.tasks import Handle
from ramify.models.base import Extension, Outputs
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.store import Database
from ramify.store.job_records import JobRecord

__all__ = ["Recording", "answers", "opener", "outputs", "processes", "ran", "run_to_the_end", "spec"]

WORDS = [chr(code) for code in range(32, 127)]


def _script(ids: tuple[int, ...]) -> "np.ndarray[Any, Any]":
    """A distribution that depends on everything said so far, with an end now and then."""
    seed = hash(ids[-6:]) % 2**32
    logits = np.random.default_rng(seed).normal(size=len(WORDS) + 1) * 2
    logits[-1] = 1.5
    return logits


class Recording(Model):
    """Notes every prompt that it is asked, in a file, and takes its time for a step."""

    log: Path | None = None

    def submit(self, request: GenerationRequest, handle: Handle | None = None) -> Handle:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(json.dumps(self.codec.decode(request.prompt_ids)) + "\n")
        return super().submit(request, handle)


class Slow(ScriptedBackend):
    step_s = 0.0

    def extend(self, rows: Sequence[Extension]) -> Outputs:
        time.sleep(self.step_s)
        return super().extend(rows)


def opener(log: Path | None = None, step_s: float = 0.0, **engine: Any) -> Callable[[JobSpec], Any]:
    @contextlib.contextmanager
    def open_model(_: JobSpec) -> Iterator[Model]:
        backend = Slow(_script, ScriptedTokenizer(WORDS), context_window=200)
        backend.step_s = step_s
        with Recording(backend, **engine) as model:
            model.log = log
            yield model

    return open_model


def spec(folder: Path, name: str = "out.json", **more: Any) -> JobSpec:
    settings = {"max_new_tokens": 12, "temperature": 1.0, **more.pop("settings", {})}
    return JobSpec(
        **{"model": "scripted", "seed": 7, "seeded": True, "output_path": str(folder / name), "settings": settings} | more
    )


def ran(db: Database, wanted: JobSpec, prompts: Sequence[str] | None = None, **how: Any) -> JobRecord:
    key = jobs.create(db, wanted, prompts=prompts).key
    return jobs.run(db, key, **({"open_model": opener()} | how))


def outputs(path: str | Path) -> list[Any]:
    text = Path(path).read_text("utf-8")
    return list(json.loads(text)) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def answers(path: str | Path) -> list[str]:
    return [row["text"] if "text" in row else row["output"]["text"] for row in outputs(path)]


# ---------------------------------------------------------------- processes that may be killed


def processes() -> Any:
    """Processes that begin with everything imported, so that starting one costs milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ramify.batch.jobs", "tests.batch.working", "torch"])
    return context


def run_to_the_end(where: str, key: str, log: str | None, step_s: float, max_rows: int = 64) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    with Database.open(where) as db:
        jobs.run(db, key, open_model=opener(None if log is None else Path(log), step_s, max_rows=max_rows))
