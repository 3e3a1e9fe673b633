"""Ramify grows, compares, chooses and trains completions: the texts a language model writes after a prompt.

>>> import ramify
>>> model = ramify.load("tiny")
>>> model.complete("Once upon a time", max_new_tokens=20).text
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ramify.settings import bound_waiting

if TYPE_CHECKING:
    from ramify.client.completion import Completion
    from ramify.decoding.config import GenerationConfig
    from ramify.engine.branch import Branch
    from ramify.engine.model import Model, load
    from ramify.engine.requests import CompletionResult, Scored, TokenEvent, TokenLogprob
    from ramify.errors import RamifyError
    from ramify.inference import (
        ChatInterface,
        ConstrainedGenerator,
        CreativeWriter,
        InteractiveGenerator,
        OutputFilter,
        batch_generate,
        compare_generations,
        evaluate_generation,
        generate_text,
        interactive_cli,
        stream_generate,
    )
    from ramify.workbench.workspace import Workspace

__version__ = "0.1.0"

__all__ = [
    "Branch",
    "ChatInterface",
    "Completion",
    "CompletionResult",
    "ConstrainedGenerator",
    "CreativeWriter",
    "GenerationConfig",
    "InteractiveGenerator",
    "Model",
    "OutputFilter",
    "RamifyError",
    "Scored",
    "TokenEvent",
    "TokenLogprob",
    "Workspace",
    "__version__",
    "batch_generate",
    "compare_generations",
    "evaluate_generation",
    "generate_text",
    "interactive_cli",
    "load",
    "stream_generate",
]

_HOMES = {
    "Branch": "ramify.engine.branch",
    "ChatInterface": "ramify.inference",
    "Completion": "ramify.client.completion",
    "CompletionResult": "ramify.engine.requests",
    "ConstrainedGenerator": "ramify.inference",
    "CreativeWriter": "ramify.inference",
    "GenerationConfig": "ramify.decoding.config",
    "InteractiveGenerator": "ramify.inference",
    "Model": "ramify.engine.model",
    "OutputFilter": "ramify.inference",
    "RamifyError": "ramify.errors",
    "Scored": "ramify.engine.requests",
    "TokenEvent": "ramify.engine.requests",
    "TokenLogprob": "ramify.engine.requests",
    "Workspace": "ramify.workbench.workspace",
    "batch_generate": "ramify.inference",
    "compare_generations": "ramify.inference",
    "evaluate_generation": "ramify.inference",
    "generate_text": "ramify.inference",
    "interactive_cli": "ramify.inference",
    "load": "ramify.engine.model",
    "stream_generate": "ramify.inference",
}


bound_waiting()  # here, for torch is imported by many modules, and this one comes before all of them


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used: `import ramify` loads neither torch nor a server."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ramify' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
