"""The models that a server answers for, each loaded once, when it is first asked for, with the queue before it."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from ramify.api.admission import Admission
from ramify.engine.engine import MAX_ROWS
from ramify.engine.model import Model
from ramify.errors import ModelNotFoundError
from ramify.models.registry import Registry, is_remote

__all__ = ["Load", "ModelPool"]

Load = Callable[[str], Model]


@dataclass
class _Served:
    admission: Admission
    model: "Future[Model]" = field(default_factory=Future)
    failure: Exception | None = None
    """What the engine failed of, until it answers again."""


class ModelPool:
    """Models by name. Only the names given here and those of the registry are served: no request names a folder or a hub."""

    def __init__(
        self, load: Load, *, default: str, names: Sequence[str] = (), registry: Registry | None = None, max_queue: int = 256
    ) -> None:
        """load: how a name becomes a model. default: what a request without a model gets. names: further ones. max_queue:
        completions that may wait for each."""
        self.default = default
        self._load = load
        self._registry = registry
        self._names = tuple(dict.fromkeys((default, *names)))
        self._max_queue = max_queue
        self._lock = threading.Lock()
        self._served: dict[str, _Served] = {}

    def names(self) -> tuple[str, ...]:
        """Every name that a request may give: the default first."""
        registered = (entry.name for entry in self._registry.list() if entry.endpoint is None) if self._registry else ()
        return tuple(dict.fromkeys((*self._names, *registered)))

    def serves(self, name: str) -> bool:
        return name in self._served or name in self.names()

    def check(self, name: str) -> None:
        """Raises ModelNotFoundError for a name that is not served."""
        if not self.serves(name):
            if is_remote(name) or (self._registry and any(name == entry.name for entry in self._registry.list())):
                raise ModelNotFoundError(
                    f"the model {name!r} is a remote one, and only models of this machine are served here: ask its own endpoint, "
                    "or make completions with it under /api, in the studio or on the command line"
                )
            raise ModelNotFoundError(
                f"the model {name!r} is not served here; served are {', '.join(self.names())}. "
                "`ramify models add` names another, `ramify serve --model` serves one"
            )

    # Loading.

    def get(self, name: str | None = None) -> Model:
        """The model of that name, loaded now if it is not yet; for use on any thread but the event loop's.

        Raises ModelNotFoundError for a name that is not served. One that failed to load is tried again at the next call.
        """
        return self._future(name or self.default, on_this_thread=True).result()

    async def aget(self, name: str | None = None) -> Model:
        """The same for asyncio. Who stops waiting stops nobody else; the load goes on."""
        future = self._future(name or self.default, on_this_thread=False)
        if future.done():
            return future.result()
        return await asyncio.shield(asyncio.wrap_future(future))

    def loaded(self) -> dict[str, Model]:
        """Those that are in memory."""
        found = {name: served.model for name, served in tuple(self._served.items())}
        return {name: model.result() for name, model in found.items() if model.done() and model.exception() is None}

    @property
    def loading(self) -> bool:
        """Whether one is on its way into memory."""
        return any(served.model.running() for served in tuple(self._served.values()))

    def _of(self, name: str) -> _Served:
        served = self._served.get(name)
        if served is None:
            self.check(name)
            served = self._served[name] = _Served(Admission(places=MAX_ROWS, max_queue=self._max_queue))
        return served

    def _future(self, name: str, *, on_this_thread: bool) -> "Future[Model]":
        with self._lock:
            served = self._of(name)
            if served.model.done() and served.model.exception() is not None:
                served.model = Future()
            future = served.model
            if future.running() or future.done():
                return future
            future.set_running_or_notify_cancel()
        if on_this_thread:
            self._run(name, served, future)
        else:
            threading.Thread(target=self._run, args=(name, served, future), name=f"load {name}", daemon=True).start()
        return future

    def _run(self, name: str, served: _Served, future: "Future[Model]") -> None:
        try:
            model = self._load(name)
        except BaseException as error:
            future.set_exception(error)
        else:
            served.admission.places = model.engine.scheduler.max_rows
            future.set_result(model)

    # What stands before and behind a model.

    def admission(self, name: str) -> Admission:
        """The queue before a model. Raises ModelNotFoundError."""
        with self._lock:
            return self._of(name).admission

    def admissions(self) -> dict[str, Admission]:
        """The queues that there are, those before models on their way into memory too."""
        return {name: served.admission for name, served in tuple(self._served.items())}

    def failure(self, name: str) -> Exception | None:
        """What the model's engine failed of, if it did not answer since."""
        served = self._served.get(name)
        return None if served is None else served.failure

    def failed(self, name: str, error: Exception) -> None:
        """Note that the engine failed."""
        self._served[name].failure = error

    def answered(self, name: str) -> None:
        """Note that it is well."""
        self._served[name].failure = None

    def forget(self, name: str) -> None:
        """Give a model's memory back, because what its name stood for is gone; what runs on it is cancelled."""
        with self._lock:
            served = self._served.pop(name, None)
        if served is not None and served.model.done() and served.model.exception() is None:
            served.model.result().close()

    def close(self) -> None:
        """Cancel what runs and give the memory back."""
        for model in self.loaded().values():
            model.close()
