"""The build step: the studio's modules are in the package before it is packed, or installed for development."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Studio(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        modules = load(Path(self.root))
        if modules.missing():
            try:
                modules.install(Path(self.root))
            except RuntimeError as error:
                if version != "editable":
                    raise
                # Everything but the studio works without them; `ramify studio` says what is missing.
                print(f"ramify: {error}", file=sys.stderr)


def load(root: Path) -> ModuleType:
    """`ramify.web.modules` alone: what the package needs is not installed while it is built."""
    spec = importlib.util.spec_from_file_location("ramify_web_modules", root / "src" / "ramify" / "web" / "modules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
