"""GGUF files of the models made here, and of `tiny`: converted once a run."""

import tempfile
from functools import cache
from pathlib import Path

import models_made_here

__all__ = ["NAMES", "STAND_INS", "file"]

NAMES = ("llama", "qwen2", "qwen3", "tiny")
"""Those that can be written as GGUF."""
PLAYERS = ("llama", "qwen3", "tiny")
STAND_INS = {name: PLAYERS[i % len(PLAYERS)] for i, name in enumerate(models_made_here.CONFIGS) if name not in NAMES}
"""Who plays the others, where a test draws any model: none whose logits are wider than its tokenizer."""

_folder = tempfile.TemporaryDirectory(prefix="ramify-gguf-")


@cache
def file(name: str, type: str = "float32") -> Path:
    """The file of a model, its matrices of one of `convert_gguf.TYPES`."""
    from ramify.models.convert_gguf import convert
    from ramify.models.registry import Registry

    where = str(models_made_here.folder(name)) if name in models_made_here.CONFIGS else name
    return convert(Registry().resolve(where), Path(_folder.name) / f"{name}-{type}.gguf", type=type).path
