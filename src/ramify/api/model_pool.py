"""The models that a server answers for, each loaded once, when it is first asked for."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ramify.engine.model import Model
from ramify.errors import ModelNotFoundError
from ramify.models.registry import Registry

__all__ = ["ModelPool"]

Load = Callable[[str], Model]


class ModelPool:
    """Models by name. Only the names given here and those of the registry are served: no request names a folder or a hub."""

    def __init__(self, load: Load, *, default: str, names: Sequence[str] = (), registry: Registry | None = None) -> None:
        """load: how a name becomes a model. default: what a request without a model gets. names: further ones."""
        self.default = default
        self._load = load
        self._registry = registry
        self._names = tuple(dict.fromkeys((default, *names)))
        self._lock = threading.Lock()
        self._models: dict[str, Future[Model]] = {}

    def names(self) -> tuple[str, ...]:
        """Every name that a request may give: the default first."""
        registered = (entry.name for entry in self._registry.list() if entry.endpoint is None) if self._registry else ()
        return tuple(dict.fromkeys((*self._names, *registered)))

    def loaded(self) -> dict[str, Model]:
        """Those that are in memory."""
        with self._lock:
            futures = dict(self._models)
        return {name: future.result() for name, future in futures.items() if future.done() and future.exception() is None}

    @property
    def loading(self) -> bool:
        with self._lock:
            return any(not future.done() for future in self._models.values())

    def get(self, name: str | None = None) -> Model:
        """The model of that name, loaded now if it is not yet; for use on any thread but the event loop's.

        Raises ModelNotFoundError for a name that is not served. One that failed to load is tried again at the next call.
        """
        return self._future(name or self.default, on_this_thread=True).result()

    async def aget(self, name: str | None = None) -> Model:
        """The same for asyncio. Who stops waiting stops nobody else; the load goes on."""
        future = self._future(name or self.default, on_this_thread=False)
        return await asyncio.shield(asyncio.wrap_future(future))

    def _future(self, name: str, *, on_this_thread: bool) -> "Future[Model]":
        with self._lock:
            future = self._models.get(name)
            if future is not None and not (future.done() and future.exception() is not None):
                return future
            if name not in self.names():
                raise ModelNotFoundError(
                    f"the model {name!r} is not served here; served are {', '.join(self.names())}. "
                    "`ramify models add` names another, `ramify serve --model` serves one"
                )
            future = self._models[name] = Future()
        if on_this_thread:
            self._run(name, future)
        else:
            threading.Thread(target=self._run, args=(name, future), name=f"load {name}", daemon=True).start()
        return future

    def _run(self, name: str, future: "Future[Model]") -> None:
        try:
            future.set_result(self._load(name))
        except BaseException as error:
            future.set_exception(error)

    def close(self) -> None:
        """Cancel what runs and give the memory back."""
        for model in self.loaded().values():
            model.close()
