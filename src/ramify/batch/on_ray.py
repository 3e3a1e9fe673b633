"""A job on a Ray cluster: engines are actors on its machines, and this process leases rows, hands them out and commits them.

Plain actors, and not a Ray Data pipeline: that hands an actor a batch and has it back when all of it is done, so that an engine
runs empty at each one's end, and a dead actor's batch is asked again whole, rows that were done among them. Here a row is a call.
Only this process touches the workspace, which the cluster's machines need not reach, and what is committed is never asked again.
"""

import asyncio
import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ramify.batch.rows import Ask, UnderWay
from ramify.batch.running import Ended, Runner, failed, most_at_once
from ramify.batch.spec import JobSpec
from ramify.batch.workers import SECOND_LIVES, cores
from ramify.errors import EngineError, RamifyError
from ramify.settings import engine_environment, names_ray
from ramify.store.database import Database
from ramify.store.job_records import JobRecord, JobRow, NewResult

__all__ = ["Engine", "Pool", "placed", "work_on_ray"]

START_S = 900.0
"""How long the cluster may take until the first engine has its model."""
LOOK_S = 5.0
"""How often one looks whether the cluster is there, while there is no engine."""
STORE_BYTES = 100 * 2**20
"""Of a Ray of our own; rows and answers are small, and travel beside it."""


@dataclass(frozen=True)
class Broken:
    """What an engine says when it cannot go on."""

    reason: str


class Engine:
    """What runs in an actor: a model, and the rows that it is asked. Knows nothing of the workspace."""

    def __init__(self, spec: Mapping[str, Any], open_model: Callable[[JobSpec], Any], asks: Callable[[JobSpec], Ask]) -> None:
        self._spec, self._open_model, self._asks = JobSpec.from_dict(spec), open_model, asks
        self._opened = contextlib.ExitStack()

    async def open(self) -> int | Broken:
        """Load the model; returns how many rows keep it busy."""
        try:
            return await asyncio.to_thread(self._open)
        except RamifyError as error:
            return Broken(str(error))

    def _open(self) -> int:
        self._ask = self._asks(self._spec)
        self._model = self._opened.enter_context(self._open_model(self._spec))
        return most_at_once(self._spec, self._model)

    async def do(self, row: JobRow) -> NewResult | Broken:
        """What comes of a row; many are under way together."""
        try:
            found: NewResult | UnderWay = self._ask(self._model, row)
            while isinstance(found, UnderWay):
                found = found.read(await asyncio.wrap_future(found.future))
            return found
        except EngineError as error:
            return Broken(str(error))
        except RamifyError as error:
            return failed(self._spec, row, error)


# ---------------------------------------------------------------- how many, and where


def placed(spec: JobSpec, rows: int, nodes: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """{"asked", "used", "why", "cpus", "gpus"}: the last two of each engine. nodes: what each machine has, as Ray counts it."""
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    on_gpus = gpus > 0 and str(spec.how.get("device") or "cuda").startswith("cuda")
    places = gpus if on_gpus else sum(int(node.get("CPU", 0)) for node in nodes)
    asked = spec.data_parallelism
    limits = [
        (asked, f"{asked} asked for"),
        (max(1, rows), f"rows to do: {rows}"),
        (max(1, places), f"the Ray cluster has {places} {'GPU' if on_gpus else 'processor'}(s), one an engine"),
    ]
    used, why = min(limits, key=lambda each: each[0])
    cpus = [int(node.get("CPU", 0)) for node in nodes if not on_gpus or node.get("GPU", 0)]
    each = next((n for n in range(max(cpus, default=1), 0, -1) if sum(cpu // n for cpu in cpus) >= used), 1)
    return {"asked": asked, "used": used, "why": why, "cpus": each, "gpus": int(on_gpus)}


@dataclass
class Placed:
    """An engine that has its model, or will."""

    actor: Any
    most: int = 0
    """Rows that keep it busy; 0: it is not there yet."""
    rows: int = 0
    """Rows that it has."""


class Pool:
    """The engines of a job. Rows go to the one with the fewest; one that dies is replaced, a few times.

    All of it happens on the runner's thread: what Ray says, it says on threads of its own, which only leave word.
    """

    def __init__(self, ray: Any, plan: Mapping[str, Any], given: tuple[Any, ...]) -> None:
        """given: what `Engine` takes."""
        threads = plan["cpus"]
        env = {"env_vars": engine_environment(threads)}
        self._ray, self._given = ray, given
        self._kind = ray.remote(Engine).options(num_cpus=threads, num_gpus=plan["gpus"], runtime_env=env, max_concurrency=10_000)
        self._died, self._why, self.begun = 0, "", 0
        self._at = time.monotonic()
        """When an engine was last lost, or came."""
        self._asked_at = self._at
        self._opened: queue.SimpleQueue[tuple[Placed, Any]] = queue.SimpleQueue()
        self._waiting: list[tuple[JobRow, Future[Any]]] = []
        self._engines = [self._started() for _ in range(plan["used"])]

    def _started(self) -> Placed:
        engine = Placed(self._kind.remote(*self._given))
        _heard(engine.actor.open.remote(), lambda said: self._opened.put((engine, said)))
        return engine

    def _look(self) -> list[Placed]:
        """The engines that have their model."""
        while not self._opened.empty():
            engine, said = self._opened.get()
            if isinstance(said, int):
                engine.most, self._at = said, time.monotonic()
                self.begun += 1
            elif isinstance(said, self._ray.exceptions.RayActorError):
                self._lose(engine, said)
            elif engine in self._engines:
                self._why = said.reason if isinstance(said, Broken) else _told(said)
                self._engines.remove(engine)
        return [each for each in self._engines if each.most]

    def most(self) -> int:
        """Rows that keep all engines busy that have their model. Raises EngineError where none has, and none will."""
        living = self._look()
        if self._died > SECOND_LIVES or not self._engines:
            raise EngineError(self._why)
        if not living and not self._has_machines():
            raise EngineError("the Ray cluster has no machine left")
        if not living and time.monotonic() - self._at > START_S:
            raise EngineError(f"the Ray cluster gave no engine a place in {START_S:g} s; are processors (or GPUs) free?")
        while living and self._waiting:
            self._hand(living, *self._waiting.pop())
        return sum(each.most for each in living)

    def _has_machines(self) -> bool:
        """Asked now and then, since the answer comes over the network."""
        if time.monotonic() - self._asked_at < LOOK_S:
            return True
        self._asked_at = time.monotonic()
        return any(node["Alive"] for node in self._ray.nodes())

    def ask(self, row: JobRow) -> UnderWay:
        """Hand a row to an engine, or keep it until there is one."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        living = self._look()
        if living:
            self._hand(living, row, future)
        else:
            self._waiting.append((row, future))
        return UnderWay(future, lambda: None, lambda found: self._read(row, *found))

    def _hand(self, living: Sequence[Placed], row: JobRow, future: "Future[Any]") -> None:
        engine = min(living, key=lambda each: each.rows / each.most)
        engine.rows += 1
        _heard(engine.actor.do.remote(row), lambda said: future.set_result((engine, said)))

    def _read(self, row: JobRow, engine: Placed, said: Any) -> NewResult | UnderWay:
        engine.rows -= 1
        if isinstance(said, NewResult):
            return said
        if isinstance(said, Broken):
            raise EngineError(said.reason)
        if not isinstance(said, self._ray.exceptions.RayActorError):
            raise EngineError(f"an engine on Ray failed: {_told(said)}")
        self._lose(engine, said)
        return self.ask(row)

    def _lose(self, engine: Placed, error: Exception) -> None:
        if engine not in self._engines:
            return  # another of its rows said so before
        self._engines.remove(engine)
        self._died, self._at = self._died + 1, time.monotonic()
        self._why = f"the job's engines on Ray died {self._died} times; the last: {_told(error)}"
        self._ray.kill(engine.actor)
        if self._died <= SECOND_LIVES:
            self._engines.append(self._started())

    def close(self) -> None:
        """The rows that they still have are nobody's."""
        for each in self._engines:
            self._ray.kill(each.actor)


def _heard(reference: Any, use: Callable[[Any], object]) -> None:
    """Use what an actor says, or the error of Ray's that came instead; on a thread of Ray's."""

    def arrived(future: "Future[Any]") -> None:
        error = future.exception()
        use(future.result() if error is None else error)

    reference.future().add_done_callback(arrived)


def _told(error: Any) -> str:
    """The part of an error of Ray's that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _used(plan: Mapping[str, Any], begun: int) -> dict[str, Any]:
    """What a job says of its workers: how many engines really had a model, and why so many."""
    used = min(begun, plan["used"])  # some died, and were replaced
    why = plan["why"] if used == plan["used"] else f"{plan['why']}; {used} of {plan['used']} had begun before the rows were done"
    return {"asked": plan["asked"], "used": used, "why": why}


@contextlib.contextmanager
def _joined() -> Iterator[Any]:
    """Ray: the cluster that RAY_ADDRESS names or that runs on this machine, else one of our own. Raises EngineError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():  # the caller's; it stays
        yield ray
        return
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        try:
            ray.init(address=None if names_ray() else "auto", **quiet)
        except ConnectionError:
            if names_ray():
                raise
            ray.init(address="local", num_cpus=cores(), include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
    except Exception as error:  # Ray's own are of many kinds
        raise EngineError(
            f"no Ray was reached or started: {error}. RAY_ADDRESS names a cluster; unset, one starts here"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def work_on_ray(
    database: Database,
    key: str,
    spec: JobSpec,
    *,
    open_model: Callable[[JobSpec], Any],
    asks: Callable[[JobSpec], Ask],
    told: Callable[[JobRecord], object],
    stop: threading.Event,
) -> Ended:
    """Let engines on the cluster do the rows that are left. Raises EngineError where none comes up, or they die again and again.

    open_model, asks: functions that the cluster's machines have too.
    """
    with _joined() as ray:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        plan = placed(spec, database.jobs.get(key).left or 0, nodes)

        database.jobs.note(key, workers=_used(plan, plan["used"]))
        pool = Pool(ray, plan, (spec.to_dict(), open_model, asks))
        try:
            ended = Runner(database, key, spec, pool.ask, most=pool.most, told=told).run_until(stop)
        finally:
            database.jobs.note(key, workers=_used(plan, pool.begun))
            pool.close()
    return ended
