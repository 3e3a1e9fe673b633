"""How many processes work at a job, and why so many; and those processes.

Each has a model of its own, leases rows like any other runner, and may die without harm: its rows go to the others, and while
rows are left a new one takes its place, a few times.
"""

import importlib.util
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from ramify.batch.running import Ended
from ramify.batch.spec import JobSpec
from ramify.errors import EngineError, InputError, UnsupportedError
from ramify.models.registry import Registry, is_remote
from ramify.settings import child_environment
from ramify.store.database import Database
from ramify.store.job_records import JobRecord

__all__ = ["SECOND_LIVES", "check_runner", "cores", "decided", "no_ray", "work_in_processes"]

SECOND_LIVES = 3
"""Processes that die before a job is given up."""
BASE_BYTES = 600 * 2**20
"""What a process takes before it has a model."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_runner(spec: JobSpec) -> None:
    """Raises UnsupportedError where a job's runner is not installed, InputError where it makes no sense for its model."""
    if spec.runner == "local":
        return
    if is_remote(spec.model):
        raise InputError(
            f"the runner ray puts engines on a cluster's machines, and {spec.model!r} is remote: one process asks it, many rows "
            "at once; leave the runner out"
        )
    if (why := no_ray()) is not None:
        raise UnsupportedError(why)


def no_ray() -> str | None:
    """Why no job runs on a Ray cluster; None where it can."""
    there = importlib.util.find_spec("ray") is not None
    return None if there else "the runner ray needs the package ray, which is not installed; pip install 'ramify[ray]'"


def decided(spec: JobSpec, rows: int, *, shared: bool = False) -> dict[str, Any]:
    """{"asked", "used", "why"}. shared: the model is in this process already and stays there."""
    asked = spec.data_parallelism
    limits = [(asked, f"{asked} asked for"), (max(1, rows), f"rows to do: {rows}")]
    if is_remote(spec.model):
        limits.append((1, "a remote model is asked from one process, many requests at once"))
    elif shared:
        limits.append((1, "the server has the model in memory once, and runs all rows in one batch"))
    elif (spec.how.get("device") or "").startswith("cuda") or _gpus(spec):
        limits.append((max(1, _gpus(spec)), f"this machine has {_gpus(spec)} GPU(s), one a process"))
    else:
        limits.append((cores(), f"this machine gives {cores()} processor(s)"))
        limits.append(_of_memory(spec))
    used, why = min(limits, key=lambda each: each[0])
    return {"asked": asked, "used": used, "why": why}


def _gpus(spec: JobSpec) -> int:
    if spec.how.get("device") not in (None, "cuda"):
        return 1 if str(spec.how.get("device")).startswith("cuda") else 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _of_memory(spec: JobSpec) -> tuple[int, str]:
    """How many models of this size fit into what is free."""
    free = psutil.virtual_memory().available
    try:
        folder = Path(spec.checkpoint_path) if spec.checkpoint_path and Path(spec.checkpoint_path).is_dir() else None
        file = None if folder else Registry().gguf(spec.model)
        weights = list(folder.iterdir()) if folder else list(file.parts if file else Registry().resolve(spec.model).weights)
        size = sum(file.stat().st_size for file in weights)
    except Exception:  # whatever is wrong with the model is told when it is loaded
        size = 0
    each = BASE_BYTES + 2 * size
    return max(1, int(free // each)), f"{free / 2**30:.1f} GiB of memory are free, and a process takes about {each / 2**30:.1f}"


def work_in_processes(
    database: Database,
    key: str,
    command: Callable[[], list[str]],
    count: int,
    *,
    threads: int,
    log: Path,
    told: Callable[[JobRecord], object],
    stopped: Callable[[], bool],
    max_runtime_s: int,
) -> Ended:
    """Let `count` processes work until no row is left. Raises EngineError where they die again and again.

    command: what starts one. threads: processor threads for each. log: where they write what goes wrong.
    """
    env = child_environment(threads)
    alive: list[subprocess.Popen[bytes]] = []
    died = 0
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        try:
            alive = [_start(command(), env, errors) for _ in range(count)]
            while True:
                time.sleep(0.3)
                ended = [each for each in alive if each.poll() is not None]
                alive = [each for each in alive if each.poll() is None]
                job = database.jobs.get(key)
                told(job)
                if stopped() or job.cancelling or job.state in ("cancelled", "failed"):
                    return "cancelled"
                if job.run_s >= max_runtime_s:
                    return "expired"
                left = database.jobs.states(key)
                if not left["waiting"] and not left["leased"]:
                    return "done"
                fallen = [each for each in ended if each.returncode != 0]
                died += len(fallen)
                if died > SECOND_LIVES:
                    code = fallen[-1].returncode if fallen else 0
                    raise EngineError(f"the job's processes died {died} times (exit code {code}); {_last(log)}")
                if fallen or not alive:
                    alive += [_start(command(), env, errors) for _ in range(max(1, len(fallen)))]
        finally:
            for each in alive:
                each.terminate()
            for each in alive:
                try:
                    each.wait(10)
                except subprocess.TimeoutExpired:
                    each.kill()
                    each.wait()


def _start(command: list[str], env: Mapping[str, str], errors: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, env=dict(env), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)


def _last(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return f"the last said: {lines[-1][:300]}" if lines else "none said why"
