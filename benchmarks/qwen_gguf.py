"""The random model of Qwen2-0.5B's shape as a GGUF file."""

from pathlib import Path

from benchmarks.qwen_shape import folder

__all__ = ["file"]


def file(cache: Path, type: str) -> Path:
    """The file, written once under `cache`. type: "float32", "float16", "bfloat16" or "q8_0"."""
    path = cache / f"qwen2-0.5b-shape-{type}.gguf"
    if not path.exists():
        from ramify.models.convert_gguf import convert
        from ramify.models.registry import Registry

        print(convert(Registry().resolve(str(folder(cache))), path, type=type).check)
    return path
