"""Ramify grows, compares, chooses and trains completions: the texts a language model writes after a prompt.

>>> import ramify
>>> model = ramify.load("tiny")
>>> model.complete("Once upon a time", max_new_tokens=20).text
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.client.completion import Completion
    from ramify.decoding.config import GenerationConfig
    from ramify.engine.branch import Branch
    from ramify.engine.model import Model, load
    from ramify.engine.requests import CompletionResult, Scored, TokenEvent, TokenLogprob
    from ramify.errors import RamifyError
    from ramify.workbench.workspace import Workspace

__version__ = "0.1.0"

__all__ = [
    "Branch",
    "Completion",
    "CompletionResult",
    "GenerationConfig",
    "Model",
    "RamifyError",
    "Scored",
    "TokenEvent",
    "TokenLogprob",
    "Workspace",
    "__version__",
    "load",
]

_HOMES = {
    "Branch": "ramify.engine.branch",
    "Completion": "ramify.client.completion",
    "CompletionResult": "ramify.engine.requests",
    "GenerationConfig": "ramify.decoding.config",
    "Model": "ramify.engine.model",
    "RamifyError": "ramify.errors",
    "Scored": "ramify.engine.requests",
    "TokenEvent": "ramify.engine.requests",
    "TokenLogprob": "ramify.engine.requests",
    "Workspace": "ramify.workbench.workspace",
    "load": "ramify.engine.model",
}


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used: `import ramify` loads neither torch nor a server."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ramify' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
