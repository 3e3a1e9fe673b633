"""One loaded model a name, however many calls name it."""

import threading

from ramify.engine.model import Model, load
from ramify.models.registry import Registry
from ramify.settings import Settings

__all__ = ["loaded"]

_models: dict[tuple[object, ...], Model] = {}
_lock = threading.Lock()


def loaded(name: str) -> Model:
    """The model of that name, loaded on the first call and kept until the process ends.

    Names that stand for the same folder share it; a name that stands for something else by now is loaded anew. Raises what
    `load` raises.
    """
    settings = Settings.load()
    entry = Registry(settings).show(name)
    key = (entry.target, entry.adapter, entry.revision, entry.endpoint, settings.device, settings.precision)
    # One lock for all: two models that load at once would only wait for each other's disk and processor.
    with _lock:
        if key not in _models:
            _models[key] = load(name)
        return _models[key]
