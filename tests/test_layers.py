"""Imports point downward: a room of the package uses those below it, never its neighbours and never those above."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "ramify"

LEVELS = (
    {"errors", "settings", "data_types", "prompts"},
    {"models", "store"},
    {"decoding", "exchange"},
    {"engine", "training"},
    {"workbench", "quality"},
    {"batch"},
    {"answers", "api", "batches", "cli", "client", "inference", "web", "__init__", "__main__"},
)
"""From the ground to the roof; ARCHITECTURE.md says what each room is for."""

LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
GROUND, ROOF = 0, len(LEVELS) - 1
"""The two levels whose rooms may know each other: `settings` uses `errors`, and the roof is one floor of doors."""
FORBIDDEN = {("store", "engine"), ("engine", "store")}
NAMELESS = re.compile(r"util|helper|manager|common")

FILES = sorted(SOURCE.rglob("*.py"))


def room_of(module: str) -> str:
    """The room that `ramify.engine.rows` belongs to: engine; `ramify` itself is __init__."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else "__init__" if len(parts) == 1 else parts[1]


def imports_of(source: str, module: str, is_package: bool) -> list[tuple[int, str]]:
    """(line, module) of every import of the package's own modules, wherever in the file it stands."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")
            above = base[: len(base) - node.level + is_package] if node.level else []
            whole = ".".join([*above, *([node.module] if node.module else [])])
            # `from ramify import engine` names a room; `from ramify import load` a public name of the roof.
            found += [
                (node.lineno, f"{whole}.{alias.name}" if whole == "ramify" and alias.name in LEVEL else whole)
                for alias in node.names
            ]
    return [(line, name) for line, name in dict.fromkeys(found) if name.split(".")[0] == "ramify"]


def complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    mine, found = room_of(module), []
    for line, imported in imports_of(source, module, is_package):
        other = room_of(imported)
        if other not in LEVEL:
            found.append(f"{module}:{line} imports {imported}, a room that has no level")
        elif other != mine and (
            (mine, other) in FORBIDDEN or LEVEL[other] > LEVEL[mine] or (LEVEL[other] == LEVEL[mine] not in (GROUND, ROOF))
        ):
            found.append(f"{module}:{line} ({mine}, level {LEVEL[mine]}) imports {imported} (level {LEVEL[other]})")
    return found


def module_of(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_room_has_a_level() -> None:
    rooms = {file.relative_to(SOURCE).parts[0].removesuffix(".py") for file in FILES}
    assert rooms <= set(LEVEL)


def test_imports_point_downward() -> None:
    found = [line for file in FILES for line in complaints(file.read_text("utf-8"), module_of(file), file.stem == "__init__")]
    assert found == []


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("from ramify.engine.model import Model", "ramify.models.loading", ["ramify.models.loading:1 (models, level 1)"]),
        ("def f():\n    import ramify.cli.main", "ramify.engine.model", ["ramify.engine.model:2 (engine, level 3)"]),
        ("from ramify.training import loss", "ramify.engine.model", ["ramify.engine.model:1 (engine, level 3)"]),
        ("from ramify.store import records", "ramify.engine.model", ["ramify.engine.model:1 (engine, level 3)"]),
        ("from ramify import load", "ramify.engine.model", ["ramify.engine.model:1 (engine, level 3)"]),
        ("from ramify import engine", "ramify.decoding.config", ["ramify.decoding.config:1 (decoding, level 2)"]),
        ("from ..engine import model", "ramify.decoding.config", ["ramify.decoding.config:1 (decoding, level 2)"]),
        ("from ramify.utils import x", "ramify.cli.main", ["ramify.cli.main:1 imports ramify.utils, a room that has no level"]),
        ("from ramify import errors\nfrom ramify.models.base import Trunk\nimport torch", "ramify.engine.model", []),
        ("from . import filters\nfrom .config import ORDER", "ramify.decoding.pipeline", []),
        ("from ramify import load\nfrom ramify.api import app", "ramify.cli.main", []),
    ],
)
def test_an_import_that_points_upward_is_found(source: str, module: str, expected: list[str]) -> None:
    found = complaints(source, module)
    assert len(found) == len(expected)
    assert all(line.startswith(beginning) for line, beginning in zip(found, expected, strict=True))


def test_nothing_is_called_utils_helpers_manager_or_common() -> None:
    assert [str(file) for file in FILES if NAMELESS.search(file.stem)] == []
